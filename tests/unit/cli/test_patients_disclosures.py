"""`broker patients disclosures`: by which number a patient is meant, and what is shown."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli.patients_disclosures import command
from broker.errors import ConfigError
from broker.event import Identifier
from broker.registers import patients
from broker.registers.fold import fold
from broker.runtime.directory import Directory
from broker.store.sqlite import SqliteDatabase, journal_file
from tests.support.events import LOCAL, event, local, patient
from tests.support.shared import REPOSITORY

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
ELSEWHERE = Identifier(value="2", namespace="NSK", oid="2.999.7002", oid_type="ISO")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    for name in ("config", "routes"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("BROKER_DATA", str(tmp_path / "data"))
    database = SqliteDatabase(journal_file(tmp_path / "data"))
    database.open()
    for number, who in enumerate((local("1"), local("2"), ELSEWHERE), 1):
        one = event("patient.registered", number, patient=patient(who))
        database.write(lambda tx, one=one: fold(tx, one, None)).result()  # type: ignore[misc]
    (key,) = patients.find(database.read(), [local("1")])
    directory = Directory(database, lambda: NOW)
    directory.disclose(who="EPJ|STO", what="QBP^Q22", detail={"answers": 1}, keys=[key])
    database.close()

    def run(*arguments: str) -> Result:
        config = ["--config", str(tmp_path / "config" / "broker.yaml")]
        return CliRunner().invoke(command, [*arguments, *config], catch_exceptions=True)

    return run


def test_who_was_told_is_shown_by_the_patients_number(run) -> None:  # type: ignore[no-untyped-def]
    told, as_json = run("1"), run("1", "--format", "json")

    assert told.exit_code == 0
    assert "EPJ|STO  QBP^Q22" in told.output
    assert "1 answers named this patient" in told.output
    (entry,) = json.loads(as_json.output)
    assert (entry["who"], entry["detail"]) == ("EPJ|STO", {"answers": 1})


def test_a_number_of_several_issuers_needs_one(run) -> None:  # type: ignore[no-untyped-def]
    several, one, nobody = run("2"), run("2", "--issuer", LOCAL), run("9")

    assert isinstance(several.exception, ConfigError)
    assert "--issuer" in str(several.exception)
    assert "0 answers" in one.output
    assert isinstance(nobody.exception, ConfigError)
