"""Reading YAML: what the language leaves out, references to the environment, places of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigError, Fault
from broker.yamlfile.reading import load, loads


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    found: list[Fault] = []
    try:
        loads(text, "f.yaml")
    except ConfigError as error:
        found += [*error.faults, *([] if error.faults else [Fault(file="", line=0, column=0, message="")])]

    assert all(fault.line >= 1 and fault.column >= 1 for fault in found)


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
