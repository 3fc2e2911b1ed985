"""What is noted while a region plays: messages, receptions, images, queries. Values only; judging is `score.py`'s."""

from __future__ import annotations

from dataclasses import dataclass, field

from broker.simulate.messages import Said
from broker.simulate.story import Exam


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What became of one message. Times are seconds of one clock."""

    said: Said
    sent: float
    acked: float | None = None
    code: str = ""
    """MSA-1; empty: never answered."""
    latency: float | None = None
    """Seconds from the last byte to the whole answer; None where a fault was on it."""
    attempts: int = 1
    fault: str = ""
    complaint: str = ""
    """What was wrong with the answer beyond its code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One reception at the EPJ."""

    control_id: str
    key: str
    digest: str
    at: float
    clean: bool
    """It was answered AA, at once and whole: the broker has no reason to send it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storing:
    """One image that a modality sent."""

    sop_instance_uid: str
    owners: tuple[str, ...]
    taken: bool
    """It was answered 0000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageArrival:
    """One reception at the PACS that was answered 0000."""

    sop_instance_uid: str
    patient_id: str
    study_uid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One C-FIND; `seconds` None: it failed."""

    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A modality looked for the row of its examination; `seconds` None: it was not there in time."""

    exam: Exam
    seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A row that a modality saw in the end."""

    aet: str
    accession: str
    step: str
    patient_id: str
    name: str


@dataclass(slots=True, kw_only=True)
class Records:
    """Everything that was noted in a run. Lists are only appended to, so that threads can share them."""

    sendings: list[Sending] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    storings: list[Storing] = field(default_factory=list)
    images: list[ImageArrival] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    """Seconds of wall time that acts began after they were due."""
    memory: list[tuple[float, int]] = field(default_factory=list)
    """(seconds since the start, bytes of RSS)."""
    faults: list[str] = field(default_factory=list)
    """Names of the faults that were committed, each time."""
    not_ready: int = 0
    errors: list[str] = field(default_factory=list)
    """The simulator's own failures, by place."""
    seconds: float = 0.0
    not_begun: int = 0
    """Acts that the run was ended before."""
