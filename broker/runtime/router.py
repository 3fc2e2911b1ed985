"""The thread that makes commit 2: takes events from the journal in its order and tells the lanes what was opened.

It also tells them what people did to deliveries meanwhile, which another process wrote to the journal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from broker.delivery import parked
from broker.delivery.executor import Executor
from broker.errors import UnwritableError
from broker.journal import log as journal
from broker.runtime.pipeline import Pipeline, Routed, drain
from broker.store.database import Database, Transaction

log = structlog.get_logger("broker.router")

BATCH: Final = 16
"""Events per commit: an acknowledgement may have to wait for one batch."""

PRESSING_SECONDS: Final = 0.003
"""Where events follow each other within this, senders press: the next acknowledgement is already waited for."""

GATHER_SECONDS: Final = 0.005
"""While senders press, events are routed together after this: with a commit for each, every acknowledgement would wait
for that commit's disk too."""

LOOK_SECONDS: Final = 0.5
"""How often the journal is asked for interventions that another process wrote."""

RETRY_SECONDS: Final = 1.0
"""Pause after the journal could not be written."""


class Router:
    """Routes until stopped. `wake` is called after each commit 1; a missed wake costs nothing: the journal has it."""

    def __init__(
        self,
        database: Database,
        pipeline: Pipeline,
        executors: Mapping[str, Executor],
        on_routed: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_routed` is called after each commit 2."""
        self._database = database
        self._pipeline = pipeline
        self._executors = executors
        self._on_routed = on_routed
        self._seen = 0
        self._woken = 0.0
        self._pressing = False
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="router")

    def start(self, seen: int = 0) -> None:
        """Starts with what a crash left unrouted; interventions up to number `seen` are known to the lanes."""
        self._seen = seen
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
                self._look()
                while self._batch() and not self._enough.is_set():
                    pass
            except Exception as exc:
                # Whatever it is, this thread must not end. That the journal cannot be written was told where it began.
                if not isinstance(exc, UnwritableError):
                    log.exception("routing waits")
                if not stopping and not self._stopping.wait(RETRY_SECONDS):
                    self._work.set()
                    continue
            if stopping:
                return

    def _look(self) -> None:
        """What people did since the last look."""
        for number, action, state, delivery in parked.interventions(self._database.read(), self._seen):
            self._seen = number
            executor = self._executors.get(delivery.destination)
            if executor is None:
                continue
            if state == "dropped":
                executor.drop(delivery.id)
            elif state == "queued" and action == "replay":
                executor.add(delivery)
            elif state == "queued":
                executor.release(delivery.id)

    def _batch(self) -> bool:
        if not journal.any_waiting(self._database.read()):
            return False  # an idle broker writes nothing
        routed = self._database.write(self._commit).result()
        for one in routed:
            self._tell(one)
        self._on_routed()
        return len(routed) == BATCH

    def _commit(self, tx: Transaction) -> list[Routed]:
        return list(drain(tx, self._pipeline, BATCH))

    def _tell(self, routed: Routed) -> None:
        for absorbed, survivor in routed.joined:
            for executor in self._executors.values():
                executor.join_lanes(absorbed, survivor)
        for queued in routed.queued:
            executor_of(self._executors, queued.destination)(queued)


def executor_of(executors: Mapping[str, Executor], destination: str) -> Callable[..., None]:
    """Where a delivery goes. A destination that the settings no longer name keeps its deliveries in the journal."""
    executor = executors.get(destination)
    return executor.add if executor is not None else lambda *_: None
