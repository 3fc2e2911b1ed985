"""`broker.dicom.uid`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dicom import uid


@pytest.mark.parametrize("good", ["1.2", "1.2.840.10008.1.1", "2.25.0", "0.0", "2." + "1" * 62])
def test_well_formed(good: str) -> None:
    assert uid.valid(good)


@pytest.mark.parametrize(
    "bad", ["", "1", "1.", ".1", "1..2", "1.02", "3.1", "1.a", "1.2 ", "2." + "1" * 63, "1.²"]
)
def test_malformed(bad: str) -> None:
    assert not uid.valid(bad)


@given(st.text())
def test_a_derived_uid_is_valid_and_the_same_each_time(seed: str) -> None:
    assert uid.valid(uid.derive(seed))
    assert uid.derive(seed) == uid.derive(seed)


def test_a_derived_uid_never_changes_between_versions() -> None:
    assert uid.derive("RP4711") == "2.25.193335660575981161150407517959641443923"


def test_our_own_names_fit_the_association() -> None:
    assert uid.valid(uid.IMPLEMENTATION_CLASS_UID)
    assert 1 <= len(uid.IMPLEMENTATION_VERSION_NAME) <= 16
