"""`broker patients list --temporary` beside a journal that holds a few patients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from broker.cli import patients_list
from broker.registers.fold import fold
from broker.runtime import journals
from broker.settings import load
from tests.support.events import event, local, national, patient
from tests.support.numbers import valid
from tests.support.shared import REPOSITORY

CONFIG = REPOSITORY / "config" / "broker.yaml"
H_NUMBER = local(valid("305082")).model_copy(update={"temporary": True})


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One patient known by a temporary id, and one by a national one."""
    monkeypatch.setenv("BROKER_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    database = journals.journal_of(load(CONFIG, env={"BROKER_DATA": str(tmp_path / "data")}))
    database.open()
    for number, who in enumerate((patient(H_NUMBER, family="Ukjent"), patient(national(valid("309082")))), 1):
        said = event("patient.registered", number, patient=who)
        database.write(lambda tx, said=said: fold(tx, said, None)).result()  # type: ignore[misc]
    database.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(patients_list.command, ["--config", str(CONFIG), *arguments])


def test_who_still_has_to_be_identified_is_listed_with_whose_task_it_is() -> None:
    found = run("--temporary")

    assert found.exit_code == 0
    assert found.output == "2026-03-09T08:01  pas STO  PM00001.0  `broker trace M00001`\n1 patient\n"


def test_a_program_is_told_the_same_and_no_patients_value() -> None:
    (row,) = json.loads(run("--temporary", "--format", "json").output)

    assert row == {
        "key": "PM00001.0",
        "since": "2026-03-09T08:01:00+00:00",
        "source": "pas",
        "site": "STO",
        "event": "M00001.0",
        "message": "M00001",
    }


def test_only_the_old_ones_where_asked_for() -> None:
    assert run("--temporary", "--older-than", "36500d").output == "nobody has to be identified\n"


@pytest.mark.parametrize("arguments", [(), ("--temporary", "--older-than", "long")])
def test_what_is_not_understood_is_said(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2
