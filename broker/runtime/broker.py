"""The running broker: opens everything in order, says where it listens, and closes in the opposite order.

The only module that knows every concrete class. What it wires is decided by `config/broker.yaml`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import itertools
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, get_args

import pydicom.config
import structlog

from broker.adapter import WORK_FOLDER, Inbound, InboundContext, Outbound, OutboundContext, Reception
from broker.delivery import ledger, parked
from broker.delivery.executor import Executor
from broker.delivery.pace import Window
from broker.errors import BrokerError, ConfigError, StoreError
from broker.journal import cursor
from broker.journal import log as journal
from broker.journal.intake import JournalIntake
from broker.net.association import AssociationServer
from broker.registers import exceptions, worklist
from broker.routing.language import OnFailure
from broker.runtime.journals import journal_of
from broker.runtime.offline import Configured
from broker.runtime.pipeline import Pipeline
from broker.runtime.queries import Queries
from broker.runtime.retention import Retention, limits_of
from broker.runtime.router import Router
from broker.runtime.web import WebServer, application
from broker.settings import InboundSetting, OutboundSetting
from broker.store import tally
from broker.store.database import Transaction
from broker.store.room import Room, free_bytes
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
    """One embedded broker: every role in one process."""

    def __init__(self, configured: Configured, clock: Callable[[], datetime]) -> None:
        self._configured = configured
        self._clock = clock
        settings = configured.settings
        self._data = settings.data_folder
        self._ready = False
        self._lock: int | None = None
        self._database = journal_of(settings)
        self._room = Room(self._data, settings.broker.limits.min_free)
        self._telemetry = Telemetry(self._gauges)
        self._routes = {route.name: route for route in configured.routes.routes}
        self._executors = {s.name: self._executor(s) for s in settings.outbound if self._sends(s)}
        pipeline = Pipeline(configured.routes, configured.renderers)
        self._router = Router(self._database, pipeline, self._executors)
        self._retention = Retention(self._database, configured, limits_of(settings), clock)
        self._feed: Feed | None = None
        if settings.bus.shared:
            from broker.runtime.feed import (
                Feed,  # here, because kombu takes its time and most brokers need no bus
            )

            self._feed = Feed(
                self._database,
                settings,
                clock,
                partial(self._telemetry.count, "broker_bus_published_total", {}),
            )
        self._dicom = AssociationServer(
            settings.broker.bind,
            settings.broker.dicom.port,
            ae_title=settings.broker.dicom.ae_title,
            spool=self._data / "incoming",
            admit=lambda peer: settings.open_ae or peer.calling_aet in settings.broker.dicom.peers,
            check_room=self._room.check,
            turned_away=lambda: self._telemetry.count(
                "broker_messages_turned_away_total", {"protocol": "dicom"}
            ),
            max_associations=settings.broker.dicom.max_associations,
        )
        self._intake = JournalIntake(self._database, self._committed, _reused, self._room.check)
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
        # Copies that a killed sender left: what they were made of is in the spool, and their deliveries are queued.
        shutil.rmtree(self._data / WORK_FOLDER, ignore_errors=True)
        self._database.open()
        with self._database.snapshot() as tx:  # nothing that another process does can fall between the two
            seen, waiting = parked.last_intervention(tx), self._resume(tx)
        log.info(
            "journal open",
            deliveries_to_make=waiting["queued"],
            deliveries_parked=waiting["parked"],
            events_to_route=journal.waiting(self._database.read()),
        )
        for executor in self._executors.values():
            executor.start()
        self._router.start(seen)
        with _opening(self._web.address):
            await self._web.start()
        self._web_task = asyncio.create_task(self._web.serve())
        for setting in self._configured.settings.inbound:
            if setting.entry.enabled:
                self._inbound.append(setting.spec.factory(setting.config, self._context(setting)))
        for inbound in self._inbound:
            with _opening(" ".join(inbound.addresses)):
                await inbound.start()
        bind = self._configured.settings.broker.bind
        with _opening(f"dicom://{bind}:{self._dicom.port}"):
            await asyncio.to_thread(self._dicom.start)
        self._retention.start()
        if self._feed is not None:
            self._feed.start()
        self._ready = True

    async def stop(self) -> None:
        """Stops accepting, answers what was received, lets deliveries in flight end. What is left is in the journal."""
        self._ready = False
        # Side by side: what leaves does not need what comes in, and each may have to wait for a peer.
        await asyncio.gather(
            *(inbound.stop() for inbound in self._inbound),
            asyncio.to_thread(self._dicom.stop, STOP_SECONDS),
            *(asyncio.to_thread(executor.stop, STOP_SECONDS) for executor in self._executors.values()),
        )
        await asyncio.to_thread(self._router.stop, ROUTE_SECONDS)
        await asyncio.to_thread(self._retention.stop)
        if self._feed is not None:
            await asyncio.to_thread(self._feed.stop, ROUTE_SECONDS)
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
        broker = self._configured.settings.broker
        yield f"dicom://{broker.bind}:{self._dicom.port} (AE title {broker.dicom.ae_title})"
        yield self._web.address

    def why_not_ready(self) -> str:
        """What keeps the broker from being ready; empty when nothing does. Destinations do not count."""
        if not self._ready:
            return "starting or stopping"
        if why := self._room.why_not():
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
        return status(self._database.read())

    def _resume(self, tx: Transaction) -> Counter[str]:
        """Puts what is open into the lanes; how many are queued and parked."""
        waiting: Counter[str] = Counter()
        for destination, states in tally.deliveries(tx).items():
            open_there = {state: states.get(state, 0) for state in ("queued", "parked")}
            waiting.update(open_there)
            if destination not in self._executors and any(open_there.values()):
                log.warning(
                    "a destination of open deliveries is not configured",
                    destination=destination,
                    deliveries=sum(open_there.values()),
                )
        for destination, found in itertools.groupby(ledger.open_deliveries(tx), lambda q: q.destination):
            if destination in self._executors:
                self._executors[destination].load(found)
        return waiting

    def _committed(self) -> None:
        """Events were committed."""
        self._router.wake()
        if self._feed is not None:
            self._feed.wake()

    def _claim(self) -> None:
        """One broker per data folder: two would each think the journal theirs."""
        self._data.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._data / "broker.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(handle)
            raise ConfigError(
                f"{self._data}: another broker runs on this data folder; stop it, or set BROKER_DATA"
            ) from exc
        self._lock = handle

    def _sends(self, setting: OutboundSetting) -> bool:
        return setting.entry.enabled and setting.spec.factory is not None

    def _executor(self, setting: OutboundSetting) -> Executor:
        context = OutboundContext(name=setting.name, data_folder=self._data, clock=self._clock)

        def outbound() -> Outbound:
            assert setting.spec.factory is not None, "the caller looked"
            made: Outbound = setting.spec.factory(setting.config, context)
            return made

        return Executor(
            setting.name,
            self._database,
            outbound,
            self._on_failure,
            self._clock,
            connections=setting.entry.connections,
            rate=setting.entry.rate,
            windows=[Window.parse(text) for text in setting.entry.windows],
            observe=lambda destination, outcome: self._telemetry.count(
                "broker_deliveries_total", {"destination": destination, "outcome": outcome}
            ),
        )

    def _on_failure(self, route: str) -> OnFailure:
        """What a route wants when it fails; a delivery whose route is gone gets what routes get by default."""
        found = self._routes.get(route)
        return found.on_failure if found is not None else OnFailure()

    def _context(self, setting: InboundSetting) -> InboundContext:
        settings = self._configured.settings
        return InboundContext(
            name=setting.name,
            site=settings.broker.site,
            bind=settings.broker.bind,
            config_folder=settings.file.parent,
            data_folder=self._data,
            intake=self._intake,
            worklist=worklist.Reader(self._database.read),
            clock=self._clock,
            register_dicom=self._dicom.register,
            known_aets=frozenset(settings.broker.dicom.peers),
            count=self._telemetry.count,
            note_query=self._queries.note,
        )

    def _gauges(self) -> Iterable[tuple[str, Mapping[str, str], float]]:
        yield "broker_ready", {}, float(not self.why_not_ready())
        yield "broker_disk_free_bytes", {}, free_bytes(self._data)
        tx, now = self._database.read(), self._clock()
        yield "broker_events_waiting", {}, journal.waiting(tx)
        for row in journal.counts(tx):
            labels = {"source": row["source"], "verdict": row["verdict"]}
            yield "broker_messages_stored", labels, row["messages"]
        for row in ledger.summary(tx):
            labels = {"destination": row["destination"]}
            yield "broker_deliveries_queued", labels, row["queued"]
            yield "broker_deliveries_held", labels, row["held"]
            yield "broker_deliveries_parked", labels, row["parked"]
            yield "broker_delivery_oldest_seconds", labels, age(row["oldest"], now) if row["oldest"] else 0.0
        if self._feed is not None:
            yield "broker_bus_connected", {}, float(self._feed.connected)
            yield "broker_bus_lag_events", {}, cursor.lag(tx, cursor.get(tx))
        for name, executor in self._executors.items():
            yield "broker_destination_paused", {"destination": name}, float(executor.state != "closed")
        kinds: dict[str, int] = dict.fromkeys(get_args(exceptions.Kind), 0)  # 0 shows that one begins
        for entry in exceptions.listed(tx):
            kinds[entry["kind"]] = kinds.get(entry["kind"], 0) + 1
        for kind, number in kinds.items():
            yield "broker_exceptions", {"kind": kind}, number


@contextlib.contextmanager
def _opening(address: str) -> Iterator[None]:
    """Says which listener it was that could not be opened."""
    try:
        yield
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        hint = "; another program, or another broker, has the port" if exc.errno == errno.EADDRINUSE else ""
        raise BrokerError(f"{address} cannot be opened: {reason}{hint}") from exc


def _reused(tx: Transaction, reception: Reception) -> None:
    """A sender used a control id again for other content: it was refused, and a person at the sender must know."""
    at, subject = reception.received.isoformat(), f"{reception.source}: {reception.peer}"
    exceptions.note(tx, "control-id-reused", subject, reception.reason, at=at)


def status(tx: Transaction) -> dict[str, Any]:
    """What came in, what left, what waits, and what a person must look at; no patient's values."""
    return {
        "received": journal.counts(tx),
        "events_waiting": journal.waiting(tx),
        "destinations": ledger.summary(tx),
        "exceptions": exceptions.listed(tx),
    }
