from __future__ import annotations

from datetime import date, timedelta
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.nationalid import KINDS, Kind, Number, contradicts, has_length, read
from tests.support.numbers import check_digits, duf

CURRENT, NEW = "current", "2032"
MADE_OF = date(1982, 10, 30)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("30108299939", Number(kind="fnr", rule=NEW)),
        ("20036914700", Number(kind="fnr", rule=CURRENT)),
        ("29020073150", Number(kind="fnr", rule=CURRENT)),
        ("55102499947", Number(kind="d-number", rule=NEW)),
        ("30908299902", Number(kind="fnr", series="tenor", rule=NEW)),
        ("03851598730", Number(kind="fnr", series="tenor", rule=CURRENT)),
        ("41819077906", Number(kind="d-number", series="tenor", rule=NEW)),
        ("41819077302", Number(kind="d-number", series="tenor", rule=CURRENT)),
    ],
)
def test_published_numbers_are_read_as_their_publishers_say(text: str, number: Number) -> None:
    assert read(text) == number
    assert number.valid


def test_published_wrong_numbers_are_wrong() -> None:
    digits, day = read("20036914712"), read("29020105729")

    assert digits is not None
    assert day is not None
    assert (digits.rule, digits.dated, digits.valid) == ("", True, False)
    assert (bool(day.rule), day.dated, day.valid) == (True, False, False)


@pytest.mark.parametrize("remainder", [0, 1, 2, 3])
def test_the_rule_that_matched_is_told(remainder: int) -> None:
    number = check_digits("301082999", remainder)

    assert number is not None
    assert read(number) == Number(kind="fnr", rule=NEW if remainder else CURRENT)


@pytest.mark.parametrize("remainder", range(4, 11))
def test_no_other_remainder_is_taken(remainder: int) -> None:
    for serial in range(100):  # some numbers of a remainder have no second digit
        number = check_digits(f"301082{serial:03}", remainder)
        if number is not None:
            found = read(number)
            assert found is not None
            assert found.rule == ""
            return
    raise AssertionError("no number of this remainder")


@pytest.mark.parametrize(
    ("first", "kind", "series"),
    [
        ("301082", "fnr", ""),
        ("701082", "d-number", ""),
        ("309082", "fnr", "tenor"),
        ("709082", "d-number", "tenor"),
        ("307582", "fnr", "nhn"),
        ("707582", "d-number", "nhn"),
        ("305082", "h-number", ""),
        ("705082", "d-number", "dolly"),
        ("801082", "fh-number", ""),
        ("999999", "fh-number", ""),
        ("810000", "fh-number", ""),
    ],
)
def test_the_shape_gives_the_kind(first: str, kind: Kind, series: str) -> None:
    """An FH-number begins with 8 or 9, and must not be read as the D-number that a large day would make of it."""
    found = read(f"{first}99999")

    assert found is not None
    assert (found.kind, found.series, found.dated) == (kind, series, True)


@pytest.mark.parametrize(
    ("text", "issued", "kind", "series"),
    [
        ("30508299999", "fnr", "fnr", "dolly"),
        ("30508299999", "h-number", "h-number", ""),
        ("30508299999", "d-number", "h-number", ""),
        ("81234567890", "h-number", "h-number", ""),
        ("81234567890", "fh-number", "fh-number", ""),
        ("81234567890", "d-number", "fh-number", ""),
        ("30108299999", "h-number", "fnr", ""),
        ("30108299999", "fh-number", "fnr", ""),
    ],
)
def test_the_issuer_decides_where_the_shape_has_two_meanings(
    text: str, issued: Kind, kind: Kind, series: str
) -> None:
    found = read(text, issued)

    assert found is not None
    assert (found.kind, found.series) == (kind, series)


@pytest.mark.parametrize(
    "text",
    ["", "3010829993", "301082999390", "30138299939", "30008299939", "30609399939", "3010829993x", " 30108299939",
     "３０１０８２９９９３９", "218012345678"],
)  # fmt: skip
def test_what_has_no_shape_is_no_number(text: str) -> None:
    assert read(text) is None


def test_a_day_that_does_not_exist_is_told() -> None:
    for text in ("31048299999", "00108299999", "32108299999", "71048299999", "29028399999", "29828399999"):
        found = read(text)
        assert found is not None
        assert not found.dated
    for text in ("29020099999", "29028499999", "69028499999", "29820099999"):
        found = read(text)
        assert found is not None
        assert found.dated


def test_a_duf_is_twelve_digits_that_begin_with_a_year() -> None:
    number = duf(2019, "123456")
    assert read(number) == Number(kind="duf", rule=CURRENT)

    wrong = f"{number[:-1]}{(int(number[-1]) + 1) % 10}"
    assert read(wrong) == Number(kind="duf", rule="")


def test_no_number_of_staff_is_a_patients() -> None:
    assert "2.16.578.1.12.4.1.4.4" not in KINDS


def test_random_digits_pass_as_often_as_computed() -> None:
    """4 in 121: what check digits are worth since both rules stand. The sample is the same on every run."""
    dice, size = Random(2032), 121 * 1000
    passed = [read(f"8{dice.randrange(10**10):010}") for _ in range(size)]
    rules = [number.rule for number in passed if number is not None and number.rule]

    assert len(passed) == size
    assert (len(rules), rules.count(CURRENT)) == (4074, 986)
    assert abs(len(rules) / size - 4 / 121) < 0.002


@given(
    born=st.dates(min_value=date(1900, 1, 1), max_value=date(2099, 12, 31)),
    serial=st.integers(0, 999),
    series=st.sampled_from([("", 0), ("tenor", 80), ("nhn", 65), ("dolly", 40)]),
    is_d=st.booleans(),
    remainder=st.integers(0, 3),
)
def test_what_is_made_by_the_rules_is_recognised(
    born: date, serial: int, series: tuple[str, int], is_d: bool, remainder: int
) -> None:
    first = f"{born.day + 40 * is_d:02}{born.month + series[1]:02}{born:%y}{serial:03}"
    number = check_digits(first, remainder)
    assume(number is not None)
    assert number is not None
    kind: Kind = "d-number" if is_d else "fnr"

    assert read(number, kind) == Number(
        kind=kind, series=series[0], rule=NEW if remainder else CURRENT  # type: ignore[arg-type]
    )  # fmt: skip
    assert not contradicts(number, f"{born:%Y%m%d}")
    assert contradicts(number, f"{born + timedelta(days=1):%Y%m%d}")


@pytest.mark.parametrize("text", ["30108299939", "70108299939", "30908299902", "30508299939", "30758299939"])
def test_a_date_is_only_held_against_one_that_was_said(text: str) -> None:
    assert not contradicts(text, f"{MADE_OF:%Y%m%d}")
    assert not contradicts(text, "18821030")  # the century is not in the number
    assert contradicts(text, "19821130")
    for unknown in ("", "1982", "198211"):
        assert not contradicts(text, unknown)


@pytest.mark.parametrize("text", ["81108299939", "201912345678", "700123", ""])
def test_a_number_without_a_date_contradicts_none(text: str) -> None:
    assert not contradicts(text, "19000101")


@given(st.text(alphabet="0123456789", max_size=14))
def test_whatever_has_a_shape_has_the_length(text: str) -> None:
    if read(text) is not None:
        assert has_length(text)
