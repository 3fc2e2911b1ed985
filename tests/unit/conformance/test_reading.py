"""Which fields a mapping looks at: found, and not kept in a list."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.conformance.reading import fields_read
from broker.errors import UnmappableError
from broker.event import Draft, Identifier
from broker.hl7.demographics import Issuers
from broker.hl7.er7 import Message
from broker.reception import Hl7Reader, Profile

PROFILE = Profile(name="x", site="STO", issuers=Issuers(default=Identifier(value="", namespace="STO")))
SAMPLE = b"MSH|^~\\&|A|B|C|D|20260309||ADT^A01|1|T|2.5\rPID|1||7^^^STO||A^B\rPV1|1|I\r"


def mapping(message: Message, profile: Profile) -> Sequence[Draft]:
    pid, merged = message.first("PID"), message.first("MRG")
    assert pid is not None
    if not pid.get(3):
        pid.get(18)
        raise UnmappableError("PID-3 holds no identifier")
    pid.repetitions(5)
    if merged is not None:
        merged.text(1)
    message["PV1-19.1"]
    return []


def read(kind: str, *messages: bytes) -> dict[str, tuple[int, ...]]:
    found = fields_read(Hl7Reader(profile=PROFILE, mappers={kind: mapping}), messages)
    return dict(found.get(kind, {}))


def test_what_it_looks_at_is_read_whether_or_not_it_stands_there() -> None:
    assert read("ADT^A40", SAMPLE)["MRG"] == (1,)
    assert read("ADT^A01", SAMPLE)["PV1"] == (19,)


def test_where_it_looks_when_a_field_is_empty_is_read_too() -> None:
    assert read("ADT^A01", SAMPLE)["PID"] == (3, 5, 18)


def test_a_type_without_a_message_of_its_own_is_tried_on_another() -> None:
    assert read("SIU^S12", SAMPLE)["PID"] == (3, 5, 18)


def test_without_messages_nothing_is_known() -> None:
    assert read("ADT^A01") == {}


def test_a_batch_is_no_sample() -> None:
    assert read("ADT^A01", b"BHS|^~\\&|A\r" + SAMPLE + b"BTS|1\r") == {}


@pytest.mark.parametrize("end", [b"", b"\r", b"\r\n"])
def test_the_end_of_the_message_does_not_matter(end: bytes) -> None:
    assert read("ADT^A01", SAMPLE.rstrip(b"\r") + end) == read("ADT^A01", SAMPLE)


@given(st.sets(st.integers(1, 30), min_size=1))
def test_exactly_what_is_asked_for_is_read(fields: set[int]) -> None:
    def asks(message: Message, _profile: Profile) -> Sequence[Draft]:
        for field in fields:
            for pid in message.all("PID"):
                pid.get(field)
        return []

    found = fields_read(Hl7Reader(profile=PROFILE, mappers={"ADT^A01": asks}), [SAMPLE])

    assert found == {"ADT^A01": {"PID": tuple(sorted(fields))}}
