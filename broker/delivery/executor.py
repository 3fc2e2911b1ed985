"""Threads that work the lanes off: one executor per destination, so that a dead one blocks only itself.

A destination that cannot be reached pauses as a whole, because the next lane would fail too; one that does not
take a delivery delays only that patient's lane. Both are tried again without end, with backoff, in plain sight.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

import structlog

from broker.adapter import Delivery, Outbound, Receipt
from broker.delivery import ledger
from broker.delivery.lanes import LaneBook
from broker.delivery.ledger import Queued
from broker.delivery.retry import OnFailure, delay
from broker.errors import BrokerError, StoreError, TransientDeliveryError, UnreachableError
from broker.store.sqlite import Database, Transaction

log = structlog.get_logger("broker.delivery")

STORE_RETRY_SECONDS: Final = 1.0
"""Pause after the journal could not be read or written."""


class Executor:
    """Delivers what is open for one destination over `connections` ways, each with a thread of its own.

    `on_failure` says what a route wants, by its name.
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
        observe: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._destination = destination
        self._database = database
        self._outbound = outbound
        self._on_failure = on_failure
        self._clock = clock
        self._observe = observe
        self._book = LaneBook()
        self._changed = threading.Condition()
        self._stopping = False
        self._given_up = threading.Event()
        self._paused_until = 0.0
        self._unreachable = 0  # failures in a row to reach the destination
        self._threads = [
            threading.Thread(target=self._work, name=f"deliver-{destination}-{n}", daemon=True)
            for n in range(connections)
        ]

    def start(self) -> None:
        """Starts the threads; what `add` was given before is open from the first moment."""
        for thread in self._threads:
            thread.start()

    def add(self, queued: Queued) -> None:
        """A delivery was committed."""
        with self._changed:
            self._book.add(queued.id, queued.lane, queued.due)
            self._changed.notify()

    def join_lanes(self, absorbed: str, survivor: str) -> None:
        """A merge was committed."""
        with self._changed:
            self._book.join(absorbed, survivor)
            self._changed.notify_all()

    def stop(self, timeout: float) -> bool:
        """Lets what is in flight end, at most `timeout` seconds. Returns whether every thread ended."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._given_up.set()
        deadline = self._now() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - self._now()))
        return not any(thread.is_alive() for thread in self._threads)

    def _now(self) -> float:
        return self._clock().timestamp()

    def _next(self) -> int | None:
        """Waits for a delivery that may leave; None when stopping."""
        with self._changed:
            while not self._stopping:
                now = self._now()
                if now >= self._paused_until:
                    if (taken := self._book.take(now)) is not None:
                        return taken
                    wake = self._book.wake_at()
                else:
                    wake = self._paused_until
                self._changed.wait(None if wake is None else max(0.01, wake - now))
        return None

    def _work(self) -> None:
        outbound = self._outbound()
        try:
            while (number := self._next()) is not None:
                self._deliver(outbound, number)
        finally:
            outbound.close()

    def _deliver(self, outbound: Outbound, number: int) -> None:
        try:
            delivery = ledger.load(self._database.read(), number)
        except Exception:
            log.exception("a delivery cannot be read", destination=self._destination, delivery=number)
            with self._changed:
                self._book.again(number, self._now() + STORE_RETRY_SECONDS)
            return
        try:
            receipt = outbound.deliver(delivery)
        except BrokerError as exc:
            self._failed(delivery, exc)
        except Exception as exc:
            # Exception text of foreign code may quote what it handled: only its type is told.
            log.exception("delivery failed unexpectedly", destination=self._destination, delivery=number)
            self._failed(delivery, TransientDeliveryError(f"unexpected {type(exc).__name__}; see the log"))
        else:
            self._delivered(delivery, receipt)

    def _delivered(self, delivery: Delivery, receipt: Receipt) -> None:
        at = self._clock().isoformat()
        self._store(lambda tx: ledger.finish(tx, delivery, receipt, at))
        self._observe(self._destination, "delivered")
        with self._changed:
            self._unreachable, self._paused_until = 0, 0.0
            self._book.done(delivery.id)
            self._changed.notify_all()

    def _failed(self, delivery: Delivery, error: BrokerError) -> None:
        unreachable = isinstance(error, UnreachableError)
        failures = delivery.attempt
        with self._changed:
            if unreachable:
                self._unreachable += 1
                failures = self._unreachable
        wanted = self._on_failure(delivery.route)
        wait = delay(wanted.retry, failures, random.random())
        due, at = self._now() + wait, self._clock().isoformat()
        outcome, detail = _outcome(error), str(error)
        self._store(lambda tx: ledger.retry(tx, delivery, outcome, detail, due, at))
        self._observe(self._destination, outcome)
        log.warning(
            "not delivered, will be tried again",
            destination=self._destination,
            route=delivery.route,
            delivery=delivery.id,
            attempt=delivery.attempt,
            outcome=outcome,
            detail=detail,
            wait_seconds=round(wait, 1),
            alert=wanted.alert,
        )
        with self._changed:
            if unreachable:
                self._paused_until = due
            self._book.again(delivery.id, due)
            self._changed.notify_all()

    def _store(self, write: Callable[[Transaction], None]) -> None:
        """Writes an outcome, however long the journal cannot be written.

        What stands behind it in the lane must not leave before: the next start would repeat the older message after
        the newer one. At a stop the outcome is given up, and that start repeats this delivery.
        """
        while True:
            try:
                self._database.write(write).result()
            except StoreError:
                log.exception("the outcome of a delivery cannot be stored", destination=self._destination)
            else:
                return
            if self._given_up.wait(STORE_RETRY_SECONDS):
                return


def _outcome(error: BrokerError) -> str:
    if isinstance(error, UnreachableError):
        return "unreachable"
    return "failed" if isinstance(error, TransientDeliveryError) else "refused"
