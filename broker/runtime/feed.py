"""The thread that publishes the event log on the bus: at least once, as it was routed, never in anybody's way.

It keeps its place in the journal and moves on after the bus confirmed. Where the bus lost its data it goes back by
`bus_repeat`; further back goes a person (`broker bus rewind`). Without a bus that others can reach it does not run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from broker.bus.connection import FIRST_PAUSE, LONGEST_PAUSE
from broker.bus.publisher import Publisher, publishing
from broker.journal import cursor as place
from broker.journal.cursor import Cursor
from broker.settings import Settings
from broker.store.database import Database
from broker.store.transaction import Transaction

log = structlog.get_logger("broker.feed")

BATCH: Final = 250
"""Events that are confirmed together."""

LOOK_SECONDS: Final = 1.0
"""How often the log is looked at without a wake: another process may write it."""

GATHER_SECONDS: Final = 0.02
"""After a wake: events that come together are published together, and acknowledgements leave first."""

SAVE_SECONDS: Final = 1.0
"""How often the place is written down; after a crash so much is published again."""

CHECK_SECONDS: Final = 5.0
"""How often the bus is asked whether it still has its data, while the connection stands."""


class BusLost(Exception):  # noqa: N818 - a state of the bus
    """The bus answers, and is not what it was."""


class Feed:
    """Publishes until stopped. `wake` may be called after each commit 2; a missed wake costs a second."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        clock: Callable[[], datetime],
        published: Callable[[int], None] = lambda _number: None,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """`leads`: whether this node is the one that publishes. Two that think so publish the same twice."""
        self._database = database
        self._address = settings.bus
        self._queues = settings.broker.bus_queues
        self._repeat = timedelta(seconds=settings.broker.bus_repeat)
        self._clock = clock
        self._published = published
        self._leads = leads
        self._connected = False
        self._work = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus-feed", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the bus took or confirmed something of late."""
        return self._connected

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Events were routed."""
        self._work.set()

    def stop(self, timeout: float) -> None:
        """Ends after the batch in hand; the rest is in the journal."""
        self._stopping.set()
        self._work.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        pause, told = FIRST_PAUSE, False
        while not self._stopping.is_set():
            if not self._leads():
                self._stopping.wait(LOOK_SECONDS)
                continue
            try:
                start = self._database.write(place.ensure, urgent=True).result()
                with publishing(self._address, start.name) as publisher:
                    start = self._arrive(publisher, start)
                    self._connected = True
                    log.info("the bus is connected", bus=str(self._address))
                    self._follow(publisher, start)
            except BusLost:
                pass  # told when it is found missing after the next connection
            except Exception as exc:  # noqa: BLE001 - each transport has its own, py-amqp even AttributeError
                told = told and not self._connected
                if not told:
                    log.warning("the bus does not answer", bus=str(self._address), error=type(exc).__name__)
                told = True
            if self._connected:
                pause = FIRST_PAUSE
            self._connected = False
            self._stopping.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _arrive(self, publisher: Publisher, start: Cursor) -> Cursor:
        """Where to go on. The mark is left last: dying in between must not hide that the bus lost something."""
        publisher.set_up(self._queues)
        if publisher.intact():
            return start
        back = place.before(self._database.read(), self._clock() - self._repeat)
        start = self._database.write(partial(place.rewind, event=back), urgent=True).result()
        log.warning("the bus is new or lost its data: publishing again", events=self._lag(start))
        publisher.mark()
        return start

    def _follow(self, publisher: Publisher, saved: Cursor) -> None:
        """Publishes what comes, until stopped or until something fails."""
        at, checked, written = saved.event or 0, time.monotonic(), time.monotonic()
        while not self._stopping.is_set() and self._leads():
            self._work.clear()
            events = place.behind(self._database.read(), at, BATCH)
            if events:
                publisher.publish([event for _, event in events])
                at = events[-1][0]
                self._published(len(events))
            now = time.monotonic()
            if now - checked >= CHECK_SECONDS:
                checked = now
                publisher.idle()
                if not publisher.intact():
                    raise BusLost
            if now - written >= SAVE_SECONDS:
                written = now
                saved = self._save(saved, at)
                at = saved.event or 0
            if len(events) < BATCH:
                self._work.wait(LOOK_SECONDS)
                self._stopping.wait(GATHER_SECONDS)
        if self._leads():
            self._save(saved, at)

    def _save(self, saved: Cursor, at: int) -> Cursor:
        """Writes the place down; where a person went back meanwhile, theirs is the place.

        Urgent though nobody waits: as an ordinary job it would take the routing's turn, for one short row.
        """
        now = self._database.read()
        if (current := place.get(now)) is not None and current.rewinds != saved.rewinds:
            log.info("publishing again, as a person asked", events=self._lag(current))
            return current
        if saved.event == at:
            return saved

        def move(tx: Transaction) -> Cursor:
            return place.advance(tx, saved, at, self._clock()) or place.ensure(tx)

        return self._database.write(move, urgent=True).result()

    def _lag(self, cursor: Cursor) -> int:
        return place.lag(self._database.read(), cursor)
