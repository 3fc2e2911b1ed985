"""Rewriting what a test expects: the new value says itself, and everything else stays as it was."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.routing.update import UpdateError, rewritten
from broker.scalars import as_written
from broker.yamlfile.reading import loads

FILE = """\
# a comment
route: r     # the name
tests:
  - name: one
    expect:
      ack: "0000"
      events: [order.placed, step.scheduled]   # both
      epj: [{ PID-5: 'Berg^Kari', ORC-1: SC }]
      worklist:
        - PatientID: 30908299902
          PatientName: Sørby^Áile
            ^Lájla

          Stations:
            - A
            - B
          Note: >
            folded
          Where: ${env:PLACE:-here}
"""
EXPECT = ("tests", 0, "expect")


def at(*path: str | int) -> tuple[str | int, ...]:
    return (*EXPECT, *path)


def test_only_the_values_change() -> None:
    text = rewritten(
        FILE,
        {
            at("ack"): "AA",
            at("events"): ("order.placed",),
            at("epj", 0, "PID-5"): "O'Hara^Kari",
            at("epj", 0, "ORC-1"): "",
            at("worklist", 0, "PatientID"): "01010112345",
            at("worklist", 0, "PatientName"): ("A", "B, C"),
        },
        {},
    )

    expected = FILE
    for old, new in (
        ('"0000"', '"AA"'),
        ("[order.placed, step.scheduled]", "[order.placed]"),
        ("'Berg^Kari'", "'O''Hara^Kari'"),
        ("ORC-1: SC", 'ORC-1: ""'),
        ("30908299902", "01010112345"),
        ("Sørby^Áile\n            ^Lájla", '[A, "B, C"]'),
    ):
        expected = expected.replace(old, new)
    assert text == expected


@pytest.mark.parametrize(
    ("path", "why"),
    [
        (
            at("worklist", 0, "Stations"),
            r"line 15: \$\.tests\[0\].*Stations cannot be rewritten: it is no scalar",
        ),
        (at("worklist", 0, "Note"), "it is a block text"),
        (at("worklist", 0, "Where"), "it is taken from the environment"),
        (at("worklist", 0), "it is no scalar"),
    ],
)
def test_what_cannot_be_rewritten_is_refused(path: Any, why: str) -> None:
    with pytest.raises(UpdateError, match=why):
        rewritten(FILE, {path: "x"}, {})


def test_line_ends_and_a_mark_at_the_beginning_stay() -> None:
    text = "\ufeff" + FILE.replace("\n", "\r\n")

    assert rewritten(text, {at("ack"): "AE"}, {}) == text.replace('"0000"', '"AE"')


_VALUES = st.text(max_size=12) | st.lists(st.text(max_size=6), min_size=1, max_size=3).map(tuple)


@given(_VALUES, _VALUES)
@example("NO", "null")
@example("- x", "a: b")
@example("x # y", "{a}")
@example("&a", "*a")
@example("7", "1.50")
@example("${env:HOME}", "\\E\\")
@example(" x", "x ")
def test_whatever_is_written_is_read_again(one: Any, other: Any) -> None:
    """In a flow mapping and in a block mapping, in quotes and without."""
    paths = {at("epj", 0, "PID-5"): one, at("epj", 0, "ORC-1"): other, at("worklist", 0, "PatientID"): one}
    try:
        text = rewritten(FILE, paths, {})
    except UpdateError:
        # A lone ${env:…} would be a reference whatever quotes stand around it; some characters YAML cannot hold.
        texts = [text for value in (one, other) for text in (value if isinstance(value, tuple) else (value,))]
        assert any("${env:" in text or not text.isprintable() for text in texts)
        return
    document = loads(text)

    for path, value in paths.items():
        read = document.get(path)
        shown = tuple(map(as_written, read)) if isinstance(read, tuple) else as_written(read)
        assert shown == value
    assert text.splitlines()[0] == "# a comment"
