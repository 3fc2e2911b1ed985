"""What differs between two HL7 messages, field by field. Pure; says nothing of which one is right.

Segments are matched by name and occurrence, so that one more OBX does not make every later segment differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from broker.errors import Refused
from broker.hl7.er7 import Header, Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One place that differs. `before` and `after` are as they stand in the message; None: not there."""

    place: str
    before: str | None
    after: str | None


def differences(before: bytes, after: bytes) -> tuple[Change, ...]:
    """Every field that differs, in the order of the messages. Raises `Unreadable`."""
    if before == after:
        return ()
    old, new = _segments(before), _segments(after)
    places = (*old, *(place for place in new if place not in old))
    changes = tuple(c for place in places for c in _changes(place, old.get(place), new.get(place)))
    return changes or (Change(place="line ends or blanks", before=None, after=None),)


def _segments(raw: bytes) -> dict[str, list[str]]:
    """Fields by place: `PID`, `OBX[2]`. What no character set fits is read as Latin-1, which loses nothing."""
    try:
        message = Message.parse(raw, fallback_charset="8859/1")
    except Refused:
        message = Message(raw, Header.read(raw), "latin-1")
    return {str(segment.location()): segment.fields for segment in message.segments}


def _changes(place: str, old: list[str] | None, new: list[str] | None) -> Iterator[Change]:
    if old is None or new is None:
        before, after = (None if fields is None else "|".join(fields) for fields in (old, new))
        yield Change(place=place, before=before, after=after)
        return
    for index in range(max(len(old), len(new))):
        was, now = (fields[index] if index < len(fields) else "" for fields in (old, new))
        if was != now:
            yield Change(place=f"{place}-{index}", before=was, after=now)
