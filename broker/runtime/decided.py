"""What no message said: a decision of a person or of the clock, made a message of the journal with one event.

Decides nothing. The event is folded like any other, so that a rebuild keeps it.
"""

from __future__ import annotations

from datetime import datetime

from broker.adapter import Reception, Verdict
from broker.event import Event, EventData, EventType
from broker.ids import message_id
from broker.reception import search_keys


def decided(
    kind: EventType, data: EventData, *, source: str, site: str, now: datetime, raw: bytes, message_type: str
) -> Reception:
    """`source`: `broker.event.OPERATOR` or `CLOCK`. `raw`: the decision as it is kept, JSON where it is no file."""
    identity = message_id(now)
    event = Event(
        id=f"{identity}.0", type=kind, source=source, site=site, time=now, message_id=identity, data=data
    )
    return Reception(
        message_id=identity,
        source=source,
        site=site,
        peer="",
        protocol="operator",
        received=now,
        message_type=message_type,
        sender=source,
        verdict=Verdict.ACCEPTED,
        raw=raw,
        keys=search_keys((event,)),
        events=(event,),
    )
