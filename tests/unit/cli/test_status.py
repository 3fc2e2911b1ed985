"""`broker status` beside a journal with something that a person must look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.cli import status
from broker.registers import exceptions
from broker.runtime import journals
from broker.settings import load
from tests.support.shared import REPOSITORY

CONFIG = REPOSITORY / "config" / "broker.yaml"
AT = "2026-03-09T08:00:00+00:00"


def test_what_no_message_raised_sends_nobody_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_DATA", str(tmp_path))
    database = journals.journal_of(load(CONFIG, env={"BROKER_DATA": str(tmp_path)}))
    database.open()
    database.write(lambda tx: exceptions.note(tx, "mojibake", "pas: PAS", "garbled", at=AT)).result()
    database.close()

    found = CliRunner().invoke(status.command, ["--config", str(CONFIG)])

    assert found.exit_code == 0
    assert found.output.endswith(
        f"exceptions: 1\n  mojibake               pas: PAS  garbled\n    since {AT}\n"
    )
