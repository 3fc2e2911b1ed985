"""`broker patients recall` beside a journal: who got the address, whom to ask, and the line in the audit."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from broker.adapter import Receipt
from broker.cli.patients_recall import command
from broker.delivery import endings, stored
from broker.errors import ConfigError
from broker.journal import audit
from broker.runtime import journals
from broker.runtime.configured import configure
from broker.settings import load
from broker.store.database import Database
from tests.support.messages import Person, adt
from tests.support.shared import REPOSITORY
from tests.unit.runtime.conftest import House

CONFIG = REPOSITORY / "config" / "broker.yaml"
ANNA = Person(number="700901", family="Ukjentnavn", contact="HEMMELIGVEIEN 7")
NOW = datetime(2026, 3, 9, 9, tzinfo=UTC)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A journal where the EPJ got her address before it was protected."""
    monkeypatch.setenv("BROKER_DATA", str(tmp_path))
    settings = load(CONFIG, env=os.environ)
    database = journals.journal_of(settings)
    database.open()
    house = House(configure(settings, os.environ), database)
    house.receive("pas", adt("A08", "C1", ANNA, "PV1|1|O"))
    house.route()

    def deliver(tx: Any) -> None:
        opened = stored.load(tx, 1)
        assert opened is not None
        endings.finish(tx, opened, Receipt(detail="AA"), NOW.isoformat())
        tx.execute("UPDATE delivery SET purpose='contact'")  # by a route that was not cleared then

    database.write(deliver).result()
    house.receive("pas", adt("A08", "C2", ANNA, "PD1" + "|" * 12 + "Y", "PV1|1|O"))
    house.route()
    yield database
    database.close()


def test_who_got_it_is_listed_and_the_look_is_audited(journal: Database) -> None:
    arguments = ["-", "--reason", "graded", "--config", str(CONFIG), "--format", "json"]
    result = CliRunner().invoke(command, arguments, input="700901\n")

    assert result.exit_code == 1, "somebody must be asked"
    found = json.loads(result.output)
    assert (found["protected"], found["ask"]) == (True, ["epj"])
    (told,) = found["told"]
    assert (told["first"], told["sure"], told["deliveries"][0]) == (NOW.isoformat(), True, 1)
    (entry,) = audit.listed(journal.read())
    assert (entry.action, entry.reason, dict(entry.detail)) == (
        "patients recall",
        "graded",
        {"patient": found["patient"]},
    )


def test_in_words_and_without_a_value(journal: Database) -> None:
    result = CliRunner().invoke(command, ["700901", "--reason", "graded", "--config", str(CONFIG)])

    assert "epj was sent" in result.output
    assert "ask whoever runs epj" in result.output
    assert not [word for word in ("HEMMELIG", "Ukjent", "700901") if word in result.output]


def test_a_number_that_nobody_has(journal: Database) -> None:
    result = CliRunner().invoke(command, ["1", "--reason", "graded", "--config", str(CONFIG)])

    assert isinstance(result.exception, ConfigError)
    assert audit.listed(journal.read()) == []


def test_a_reason_is_needed(journal: Database) -> None:
    result = CliRunner().invoke(command, ["700901", "--reason", " ", "--config", str(CONFIG)])

    assert result.exit_code == 2
