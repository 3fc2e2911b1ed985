"""`broker exceptions`: what is open, of which kind, and what is said where nothing is closed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from broker.cli import exceptions as command
from broker.registers import exceptions
from broker.runtime import journals
from broker.settings import load
from tests.support.shared import REPOSITORY

CONFIG = REPOSITORY / "config" / "broker.yaml"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Open: a skewed clock, and a merge that is held."""
    monkeypatch.setenv("BROKER_DATA", str(tmp_path))
    database = journals.journal_of(load(CONFIG, env={"BROKER_DATA": str(tmp_path)}))
    database.open()
    for kind, subject in (("clock-skew", "pas"), ("merge-held", "1")):
        database.write(
            lambda tx, kind=kind, subject=subject: exceptions.note(tx, kind, subject, "why", at="2026")  # type: ignore[misc]
        ).result()
    database.close()

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(command.command, [*arguments, "--config", str(CONFIG)])

    return invoke


def test_what_is_open_and_what_a_person_may_close(run: Any) -> None:
    found = json.loads(run("list", "--format", "json").output)

    assert {one["kind"]: one["closable"] for one in found} == {"clock-skew": True, "merge-held": False}
    assert run("list", "--kind", "merge-held").output.endswith(
        "closes by itself once it is put right\n1 open\n"
    )


def test_all_of_a_kind_are_closed(run: Any) -> None:
    found = run("close", "clock-skew", "--all", "--reason", "its clock was set")

    assert (found.exit_code, found.output) == (0, "clock-skew pas: closed\n")


def test_where_nothing_of_a_kind_is_open_it_is_said(run: Any) -> None:
    found = run("close", "mojibake", "--all", "--reason", "sender repaired")

    assert (found.exit_code, found.output) == (0, "no mojibake is open\n")


def test_one_that_is_not_open(run: Any) -> None:
    found = run("close", "clock-skew", "ris", "--reason", "its clock was set")

    assert (found.exit_code, found.output) == (1, "clock-skew ris: is not open\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("list", "--kind", "clock"), "is not one of"),
        (("close", "clock", "--all", "--reason", "seen"), "is not one of"),
        (("close", "clock-skew", "--reason", "seen"), "give SUBJECT, or --all"),
        (("close", "clock-skew", "pas", "--all", "--reason", "seen"), "give SUBJECT, or --all"),
        (("close", "clock-skew", "pas", "--reason", " "), "--reason must say something"),
    ],
)
def test_what_cannot_be_asked_for(run: Any, arguments: tuple[str, ...], why: str) -> None:
    found = run(*arguments)

    assert found.exit_code == 2
    assert why in found.output
