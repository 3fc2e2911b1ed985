"""Works one way of a destination off: takes its lease, claims, sends, stores, gives it back. For lanes in SQL.

Whoever calls is woken by a name and a number, and may be woken for nothing, twice, or on two nodes at once: one of them
gets the way. Not here: who wakes whom, threads, Celery.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog

from broker.adapter import Delivery, Outbound, Receipt
from broker.delivery import attempt, ways
from broker.delivery.attempt import Ending
from broker.delivery.breaker import State
from broker.delivery.lanes import AHEAD
from broker.delivery.outcomes import Outcomes, Write
from broker.delivery.pace import Pace, Window
from broker.delivery.retry import OnFailure, asked_for, delay
from broker.delivery.stored import Open
from broker.delivery.ways import Claimed
from broker.errors import BrokerError, StoreError
from broker.store.database import Database
from broker.store.heartbeat import Heartbeat
from broker.store.lease import Held, Lease, LostLeaseError
from broker.store.transaction import Transaction

log = structlog.get_logger("broker.delivery")

TURN_SECONDS: Final = 2.0
"""How long a way is worked off at most before others may have it: workers share a destination's ways by taking turns.
Turns differ in length, or all ways of a destination would change hands at once, and never be shared."""

FEWEST: Final = 4
MOST: Final = 64
"""How much is claimed at once: about as much as leaves in `CLAIM_SECONDS`, so that no way sits on what others could
send."""

CLAIM_SECONDS: Final = 0.25

STORE_RETRY_SECONDS: Final = 1.0
"""Pause after the journal could not be written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """What is to be known of a destination to send to it."""

    name: str
    open: Callable[[], Outbound]
    connections: int
    rate: float | None = None
    windows: Sequence[Window] = ()
    repeatable: Callable[[bytes], bool] = lambda _: False
    """See `broker.adapter.OutboundSpec`."""

    def closed(self, now: datetime) -> bool:
        """Whether none of its windows is open."""
        return bool(self.windows) and min(window.opens(now) for window in self.windows) > now

    @property
    def ways(self) -> int:
        """Ways that are used at once. One that wants a certain pace has one: several could not keep it together."""
        return 1 if self.rate is not None else self.connections


@dataclass(slots=True)
class _Turn:
    """One taking of a way."""

    held: Held
    ended: float
    """When the turn is over, by `time.monotonic()`."""
    outcomes: dict[str, Outcomes] = field(default_factory=dict)
    """By lane."""
    ahead: set[str] = field(default_factory=set)
    """Lanes whose last delivery may be repeated."""
    late: bool = False
    """The way had been lost when one of them came to the disk."""
    limit: int = FEWEST


