"""The YAML reader: scalar rules, places of mistakes, nothing of a value in a message."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Discriminator, TypeAdapter, ValidationError

from broker.errors import ConfigError, Fault
from broker.scalars import Moment
from broker.yamlfile import Duration, Secret, Size, Switch, Text, load, loads, validate


class Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Mllp(Part):
    kind: Literal["mllp"]
    port: int


class Dicom(Part):
    kind: Literal["dicom"]
    port: int
    ae_title: Text


class Settings(Part):
    listeners: tuple[Annotated[Mllp | Dicom, Discriminator("kind")], ...] = ()
    pause: Duration = 1.0
    room: Size = 0
    on: Switch = True
    codes: dict[str, Text] = {}
    password: Secret | None = None


def faults(text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        validate(loads(text, "f.yaml", env=env), Settings)
    return [str(fault) for fault in caught.value.faults]


# --- scalars ---


STAYS_TEXT = """
NO no off yes on Yes TRUE True Null NULL 2026-01-31 2024-13-45 01010112345 01019012345 010190 007 1:30 0b11
0x1F 0o17 1_000 1e5 12E4 .5 5. .inf .nan = << +- + 1.2.3 ١
"""


@pytest.mark.parametrize("text", STAYS_TEXT.split())
def test_what_looks_like_something_else_stays_text(text: str) -> None:
    assert loads(f"a: {text}").value == {"a": text}
    assert loads(f"{text}: a").value == {text: "a"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-17", -17),
        ("+5", 5),
        ("1.10", 1.1),
        ("-0.5", -0.5),
        ("1.5e3", 1500.0),
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_what_is_a_value(text: str, value: object) -> None:
    found = loads(f"a: {text}").value["a"]

    assert found == value
    assert isinstance(found, type(value))


@given(st.integers(min_value=-(10**18) + 1, max_value=10**18 - 1))
def test_every_integer_of_up_to_18_digits_is_read_back(number: int) -> None:
    assert loads(f"a: {number}").value == {"a": number}


@given(st.from_regex(r"0[0-9]{1,20}", fullmatch=True))
def test_digits_after_a_zero_are_a_code(text: str) -> None:
    assert loads(f"a: {text}").value == {"a": text}


@given(st.from_regex(r"[0-9]{19,5000}", fullmatch=True))
def test_more_digits_than_a_number_has_are_a_code(text: str) -> None:
    assert loads(f"a: {text}").value == {"a": text}


@given(
    st.text(
        st.characters(
            blacklist_categories=("Cc", "Cs", "Zl", "Zp"), blacklist_characters="\ufeff\ufffe\uffff"
        )
    )
)
def test_quoted_is_always_text(text: str) -> None:
    quoted = text.replace("'", "''")

    assert loads(f"a: '{quoted}'").value == {"a": text}


@given(st.from_regex(r"[-+]?(0|[1-9][0-9]{0,15})(\.[0-9]{1,10})?", fullmatch=True))
def test_a_text_field_gets_a_number_as_it_was_written(text: str) -> None:
    assert validate(loads(f"codes: {{a: {text}}}"), Settings).codes == {"a": text}


def test_true_in_a_text_field_is_the_word() -> None:
    assert validate(loads("codes: {a: true, no: NO}"), Settings).codes == {"a": "true", "no": "NO"}


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    found: list[Fault] = []
    try:
        loads(text, "f.yaml")
    except ConfigError as error:
        found += [*error.faults, *([] if error.faults else [Fault(file="", line=0, column=0, message="")])]

    assert all(fault.line >= 1 and fault.column >= 1 for fault in found)


# --- what the language leaves out ---


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: the key 'a' stands here twice; first in line 1."),
        ("a: &x 1", "f.yaml:1:4: anchors are not part of this language."),
        ("a: *x", "f.yaml:1:4: aliases are not part of this language."),
        (
            "a: !!str 1",
            "f.yaml:1:4: tags are not part of this language. Text that begins with ! needs quotes.",
        ),
        ("? [1]\n: 2", "f.yaml:1:3: a key must be text."),
        ("a: 1\n---\nb: 2", "f.yaml:2:1: a second document starts here; one file holds one."),
        ("a: x\x01", "f.yaml:1:5: a control character stands here."),
        ("a: b: c", "f.yaml:1:5: not YAML: mapping values are not allowed in this context."),
        (
            "a: [${x}]",
            "f.yaml:1:6: not YAML: did not find expected ',' or ']' (while parsing a flow sequence)."
            " Inside [ ] and { } put quotes around ${ … }.",
        ),
    ],
)
def test_refused_with_its_place(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads(text, "f.yaml")

    assert [str(f) for f in caught.value.faults] == [fault]


def test_all_duplicates_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        loads("a: 1\na: 2\nb: {c: 1, c: 2}")

    assert [(f.line, f.column) for f in caught.value.faults] == [(2, 1), (3, 11)]


@pytest.mark.parametrize("sign", ["[", "{a: ", "- "])
def test_nesting_ends_at_64(sign: str) -> None:
    with pytest.raises(ConfigError, match="nested deeper than 64"):
        loads(sign * 50_000)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes("a: 1\nb: å".encode("latin-1"))

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "x.yaml", name="x.yaml")
    assert str(caught.value) == "x.yaml:2:4: this is not UTF-8."


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml")


def test_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes("\ufeffa: 1\r\nb: ø\r\n".encode())

    assert load(tmp_path / "x.yaml").value == {"a": 1, "b": "ø"}


# --- references ---


@pytest.mark.parametrize(
    ("text", "env", "value"),
    [
        ("${env:PORT}", {"PORT": "2575"}, 2575),
        ("${env:PORT:-2575}", {}, 2575),
        ("${env:PORT:-2575}", {"PORT": ""}, 2575),
        ("'${env:PORT:-2575}'", {"PORT": "1"}, 1),
        ("${env:ID}", {"ID": "01010112345"}, "01010112345"),
        ("${env:X:-}", {}, ""),
        ("${env:X:-null}", {}, None),
        ("a ${env:X}", {}, "a ${env:X}"),
        ("${env:X:-${env:Y}}", {}, "${env:Y}"),
    ],
)
def test_environment_references(text: str, env: dict[str, str], value: object) -> None:
    document = loads(f"a: {text}", env=env)

    assert document.value == {"a": value}
    assert (("a",) in document.references) == ("${env" in text and not text.startswith("a "))


def test_an_undefined_reference_is_a_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        loads("a:\n  b: ${env:BROKER_PRT}", "f.yaml", env={"BROKER_PORT": "secret"})
    assert str(caught.value) == (
        "f.yaml:2:6: the environment variable BROKER_PRT is not set and has no default."
        " Did you mean 'BROKER_PORT'?"
    )


def test_secrets(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "x.yaml").write_text("password: {file: secret}")

    found = validate(load(tmp_path / "x.yaml"), Settings).password
    assert found is not None
    assert found.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(found)
    assert faults("password: {file: /nowhere}") == [
        "f.yaml:1:11: $.password: the secret's file cannot be read."
    ]


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("2580", True), ("0", False)])
def test_switch(text: str, value: bool) -> None:
    assert validate(loads("on: ${env:X}", env={"X": text}), Settings).on is value


# --- the check ---


def test_every_fault_at_once_each_at_its_place() -> None:
    text = """\
