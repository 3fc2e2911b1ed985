"""`MemoryLanes` is tested with the router that feeds it (test_router.py)."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from broker.adapter import Outbound, Rendered, Target
from broker.delivery import ledger, ways
from broker.delivery.drain import Destination
from broker.delivery.ledger import Queued
from broker.delivery.pace import Window
from broker.runtime import lanes as module
from broker.runtime.lanes import SharedLanes
from broker.runtime.pipeline import Routed
from broker.store.database import Database
from broker.store.transaction import Transaction
from tests.support.events import cause
from tests.support.processes import wait_until

SECONDS = 10.0


def never() -> Outbound:
    raise AssertionError("who asks does not send")


DESTINATIONS = [
    Destination(name="epj", open=never, connections=2),
    Destination(name="pacs", open=never, connections=1),
    Destination(name="night", open=never, connections=1, windows=[Window.parse("22:00-04:00")]),
]


class Bell:
    """Whom it was rung for; fails while `broken`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.rung: list[tuple[str, int]] = []
        self.broken = False

    def __call__(self, name: str, number: int) -> None:
        with self._changed:
            self.rung.append((name, number))
            self._changed.notify_all()
        if self.broken:
            raise ConnectionRefusedError

    def wait_for(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.rung) >= number, SECONDS), self.rung


class Sweep:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.bell = Bell()
        self.leads = True
        self.unanswered: list[str] = []
        self.lanes = SharedLanes(
            database,
            DESTINATIONS,
            self.bell,
            lambda: self.leads,
            lambda: datetime(2026, 3, 9, 12, tzinfo=UTC),
            self.unanswered.append,
        )

    def enqueue(self, destination: str, lane: str = "K") -> Queued:
        def add(tx: Transaction) -> Queued:
            target = Target(route="r", version="v", place="r.yaml:1", kind="hl7", destination=destination)
            return ledger.enqueue(tx, cause(), lane, target, Rendered(payload=b"x"))

        return self.database.write(add).result()

    def ask(self) -> list[tuple[str, int]]:
        """Whom one look of every second asks for."""
        before, every = len(self.bell.rung), {"epj", "pacs", "night"}
        self.lanes._ask(every, every)
        return self.bell.rung[before:]


@pytest.fixture
def sweep(database: Database) -> Iterator[Sweep]:
    sweep = Sweep(database)
    yield sweep
    sweep.lanes.stop(SECONDS)


def test_a_way_is_asked_for_where_something_waits(sweep: Sweep) -> None:
    assert sweep.ask() == []
    sweep.enqueue("epj")
    assert sweep.ask() == [("epj", 0)]


def test_nobody_is_asked_outside_a_destinations_hours(sweep: Sweep) -> None:
    sweep.enqueue("night")
    assert sweep.ask() == []


def test_what_was_routed_is_asked_for_at_once(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 1000 * SECONDS)
    sweep.lanes.start()
    sweep.lanes.routed([Routed(queued=[sweep.enqueue("pacs")])])
    sweep.bell.wait_for(1)
    assert sweep.bell.rung == [("pacs", 0)]


def test_a_lost_wake_up_is_made_up_for(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody said that something was routed: the process died behind its commit."""
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.001)
    sweep.enqueue("epj")
    sweep.lanes.start()
    sweep.bell.wait_for(1)


def test_a_way_that_nobody_took_is_asked_for_less_and_less_often(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    sweep.enqueue("epj")
    asked, whom = [], []
    for _ in range(400):
        if found := sweep.ask():
            asked.append(now)
            whom.append(found)
        now += 1
    assert whom[0] == [("epj", 0)]
    assert whom[1] == [("epj", 0), ("epj", 1)], "who hangs may have taken the wake-up with it"
    pauses = [int(b - a) for a, b in itertools.pairwise(asked)]
    assert pauses[:5] == [5, 10, 20, 40, 60]
    assert set(pauses[4:]) == {60}
    assert sweep.unanswered == ["epj"] * len(pauses), "each time but the first"


def test_a_way_that_was_taken_meanwhile_is_asked_for_at_once(sweep: Sweep) -> None:
    """Its term tells: what was committed behind the end of a turn must not wait."""
    sweep.enqueue("epj")
    assert sweep.ask() == [("epj", 0)]
    assert sweep.ask() == []

    def turn(tx: Transaction) -> None:
        way = ways.take(tx, "epj", 0, "node")
        assert way is not None
        ways.give_back(tx, way, "epj")

    sweep.database.write(turn).result()
    assert sweep.ask() == [("epj", 0)]
    assert sweep.unanswered == []


def test_where_a_way_is_taken_the_next_is_asked_for_and_where_all_are_nobody(sweep: Sweep) -> None:
    sweep.enqueue("epj")
    sweep.database.write(lambda tx: ways.take(tx, "epj", 0, "node")).result()
    assert sweep.ask() == [("epj", 1)]
    sweep.database.write(lambda tx: ways.take(tx, "epj", 1, "node")).result()
    sweep.lanes._asked.clear()
    assert sweep.ask() == []


def test_where_a_way_is_at_work_only_what_still_waits_gets_another(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 1000 * SECONDS)
    sweep.database.write(lambda tx: ways.take(tx, "epj", 0, "node")).result()
    sweep.lanes._ask({"epj", "pacs"}, set())
    assert sweep.lanes._later.keys() == {"epj"}
    sweep.lanes.start()
    queued = [sweep.enqueue("epj"), sweep.enqueue("pacs")]
    sweep.lanes.routed([Routed(queued=queued)])
    sweep.bell.wait_for(2)
    assert set(sweep.bell.rung) == {("epj", 1), ("pacs", 0)}
    # Its first look may have found both already; then what was routed is looked at once more, and asked for no more.
    wait_until(lambda: sweep.lanes._later == {}, "nothing is to be looked at later")
    assert len(sweep.bell.rung) == 2


def test_who_does_not_lead_asks_nobody(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.001)
    sweep.leads = False
    looked = threading.Event()
    sweep.lanes._leads = lambda: looked.set() or False  # type: ignore[func-returns-value]
    sweep.enqueue("epj")
    sweep.lanes.start()
    assert looked.wait(SECONDS)
    sweep.lanes.stop(SECONDS)
    assert sweep.bell.rung == []


def test_a_bus_that_is_away_is_told_once_and_stops_nothing(sweep: Sweep) -> None:
    sweep.enqueue("epj")
    sweep.bell.broken = True
    with capture_logs() as logs:
        assert sweep.ask() == [("epj", 0)]
        assert sweep.ask() == [("epj", 0)], "it was not asked for: again"
    assert [entry["event"] for entry in logs] == ["deliverers cannot be woken; they look for themselves"]
    sweep.bell.broken = False
    assert sweep.ask() == [("epj", 0)]


def test_which_destinations_are_ill(sweep: Sweep) -> None:
    def fall_ill(tx: Transaction) -> None:
        breaker = ways.change_breaker(tx, "epj")
        breaker.failed(1, unreachable=True)
        ways.save_breaker(tx, "epj", breaker)

    sweep.database.write(fall_ill).result()
    assert sweep.lanes.ill(sweep.database.read()) == {"epj": True, "pacs": False, "night": False}
