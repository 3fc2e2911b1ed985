"""The adapter author's API: what an adapter is given, what it hands back. No adapter is loaded here.

An adapter is a folder: `inbound.py` speaks the system's protocol, `mapping.py` turns what came into drafts (pure),
`render.py` turns a routed event into what the destination takes (pure), `outbound.py` delivers it. Its `__init__`
holds the `AdapterSpec`s that the entry-point groups `broker.inbound` and `broker.outbound` name.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from broker.dicom.matching import Query
from broker.event import Event, EventType, Identifier, Patient
from broker.identity import Environment
from broker.statement import Statement

if TYPE_CHECKING:
    from broker.device import Device
    from broker.net.action_scu import Call
    from broker.net.service import Service
    from broker.view import View

__all__ = [
    "API_VERSION",
    "REPEAT_WINDOW",
    "Archive",
    "Claim",
    "Delivery",
    "Inbound",
    "InboundContext",
    "InboundSpec",
    "Intake",
    "Kind",
    "ListenerPlace",
    "NamePart",
    "Nobody",
    "Options",
    "Outbound",
    "OutboundContext",
    "OutboundSpec",
    "PatientDirectory",
    "PatientWanted",
    "Reader",
    "Receipt",
    "Reception",
    "Rendered",
    "Renderer",
    "Send",
    "Stored",
    "Target",
    "Verdict",
    "WorklistQuery",
    "WorklistReader",
    "WorklistRow",
]

API_VERSION = 1
"""Goes up when an adapter that worked before would not; one that is made for another is refused at the start."""

REPEAT_WINDOW: Final = timedelta(days=7)
"""How long a control id is remembered where nobody says otherwise (invariant 3)."""

Kind = Literal["worklist", "hl7", "dicom"]
"""What a destination takes; the key of a route's target (`worklist: eye`, `hl7: epj`, `dicom: pacs`)."""


Send = Literal["source", "ORM^O01", "ORU^R01"]
"""What a route sends to an HL7 destination: the message that caused the event as it came, or one that is built: an
order's status (ORM^O01), what was rejected (ORU^R01)."""


class Options(BaseModel):
    """Base of an adapter's options: frozen, strict, unknown keys refused, values never shown in errors.

    Every option has a description; it becomes the editor's help and the settings page.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistRow:
    """One row as modalities see it."""

    key: str
    status: str
    attributes: Mapping[str, Any]
    """DICOM attributes by keyword (`broker.dicom.attributes`)."""
    held: str = ""
    """What it lacks; no device is shown such a row."""
    number: int = 0
    """Made of all that the row says: what was made of it once is good for every row with this number. 0: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerPlace:
    """What an adapter needs to read messages as a listener of this name does."""

    name: str
    site: str
    config_folder: Path
    time_zone: str = "Europe/Oslo"
    """Where times without an offset are local; a listener may say another."""
    environment: Environment = "mixed"
    """Whose numbers are taken: real ones, synthetic ones, or both."""


class Reader(Protocol):
    """A listener without its socket: what `broker explain` and `broker test` feed messages to."""

    def receive(self, raw: bytes, *, message_id: str, now: datetime, peer: str = "") -> Reception:
        """Judges one message: an HL7 message, or a DICOM file. Writes nothing."""


class WorklistReader(Protocol):
    """Read side of the worklist register, for the MWL SCP."""

    def candidates(
        self,
        *,
        stations: tuple[str, ...] = (),
        patient_id: str = "",
        patient_name: str = "",
        dates: tuple[str, str] = ("", ""),
        started_by: str = "",
        unwanted: Container[int] = (),
    ) -> Iterable[WorklistRow]:
        """Rows that can match: a superset narrowed by index. The SCP matches exactly. Dates are `YYYYMMDD`, the name is
        as a query has it, wildcards too (`broker.dicom.names`).

        `started_by`: with the rows of steps that this AE title has in progress. `unwanted`: numbers of rows that are
        passed over without being read, because the caller knows that they do not match.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistQuery:
    """One query of a device, as the broker remembers it for a while (`broker why`)."""

    calling_aet: str
    at: datetime
    query: Query
    answers: int
    """How many rows it was answered with."""
    whole: bool
    """Every row that matched was sent; False: the device cancelled or went."""
    lossy: int = 0
    """Of the answers: those with other letters than the row has, or with a name or a description cut short."""
    narrowed: Query | None = None
    """What the settings of the device ask of a row besides; None: nothing."""
    limited: bool = False
    """More rows matched than the device may be answered with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamePart:
    """What one part of a name must be; case and accents do not count."""

    text: str
    prefix: bool = False
    """Anything may follow the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientWanted:
    """Whom somebody looks for. All of it must be true; what is None or empty is not looked at."""

    identifiers: tuple[Identifier, ...] = ()
    """Each leads to the patient, an ended one too; one without an issuer is the value under any issuer."""
    family: NamePart | None = None
    given: NamePart | None = None
    birth_date: tuple[str, str] | None = None
    """First and last `YYYYMMDD`; an empty end is open."""
    sex: str = ""
    """`M`, `F` or `O`."""
    issuers: tuple[str, ...] = ()
    """The patient has a current identifier of one of these issuers (`Identifier.issuer`)."""


class PatientDirectory(Protocol):
    """Read side of the patient register, for those who ask who a patient is. Blocks: not for the event loop.

    Only patients that PAS has spoken of; whoever was merged away is answered as the survivor.
    """

    def find(self, wanted: PatientWanted, most: int) -> Sequence[str]:
        """Keys of the patients, ordered, each once; one more than `most` where there are more than that."""

    def get(self, key: str) -> Patient:
        """The patient under a key, with current identifiers only."""

    def linked(self, key: str) -> Sequence[str]:
        """Keys of the patients that PAS linked with this one (A24), ordered."""

    def disclose(self, *, who: str, what: str, detail: Mapping[str, str | int], keys: Sequence[str]) -> None:
        """Writes to the audit who is about to be told of whom. Returns when that is on disk, so that the answer may
        leave; raises `StoreError` when it cannot be. `what` is the service; `detail` holds no patient's value."""


