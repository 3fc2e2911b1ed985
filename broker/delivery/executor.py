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
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from broker.adapter import Outbound, Receipt
from broker.delivery import ledger
from broker.delivery.breaker import Breaker
from broker.delivery.lanes import LaneBook
from broker.delivery.ledger import Open, Queued
from broker.delivery.pace import Pace, Window
from broker.delivery.retry import OnFailure, delay, judge, outcome_of
from broker.errors import BrokerError, StoreError, TransientDeliveryError, UnwritableError
from broker.store.database import Database, Transaction

log = structlog.get_logger("broker.delivery")

STORE_RETRY_SECONDS: Final = 1.0
"""Pause after the journal could not be read or written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unstored:
    """An outcome that the journal did not take; its lane waits until it does."""

    at: float
    write: Callable[[Transaction], object]
    settle: Callable[[], None]


class Executor:
    """Delivers what is open for one destination over `connections` ways, each with a thread of its own.

    `on_failure` says what a route wants, by its name; `observe` is told (destination, outcome) of every attempt.
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
        observe: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._destination = destination
        self._database = database
        self._outbound = outbound
        self._on_failure = on_failure
        self._clock = clock
        self._observe = observe
        self._book = LaneBook()
        self._breaker = Breaker()
        self._pace = Pace(rate)
        self._windows = tuple(windows)
        self._changed = threading.Condition()
        self._stopping = False
        self._storing = 0
        self._unstored: list[_Unstored] = []
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
            self._book.release(delivery)
            self._changed.notify_all()

    def drop(self, delivery: int) -> None:
        """A person gave a parked delivery up."""
        with self._changed:
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

    def _next(self) -> int | None:
        """Waits for a delivery that may leave; None when stopping."""
        with self._changed:
            while not self._stopping:
                now = self._now()
                self._store_again(now)
                wake = self._closed_until(now)
                if wake is None:
                    if (taken := self._book.take(now, probe=self._breaker.state != "closed")) is not None:
                        self._breaker.sending(taken)
                        self._pace.sent(now)
                        return taken
                    wake = self._book.wake_at()
                if self._unstored:
                    wake = min(wake or self._unstored[0].at, self._unstored[0].at)
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
            while (number := self._next()) is not None:
                self._deliver(outbound, number)
        finally:
            outbound.close()

    def _deliver(self, outbound: Outbound, number: int) -> None:
        try:
            opened = ledger.load(self._database.read(), number)
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
        if self._too_old(opened, wanted):
            with self._changed:
                self._breaker.abandoned(number)
            self._park(opened, "expired", "older than the route's max_age; not sent", wanted)
            return
        try:
            receipt = outbound.deliver(opened.delivery)
        except BrokerError as exc:
            self._failed(opened, exc, wanted)
        except Exception as exc:
            # Exception text of foreign code may quote what it handled: only its type is told.
            log.exception("delivery failed unexpectedly", destination=self._destination, delivery=number)
            self._failed(
                opened, TransientDeliveryError(f"unexpected {type(exc).__name__}; see the log"), wanted
            )
        else:
            self._delivered(opened, receipt)

    def _too_old(self, opened: Open, wanted: OnFailure) -> bool:
        """What a person released or replayed is wanted, however old it is."""
        if wanted.max_age is None or opened.by_hand:
            return False
        return self._clock() - opened.created > timedelta(seconds=wanted.max_age)

    def _delivered(self, opened: Open, receipt: Receipt) -> None:
        at = self._clock().isoformat()
        self._reached()
        self._observe(self._destination, "delivered")
        number = opened.delivery.id
        self._store(lambda tx: ledger.finish(tx, opened, receipt, at), lambda: self._book.done(number))

    def _failed(self, opened: Open, error: BrokerError, wanted: OnFailure) -> None:
        now = self._clock()
        failing_for = (now - opened.failing_since).total_seconds() if opened.failing_since else 0.0
        pauses = self._blame(opened, error, wanted)
        failure = judge(error, wanted, refusals=opened.refusals, failing_for=failing_for, ill=pauses > 0)
        self._observe(self._destination, failure.outcome)
        if failure.park:
            self._park(opened, failure.outcome, str(error), wanted)
            return
        # An unreachable destination is no fault of the delivery, so that its own attempts do not count.
        failures = pauses if failure.outcome == "unreachable" else max(pauses, opened.delivery.attempt)
        wait = delay(wanted.retry, failures, random.random())
        due, at, number = now.timestamp() + wait, now.isoformat(), opened.delivery.id
        outcome, detail, refusals = failure.outcome, str(error), failure.refusals
        # The first failure is news; those after it are only counted, or they would drown it. That a destination
        # cannot be reached was told once, when it was paused.
        news = opened.delivery.attempt == 1 and outcome != "unreachable"
        tell = log.warning if news else log.debug
        tell(
            "not delivered, will be tried again",
            destination=self._destination,
            route=opened.delivery.route,
            delivery=number,
            attempt=opened.delivery.attempt,
            outcome=outcome,
            detail=detail,
            wait_seconds=round(wait, 1),
            alert=wanted.alert,
        )
        self._store(
            lambda tx: ledger.retry(tx, opened, outcome, detail, due, at, refusals=refusals),
            lambda: self._book.again(number, due),
        )

    def _blame(self, opened: Open, error: BrokerError, wanted: OnFailure) -> int:
        """Tells the breaker of a failure; returns how many pauses in a row the destination has earned by now."""
        outcome = outcome_of(error)
        with self._changed:
            before = self._breaker.state
            if outcome == "refused":
                ill = self._breaker.refused(opened.delivery.id)
            elif outcome == "ask":
                self._breaker.abandoned(opened.delivery.id)  # the destination may not even have been asked
                ill = False
            else:
                ill = self._breaker.failed(opened.delivery.id, unreachable=outcome == "unreachable")
            failures = self._breaker.failures
            if ill:
                self._breaker.pause(self._now() + delay(wanted.retry, failures, random.random()))
            self._changed.notify_all()
        if ill and before == "closed":
            log.warning(
                "the destination is paused",
                destination=self._destination,
                detail=str(error),
                alert=wanted.alert,
            )
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

    def _park(self, opened: Open, outcome: str, detail: str, wanted: OnFailure) -> None:
        at, number = self._clock().isoformat(), opened.delivery.id
        log.error(
            "parked: a person must decide (`broker parked show`)",
            destination=self._destination,
            route=opened.delivery.route,
            delivery=number,
            attempt=opened.delivery.attempt,
            outcome=outcome,
            detail=detail,
            alert=wanted.alert,
        )
        self._observe(self._destination, "parked")
        with self._changed:
            # Before it is on disk: a person who sees it there may release it at once, and the book must know it.
            self._book.park(number)
            self._changed.notify_all()
        self._store(lambda tx: ledger.park(tx, opened, outcome, detail, at), lambda: None)

    def _store(self, write: Callable[[Transaction], object], settle: Callable[[], None]) -> None:
        """Hands an outcome to the journal and goes on with other lanes; this one waits until it is on disk.

        What stands behind it must not leave before: a start after a crash would repeat the older message after
        the newer one.
        """
        with self._changed:
            self._storing += 1
        self._hand_in(write, settle)

    def _hand_in(self, write: Callable[[Transaction], object], settle: Callable[[], None]) -> None:
        try:
            future = self._database.write(write, urgent=True)
        except StoreError:
            self._not_stored(write, settle)
            return
        future.add_done_callback(lambda done: self._stored(done, write, settle))

    def _stored(
        self, future: Future[object], write: Callable[[Transaction], object], settle: Callable[[], None]
    ) -> None:
        if (error := future.exception()) is not None:
            if not isinstance(error, UnwritableError):  # which was told where it began
                log.error(
                    "the outcome of a delivery cannot be stored",
                    destination=self._destination,
                    exc_info=error,
                )
            self._not_stored(write, settle)
            return
        with self._changed:
            self._storing -= 1
            settle()
            self._changed.notify_all()

    def _not_stored(self, write: Callable[[Transaction], object], settle: Callable[[], None]) -> None:
        with self._changed:
            self._unstored.append(_Unstored(at=self._now() + STORE_RETRY_SECONDS, write=write, settle=settle))
            self._changed.notify_all()

    def _store_again(self, now: float) -> None:
        """Hands in again what the journal did not take. The caller holds the lock, which the hand-in may ask for."""
        while self._unstored and self._unstored[0].at <= now:
            again = self._unstored.pop(0)
            self._hand_in(again.write, again.settle)
