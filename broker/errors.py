"""The one exception tree, split by who must act. No message here ever carries a field's value.

BrokerError
├── ConfigError               the operator: settings, routes, tables (a list of `Fault`s with file:line:column)
├── LocalProtocolError        us: the broker tried to build something the standard forbids
├── RemoteProtocolError       the peer: what it sent cannot be taken; carries what to answer
│   ├── Unreadable            not even a header could be read
│   └── Refused               readable, but refused by rule
├── UnmappableError           a mapping cannot make a canonical event or an output of a value (who: the sender)
├── DeliveryError             a destination did not take a delivery
│   ├── TransientDeliveryError   wait and try this delivery again
│   │   ├── UnreachableError      nothing gets through to the destination: wait with all of its deliveries
│   │   └── RecipientError        one of the destination's many recipients does not take it: wait with this lane
│   ├── PermanentDeliveryError   the same bytes will never be taken
│   └── AskPersonError           only a person can tell what to do
└── StoreError                the database or the disk: nothing may be acknowledged while this lasts
    └── UnwritableError          nothing can be written at present; its text may go to the peer
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

AckCode = Literal["AA", "AE", "AR"]

# HL7 v2.5.1 table 0357: the codes this broker answers with.
SEGMENT_SEQUENCE_ERROR = "100"
REQUIRED_FIELD_MISSING = "101"
DATA_TYPE_ERROR = "102"
TABLE_VALUE_NOT_FOUND = "103"
UNSUPPORTED_MESSAGE_TYPE = "200"
UNSUPPORTED_EVENT_CODE = "201"
UNSUPPORTED_PROCESSING_ID = "202"
UNSUPPORTED_VERSION = "203"
UNKNOWN_KEY = "204"
DUPLICATE_KEY = "205"
RECORD_LOCKED = "206"
APPLICATION_INTERNAL_ERROR = "207"


class BrokerError(Exception):
    """Root of everything the broker raises on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """A place in an HL7 message (HL7 v2.5.1 2.A.28 ERL), or just its segment."""

    segment: str
    sequence: int = 1
    field: int | None = None
    repetition: int | None = None
    component: int | None = None

    def __str__(self) -> str:
        text = self.segment if self.sequence == 1 else f"{self.segment}[{self.sequence}]"
        if self.field is not None:
            text += f"-{self.field}"
            if self.repetition is not None and self.repetition > 1:
                text += f"({self.repetition})"
            if self.component is not None:
                text += f".{self.component}"
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One mistake in a file that a person edits, with the exact place and a suggestion."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    code: str = ""
    path: str = ""
    severity: Literal["error", "warning"] = "error"
    end: int = 0
    """The column behind the last character to blame, on the same line; 0: unknown."""
    note: str = ""
    """Where else to look: who uses the shared block in which the mistake stands."""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return " ".join(part for part in (text, self.note, self.hint) if part)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint: `Did you mean 'x'?`, or nothing when nothing known is near."""
    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"Did you mean '{near[0]}'?" if near else ""


class ConfigError(BrokerError):
    """The configuration cannot be used; every fault found is listed."""

    def __init__(self, faults: Sequence[Fault] | str) -> None:
        self.faults: tuple[Fault, ...] = () if isinstance(faults, str) else tuple(faults)
        super().__init__(faults if isinstance(faults, str) else "\n".join(str(f) for f in faults))


class LocalProtocolError(BrokerError):
    """The broker tried to build something the standard forbids: a bug here, never the peer's doing."""


class RemoteProtocolError(BrokerError):
    """What the peer sent cannot be taken. `ack_code` and `error_code` (table 0357) say what to answer."""

    def __init__(
        self,
        message: str,
        *,
        ack_code: AckCode = "AR",
        error_code: str = "207",
        location: Location | None = None,
    ) -> None:
        super().__init__(message)
        self.ack_code: AckCode = ack_code
        self.error_code = error_code
        self.location = location


class Unreadable(RemoteProtocolError):  # noqa: N818 - a state of the input, named as operators say it
    """Not even the header segment could be read."""


class Refused(RemoteProtocolError):  # noqa: N818 - as above
    """Readable, but refused by rule."""


class UnmappableError(RemoteProtocolError):
    """A value cannot be mapped; a person at the sender must correct it (answered AE)."""

    def __init__(
        self, message: str, *, error_code: str = DATA_TYPE_ERROR, location: Location | None = None
    ) -> None:
        super().__init__(message, ack_code="AE", error_code=error_code, location=location)


class DeliveryError(BrokerError):
    """A destination did not take a delivery. The lane looks at the class, never at the text."""


class TransientDeliveryError(DeliveryError):
    """Not now: wait and try again. `wait`: seconds that the destination asks to be left alone for, where it says so."""

    def __init__(self, message: str, *, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class UnreachableError(TransientDeliveryError):
    """Nothing gets through to the destination at present: no connection, no association."""


class RecipientError(TransientDeliveryError):
    """Not now, and only this recipient: the destination sends to many, each in a lane of its own."""


class PermanentDeliveryError(DeliveryError):
    """The destination refused these bytes and would refuse them again."""


class AskPersonError(DeliveryError):
    """Only a person can tell what to do with this delivery."""


class StoreError(BrokerError):
    """The database or the disk failed. Nothing may be acknowledged while this lasts."""


class UnwritableError(StoreError):
    """Nothing can be written at present. The text says why and may go to the peer: no path, no value, no number.

    `broker.store` logs when this begins and when it ends, so that whoever meets it does not log it once more.
    """
