"""Which HL7 fields a listener reads: its mapping is run on a message that notes what it is asked for. Pure.

So the answer is the code's and no list is kept. Each type that the listener knows is tried on the messages of the
routes' tests, with an empty segment of every name that such a message may have; then on one of them with each field
that it looked at emptied, or filled, because it may look elsewhere then. What MSH is read for is `broker.hl7.header`'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from broker.errors import BrokerError
from broker.hl7.edit import edit
from broker.hl7.er7 import Header, Message, Path, Segment, is_batch
from broker.hl7.structures import segments_of
from broker.reception import Hl7Reader

Read = Mapping[str, tuple[int, ...]]
"""Segment to the numbers of its fields, both in order."""


class _Noted(Segment):
    """A segment that tells which of its fields somebody looks at."""

    __slots__ = ("_seen",)

    def __init__(
        self, message: Message, name: str, index: int, sequence: int, seen: set[tuple[str, int]]
    ) -> None:
        super().__init__(message, name, index, sequence)
        self._seen = seen

    def text(self, field: int) -> str:
        if field:
            self._seen.add((self.name, field))
        return super().text(field)


class _NotingMessage(Message):
    """A message whose segments, and paths, are noted."""

    def __init__(self, raw: bytes, header: Header, charset: str) -> None:
        self.seen: set[tuple[str, int]] = set()
        super().__init__(raw, header, charset)

    def all(self, name: str) -> tuple[Segment, ...]:
        return tuple(
            _Noted(self, name, index, n, self.seen) for n, index in enumerate(self._names.get(name, ()), 1)
        )

    def first(self, name: str) -> Segment | None:
        return next(iter(self.all(name)), None)

    def _field(self, where: Path) -> str:
        self.seen.add((where.segment, where.field))
        return super()._field(where)


def fields_read(reader: Hl7Reader, messages: Iterable[bytes]) -> Mapping[str, Read]:
    """By message type that the reader knows, what its mapping looks at. Empty where there is no message to try."""
    samples = [(Header.read(raw), raw) for raw in messages if not is_batch(raw)]
    found: dict[str, Read] = {}
    for kind in reader.mappers:
        alike = [raw for header, raw in samples if header.message_code == kind.partition("^")[0]]
        own = [raw for header, raw in samples if header.message_type == kind]
        seen: set[tuple[str, int]] = set()
        for number, raw in enumerate(dict.fromkeys((*own, *(alike or (raw for _, raw in samples))))):
            message = _whole(reader, kind, raw)
            looked_at = _seen(reader, kind, message)
            seen |= looked_at
            if number == 0:
                seen |= _elsewhere(reader, kind, message, looked_at)
        if seen:
            found[kind] = _in_order(seen)
    return found


def _whole(reader: Hl7Reader, kind: str, raw: bytes) -> Message:
    """The message, as one of the type, with every segment that such a message may have."""
    code, _, trigger = kind.partition("^")
    plain = Message.parse(raw, default_charset=reader.profile.charset)
    absent = sorted(name for name in segments_of(kind) if name not in plain)
    segments = "".join(f"{name}{plain.header.separators.field}\r" for name in absent)
    header = replace(plain.header, message_code=code, trigger=trigger)
    return Message(raw.rstrip(b"\r\n") + b"\r" + segments.encode(), header, plain.charset)


def _elsewhere(
    reader: Hl7Reader, kind: str, message: Message, looked_at: Iterable[tuple[str, int]]
) -> set[tuple[str, int]]:
    """What it looks at as well where one of the fields is empty that was not, or the other way round."""
    seen: set[tuple[str, int]] = set()
    for name, field in sorted(looked_at):
        path = f"{name}-{field}"
        raw = edit(message, {path: "" if message.text(path) else "1"}, add=True)
        seen |= _seen(reader, kind, Message(raw, message.header, message.charset))
    return seen


def _seen(reader: Hl7Reader, kind: str, message: Message) -> set[tuple[str, int]]:
    noting = _NotingMessage(message.raw, message.header, message.charset)
    with contextlib.suppress(BrokerError):  # what it looked at until it refused counts
        reader.mappers[kind](noting, reader.profile)
    return noting.seen


def _in_order(seen: Iterable[tuple[str, int]]) -> Read:
    found: dict[str, list[int]] = {}
    for segment, field in sorted(seen):
        found.setdefault(segment, []).append(field)
    return {segment: tuple(fields) for segment, fields in found.items()}
