"""The times that events get."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from broker.event import Draft, EventData, Identifier, Patient
from broker.hl7.er7 import Message
from broker.reception import Profile, receive
from tests.support.receiving import MESSAGE_ID, NOW, adt, profile


@pytest.mark.parametrize(
    ("time", "as_of", "occurred", "holds", "flags"),
    [
        ("20260309101500", "20260309095900", "2026-03-09T09:15:00", "2026-03-09T08:59:00", ()),
        ("20260309101500+0000", None, "2026-03-09T10:15:00", None, ()),
        ("20260309", "not a time", None, None, ()),
        ("202510260230", None, "2025-10-26T01:30:00", None, ("time-ambiguous",)),
        ("20260309", "202503300230", None, "2025-03-30T01:30:00", ("time-missing",)),
    ],
)
def test_times_stand_in_utc_beside_their_text(
    time: str, as_of: str | None, occurred: str | None, holds: str | None, flags: tuple[str, ...]
) -> None:
    def say(_message: Message, _profile: Profile) -> Sequence[Draft]:
        patient = Patient(identifiers=(Identifier(value="1"),), as_of=as_of)
        return [Draft(type="patient.updated", time=time, data=EventData(patient=patient))]

    taken = receive(
        adt().replace("\n", "\r").encode(), profile(), {"ADT^A01": say}, message_id=MESSAGE_ID, now=NOW
    )

    (event,) = taken.events
    assert (event.event_time, taken.flags) == (time, flags)
    read = [
        None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}" for moment in (event.occurred, event.as_of)
    ]
    assert read == [occurred, holds]
    assert event.to_cloudevent().get("occurred") == (f"{occurred}+00:00" if occurred else None)


def test_the_zone_is_the_listeners() -> None:
    def say(_message: Message, _profile: Profile) -> Sequence[Draft]:
        return [Draft(type="patient.updated", time="202603091015", data=EventData())]

    raw = adt().replace("\n", "\r").encode()
    told = profile(zone=ZoneInfo("UTC"))
    (event,) = receive(raw, told, {"ADT^A01": say}, message_id=MESSAGE_ID, now=NOW).events

    assert event.occurred == datetime(2026, 3, 9, 10, 15, tzinfo=UTC)
