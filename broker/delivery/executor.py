"""Threads that work the lanes off: one executor per destination, so that a dead one blocks only itself.

What may leave next is the `LaneBook`'s to say, whether the destination may be bothered the `Breaker`'s and the
`Pace`'s, what a failure means `retry.judge`'s. This module holds the threads, the clock and the journal together.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from broker.adapter import Outbound, Receipt
from broker.delivery import attempt
from broker.delivery.attempt import Ending
from broker.delivery.breaker import Breaker
from broker.delivery.lanes import LaneBook
from broker.delivery.ledger import Queued
from broker.delivery.outcomes import Outcomes, Write
from broker.delivery.pace import Pace, Window
from broker.delivery.reading import Reading
from broker.delivery.retry import OnFailure, asked_for, delay
from broker.delivery.stored import Open
from broker.errors import BrokerError, StoreError
from broker.store.database import Database

log = structlog.get_logger("broker.delivery")

STORE_RETRY_SECONDS: Final = 1.0
"""Pause after the journal could not be read or written."""


class Executor:
    """Delivers what is open for one destination over `connections` ways, each with a thread of its own.

    `on_failure` says what a route wants, by its name; `repeatable` is that of `broker.adapter.OutboundSpec`; `observe`
    is told (destination, outcome) of every attempt.
    """

    def __init__(
        self,
        destination: str,
        database: Database,
        outbound: Callable[[], Outbound],
        on_failure: Callable[[str], OnFailure],
        clock: Callable[[], datetime],
        *,
        connections: int = 1,
        rate: float | None = None,
        windows: Sequence[Window] = (),
        repeatable: Callable[[bytes], bool] = lambda _: False,
        observe: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._destination = destination
        self._database = database
        self._outbound = outbound
        self._on_failure = on_failure
        self._clock = clock
        self._repeatable = repeatable
        self._observe = observe
        self._book = LaneBook()
        self._reading = Reading(database)
        self._breaker = Breaker()
        self._pace = Pace(rate)
        self._windows = tuple(windows)
        self._changed = threading.Condition()
        self._stopping = False
        self._storing = 0
        self._outcomes: dict[str, Outcomes] = {}
        """By the lane in which each left, whatever that is called since."""
        self._unstored: dict[str, float] = {}
        """Lanes with outcomes that the journal did not take, and when it is asked again."""
        self._threads = [
            threading.Thread(target=self._work, name=f"deliver-{destination}-{n}", daemon=True)
            for n in range(connections)
        ]

    @property
    def state(self) -> str:
        """Of the circuit breaker: closed, open or probing."""
        return self._breaker.state

    def start(self) -> None:
        """Starts the threads; what `load` and `add` were given before is open from the first moment."""
        for thread in self._threads:
            thread.start()

    def load(self, found: Iterable[Queued]) -> None:
        """What a start found open; before `start`."""
        with self._changed:
            for queued in found:
                self._book.add(queued.id, queued.lane, queued.due, parked=queued.parked)

    def add(self, queued: Queued) -> None:
        """A delivery was committed."""
        with self._changed:
            self._book.add(queued.id, queued.lane, queued.due, parked=queued.parked)
            self._changed.notify()

    def join_lanes(self, absorbed: str, survivor: str) -> None:
        """A merge was committed."""
        with self._changed:
            self._book.join(absorbed, survivor)
            self._changed.notify_all()

    def release(self, delivery: int) -> None:
        """A person let a parked delivery go on."""
        with self._changed:
            self._reading.forget()
            self._book.release(delivery)
            self._changed.notify_all()

    def drop(self, delivery: int) -> None:
        """A person gave a parked delivery up, or one that waited was withdrawn."""
        with self._changed:
            self._reading.forget()
            self._book.drop(delivery)
            self._changed.notify_all()

    def stop(self, timeout: float) -> bool:
        """Lets what is in flight end, at most `timeout` seconds. Returns whether all of it did.

        An outcome that the journal does not take by then is given up: the next start repeats that delivery.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            while self._storing and (left := deadline - time.monotonic()) > 0:
                self._store_again(self._now())
                self._changed.wait(min(left, STORE_RETRY_SECONDS))
            stored = not self._storing
        return stored and not any(thread.is_alive() for thread in self._threads)

    def _now(self) -> float:
        return self._clock().timestamp()

    def _next(self) -> tuple[int, str] | None:
        """Waits for a delivery that may leave, and says its lane too; None when stopping."""
        with self._changed:
            while not self._stopping:
                now = self._now()
                self._store_again(now)
                wake = self._closed_until(now)
                if wake is None:
                    if (taken := self._book.take(now, probe=self._breaker.state != "closed")) is not None:
                        self._breaker.sending(taken)
                        self._pace.sent(now)
                        return taken, self._book.lane_of(taken)
                    wake = self._book.wake_at()
                if self._unstored:
                    again = min(self._unstored.values())
                    wake = again if wake is None else min(wake, again)
                self._changed.wait(None if wake is None else max(0.01, wake - now))
        return None

    def _closed_until(self, now: float) -> float | None:
        """Until when nothing may leave for this destination; None when it may leave now."""
        if not self._breaker.may_send(now):
            # While a probe is under way there is nothing to wait for but its end, which notifies.
            return (
                max(self._breaker.until, now + 60.0)
                if self._breaker.state == "probing"
                else self._breaker.until
            )
        if self._windows:
            opens = min(window.opens(self._clock()) for window in self._windows).timestamp()
            if opens > now:
                return opens
        return self._pace.next_at if self._pace.next_at > now else None

    def _work(self) -> None:
        outbound = self._outbound()
        try:
            while (taken := self._next()) is not None:
                self._deliver(outbound, *taken)
        finally:
            outbound.close()

    def _deliver(self, outbound: Outbound, number: int, lane: str) -> None:
        try:
            opened = self._reading.load(number, partial(self._behind, number))
        except Exception:
            log.exception("a delivery cannot be read", destination=self._destination, delivery=number)
            with self._changed:
                self._breaker.abandoned(number)
                self._book.again(number, self._now() + STORE_RETRY_SECONDS)
            return
        wanted = self._on_failure(opened.delivery.route) if opened else None
        if opened is None or wanted is None:
            with self._changed:  # taken out by a person since
                self._breaker.abandoned(number)
                self._book.done(number)
            return
        repeatable = attempt.may_repeat(self._repeatable, opened)
        if not repeatable and self._waits(number):
            return
        result = attempt.send(outbound, opened, wanted, self._clock)
        if isinstance(result, Receipt):
            self._reached()
            self._end(lane, opened, attempt.taken(result, self._clock()), wanted, repeatable=repeatable)
            return
        self._reading.forget()
        pauses = self._blame(opened, result, wanted)
        at = self._clock()
        self._end(
            lane,
            opened,
            attempt.failed(opened, result, wanted, pauses=pauses, at=at, jitter=random.random()),
            wanted,
        )

    def _end(
        self, lane: str, opened: Open, ending: Ending, wanted: OnFailure, *, repeatable: bool = False
    ) -> None:
        attempt.tell(ending, opened, wanted)
        self._observe(self._destination, "parked" if ending.state == "parked" else ending.outcome)
        number = opened.delivery.id
        if ending.state == "parked":
            with self._changed:
                # Before it is on disk: a person who sees it there may release it at once, and the book must know it.
                self._book.park(number)
                self._changed.notify_all()

        def settle(written: bool) -> None:
            if ending.state == "delivered":
                self._book.done(number)
            elif ending.state == "queued":
                self._book.again(number, ending.due)
            elif not written:  # withdrawn while it was being sent
                self._book.drop(number)

        with self._changed:
            # Together: else the next one could be sent, and its outcome be handed in, before this one's is.
            if repeatable:
                self._book.sent(number)
            self._store(lane, partial(ending.write, opened=opened), settle, patient=repeatable)

    def _behind(self, number: int) -> list[int]:
        with self._changed:
            return self._book.behind(number)

    def _waits(self, number: int) -> bool:
        with self._changed:
            waits = self._book.waits(number)
            if waits:
                self._breaker.abandoned(number)
        return waits

    def _blame(self, opened: Open, error: BrokerError, wanted: OnFailure) -> int:
        """Tells the breaker of a failure; returns how many pauses in a row the destination has earned by now."""
        with self._changed:
            before = self._breaker.state
            ill = attempt.blame(self._breaker, opened, error)
            failures = self._breaker.failures
            if ill:
                pause = delay(wanted.retry, failures, random.random(), asked_for(error))
                self._breaker.pause(self._now() + pause)
            self._changed.notify_all()
        if ill and before == "closed":
            attempt.tell_paused(self._destination, str(error), wanted)
        elif before != "closed" and not failures:
            log.info("the destination answers again", destination=self._destination)
        return failures

    def _reached(self) -> None:
        with self._changed:
            closed = self._breaker.reached()
            if closed:
                self._changed.notify_all()
        if closed:
            log.info("the destination answers again", destination=self._destination)

    def _store(self, lane: str, write: Write, settle: Callable[[bool], None], *, patient: bool) -> None:
        """Hands an outcome to the journal and goes on. The caller holds the lock.

        What stands behind it leaves once it is on disk, or where they may be repeated some of it before that: a start
        after a crash must not repeat an older message after the newer one.
        """

        def settled(written: bool) -> None:
            with self._changed:
                self._storing -= 1
                if not self._outcomes[lane]:
                    del self._outcomes[lane]
                settle(written)
                self._changed.notify_all()

        self._storing += 1
        outcomes = self._outcomes.setdefault(lane, Outcomes(self._database))
        outcomes.add(write, settled, patient=patient).add_done_callback(partial(self._handed_in, lane))

    def _handed_in(self, lane: str, stored: Future[None]) -> None:
        if (error := stored.exception()) is None:
            return
        if not isinstance(error, StoreError):  # which was told where it began
            log.error(
                "the outcome of a delivery cannot be stored", destination=self._destination, exc_info=error
            )
        with self._changed:
            self._unstored[lane] = self._now() + STORE_RETRY_SECONDS
            self._changed.notify_all()

    def _store_again(self, now: float) -> None:
        """Hands in again what the journal did not take. The caller holds the lock."""
        for lane in [lane for lane, at in self._unstored.items() if at <= now]:
            del self._unstored[lane]
            if lane in self._outcomes:  # else a later one took it with it
                self._outcomes[lane].hand_in().add_done_callback(partial(self._handed_in, lane))