class Nobody:
    """A directory without patients: where no register stands behind an adapter (its own tests)."""

    def find(self, wanted: PatientWanted, most: int) -> Sequence[str]:  # noqa: ARG002
        return ()

    def get(self, key: str) -> Patient:
        raise KeyError(key)

    def linked(self, key: str) -> Sequence[str]:  # noqa: ARG002
        return ()

    def disclose(self, *, who: str, what: str, detail: Mapping[str, str | int], keys: Sequence[str]) -> None:
        """Nobody is told of anybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundContext:
    """What the runtime gives an inbound adapter."""

    name: str
    site: str
    bind: str
    """Address that listeners bind to unless their own options say otherwise."""
    config_folder: Path
    """Where `broker.yaml` stands: relative paths of an adapter's options start here."""
    spool: Path
    """Folder of the received objects, which all nodes share: `Reception.blob` is relative to it."""
    intake: Intake
    worklist: WorklistReader
    clock: Callable[[], datetime]
    """Now, UTC, aware."""
    register_dicom: Callable[[Service], None]
    """Hosts a DICOM service on the broker's one association server."""
    known_aets: frozenset[str]
    """Calling AE titles that the settings name: only these may be metric labels."""
    count: Callable[..., None]
    """Adds one, or so many, to a metric of `broker.telemetry`: name, labels, number."""
    patients: PatientDirectory = field(default_factory=lambda: Nobody())
    """Who the patients are."""
    note_query: Callable[[WorklistQuery], None] = lambda _query: None
    """Remembers what a device asked, in memory only."""
    device: Callable[[str], Device | None] = lambda _aet: None
    """What the settings declare of the device with this calling AE title."""
    time_zone: str = "Europe/Oslo"
    """Where times without an offset are local."""
    environment: Environment = "mixed"
    """Whose numbers are taken: real ones, synthetic ones, or both."""

    @property
    def place(self) -> ListenerPlace:
        """Where this listener stands: what the adapter's reader needs."""
        return ListenerPlace(
            name=self.name,
            site=self.site,
            config_folder=self.config_folder,
            time_zone=self.time_zone,
            environment=self.environment,
        )


class Inbound(Protocol):
    """A running listener."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """`mllp://127.0.0.1:2575`: where it listens; empty for services on the shared association server."""

    async def start(self) -> None:
        """Opens the listener; raises `OSError` when the port cannot be had."""

    async def stop(self) -> None:
        """Stops accepting, finishes what was received, closes. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One `to:` of a route that matched, with its expressions evaluated."""

    route: str
    version: str
    place: str
    """`routes/adt.yaml:14`: the line of the target."""
    kind: Kind
    destination: str
    send: str = ""
    """HL7 only: `source` forwards the message that caused the event; else the structure to build (`ORM^O01`)."""
    set: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """What differs from the standard mapping: HL7 path or DICOM keyword to value."""
    purpose: Literal["care", "contact"] = "care"
    """Only `contact` may carry address, telephone, next of kin and employer (invariant 11)."""
    cleared: bool = False
    """The route lets even protected addresses through (`protected: allow`)."""
    index: int = 0
    """Which target of the route this is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What leaves for a destination. Made once, stored, and sent unchanged however often it is retried."""

    payload: bytes
    lossy: bool = False
    """It has other letters than the text, because the destination's character sets lack them."""
    summary: str = ""
    """For operators: message type, control id, tag names; never a patient's values."""
    keys: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One rendered output on its way to one destination."""

    id: int
    destination: str
    lane: str
    route: str
    attempt: int
    payload: bytes
    confirm: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)
    """To be called directly before the bytes leave, and before the last of them where they leave in several writes:
    raises where another node may be sending it by now. What raised lets the connection be reset, and passes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The destination took it; `detail` is what it said (`MSA-1 AA`, `0000`), never a patient's values."""

    detail: str
    answer: bytes = b""
    lossy: bool = False
    """It was sent with other letters than the text has, or with a name cut short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundContext:
    """What the runtime gives an outbound adapter."""

    name: str
    spool: Path
    """Folder of the received objects, which all nodes share."""
    work: Path
    """For files that live only while a delivery is sent, on the same disk: this node's own, emptied at each start."""
    clock: Callable[[], datetime]
    device: Callable[[str], Device | None] = lambda _aet: None
    """What the settings declare of the device with this AE title."""
    report: Callable[[str, Call, float], int | None] = lambda *_: None
    """Tells a device by N-EVENT-REPORT on an association that it has open with this node: its AE title, what, how many
    seconds to wait. The status that it answered; None: there is none open, or no answer came."""


