"""Whom the router tells of its work: lanes in this process's memory, or on PostgreSQL the ways of all nodes.

Not here: sending (`broker.delivery`), the threads that work ways off (`couriers`, `wakeups`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

import structlog

from broker.delivery import parked, stored, ways
from broker.delivery.drain import Destination
from broker.delivery.executor import Executor
from broker.errors import UnwritableError
from broker.runtime.pipeline import Routed
from broker.store import tally
from broker.store.database import Database
from broker.store.transaction import Transaction

log = structlog.get_logger("broker.router")

SWEEP_SECONDS: Final = 1.0
"""How often it is looked whether something could leave that nobody was woken for."""

PATIENCE_SECONDS: Final = 0.05
"""A way that is at work looks for more before it ends, which costs less than another way's beginning: only what still
waits after this gets one."""

AGAIN_SECONDS: Final = 5.0
"""After this a way that nobody took is asked for again, and each time after twice as long …"""

LONGEST_SECONDS: Final = 60.0
"""… but at least so often: wake-ups must not pile up where nobody takes any."""


class Lanes(Protocol):
    """What delivers, as router and broker see it."""

    def start(self) -> None:
        """Goes on with what a stop or a crash left. Raises `StoreError`."""

    def routed(self, routed: Sequence[Routed]) -> None:
        """Commit 2 is on disk."""

    def look(self) -> None:
        """Follows what people did since the last look. Raises `StoreError`."""

    def stop(self, timeout: float) -> None:
        """Lets what is in flight end."""

    def ill(self, tx: Transaction) -> Mapping[str, bool]:
        """By destination: whether it is paused."""


class MemoryLanes:
    """One executor for each destination, told everything: the only process that delivers."""

    def __init__(self, database: Database, executors: Mapping[str, Executor]) -> None:
        self._database = database
        self._executors = executors
        self._seen = 0

    def start(self) -> None:
        """See `Lanes`."""
        with self._database.snapshot() as tx:  # nothing that another process does can fall between the two
            self._seen = parked.last_intervention(tx)
            open_there = _open(tx, self._executors)
            for destination, found in itertools.groupby(stored.open_deliveries(tx), lambda q: q.destination):
                if destination in self._executors:
                    self._executors[destination].load(found)
        log.info(
            "deliveries to make",
            deliveries_to_make=open_there["queued"],
            deliveries_parked=open_there["parked"],
        )
        for executor in self._executors.values():
            executor.start()

    def routed(self, routed: Sequence[Routed]) -> None:
        """See `Lanes`."""
        for one in routed:
            for absorbed, survivor in one.joined:
                for executor in self._executors.values():
                    executor.join_lanes(absorbed, survivor)
            for queued in one.queued:
                # A destination that the settings no longer name keeps its deliveries in the journal.
                if queued.destination in self._executors:
                    self._executors[queued.destination].add(queued)

    def look(self) -> None:
        """See `Lanes`."""
        for number, action, state, delivery in parked.interventions(self._database.read(), self._seen):
            self._seen = number
            executor = self._executors.get(delivery.destination)
            if executor is None:
                continue
            if state in ("dropped", "withheld"):
                executor.drop(delivery.id)
            elif state == "queued" and action == "replay":
                executor.add(delivery)
            elif state == "queued":
                executor.release(delivery.id)

    def stop(self, timeout: float) -> None:
        """See `Lanes`."""
        stopping = [threading.Thread(target=e.stop, args=(timeout,)) for e in self._executors.values()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()

    def ill(self, tx: Transaction) -> Mapping[str, bool]:  # noqa: ARG002 - they know it themselves
        """See `Lanes`."""
        return {name: executor.state != "closed" for name, executor in self._executors.items()}


class SharedLanes:
    """Asks for ways to be worked off, wherever: after each commit 2, and every second what nobody was woken for.

    `wake` asks for a way of a destination; it may fail or be lost: the way is asked for again. Only the leader asks.
    """

    def __init__(
        self,
        database: Database,
        destinations: Sequence[Destination],
        wake: Callable[[str, int], None],
        leads: Callable[[], bool],
        clock: Callable[[], datetime],
        unanswered: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`unanswered` is told the destination each time that a way is asked for again because nobody took it."""
        self._database = database
        self._unanswered = unanswered
        self._destinations = {destination.name: destination for destination in destinations}
        self._clock = clock
        self._wake = wake
        self._leads = leads
        self._asked: dict[tuple[str, int], tuple[int, float, float]] = {}
        """Way to the term it had, when it may be asked for again, and how long that is."""
        self._touched: set[str] = set()
        self._later: dict[str, float] = {}
        """Destinations with ways at work to when it is looked whether they need another."""
        self._failing = False
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """See `Lanes`."""
        _open(self._database.read(), self._destinations)
        self._thread.start()

    def routed(self, routed: Sequence[Routed]) -> None:
        """See `Lanes`."""
        touched = {queued.destination for one in routed for queued in one.queued}
        if touched:
            with self._changed:
                self._touched |= touched
                self._changed.notify()

    def look(self) -> None:
        """What people did stands in the lanes themselves."""

    def stop(self, timeout: float) -> None:
        """See `Lanes`."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def ill(self, tx: Transaction) -> Mapping[str, bool]:
        """See `Lanes`."""
        return {name: ways.breaker_of(tx, name).state != "closed" for name in self._destinations}

    def _run(self) -> None:
        swept = 0.0
        while True:
            with self._changed:
                wait = min([swept + SWEEP_SECONDS, *self._later.values()]) - time.monotonic()
                self._changed.wait_for(lambda: self._stopping or bool(self._touched), max(0.0, wait))
                if self._stopping:
                    return
                touched, self._touched = self._touched, set()
            now = time.monotonic()
            due = {name for name, at in self._later.items() if at <= now}
            if now - swept >= SWEEP_SECONDS:
                swept, due = now, set(self._destinations)
            for name in due:
                self._later.pop(name, None)
            if self._leads():
                self._ask((touched | due) & self._destinations.keys(), due)

    def _ask(self, names: set[str], due: set[str]) -> None:
        try:
            for name in sorted(names):
                self._ask_for(name, patiently=name not in due)
        except UnwritableError:
            pass  # told where it began
        except Exception as exc:  # noqa: BLE001 - each transport of the bus has its own
            if not self._failing:
                log.warning("deliverers cannot be woken; they look for themselves", error=type(exc).__name__)
            self._failing = True
        else:
            self._failing = False

    def _ask_for(self, name: str, *, patiently: bool) -> None:
        destination = self._destinations[name]
        if destination.closed(self._clock()):
            return
        tx = self._database.read()
        free = ways.free(tx, name, destination.ways)
        if patiently and len(free) < destination.ways:
            self._later.setdefault(name, time.monotonic() + PATIENCE_SECONDS)
            return
        number, term = next(iter(free.items()), (None, 0))
        if number is None or not ways.anything(tx, name, number):
            return
        now, key = time.monotonic(), (name, number)
        before = self._asked.get(key)
        pause, again = AGAIN_SECONDS, before is not None and before[0] == term
        if before is not None and again:  # nobody took it since
            if now < before[1]:
                return
            pause = min(2 * before[2], LONGEST_SECONDS)
        # A worker that hangs may have taken the wake-up with it: every free way is asked for then.
        for another in free if again else (number,):
            self._wake(name, another)
        if again:
            self._unanswered(name)
        self._asked[key] = (term, now + pause, pause)


def _open(tx: Transaction, configured: Mapping[str, object]) -> Counter[str]:
    """How many deliveries are queued and parked; says where nobody delivers them."""
    waiting: Counter[str] = Counter()
    for destination, states in tally.deliveries(tx).items():
        open_there = {state: states.get(state, 0) for state in ("queued", "parked")}
        waiting.update(open_there)
        if destination not in configured and any(open_there.values()):
            log.warning(
                "a destination of open deliveries is not configured",
                destination=destination,
                deliveries=sum(open_there.values()),
            )
    return waiting
