"""`broker conformance`: the same statement as a page, as JSON and as a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.cli.conformance import STATEMENTS, command
from tests.support.shared import REPOSITORY

CONFIG = ["--config", str(REPOSITORY / "config" / "broker.yaml")]


@pytest.mark.parametrize("which", STATEMENTS)
def test_a_page_and_its_values_say_the_same(which: str) -> None:
    page = CliRunner().invoke(command, [which, *CONFIG])
    values = CliRunner().invoke(command, [which, "--format", "json", *CONFIG])

    assert (page.exit_code, values.exit_code) == (0, 0)
    told = json.loads(values.output)
    assert page.output.startswith(f"# {told['title']}\n")
    assert [f"## {n} {s['title']}" for n, s in enumerate(told["sections"], 1)] == [
        line for line in page.output.splitlines() if line.startswith("## ")
    ]


def test_it_is_written_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "ihe.md"

    done = CliRunner().invoke(command, ["ihe", "-o", str(file), *CONFIG])

    assert done.output == f"wrote {file}\n"
    assert file.read_text(encoding="utf-8").startswith("# IHE Integration Statement\n")


def test_an_unknown_statement_names_those_there_are() -> None:
    done = CliRunner().invoke(command, ["fhir", *CONFIG])

    assert done.exit_code == 2
    assert "dicom" in done.output
