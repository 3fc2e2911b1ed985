"""What delivers in this process, put together from the settings: lanes in memory, or on PostgreSQL ways of all nodes.

Not here: any rule of delivering (`broker.delivery`), nor when who is woken (`lanes`).
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

import structlog

from broker.adapter import Outbound, OutboundContext
from broker.delivery.drain import Destination, Drain
from broker.delivery.executor import Executor
from broker.delivery.pace import Window
from broker.errors import ConfigError
from broker.routing.language import OnFailure
from broker.runtime import spool
from broker.runtime.configured import Configured
from broker.runtime.couriers import Couriers
from broker.runtime.lanes import Lanes, MemoryLanes, SharedLanes
from broker.runtime.roles import Role
from broker.settings import OutboundSetting
from broker.store.database import Database
from broker.store.heartbeat import Heartbeat

if TYPE_CHECKING:
    from broker.net.action_scu import Call
    from broker.runtime.wakeups import Wakeups, Worker

log = structlog.get_logger("broker.delivery")

ENOUGH_SECONDS: Final = 1.0
"""What threads that have nothing in hand any more get to end. Celery may take longer to say goodbye to a bus."""

WAYS: Final = "ways"
"""The signal that a way could be worked off; its payload is the destination and the way's number."""


class Deliverers:
    """`lanes` is what the router tells of its work."""

    def __init__(
        self,
        database: Database,
        heartbeat: Heartbeat,
        configured: Configured,
        clock: Callable[[], datetime],
        roles: frozenset[Role],
        *,
        on_failure: Callable[[str], OnFailure],
        leads: Callable[[], bool],
        observe: Callable[[str, str], None],
        unanswered: Callable[[str], None],
        report: Callable[[str, Call, float], int | None],
    ) -> None:
        """`report`: see `broker.adapter.OutboundContext`."""
        self._database = database
        self._report = report
        self._configured = configured
        self._clock = clock
        self._observe = observe
        self._roles = roles
        self._on_failure = on_failure
        settings = configured.settings
        celery = settings.broker.executor == "celery"
        if celery and not (database.shared and settings.bus.shared):
            raise ConfigError(
                "executor: celery needs `store: postgresql://…` and a `bus` that others can reach"
            )
        self._destinations = [self._destination(s) for s in settings.outbound if self._sends(s)]
        self._drain: Drain | None = None
        self._couriers: Couriers | None = None
        self._worker: Worker | None = None
        self._wakeups: Wakeups | None = None
        if not database.shared:
            self.lanes: Lanes = MemoryLanes(database, {d.name: self._executor(d) for d in self._destinations})
            return
        self.lanes = SharedLanes(database, self._destinations, self._wake, leads, clock, unanswered)
        if celery:
            # Here, because most brokers need no Celery, which takes its time.
            from broker.runtime import wakeups

            app = wakeups.application(settings.bus)
            heavy = [s.name for s in settings.outbound if s.spec.kind == "dicom"]
            self._wakeups = wakeups.Wakeups(app, heavy)
        if "deliver" not in roles:
            return
        self._drain = Drain(
            database,
            heartbeat,
            f"{settings.node} {uuid.uuid4().hex[:8]}",
            self._destinations,
            self._on_failure,
            clock,
            wake=self._wake_softly,
            observe=observe,
        )
        self._couriers = Couriers(database, self._drain, self._destinations, self._wake_softly)
        if celery:
            options = settings.broker.celery
            self._worker = wakeups.Worker(
                app,
                self._drain,
                self._wake_softly,
                concurrency=options.concurrency,
                queues=options.queues,
            )

    def start(self) -> None:
        """Goes on with what a stop or a crash left. Raises `StoreError`."""
        if "router" in self._roles:
            self.lanes.start()
        if self._couriers is not None:
            self._couriers.start()
        if self._worker is not None:
            self._worker.start()

    def heard(self, payload: str) -> None:
        """A signal of the channel `WAYS`."""
        if self._couriers is not None and self._wakeups is None:
            self._couriers.heard(payload)

    def stop(self, timeout: float) -> None:
        """Lets what is in flight end, at most `timeout` seconds."""
        if self._drain is not None:
            self._drain.stop(timeout)
        if "router" in self._roles:
            self.lanes.stop(timeout)
        if self._worker is not None:
            self._worker.stop(ENOUGH_SECONDS)
        if self._couriers is not None:
            self._couriers.stop(ENOUGH_SECONDS)

    def _wake(self, destination: str, number: int) -> None:
        """Asks for a way to be worked off, on whatever node. Raises what the bus raises."""
        if self._wakeups is not None:
            self._wakeups.wake(destination, number)
            return
        if self._couriers is not None:
            self._couriers.wake(destination, number)
        self._database.signal(WAYS, f"{destination} {number}")

    def _wake_softly(self, destination: str, number: int) -> None:
        """As `_wake`; where the bus is away, the sweep asks again and says so."""
        with contextlib.suppress(Exception):
            self._wake(destination, number)

    def _sends(self, setting: OutboundSetting) -> bool:
        return setting.entry.enabled and setting.spec.factory is not None

    def _destination(self, setting: OutboundSetting) -> Destination:
        settings = self._configured.settings
        context = OutboundContext(
            name=setting.name,
            spool=settings.spool_folder,
            work=settings.node_folder / spool.WORK,
            clock=self._clock,
            device=settings.device,
            report=self._report,
        )

        def outbound() -> Outbound:
            assert setting.spec.factory is not None, "the caller looked"
            made: Outbound = setting.spec.factory(setting.config, context)
            return made

        return Destination(
            name=setting.name,
            open=outbound,
            connections=setting.entry.connections,
            rate=setting.entry.rate,
            windows=[Window.parse(text) for text in setting.entry.windows],
            repeatable=setting.spec.repeatable,
        )

    def _executor(self, destination: Destination) -> Executor:
        return Executor(
            destination.name,
            self._database,
            destination.open,
            self._on_failure,
            self._clock,
            connections=destination.connections,
            rate=destination.rate,
            windows=destination.windows,
            repeatable=destination.repeatable,
            observe=self._observe,
        )