class Drain:
    """Drains the ways of the destinations that it is given. One for each process; `run` may be called by any thread."""

    def __init__(
        self,
        database: Database,
        heartbeat: Heartbeat,
        owner: str,
        destinations: Sequence[Destination],
        on_failure: Callable[[str], OnFailure],
        clock: Callable[[], datetime],
        *,
        wake: Callable[[str, int], None],
        observe: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        """`owner` names this process and no other. `wake` asks for another way of a destination to be worked off."""
        self._database = database
        self._heartbeat = heartbeat
        self._owner = owner
        self._destinations = {destination.name: destination for destination in destinations}
        self._on_failure = on_failure
        self._clock = clock
        self._wake = wake
        self._observe = observe
        self._stopping = threading.Event()
        self._running: set[tuple[str, int]] = set()
        self._last: dict[str, str] = {}
        """Destination to the lane at which the next claim goes on."""
        self._changed = threading.Condition()

    def stop(self, timeout: float) -> None:
        """Every `run` ends after the delivery that it has in hand; waits for that."""
        self._stopping.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._running, timeout)

    def run(self, name: str, number: int) -> bool:
        """Works a way off for one turn; returns whether there is more to do.

        Raises `StoreError` where the journal cannot be used at all.
        """
        destination = self._destinations.get(name)
        if destination is None or number >= destination.ways or self._closed(destination):
            return False
        with self._changed:  # woken twice: the turn that runs looks for more when it ends
            if self._stopping.is_set() or (name, number) in self._running:
                return False
            self._running.add((name, number))
        try:
            if not self._turn(destination, number):
                return False  # who has it looks for more behind its own turn
        finally:
            with self._changed:
                self._running.discard((name, number))
                self._changed.notify_all()
        # Looked at behind everything: what was committed while the way still looked taken woke nobody.
        return (
            not self._stopping.is_set()
            and not self._closed(destination)
            and ways.anything(self._database.read(), name, number)
        )

    def _turn(self, destination: Destination, number: int) -> bool:
        """Whether the way was to be had."""
        asked, name = time.monotonic(), destination.name
        taken = self._database.write(partial(self._take, destination, number), urgent=True).result()
        if taken is None:
            return False
        way, claimed = taken
        held = self._heartbeat.keep(way, asked)
        turn = _Turn(held=held, ended=time.monotonic() + TURN_SECONDS * random.uniform(0.25, 1.0))
        try:
            self._work(destination, number, turn, claimed)
        except LostLeaseError:
            log.warning("a way was lost: another node has taken over", destination=name)
        finally:
            try:
                self._settle(turn)
            finally:  # whatever became of it: a way that is renewed and not worked off would be nobody's for ever
                self._heartbeat.leave(held)
                work = partial(ways.give_back, way=way, destination=name)
                self._database.write(work, urgent=True).result()
        return True

    def _take(self, destination: Destination, number: int, tx: Transaction) -> tuple[Lease, Claimed] | None:
        way = ways.take(tx, destination.name, number, self._owner)
        if way is None:
            return None
        return way, ways.claim(tx, way, destination.name, FEWEST, self._last.get(destination.name, ""))

    def _closed(self, destination: Destination) -> bool:
        return destination.closed(self._clock())

    def _work(self, destination: Destination, number: int, turn: _Turn, claimed: Claimed) -> None:
        if not claimed.deliveries:
            return
        outbound, pace = _Lazy(destination), Pace(destination.rate)
        try:
            while claimed.deliveries:
                if len(claimed.deliveries) >= turn.limit and number + 1 < destination.ways:
                    self._wake(destination.name, number + 1)
                self._last[destination.name] = claimed.last
                began = time.monotonic()
                if not self._send(destination, outbound, pace, turn, claimed):
                    return
                took = time.monotonic() - began
                turn.limit = _next_limit(turn.limit, len(claimed.deliveries), took)
                if self._stopping.is_set() or self._closed(destination):
                    return
                claimed = self._claim(destination, turn)
        finally:
            outbound.close()
            # Whoever has the way next begins without a pace of his own.
            self._stopping.wait(max(0.0, pace.next_at - self._clock().timestamp()))

    def _claim(self, destination: Destination, turn: _Turn) -> Claimed:
        asked = time.monotonic()
        name, after = destination.name, self._last.get(destination.name, "")
        work = partial(ways.claim, way=turn.held.lease, destination=name, limit=turn.limit, after=after)
        # Behind the outcomes, and mostly in their commit. What is not stored by then is claimed still: it is not given
        # again, nor what stands behind it.
        claiming = self._database.write(work, urgent=True)
        stored = self._settle(turn)
        claimed: Claimed = claiming.result()
        turn.held.renewed(asked)
        return claimed if stored else replace(claimed, deliveries=())

    def _send(
        self, destination: Destination, outbound: Outbound, pace: Pace, turn: _Turn, claimed: Claimed
    ) -> bool:
        """Sends what was claimed; False where the way is to be given back at once, with what was not sent."""
        failed: set[str] = set()
        for place, opened in enumerate(claimed.deliveries):
            if place and time.monotonic() >= turn.ended:
                return False
            lane = opened.delivery.lane
            if lane in failed:
                continue
            repeatable = attempt.may_repeat(destination.repeatable, opened)
            most = AHEAD - 1 if repeatable and lane in turn.ahead else 0
            if not self._stored(turn, lane, most):
                return False
            (turn.ahead.add if repeatable else turn.ahead.discard)(lane)
            if self._stopping.is_set() or not self._may_go(destination, pace, turn):
                return False
            wanted = self._on_failure(opened.delivery.route)
            result = attempt.send(outbound, _confirmed(opened, turn.held), wanted, self._clock)
            if isinstance(result, LostLeaseError):
                log.warning(
                    "the lease ran out before it left: a way is given back", destination=destination.name
                )
                return False
            if isinstance(result, Receipt):
                self._end(turn, opened, attempt.taken(result, self._clock()), wanted, claimed.probe)
                continue
            failed.add(lane)
            behind = [
                other.delivery.id for other in claimed.deliveries[place + 1 :] if other.delivery.lane == lane
            ]
            if self._failed(turn, opened, result, wanted, claimed.probe, behind):
                return False
        return time.monotonic() < turn.ended

    def _may_go(self, destination: Destination, pace: Pace, turn: _Turn) -> bool:
        """Waits until the pace allows it; False where the lease may be another node's by then."""
        wait = pace.next_at - self._clock().timestamp()
        if wait > 0 and self._stopping.wait(wait):
            return False
        pace.sent(self._clock().timestamp())
        if not turn.held.sure:
            log.warning("the journal was away too long: a way is given back", destination=destination.name)
            return False
        return True

    def _end(self, turn: _Turn, opened: Open, ending: Ending, wanted: OnFailure, probe: bool) -> None:
        """The destination took it: stored while other lanes go on, and this one where it may be repeated."""
        name = opened.delivery.destination
        self._observe(name, ending.outcome)
        attempt.tell(ending, opened, wanted)

        def write(tx: Transaction) -> bool:
            ways.close_breaker(tx, name)
            return ending.write(tx, opened)

        self._hand_in(turn, opened.delivery.lane, write, patient=opened.delivery.lane in turn.ahead)
        if probe:
            log.info("the destination answers again", destination=name)

    def _failed(
        self,
        turn: _Turn,
        opened: Open,
        error: BrokerError,
        wanted: OnFailure,
        probe: bool,
        behind: Sequence[int],
    ) -> bool:
        """Stores a failure and waits until that is done; True where the destination is ill now, or the way lost."""
        name, jitter = opened.delivery.destination, random.random()
        told: list[tuple[Ending, State, State]] = []

        def write(tx: Transaction) -> bool:
            now = tx.now()
            breaker = ways.change_breaker(tx, name)
            before = breaker.state
            if probe:
                breaker.sending(opened.delivery.id)
            if attempt.blame(breaker, opened, error):
                breaker.pause(now + delay(wanted.retry, breaker.failures, jitter, asked_for(error)))
            ways.save_breaker(tx, name, breaker)
            if behind:
                ways.release(tx, turn.held.lease, behind)
            at = datetime.fromtimestamp(now, UTC)
            ending = attempt.failed(opened, error, wanted, pauses=breaker.failures, at=at, jitter=jitter)
            told[:] = [(ending, before, breaker.state)]
            return ending.write(tx, opened)

        lane = opened.delivery.lane
        self._hand_in(turn, lane, write)
        stored = self._stored(turn, lane)
        if not told:
            return True  # the journal was away until the stop
        ending, before, after = told[0]
        self._observe(name, "parked" if ending.state == "parked" else ending.outcome)
        attempt.tell(ending, opened, wanted)
        if before == "closed" != after:
            attempt.tell_paused(name, ending.detail, wanted)
        elif before != "closed" == after:
            log.info("the destination answers again", destination=name)
        return not stored or after != "closed"

    def _hand_in(self, turn: _Turn, lane: str, write: Write, *, patient: bool = False) -> None:
        def settle(written: bool) -> None:
            if not written:
                log.warning("an outcome came too late: another node has the delivery")
                turn.late = True

        turn.outcomes.setdefault(lane, Outcomes(self._database)).add(write, settle, patient=patient)

    def _stored(self, turn: _Turn, lane: str, most: int = 0) -> bool:
        """Waits until no more than `most` outcomes of a lane are not on disk.

        False where one was not this way's to store, or a stop gave them up. What a stop gives up is sent again, by
        whoever has the way then.
        """
        outcomes = turn.outcomes.get(lane)
        while outcomes is not None and len(outcomes) > most:
            try:
                outcomes.hand_in().result()
            except StoreError:
                if self._stopping.wait(STORE_RETRY_SECONDS):
                    return False
        return not turn.late

    def _settle(self, turn: _Turn) -> bool:
        """Waits until every outcome is on disk; whether all of them are."""
        # Every one, whatever became of the first.
        stored = [self._stored(turn, lane) for lane in turn.outcomes]
        turn.outcomes.clear()
        return all(stored)


class _Lazy:
    """An outbound that is opened for its first delivery, so that one that cannot be is a failed attempt."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._opened: Outbound | None = None

    def deliver(self, delivery: Delivery) -> Receipt:
        if self._opened is None:
            self._opened = self._destination.open()
        return self._opened.deliver(delivery)

    def close(self) -> None:
        try:
            if self._opened is not None:
                self._opened.close()
        except Exception:  # what was sent is sent, and foreign code must not keep the way
            log.exception("a connection cannot be closed", destination=self._destination.name)


def _confirmed(opened: Open, held: Held) -> Open:
    """As it is, to be sent by nobody who does not hold the lease."""
    return replace(opened, delivery=replace(opened.delivery, confirm=held.confirm))


def _next_limit(limit: int, sent: int, seconds: float) -> int:
    """Twice as much, or half, as much as was claimed left fast enough, or did not."""
    if seconds > 2 * CLAIM_SECONDS:
        return max(FEWEST, limit // 2)
    return min(MOST, limit * 2) if sent >= limit and seconds < CLAIM_SECONDS else limit
