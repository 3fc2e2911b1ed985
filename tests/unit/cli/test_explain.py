"""`broker explain` of what is said of a study, which no message holds."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from broker.cli import explain
from broker.errors import ConfigError
from tests.support.shared import REPOSITORY

CONFIG = str(REPOSITORY / "config" / "broker.yaml")


def explained(file: Path, text: str, *options: str) -> Result:
    file.write_text(text, encoding="utf-8")
    return CliRunner().invoke(explain.command, [str(file), "--config", CONFIG, *options])


def test_an_event_of_a_study_is_explained(tmp_path: Path) -> None:
    found = explained(
        tmp_path / "said.yaml",
        "type: study.completed\nstudy: { study_uid: 1.2.3, basis: quiet }\n",
        "--format",
        "json",
    )

    told = json.loads(found.output)
    (event,) = told["events"]
    assert (event["type"], event["source"]) == ("no.broker.study.completed", "/STO/clock")
    assert {verdict["event"] for verdict in told["routes"]} == {"study.completed"}
    assert found.exit_code == 0


def test_a_file_that_says_nothing_of_a_study(tmp_path: Path) -> None:
    for text, wanted in (
        ("source: clock\n", "it needs type:"),
        ("type: study.stored\nstudy: { archiv: pacs }\n", "unknown key 'archiv'"),
    ):
        found = explained(tmp_path / "said.yaml", text)
        assert isinstance(found.exception, ConfigError)
        assert wanted in str(found.exception)
