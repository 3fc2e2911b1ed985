"""Statements as pages."""

from __future__ import annotations

import json

from broker.conformance.document import WIDTH, Document, Section, Table, markdown

DOCUMENT = Document(
    title="What it is",
    text=("word " * 60,),
    sections=(
        Section(title="First", sections=(Section(title="Inner", points=("one " * 50, "two")),)),
        Section(
            title="Second",
            tables=(
                Table(columns=("a", "b"), rows=(("x|y", "line\nbreak"),)),
                Table(columns=("never",), rows=()),
            ),
        ),
    ),
)


def test_sections_are_numbered_by_their_place() -> None:
    page = markdown(DOCUMENT)

    assert [line for line in page.splitlines() if line.startswith("#")] == [
        "# What it is",
        "## 1 First",
        "### 1.1 Inner",
        "## 2 Second",
    ]


def test_text_is_wrapped_and_cells_stay_in_their_table() -> None:
    page = markdown(DOCUMENT)

    assert all(len(line) <= WIDTH for line in page.splitlines())
    assert "| x\\|y | line break |" in page
    assert "never" not in page
    assert page.endswith("|\n")


def test_programs_get_the_same() -> None:
    assert json.loads(json.dumps(DOCUMENT.described()))["sections"][0]["sections"][0]["points"][1] == "two"