listeners:
  - { kind: mllp, port: "25" }
  - kind: dicom
    ae_titel: X
    port: 104
  - kind: dicm
pause: 5
room: 64MB
on: NO
codes: { a: null }
passwrd: x
"""
    assert faults(text) == [
        "f.yaml:2:25: $.listeners[0].port: must be a whole number.",
        "f.yaml:3:5: $.listeners[1]: 'ae_title' is missing.",
        "f.yaml:4:5: $.listeners[1].ae_titel: unknown key 'ae_titel'. Did you mean 'ae_title'?",
        "f.yaml:6:11: $.listeners[2].kind: must be one of 'mllp', 'dicom'. Did you mean 'dicom'?",
        "f.yaml:7:8: $.pause: must be a duration such as 5s, 10m or 24h.",
        "f.yaml:8:7: $.room: must be a size such as 512KiB, 64MiB or 2GiB.",
        "f.yaml:9:5: $.on: must be true or false.",
        'f.yaml:10:13: $.codes.a: must be text. Write "" for an empty text.',
        "f.yaml:11:1: $.passwrd: unknown key 'passwrd'. Did you mean 'password'?",
    ]


def test_values_never_stand_in_a_fault() -> None:
    text = "listeners: [{kind: hunter2, port: hunter2}]\npause: hunter2\non: hunter2\npassword: [hunter2]"

    assert faults(text)
    assert not any("hunter2" in fault for fault in faults(text))


def test_a_part_of_a_document() -> None:
    document = loads("a:\n  b: {kind: mllp, port: 1}", "f.yaml")

    assert validate(document, Mllp, at=("a", "b")).port == 1
    with pytest.raises(ConfigError, match=re.escape("f.yaml:2:19: $.a.b.port: unknown key")):
        validate(document, Settings, at=("a", "b"))


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
    ("text", "size"),
    [
        ("0B", 0),
        ("4096B", 4096),
        ("512KiB", 512 << 10),
        ("64MiB", 64 << 20),
        ("2GiB", 2 << 30),
        ("1TiB", 1 << 40),
    ],
)
def test_a_size_is_bytes_with_a_unit(text: str, size: int) -> None:
    assert validate(loads(f"room: {text}", "f.yaml"), Settings).room == size


@pytest.mark.parametrize(
    "text", ["64", "0", "64MB", "64 MiB", "1.5GiB", "-1MiB", "064MiB", '"MiB"', "true", "[1]"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    assert faults(f"room: {text}") == ["f.yaml:1:7: $.room: must be a size such as 512KiB, 64MiB or 2GiB."]


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
    ("text", "moment"),
    [
        ("2026-04-01", datetime(2026, 4, 1, tzinfo=UTC)),
        ("2026-04-01T06:00+02:00", datetime(2026, 4, 1, 4, tzinfo=UTC)),
        ("2026-04-01T06:00:30Z", datetime(2026, 4, 1, 6, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_moment_is_utc(text: str, moment: datetime) -> None:
    assert TypeAdapter(Moment).validate_python(text) == moment


@pytest.mark.parametrize(
    "text", ["2026-04-01T06:00", "2026-4-1", "20260401", "2026-02-30", "2026-W01-1", "", 7]
)
def test_what_is_no_moment_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Moment).validate_python(text)


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


@pytest.mark.parametrize(
    ("text", "path", "end"),
    [("a: word", ("a",), 8), ("a: 'wo rd'", ("a",), 11), ("a: |\n  word", ("a",), 0), ("a: []", ("a",), 0)],
)
def test_where_a_value_ends(text: str, path: tuple[str, ...], end: int) -> None:
    assert loads(text).fault(path, "x").end == end
