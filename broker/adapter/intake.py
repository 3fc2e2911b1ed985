"""What a listener hands to commit 1, and what comes back: a reception, with its verdict, answers and events.

How HL7 becomes a reception is `broker.reception`, how a DICOM request does `broker.dicom_request`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, Protocol

from broker.event import Event

REPEAT_WINDOW: Final = timedelta(days=7)
"""How long a control id is remembered where nobody says otherwise (invariant 3)."""


class Verdict(StrEnum):
    """What became of one received message."""

    ACCEPTED = "accepted"
    FILTERED = "filtered"
    """Acknowledged positively, counted with its reason, nothing made of it."""
    REJECTED = "rejected"
    """Answered negatively; the bytes are kept."""
    JUNK = "junk"
    """Bytes outside any frame; nobody to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What commit 1 must find of an object that has a life of its own (an MPPS, an instance), for a reception to stand.

    The answer must be right when it leaves, and commit 2 comes later: so the state is kept by commit 1. The same bytes
    again, which change no state, are a repeat.
    """

    uid: str
    """The object's SOP Instance UID."""
    after: frozenset[str]
    """States in which it may be; `""`: nobody knows it."""
    state: str
    """The state in which it is then."""
    otherwise: Callable[[str], Reception]
    """The refusal that stands instead, by the state that was found."""
    again: bool = False
    """The same bytes again are taken in again, not answered as a repeat."""
    alert: bool = False
    """A person must learn of the refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """One received message with its verdict, its answer and its events: what commit 1 writes, all or nothing."""

    message_id: str
    source: str
    """Name of the listener in `config/broker.yaml`."""
    site: str
    peer: str
    """Address or AE title of the sender."""
    protocol: Literal["hl7", "dicom", "operator"]
    """`operator`: what a person, or the broker's own clock, decided."""
    received: datetime
    message_type: str = ""
    """`ADT^A01`, `BATCH` for the envelope of a batch, or the DICOM service (`C-STORE`, `N-CREATE`)."""
    control_id: str = ""
    sender: str = ""
    """MSH-3 and MSH-4 joined with `|`, or the calling AE title."""
    verdict: Verdict
    reason: str = ""
    """Why it was filtered or rejected: names places, never values."""
    answer_code: str = ""
    """`AA`, `AE` or `AR`, or the DIMSE status in hex; empty when nobody is answered."""
    answers: tuple[bytes, ...] = ()
    """What leaves to the sender, unframed; enhanced mode may want two, or none."""
    raw: bytes = b""
    blob: str = ""
    """Path relative to the spool, where the bytes are a file of their own (DICOM instances)."""
    charset: str = ""
    """Python codec that the text was read with."""
    flags: tuple[str, ...] = ()
    """Remarks for the operator (`charset-mismatch`, `synthetic-id` …)."""
    keys: tuple[tuple[str, str], ...] = ()
    """Search keys (kind, value): `patient`, `accession`, `study`, `instance`, `order`."""
    events: tuple[Event, ...] = ()
    repeat_window: timedelta = REPEAT_WINDOW
    """How long the same listener, sender and control id mean the same message; nothing: never."""
    reused: Callable[[], Reception] | None = field(default=None, compare=False, repr=False)
    """The refusal that stands instead, should its control id have come with other content (invariant 3)."""
    claim: Claim | None = field(default=None, compare=False, repr=False)
    """What it needs, and leaves behind, of an object's state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What commit 1 says back. The answer may leave now, and only now."""

    answers: tuple[bytes, ...]
    answer_code: str
    repeat: bool = False
    """The same message stood in the journal already: this is its stored answer, nothing was processed again."""
    refused: Reception | None = None
    """What was written instead of the reception: its control id had come with other content, or its claim failed."""


class Intake(Protocol):
    """Commit 1. Returns only when the reception is on disk (invariant 1); raises `StoreError` when it cannot be."""

    async def accept(self, reception: Reception) -> Stored:
        """For asyncio listeners."""

    async def accept_all(self, receptions: Sequence[Reception]) -> list[Stored]:
        """Several in order, all or none: one transaction (a batch)."""

    def accept_blocking(self, reception: Reception) -> Stored:
        """For services that run in their own threads (DICOM)."""
