"""The way in: what a listener is given, what it must be, how its messages are read without it, and its spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from broker.adapter.intake import Intake, Reception
from broker.adapter.options import API_VERSION, Options
from broker.adapter.patients import Nobody, PatientDirectory
from broker.adapter.worklist import WorklistQuery, WorklistReader
from broker.event import EventType
from broker.identity import Environment
from broker.statement import Statement

if TYPE_CHECKING:
    from broker.device import Device
    from broker.net.service import Service


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
