"""The thread that makes commit 2, where this node leads: takes events from the journal and tells the lanes what opened.

Not here: who leads (`leader`), what delivers (`lanes`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog

from broker.errors import StoreError, UnwritableError
from broker.journal import log as journal
from broker.runtime.lanes import Lanes
from broker.runtime.leader import Leader
from broker.runtime.pipeline import Pipeline, Routed, drain
from broker.store.database import Database
from broker.store.lease import LostLeaseError
from broker.store.transaction import Transaction

log = structlog.get_logger("broker.router")

BATCH: Final = 16
"""Events per commit: an acknowledgement may have to wait for one batch."""

PRESSING_SECONDS: Final = 0.003
"""Where events follow each other within this, senders press: the next acknowledgement is already waited for."""

GATHER_SECONDS: Final = 0.005
"""While senders press, events are routed together after this: with a commit for each, every acknowledgement would wait
for that commit's disk too."""

LOOK_SECONDS: Final = 0.5
"""How often it is looked what another process wrote: events, interventions."""

STANDBY_SECONDS: Final = 1.0
"""How often a node that stands by looks whether it may lead."""

RETRY_SECONDS: Final = 1.0
"""Pause after the journal could not be written."""


class Router:
    """Routes until stopped. `wake` is called after each commit 1; a missed wake costs little: the journal has it.

    `routes` gives the pipeline of the routes that are live in a transaction, or None where nothing can be routed yet;
    `on_routed` is called after each commit 2.
    """

    def __init__(
        self,
        database: Database,
        routes: Callable[[Transaction], Pipeline | None],
        lanes: Lanes,
        leader: Leader,
        on_routed: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._routes = routes
        self._lanes = lanes
        self._leader = leader
        self._on_routed = on_routed
        self._woken = 0.0
        self._pressing = False
        self._work = threading.Event()
        self._failing = False
        self._stopping = threading.Event()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="router")

    def start(self) -> None:
        """Starts with what a crash left unrouted."""
        self._work.set()
        self._thread.start()

    def wake(self) -> None:
        """Events were committed."""
        now = time.monotonic()
        self._pressing = now - self._woken < PRESSING_SECONDS
        self._woken = now
        self._work.set()

    def stop(self, timeout: float) -> None:
        """Routes what waits for at most `timeout` seconds, then ends; the rest is in the journal."""
        self._stopping.set()
        self._work.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
            self._enough.set()
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._work.wait(LOOK_SECONDS)
            if self._pressing:
                self._stopping.wait(GATHER_SECONDS)
            self._work.clear()
            stopping = self._stopping.is_set()
            try:
                if self._leader.lead():
                    self._lanes.look()
                    while self._batch() and not self._enough.is_set():
                        pass
                elif not stopping:
                    self._stopping.wait(STANDBY_SECONDS)
                self._failing = False
            except LostLeaseError:
                self._leader.lost()
            except Exception as exc:
                # Whatever it is, this thread must not end. That the journal cannot be written was told where it began.
                if isinstance(exc, StoreError):
                    if not self._failing and not isinstance(exc, UnwritableError):
                        log.warning("routing waits: the journal cannot be read", error=str(exc))
                    self._failing = True
                else:
                    log.exception("routing waits")
                if not stopping and not self._stopping.wait(RETRY_SECONDS):
                    self._work.set()
                    continue
            if stopping:
                return

    def _batch(self) -> bool:
        if not journal.any_waiting(self._database.read()):
            return False  # an idle broker writes nothing
        routed = self._database.write(self._commit).result()
        self._lanes.routed(routed)
        self._on_routed()
        return len(routed) == BATCH

    def _commit(self, tx: Transaction) -> list[Routed]:
        self._leader.fence(tx)
        pipeline = self._routes(tx)
        return drain(tx, pipeline, BATCH) if pipeline is not None else []
