"""docs/identifiers.md says what is so: its tables are those that the code goes by."""

from __future__ import annotations

import re
from typing import get_args

from broker.identity import EMERGENCY, FLAGS, REFUSED, Class
from broker.nationalid import KINDS, Kind, Series
from tests.support.shared import REPOSITORY

PAGE = (REPOSITORY / "docs" / "identifiers.md").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, list[str]]:
    """The table below a heading: its first cell without backquotes to the others."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line[:1] == "|"
    ]
    return {first.strip("`"): rest for first, *rest in cells[2:]}


def test_every_kind_stands_there_with_its_issuer() -> None:
    table = rows("Kinds")

    assert table.keys() == set(get_args(Kind))
    assert {row[0].strip("`"): kind for kind, row in table.items() if kind != "h-number"} == KINDS


def test_every_series_stands_there() -> None:
    assert set(re.findall(r"\(`(\w+)`\)", PAGE)) == set(get_args(Series)) - {""}


def test_every_flag_stands_there_with_what_refuses_it() -> None:
    table = rows("What is remarked, and what is refused")

    assert [(flag, row[0]) for flag, row in table.items()] == list(FLAGS.items())
    for flag, (_, refused, forgiven) in table.items():
        assert (forgiven == "yes") is (flag in EMERGENCY)
        if flag != "check-digit":
            assert {name for name, found in REFUSED.items() if flag in found} == set(
                re.findall(r"\w+", refused)
            )


def test_every_class_stands_there() -> None:
    assert rows("Classes").keys() == set(get_args(Class))
