"""Documents: where a value stands, and parts of one document in another."""

from __future__ import annotations

import pytest

from broker.errors import Fault
from broker.yamlfile.reading import loads


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: x ${ here }", (1, 9)),
        ("a: '''x'' ${ here }'", (1, 14)),
        ('a: "\\tå\\u00e5 ${ here }"', (1, 18)),
        ("a: >-\n  x\n  y ${ here }", (3, 8)),
        ("a: |\n  x\n\n  y ${ here }", (4, 8)),
        ("a: x\n  y ${ here }", (2, 8)),
    ],
)
def test_a_place_inside_a_text(text: str, where: tuple[int, int]) -> None:
    document = loads(text)

    assert document.mark_inside(("a",), document.value["a"].index("here")) == where


def test_marks() -> None:
    document = loads("a:\n  - b: 1\n    c:   x\n")

    assert document.mark(("a", 0, "c")) == (3, 10)
    assert document.key_mark(("a", 0, "c")) == (3, 5)
    assert document.mark(("a", 0, "none")) == (2, 5)
    assert document.mark() == (1, 1)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("a",), "plain text"),
        (("b", 0), "'it''s'"),
        (("b",), "['it''s', [1, 2]]"),
        (("b", 1), "[1, 2]"),
        (("ø", "d"), '"x"'),
        (("e",), "two\n  lines"),
    ],
)
def test_the_span_of_a_value_is_what_stands_there(path: tuple[str | int, ...], text: str) -> None:
    document = loads("a: plain text   # why\nb: ['it''s', [1, 2]]\nø: { d: \"x\" }\ne: two\n  lines\n")
    start, end = document.span(path)

    assert document.source[start:end] == text


@pytest.mark.parametrize(
    ("text", "path", "end"),
    [("a: word", ("a",), 8), ("a: 'wo rd'", ("a",), 11), ("a: |\n  word", ("a",), 0), ("a: []", ("a",), 0)],
)
def test_where_a_value_ends(text: str, path: tuple[str, ...], end: int) -> None:
    assert loads(text).fault(path, "x").end == end


# --- parts of other documents ---


def test_a_part_of_another_document_fills_what_is_not_said() -> None:
    own = loads("to:\n  - name: a\n    set: { x: 1, deep: { p: 1 } }\n", "own.yaml")
    other = loads(
        "block:\n  set:\n    x: 2\n    y: ${env:Y}\n    deep: { p: 2, q: 3 }\n    z: [a]\n",
        "other.yaml",
        env={"Y": "n"},
    )

    at = ("to", 0, "set")
    both = own.with_part(at, other, ("block", "set"), used=("to", 0, "name"))

    assert both.get(at) == {"x": 1, "deep": {"p": 1, "q": 3}, "y": "n", "z": ("a",)}
    assert own.get(at) == {"x": 1, "deep": {"p": 1}}, "the document itself is as it was"
    assert (*at, "y") in both.references
    assert [both.place((*at, key)) for key in ("x", "y", "z")] == [
        "own.yaml:3",
        "other.yaml:4",
        "other.yaml:6",
    ]
    assert both.place((*at, "deep", "q")) == "other.yaml:5"
    assert both.mark((*at, "z", 0)) == (6, 9)
    assert both.mark_inside((*at, "z", 0), 0) == (6, 9)
    assert both.sources == {"own.yaml": own.source, "other.yaml": other.source}


def test_a_fault_in_a_part_names_its_own_file_and_who_uses_it() -> None:
    own, other = loads("a: 1\nuse: x\n", "own.yaml"), loads("x: { set: { k: word } }\n", "other.yaml")
    both = own.with_part(("set",), other, ("x", "set"), used=("use",))

    found = both.fault(("set", "k"), "is wrong", "Correct it.", offset=1, end=3, code="c", severity="warning")
    assert found == Fault(
        file="other.yaml", line=1, column=17, end=19, message="$.x.set.k: is wrong.", hint="Correct it.",
        path="$.x.set.k", code="c", severity="warning", note="Used by own.yaml:2.",
    )  # fmt: skip
    assert str(found) == "other.yaml:1:17: $.x.set.k: is wrong. Used by own.yaml:2. Correct it."
