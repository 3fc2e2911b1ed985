"""What passes, as one kind of value, and which of it somebody wants to see. Pure; reads no journal."""

from __future__ import annotations

import hashlib
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, get_args

from broker.event import Event
from broker.hl7.er7 import Message
from broker.routing.expression import Expression
from broker.tap import mask

Stream = Literal["received", "events", "deliveries"]
STREAMS: Final[tuple[Stream, ...]] = get_args(Stream)

Outcome = Literal["delivered", "retry", "parked", "released", "held", "dropped", "withheld"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A message that was received, an event that was routed, or what became of a delivery."""

    stream: Stream
    number: int
    """In its stream: the message's number, the event's place, the delivery's number."""
    at: str
    """When it happened, ISO 8601; of an event: when its message was received."""
    message: int
    """Number of the message behind it; `day` names the tables that hold its bytes."""
    day: str
    message_id: str
    source: str
    site: str
    protocol: str
    type: str
    control_id: str
    charset: str
    event: int = 0
    """Number of the event behind it; 0: it is a message."""
    said: Mapping[str, str | int] = field(default_factory=dict)
    """What else there is to say, by name and in the order in which it is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What stands behind an item, as far as it was asked for."""

    events: tuple[Event, ...] = ()
    """Its event; of a message, all that it made."""
    raw: bytes | None = None
    """The message; None where it was not asked for, or is not kept any more."""
    payload: bytes | None = None
    """What leaves, of a delivery."""


class HashedPatient:
    """Compares patients' numbers with one that it does not hold: only a hash under a key of this moment."""

    def __init__(self, number: str) -> None:
        self._key = secrets.token_bytes(32)
        self._hash = self._of(number)

    def named_by(self, event: Event) -> bool:
        """Whether the number is one of the patient's, or one that the event ends, whoever issued it."""
        patient = event.data.patient
        numbers = (*(patient.identifiers if patient is not None else ()), *event.data.prior)
        return any(secrets.compare_digest(self._of(one.value), self._hash) for one in numbers)

    def _of(self, number: str) -> bytes:
        return hashlib.blake2b(number.encode(), key=self._key).digest()


_ONLY: Final[Mapping[str, Stream]] = {
    "verdict": "received",
    "destination": "deliveries",
    "route": "deliveries",
    "outcome": "deliveries",
}
"""What only one stream says: who asks for it sees no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Everything that is given must fit; of several values for one thing, one."""

    streams: tuple[Stream, ...] = STREAMS
    source: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    """Patterns: `ADT^*`."""
    event: tuple[str, ...] = ()
    """Patterns: `patient.*`. A message fits by any event that it made."""
    verdict: tuple[str, ...] = ()
    destination: tuple[str, ...] = ()
    route: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()
    where: Expression | None = None
    """Over what the event itself says (`mask.said`); of a message, of any event that it made."""
    patient: HashedPatient | None = None
    sample: int = 1
    """One of so many messages, with all that belongs to it."""

    @property
    def seen(self) -> tuple[Stream, ...]:
        """The streams that can have anything that fits, in the order in which a message passes them."""
        only = {stream for name, stream in _ONLY.items() if getattr(self, name)}
        return tuple(stream for stream in STREAMS if stream in self.streams and only <= {stream})

    @property
    def reads_events(self) -> bool:
        """Whether an item's events are needed to decide."""
        return bool(self.event or self.where or self.patient)

    @property
    def reads_message(self) -> bool:
        """Whether the source message is needed to decide."""
        return self.where is not None and bool(self.where.paths)

    def fits(self, item: Item) -> bool:
        """As far as the item alone can tell."""
        said = {"source": item.source, "type": item.type, **item.said}
        exact = all(
            not getattr(self, name) or said[name] in getattr(self, name)
            for name in ("source", *_ONLY)
            if name in said
        )
        return (
            exact
            and _like(item.type, self.type)
            and (item.stream == "received" or _like(str(said["event"]), self.event))
            and zlib.crc32(item.message_id.encode()) % self.sample == 0
        )

    def fits_content(self, content: Content, message: Message | None) -> bool:
        """What `fits` left open: one event must fit in all of it."""
        if not self.reads_events:
            return True
        return any(self._fits_event(event, message) for event in content.events)

    def _fits_event(self, event: Event, message: Message | None) -> bool:
        return (
            _like(event.type, self.event)
            and (self.patient is None or self.patient.named_by(event))
            and (self.where is None or bool(self.where.run(mask.said(event), message)))
        )

    def described(self) -> dict[str, Any]:
        """For the audit: what was asked for, without a patient's value."""
        told: dict[str, Any] = {"streams": list(self.seen)}
        for name in ("source", "type", "event", *_ONLY):
            if values := getattr(self, name):
                told[name] = list(values)
        if self.where is not None:
            told["where"] = mask.expression(self.where.source, self.where.names, self.where.paths)
        if self.patient is not None:
            told["patient"] = "one, by number"
        if self.sample > 1:
            told["sample"] = f"1/{self.sample}"
        return told


def _like(text: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(text, pattern) for pattern in patterns)
