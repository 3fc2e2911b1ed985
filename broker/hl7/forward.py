"""Passing a received message on: whole, with a route's edits, without contact data unless the route is for contact.

Pure. Every byte that is not asked to change stays (the sender's control id too, so that a repeat is the same).
"""

from __future__ import annotations

from collections.abc import Mapping

from broker import contact
from broker.errors import UnmappableError
from broker.hl7.edit import Value, Verbatim, blank, edit
from broker.hl7.er7 import Message, parse_path


def forward(
    message: Message | None, changes: Mapping[str, Value], *, with_contact: bool, place: str
) -> bytes:
    """The message as it leaves. `place` is the route's line, for errors. Raises `UnmappableError`."""
    if message is None:
        raise UnmappableError(
            f"{place}: the event was not caused by an HL7 message: there is no source to send"
        )
    if not with_contact:
        # What a Z-segment holds only its sender knows: it may be an address.
        unknown = {segment.name for segment in message if segment.name.startswith("Z")}
        raw = blank(message, paths=contact.PATHS, segments=contact.SEGMENTS | unknown)
        # Under the codec that it was read with: MSH-18 alone may not tell (the listener's default, its fallback).
        message = Message(raw, message.header, message.charset)
    if not changes:
        return message.raw
    return edit(message, {path: as_written(path, value) for path, value in changes.items()})


def as_written(path: str, value: Value) -> Value:
    """A whole field stands in a route as ER7; a component is plain text that is escaped."""
    if parse_path(path).component is not None:
        return value
    return Verbatim(value) if isinstance(value, str) else tuple(Verbatim(part) for part in value)
