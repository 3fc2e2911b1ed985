from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Unreadable
from broker.hl7.difference import Change, differences
from broker.hl7.edit import edit

MESSAGE = (
    "MSH|^~\\&|PAS|STO|BROKER|STO|20260309080000||ADT^A08|C1|T|2.5.1||||||UNICODE UTF-8\r"
    "PID|1||700123^^^STO||Sørby^Áile\rOBX|1|TX|A||one\rOBX|2|TX|B||two\r"
).encode()


def test_the_same_bytes_do_not_differ() -> None:
    assert differences(MESSAGE, MESSAGE) == ()


def test_a_field_that_differs_is_named_with_both_texts() -> None:
    after = edit(MESSAGE, {"PID-5.1": "Berg", "PV1-3": "W3"}, add=True)

    assert differences(MESSAGE, after) == (
        Change(place="PID-5", before="Sørby^Áile", after="Berg^Áile"),
        Change(place="PV1", before=None, after="PV1|||W3"),
    )


def test_segments_are_matched_by_name_and_occurrence() -> None:
    after = MESSAGE.replace(b"OBX|1|TX|A||one\r", b"")

    assert differences(MESSAGE, after) == (
        Change(place="OBX-1", before="1", after="2"),
        Change(place="OBX-3", before="A", after="B"),
        Change(place="OBX-5", before="one", after="two"),
        Change(place="OBX[2]", before="OBX|2|TX|B||two", after=None),
    )


def test_line_ends_alone_are_a_difference_too() -> None:
    (change,) = differences(MESSAGE, MESSAGE.replace(b"\r", b"\r\n"))

    assert (change.before, change.after) == (None, None)


def test_a_character_set_that_nobody_knows_loses_nothing() -> None:
    odd = MESSAGE.replace(b"UNICODE UTF-8", b"KLINGON")

    assert [c.place for c in differences(odd, odd.replace(b"|one", b"|uno"))] == ["OBX-5"]


def test_what_has_no_header_cannot_be_compared() -> None:
    with pytest.raises(Unreadable):
        differences(MESSAGE, b"nothing")


@given(st.sampled_from(["PID-5.1", "OBX[2]-5", "PID-8", "ZZZ-1"]), st.text("abcæøå ", min_size=1, max_size=8))
def test_whatever_an_edit_changes_is_found(path: str, value: str) -> None:
    after = edit(MESSAGE, {path: value}, add=True)
    found = differences(MESSAGE, after)

    assert bool(found) == (after != MESSAGE)
    assert all(change.place.startswith(path.partition("-")[0]) for change in found)
