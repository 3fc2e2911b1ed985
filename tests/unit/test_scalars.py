"""The scalars of YAML files, and the field types that go with them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from broker.scalars import Duration, FileName, Moment, Secret, Size, Switch, Text
from broker.yamlfile.check import validate
from broker.yamlfile.reading import load, loads
from tests.support.faults import faults


class Settings(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    pause: Duration = 1.0
    room: Size = 0
    on: Switch = True
    codes: dict[str, Text] = {}
    password: Secret | None = None


def check(text: str) -> Settings:
    return validate(loads(text, "f.yaml"), Settings)


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


def test_secrets(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "x.yaml").write_text("password: {file: secret}")

    found = validate(load(tmp_path / "x.yaml"), Settings).password
    assert found is not None
    assert found.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(found)
    assert faults(check, "password: {file: /nowhere}") == [
        "f.yaml:1:11: $.password: the secret's file cannot be read."
    ]


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ("2580", True), ("0", False)])
def test_switch(text: str, value: bool) -> None:
    assert validate(loads("on: ${env:X}", env={"X": text}), Settings).on is value


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
    assert faults(check, f"room: {text}") == [
        "f.yaml:1:7: $.room: must be a size such as 512KiB, 64MiB or 2GiB."
    ]


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


def test_a_file_in_a_folder_that_nobody_may_look_into_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = TypeAdapter(FileName)
    (tmp_path / "own.key").touch()
    assert adapter.validate_python("own.key", context={"folder": tmp_path}) == str(tmp_path / "own.key")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(ValidationError, match="may not look into the file's folder"):
        adapter.validate_python("own.key", context={"folder": tmp_path})
