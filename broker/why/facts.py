"""What is known when somebody asks why a step is, or is not, on a device's list.

Values: nothing is read or judged here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked."""

    ae: str
    patient: str
    issuer: str = ""
    accession: str = ""
    at: str = ""
    """The moment that is asked about, ISO 8601 in UTC; empty: now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One event of a message."""

    type: str
    routed: str
    """Version of the routes that saw it, `failed`, or empty: none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """One message of the journal that names the patient or the order."""

    id: str
    control_id: str
    at: str
    source: str
    peer: str
    type: str
    verdict: str
    reason: str
    answer: str
    order: bool
    """It came to a listener of orders."""
    events: tuple[Happened, ...] = ()
    set_aside: tuple[str, ...] = ()
    """Reasons of the open exceptions that its events raised."""

    @property
    def failed(self) -> bool:
        return any(event.routed == "failed" for event in self.events)

    @property
    def waiting(self) -> bool:
        return any(not event.routed for event in self.events)

    @property
    def named(self) -> str:
        """How people find it again: its control id, else its own."""
        return self.control_id or self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What one route said."""

    route: str
    place: str
    matched: bool
    reason: str
    worklist: bool
    """It puts rows on a worklist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Valued:
    """One value of the row, and where it came from: the nearest first."""

    keyword: str
    shown: str
    origins: tuple[str, ...] = ()
    place: str = ""
    """Route line that set it; empty: the standard mapping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """One attribute of a step's row."""

    accession: str
    step: str
    lists: tuple[str, ...]
    """Where the row stands; empty: it is held."""
    route: str
    route_place: str
    """The route's line that makes the row; empty where no route matches any more."""
    value: Valued


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One query of the device, or one that somebody typed, held against the row."""

    at: str = ""
    answers: int = 0
    whole: bool = True
    lossy: int = 0
    """Of the answers: transliterated, or with a name cut."""
    limited: bool = False
    """More rows matched than it may be answered with."""
    asked: tuple[str, ...] = ()
    """Path of every key that it asked for, without its value."""
    charset: str = ""
    keys: tuple[Mapping[str, Any], ...] = ()
    """As `runtime.queries.described` gives them: key, wanted, matches."""

    @property
    def excluding(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(key for key in self.keys if key["matches"] is False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """One scheduled procedure step of the patient."""

    step: str
    """Its id; the key of the register would tell more than people know."""
    accession: str
    status: str
    clinic: str = ""
    """The place whose visits make the step without an order; empty: an order made it."""
    adopted_by: str = ""
    """Of a clinic's step: accession number or step id of the order that took over."""
    came: tuple[Came, ...] = ()
    """Messages that speak of it, the oldest first."""
    changed_by: Came | None = None
    """The message whose event wrote the step last; None: it is not among those that were found."""
    said: tuple[Said, ...] = ()
    unmappable: str = ""
    """Why no row can be made of it; empty: one can."""
    lacking: tuple[str, ...] = ()
    """What its row needs and does not have."""
    lists: tuple[str, ...] = ()
    """Where its row stands."""
    version: str = ""
    """Of the routes that wrote the row."""
    stations: tuple[str, ...] = ()
    values: tuple[Valued, ...] = ()
    remarks: tuple[str, ...] = ()
    """Open exceptions that name the step: their reasons."""
    charset: str = ""
    """In which its row is answered."""
    tried: Device | None = None
    """The query that the asker typed; None: none was typed."""
    asked: tuple[Device, ...] = ()
    """What the device asked last, the newest first."""


PatientIs = Literal["unknown", "provisional", "known"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that the answer is made of."""

    question: Question
    version: str
    """Of today's routes."""
    admitted: bool
    """The device gets an association."""
    listed: bool
    """The settings name it among their peers."""
    own: tuple[str, ...] = ()
    """The AE titles, and patterns of them, whose rows are the device's; empty: its own title."""
    near: str = ""
    """`Did you mean …?` for an AE title that they do not name."""
    patient: PatientIs
    issuers: tuple[str, ...] = ()
    """Issuers under which the register knows the value that was asked for."""
    ended: tuple[str, ...] = ()
    """Changes (`merge 01K…`) that ended the number: its patient goes on under another."""
    steps: tuple[StepFacts, ...] = ()
    more: int = 0
    """Steps beside these, which were left out."""
    came: tuple[Came, ...] = ()
    """Messages that belong to none of the steps, the oldest first."""
    elsewhere: bool = False
    """The accession number is that of another patient's step."""
    remembered: str = ""
    """Why the device's queries are not known; empty: they are, or it has asked nothing."""
    asked: tuple[Device, ...] = ()
    """What the device asked last, where there is no step to hold it against."""
