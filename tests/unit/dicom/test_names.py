"""Person names in queries."""

from __future__ import annotations

import pytest
from hypothesis import event, example, given, settings

from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.matching import Query
from broker.dicom.names import LONGEST, beginnings, name_test, readings
from tests.support.names import ASKED


def query(keys: Attributes) -> Query:
    return Query.read(to_dataset(keys))


def test_a_device_that_was_shown_no_norwegian_letters_finds_the_patient() -> None:
    row: Attributes = {"PatientName": "Ødegård^Åse"}
    for wanted in ("Ødegård", "ODEGARD", "OEDEGAARD", "OEDEG*^AASE", "ØDEGÅRD^ÅSE"):
        assert query({"PatientName": wanted}).matches(row), wanted


def test_component_groups_of_a_name() -> None:
    row: Attributes = {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"}
    for wanted in ("YAMADA*", "山田", "やま*", "Yamada=山田", "=山田^太郎"):
        assert query({"PatientName": wanted}).matches(row), wanted
    for wanted in ("太郎", "山田=Yamada", "Yamada=田中"):
        assert not query({"PatientName": wanted}).matches(row), wanted


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("HAN*", {"han"}),
        ("Hansen^Kari*", {"hansen^kari"}),
        ("Åsen", {"asen", "aasen"}),
        ("ØST?Y", {"ost", "oest"}),
        ("Hansen^*", {"hansen"}),
        ("Hansen ^ ^Dr", {"hansen"}),
        ("=山田^太郎", {"山田^太郎"}),
        ("*SEN", set()),
        ("?ANSEN", set()),
        ("^KARI", set()),
        ("", set()),
        ("=", set()),
    ],
)
def test_what_a_name_begins_with(wanted: str, expected: set[str]) -> None:
    assert set(beginnings(wanted)) == expected


def test_no_beginning_is_longer_than_what_is_read_of_a_name() -> None:
    long = "Å" * 3 * LONGEST
    assert {len(text) for text in (*readings(long), *beginnings(long))} == {LONGEST}


@settings(max_examples=1500)
@given(ASKED)
@example(("HANSEN^*", "Hansen"))
@example(("aasen^", "Åsen^Kari"))
@example(("A^^b", "a^x^b"))
@example(("A•", "Å•sen"))
@example(("山田=", "Yamada=山田"))
def test_what_matches_is_read_as_one_of_the_beginnings(asked: tuple[str, str]) -> None:
    """Else a patient would be missing on the list of a device that asks by name."""
    wanted, value = asked
    found = beginnings(wanted)
    event("narrowed" if found else "not narrowed")
    if name_test(wanted)(value):
        event("matches")
        assert not found or any(text.startswith(found) for text in readings(value))
