"""`broker.dicom.attributes`: keys, JSON, names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dicom import attributes as dicom
from broker.event import PersonName
from tests.unit.dicom.test_dataset import ROW


def test_json_and_back() -> None:
    assert dicom.from_json(dicom.to_json(ROW)) == ROW
    assert list(dicom.from_json(dicom.to_json(ROW))) == list(ROW)


@pytest.mark.parametrize("tag", [0x60000010, 0x60020010, 0x50100005, 0x10000010, 0x00100020, 0x00101F00])
def test_a_tag_comes_back_from_its_key(tag: int) -> None:
    """Overlays share their keywords with those of other groups."""
    assert dicom.tag_of(dicom.key_of(tag)) == tag


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (PersonName(), ""),
        (PersonName(family="Hansen"), "Hansen"),
        (
            PersonName(family="Hansen", given="Kari", middle="Anne", prefix="dr", suffix="jr"),
            "Hansen^Kari^Anne^dr^jr",
        ),
        (PersonName(family="Hansen", suffix="jr"), "Hansen^^^^jr"),
        (PersonName(family="A^B=C\\D", given=" Kari "), "A B C D^Kari"),
    ],
)
def test_person_names(name: PersonName, written: str) -> None:
    assert dicom.person_name(name) == written


@given(st.builds(PersonName, family=st.text(), given=st.text(), middle=st.text(), suffix=st.text()))
def test_no_part_of_a_name_can_become_another(name: PersonName) -> None:
    written = dicom.person_name(name)
    assert written.count("^") <= 4
    assert "=" not in written
    assert "\\" not in written