class Outbound(Protocol):
    """An open way to one destination. `deliver` is called from lane threads, several lanes at once."""

    def deliver(self, delivery: Delivery) -> Receipt:
        """Blocks until the destination took it. Raises a `DeliveryError` subclass otherwise."""

    def close(self) -> None:
        """Closes connections. Idempotent."""


Renderer = Callable[["View", Target], Rendered]
"""Pure: the same view and target give the same bytes. Raises `UnmappableError` naming the place."""

C = TypeVar("C", bound=Options)


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundSpec(Generic[C]):
    """How the broker makes an inbound adapter (entry-point group `broker.inbound`)."""

    name: str
    summary: str
    config: type[C]
    factory: Callable[[C, InboundContext], Inbound]
    role: Literal["intake", "worklist"] = "intake"
    """Which nodes of a cluster host it: those that take messages in, or those that answer worklist queries."""
    reader: Callable[[C, ListenerPlace], Reader] | None = None
    """How messages are judged, without any socket (`broker explain`, `broker test`); None: not possible."""
    makes: Mapping[str, tuple[EventType, ...]] | None = None
    """Message type (`ADT^A01`, `C-STORE`) to every event that may come of it; None: not said."""
    needs: Mapping[EventType, str] = field(default_factory=dict)
    """Events of `makes` that come only where the option of this name is set."""
    statement: Callable[[C], Statement] = lambda _config: Statement()
    """What a listener with these options is in the conformance statements, beside what stands here."""
    api_version: int = API_VERSION

    def made(self, config: C) -> Mapping[str, tuple[EventType, ...]] | None:
        """`makes` of a listener with these options."""
        if self.makes is None:
            return None
        never = {event for event, option in self.needs.items() if not getattr(config, option)}
        return {kind: tuple(e for e in events if e not in never) for kind, events in self.makes.items()}

    @property
    def events(self) -> tuple[EventType, ...]:
        """Every event that may come of its messages, each once; empty where none comes, and where it does not say."""
        return tuple(dict.fromkeys(event for made in (self.makes or {}).values() for event in made))


class Archive(Protocol):
    """What a destination keeps, asked at the destination itself."""

    def instances_of(self, study_uid: str) -> frozenset[str]:
        """SOP Instance UIDs of a study that it has; none: it has nothing of it. Raises `DeliveryError`."""

    def close(self) -> None:
        """Lets go of the connection. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboundSpec(Generic[C]):
    """How the broker makes an outbound adapter (entry-point group `broker.outbound`)."""

    name: str
    summary: str
    kind: Kind
    config: type[C]
    render: Renderer
    factory: Callable[[C, OutboundContext], Outbound] | None
    """None: the destination is one of the broker's own registers, written in commit 2 (the worklist)."""
    takes: tuple[str, ...] = ()
    """First parts of the events that it makes something of (`("step",)`); empty: those of its kind."""
    statement: Callable[[C], Statement] = lambda _config: Statement()
    """What a destination with these options is in the conformance statements, beside what stands here."""
    repeatable: Callable[[bytes], bool] = lambda _payload: False
    """Whether a delivery with this payload changes nothing where it comes again, behind others of which the same is
    true: what a lane's last ones were, in their order, 1 2 3 and 2 3 once more, leaves the destination as 1 2 3 did.
    The next of the lane may then leave before it is on disk that this one was taken, and a crash repeats a few. Of one
    of which it is not true (any HL7 message) at most one is repeated, with nothing behind it. Pure, and raises nothing:
    people may have edited the payload."""
    archive: Callable[[C], Archive] | None = None
    """How it is asked what it keeps (`broker reconcile --archive`), whether or not it is switched on; None: it cannot
    be asked."""
    api_version: int = API_VERSION
