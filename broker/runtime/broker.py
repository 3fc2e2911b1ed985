"""The running broker: opens everything in order, says where it listens, and closes in the opposite order.

The only module that knows every concrete class. What it wires is decided by `config/broker.yaml` and by the roles that
this process has; what delivers is put together in `deliverers`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pydicom.config
import structlog

from broker.adapter import Inbound, InboundContext, Reception, Verdict
from broker.errors import BrokerError, ConfigError, StoreError
from broker.hl7.garbled import MOJIBAKE
from broker.journal import cursor
from broker.journal import log as journal
from broker.journal.intake import JournalIntake
from broker.net.association import AssociationServer
from broker.net.service import Peer
from broker.registers import demographic_search, exceptions, stations, worklist
from broker.runtime import figures, rebuild, spool
from broker.runtime.configured import Configured
from broker.runtime.deliverers import Deliverers
from broker.runtime.directory import Directory
from broker.runtime.idle import Idle
from broker.runtime.idle import limits_of as limits_of_steps
from broker.runtime.inforce import RoutesInForce
from broker.runtime.journals import journal_of
from broker.runtime.leader import Leader
from broker.runtime.queries import Queries
from broker.runtime.retention import Retention, limits_of
from broker.runtime.roles import EVERY, Role
from broker.runtime.router import Router
from broker.runtime.studies import Studies
from broker.runtime.web import WebServer, application
from broker.settings import InboundSetting
from broker.store.heartbeat import Heartbeat
from broker.store.room import free_bytes
from broker.store.transaction import Transaction
from broker.telemetry import Telemetry, age

if TYPE_CHECKING:
    from broker.runtime.feed import Feed

log = structlog.get_logger("broker")

STOP_SECONDS: Final = 3.0
"""What peers in the middle of something get at a stop, all at once; with the rest it ends within 10 s."""

ROUTE_SECONDS: Final = 1.0
"""What the router gets for events that wait; the others are in the journal."""

READY_SECONDS: Final = 2.0
"""What the journal gets for the write that shows whether it can be written."""


class Broker:
    """One node: every role in one process, or on PostgreSQL some of them."""

    def __init__(
        self, configured: Configured, clock: Callable[[], datetime], roles: frozenset[Role] = EVERY
    ) -> None:
        """Raises `ConfigError` for roles that these settings cannot share out."""
        self._configured = configured
        self._clock = clock
        self._roles = roles
        settings = configured.settings
        self._data = settings.data_folder
        self._ready = False
        self._lock: int | None = None
        self._database = journal_of(settings)
        if roles != EVERY and not self._database.shared:
            raise ConfigError("--role: nodes share a journal on PostgreSQL only; set store: postgresql://…")
        self._rooms = spool.rooms(settings)
        self._telemetry = Telemetry(self._gauges)
        self._heartbeat = Heartbeat(self._database)
        self._routes = RoutesInForce(self._database, configured, clock, roles)
        self._leader = Leader(
            self._database, self._heartbeat, settings.node, able=lambda: self._routes.usable
        )
        self._deliverers = Deliverers(
            self._database,
            self._heartbeat,
            configured,
            clock,
            roles,
            on_failure=self._routes.on_failure,
            leads=lambda: self._leader.leads,
            observe=lambda destination, outcome: self._telemetry.count(
                "broker_deliveries_total", {"destination": destination, "outcome": outcome}
            ),
            unanswered=lambda destination: self._telemetry.count(
                "broker_wakeups_unanswered_total", {"destination": destination}
            ),
            report=lambda *told: self._dicom.report(*told),
        )
        self._feed = self._made_feed()
        self._router = Router(
            self._database, self._routes.current, self._deliverers.lanes, self._leader, on_routed=self._routed
        )
        self._retention = Retention(
            self._database,
            settings.spool_folder,
            lambda: self._routes.configured,
            limits_of(settings),
            clock,
            leads=lambda: self._leader.leads,
        )
        self._idle = Idle(
            self._database,
            limits_of_steps(settings.broker.steps),
            clock,
            on_events=self._committed,
            leads=lambda: self._leader.leads,
            fence=lambda tx: self._leader.fence(tx),
        )
        self._studies = Studies(
            self._database,
            lambda: self._routes.configured,
            settings,
            clock,
            on_events=self._committed,
            on_freed=lambda number: self._telemetry.count("broker_objects_freed_total", {}, number),
            leads=lambda: self._leader.leads,
            fence=lambda tx: self._leader.fence(tx),
        )
        self._dicom = AssociationServer(
            settings.dicom_bind,
            settings.broker.dicom.port,
            ae_title=settings.broker.dicom.ae_title,
            spool=settings.node_folder / spool.INCOMING,
            admit=self._admits,
            check_room=self._check_rooms,
            turned_away=lambda: self._telemetry.count(
                "broker_messages_turned_away_total", {"protocol": "dicom"}
            ),
            max_associations=settings.broker.dicom.max_associations,
            max_per_peer=settings.broker.dicom.max_associations_per_peer,
            acknowledges_identity=settings.broker.dicom.user_identity == "acknowledge",
            tls=settings.broker.dicom.tls,
            tls_host=settings.broker.bind,
        )
        self._intake = JournalIntake(self._database, self._committed, _alert, self._rooms[0].check)
        self._inbound: list[Inbound] = []
        self._queries = Queries()
        app = application(self.why_not_ready, self._telemetry, self.status, self._queries.told)
        self._web = WebServer(settings.broker.bind, settings.broker.http.port, app)
        self._web_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Opens the journal, then what delivers, then what receives. Raises `BrokerError`."""
        # pydicom warns of values that break the standard by quoting them; what arrives is judged elsewhere.
        pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
        self._claim()
        spool.prepare(self._configured.settings)
        self._database.open()
        rebuild.bring_up_to_date(self._database.beside(rebuild.BASELINE))
        demographic_search.complete(self._database)
        stations.complete(self._database)
        log.info("journal open", events_to_route=journal.waiting(self._database.read()))
        self._routes.start()
        self._deliverers.start()
        if "router" in self._roles:
            self._router.start()
        self._database.listen(self._heard)
        with _opening(self._web.address):
            await self._web.start()
        self._web_task = asyncio.create_task(self._web.serve())
        for setting in self._configured.settings.inbound:
            if setting.entry.enabled and setting.spec.role in self._roles:
                self._inbound.append(setting.spec.factory(setting.config, self._context(setting)))
        for inbound in self._inbound:
            with _opening(" ".join(inbound.addresses)):
                await inbound.start()
        if self._hosts_dicom:
            with _opening(" ".join(self._dicom_addresses)):
                await asyncio.to_thread(self._dicom.start)
        if "router" in self._roles:
            self._retention.rounds.start()
            self._idle.rounds.start()
            self._studies.rounds.start()
            if self._feed is not None:
                self._feed.start()
        self._ready = True

    async def stop(self) -> None:
        """Stops accepting, answers what was received, lets deliveries in flight end. What is left is in the journal."""
        self._ready = False
        # Side by side: what leaves does not need what comes in, and each may have to wait for a peer.
        ended = await asyncio.gather(
            *(inbound.stop() for inbound in self._inbound),
            asyncio.to_thread(self._dicom.stop, STOP_SECONDS),
            asyncio.to_thread(self._deliverers.stop, STOP_SECONDS),
            return_exceptions=True,  # adapters' own code: what fails in one keeps nothing else open
        )
        for failure in ended:
            if isinstance(failure, BaseException):
                log.error("something that was to stop failed", exc_info=failure)
        await asyncio.to_thread(self._router.stop, ROUTE_SECONDS)
        await asyncio.to_thread(self._retention.rounds.stop)
        await asyncio.to_thread(self._idle.rounds.stop)
        await asyncio.to_thread(self._studies.rounds.stop)
        await asyncio.to_thread(self._routes.stop)
        if self._feed is not None:
            await asyncio.to_thread(self._feed.stop, ROUTE_SECONDS)
        await asyncio.to_thread(self._leader.give_back)
        await asyncio.to_thread(self._heartbeat.stop)
        self._web.stop()
        if self._web_task is not None:
            await self._web_task
        await asyncio.to_thread(self._database.close)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def addresses(self) -> Iterable[str]:
        """Where the broker listens."""
        for inbound in self._inbound:
            yield from inbound.addresses
        if self._hosts_dicom:
            for address in self._dicom_addresses:
                yield f"{address} (AE title {self._dicom.ae_title})"
        yield self._web.address

    def why_not_ready(self) -> str:
        """What keeps the broker from being ready; empty when nothing does. Destinations do not count."""
        if not self._ready:
            return "starting or stopping"
        whys = (self._routes.why_not(), *(room.why_not() for room in self._rooms))
        if why := next(filter(None, whys), ""):
            return why
        touched: Future[None] | None = None
        try:
            touched = self._database.write(lambda tx: tx.touch())
            touched.result(timeout=READY_SECONDS)
        except (StoreError, TimeoutError):
            if touched is not None:
                touched.cancel()  # a journal that hangs must not find all of them when it goes on
            return "the journal cannot be written"
        return ""

    def status(self) -> dict[str, Any]:
        """The state as `broker status` shows it."""
        return {**figures.status(self._database.read()), "here": self._routes.status()}

    @property
    def _dicom_addresses(self) -> Iterator[str]:
        settings = self._configured.settings
        yield f"dicom://{settings.dicom_bind}:{self._dicom.port}"
        if settings.broker.dicom.tls is not None:
            yield f"dicom-tls://{settings.broker.bind}:{self._dicom.tls_port}"

    @property
    def _hosts_dicom(self) -> bool:
        return bool(self._roles & {"intake", "worklist"})

    @property
    def _patient_feed(self) -> Iterable[str]:
        """Message types that say who a patient is."""
        for setting in self._configured.settings.inbound:
            for kind, events in (setting.spec.makes or {}).items():
                if any(event.startswith("patient.") for event in events):
                    yield kind

    def _made_feed(self) -> Feed | None:
        settings = self._configured.settings
        if not settings.bus.shared or "router" not in self._roles:
            return None
        # Here, because kombu takes its time and most brokers need no bus.
        from broker.runtime.feed import Feed

        return Feed(
            self._database,
            settings,
            self._clock,
            partial(self._telemetry.count, "broker_bus_published_total", {}),
            leads=lambda: self._leader.leads,
        )

    def _admits(self, peer: Peer) -> bool:
        """Known devices and archives, all where the settings say so, and this machine's own commands."""
        settings = self._configured.settings
        own_title = settings.broker.dicom.ae_title
        own = peer.calling_aet == own_title and peer.host in ("127.0.0.1", "::1", settings.broker.bind)
        return own or settings.open_ae or peer.calling_aet in settings.callers

    def _check_rooms(self) -> None:
        for room in self._rooms:
            room.check()

    def _committed(self) -> None:
        """Events were committed."""
        if "router" in self._roles:
            self._router.wake()
        self._database.signal("events")

    def _routed(self) -> None:
        """Events were routed."""
        if self._feed is not None:
            self._feed.wake()

    def _heard(self, channel: str, payload: str) -> None:
        """Another node has something to do for this one."""
        if channel == "events" and "router" in self._roles:
            self._router.wake()
        elif channel == "ways":
            self._deliverers.heard(payload)

    def _claim(self) -> None:
        """One broker per data folder: two would each think the journal theirs."""
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._data / "broker.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(handle)
            raise ConfigError(
                f"{self._data}: another broker runs on this data folder; stop it, or set BROKER_DATA"
            ) from exc
        self._lock = handle

    def _context(self, setting: InboundSetting) -> InboundContext:
        settings = self._configured.settings
        return InboundContext(
            name=setting.name,
            site=settings.broker.site,
            bind=settings.broker.bind,
            config_folder=settings.file.parent,
            spool=settings.spool_folder,
            intake=self._intake,
            worklist=worklist.Reader(self._database.read),
            clock=self._clock,
            register_dicom=self._dicom.register,
            known_aets=frozenset(settings.broker.dicom.peers),
            count=self._telemetry.count,
            patients=Directory(self._database, self._clock),
            note_query=self._queries.note,
            time_zone=settings.broker.time_zone,
            device=settings.device,
            environment=settings.broker.environment,
        )

    def _gauges(self) -> Iterable[figures.Gauge]:
        yield "broker_ready", {}, float(not self.why_not_ready())
        yield "broker_leader", {}, float("router" in self._roles and self._leader.leads)
        yield "broker_disk_free_bytes", {}, min(free_bytes(room.folder) for room in self._rooms)
        tx, now = self._database.read(), self._clock()
        yield from figures.gauges(tx, now)
        if last := journal.newest(tx, self._patient_feed):
            yield "broker_patient_feed_age_seconds", {}, age(last, now)
        yield from self._studies.gauges(tx)
        yield from self._routes.gauges()
        if self._feed is not None:
            yield "broker_bus_connected", {}, float(self._feed.connected)
            yield "broker_bus_lag_events", {}, cursor.lag(tx, cursor.get(tx))
        for name, ill in self._deliverers.lanes.ill(tx).items():
            yield "broker_destination_paused", {"destination": name}, float(ill)


@contextlib.contextmanager
def _opening(address: str) -> Iterator[None]:
    """Says which listener it was that could not be opened."""
    try:
        yield
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        hint = "; another program, or another broker, has the port" if exc.errno == errno.EADDRINUSE else ""
        raise BrokerError(f"{address} cannot be opened: {reason}{hint}") from exc


def _alert(tx: Transaction, reception: Reception) -> None:
    """What a person at the sender must know: what it sent came before with other content, or its text is garbled."""
    at, subject = reception.received.isoformat(), f"{reception.source}: {reception.peer}"
    if reception.protocol == "dicom" and reception.verdict is Verdict.REJECTED:
        exceptions.note(tx, "instance-differs", dict(reception.keys)["instance"], reception.reason, at=at)
        return
    if MOJIBAKE in reception.flags:
        exceptions.note(tx, "mojibake", subject, "its names are UTF-8 that was read as Latin-1", at=at)
    else:
        exceptions.note(tx, "control-id-reused", subject, reception.reason, at=at)
