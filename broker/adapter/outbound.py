"""The way out: what a route wants of a destination, what is rendered, how it is delivered, and its spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from broker.adapter.options import API_VERSION, Options
from broker.statement import Statement

if TYPE_CHECKING:
    from broker.device import Device
    from broker.net.action_scu import Call
    from broker.view import View

Kind = Literal["worklist", "hl7", "dicom"]
"""What a destination takes; the key of a route's target (`worklist: eye`, `hl7: epj`, `dicom: pacs`)."""

Send = Literal["source", "ORM^O01", "ORU^R01"]
"""What a route sends to an HL7 destination: the message that caused the event as it came, or one that is built: an
order's status (ORM^O01), what was rejected (ORU^R01)."""


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


class Archive(Protocol):
    """What a destination keeps, asked at the destination itself."""

    def instances_of(self, study_uid: str) -> frozenset[str]:
        """SOP Instance UIDs of a study that it has; none: it has nothing of it. Raises `DeliveryError`."""

    def close(self) -> None:
        """Lets go of the connection. Idempotent."""


C = TypeVar("C", bound=Options)


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
