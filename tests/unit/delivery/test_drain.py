"""A way worked off: real journal, ways and heartbeat on both engines; a destination that does what it is told."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.adapter import Delivery, Outbound, Receipt, Rendered, Target
from broker.delivery import drain as module
from broker.delivery import endings, ledger, parked, stored, ways
from broker.delivery.breaker import TRIP
from broker.delivery.drain import FEWEST, MOST, Destination, Drain
from broker.delivery.pace import Window
from broker.delivery.parked import By
from broker.errors import (
    AskPersonError,
    PermanentDeliveryError,
    RecipientError,
    TransientDeliveryError,
    UnreachableError,
    UnwritableError,
)
from broker.journal.intake import append
from broker.store import lease, writer
from broker.store.database import Database
from broker.store.heartbeat import Heartbeat
from broker.store.lease import Held, Lease
from broker.store.transaction import Transaction
from tests.support.delivering import OnFailure, Retry
from tests.support.events import START, cause, event, reception
from tests.unit.conftest import NewDatabase

SECONDS = 10.0
"""Longest wait for what must happen; nothing here waits for time to pass."""

BY = By(who="kari", at="2026-03-09T09:00:00+00:00", reason="asked the ward")


def wanted(max_age: float | None = None) -> OnFailure:
    """What is tried again is not due again within a test."""
    return OnFailure(retry=Retry(first=3600.0, max=36_000.0), max_age=max_age)


class System:
    """Takes what it is sent, unless the script says otherwise. `during` is called while one is being sent."""

    def __init__(self) -> None:
        self.script: dict[str, list[Exception]] = {}
        self.during: dict[str, Callable[[], object]] = {}
        self.tried: list[str] = []
        self.taken: list[str] = []
        self.opened = self.closed = 0
        self.broken: Exception | None = None
        self.confirms = False
        """Whether it looks at the lease behind `during`, as what sends over a network does."""
        self.lock = threading.Lock()

    def open(self) -> Outbound:
        self.opened += 1
        if self.broken is not None:
            raise self.broken
        return self

    def deliver(self, delivery: Delivery) -> Receipt:
        text = delivery.payload.decode()
        self.tried.append(text)
        if (during := self.during.pop(text, None)) is not None:
            during()
        if self.confirms:
            delivery.confirm()
        if self.script.get(text):
            raise self.script[text].pop(0)
        with self.lock:
            self.taken.append(text)
        return Receipt(detail="MSA-1 AA", answer=b"MSA|AA")

    def close(self) -> None:
        self.closed += 1


class House:
    """A journal, a destination, and as many nodes as a test wants."""

    def __init__(self, new_database: NewDatabase) -> None:
        self._new_database = new_database
        self._nodes: list[tuple[Drain, Heartbeat]] = []
        self.database = new_database()
        self.database.open()
        self.write(lambda tx: append(tx, reception(1, event("patient.registered"))))
        self.system = System()
        self.now = START
        self.woken: list[tuple[str, int]] = []
        self.outcomes: list[str] = []
        self.wanted = wanted()

    def node(self, *, connections: int = 4, database: Database | None = None, **options: Any) -> Drain:
        """One more: on PostgreSQL with a writer of its own."""
        if database is None:
            database = self.database
            if self._nodes and database.shared:
                database = self._new_database()
                database.open()
        heartbeat = Heartbeat(database)
        drain = Drain(
            database,
            heartbeat,
            f"node-{len(self._nodes)}",
            [Destination(name="epj", open=self.system.open, connections=connections, **options)],
            lambda route: self.wanted,
            lambda: self.now,
            wake=lambda name, number: self.woken.append((name, number)),
            observe=lambda name, outcome: self.outcomes.append(outcome),
        )
        self._nodes.append((drain, heartbeat))
        return drain

    def write(self, work: Callable[[Transaction], Any]) -> Any:
        return self.database.write(work).result(SECONDS)

    def queue(self, *texts: str) -> None:
        """Commits deliveries called `<lane><number>`."""
        target = Target(route="r", version="v1", place="r.yaml:1", kind="hl7", destination="epj")

        def work(tx: Transaction) -> None:
            for text in texts:
                ledger.enqueue(tx, cause(), text[0], target, Rendered(payload=text.encode()))

        self.write(work)

    def due(self) -> None:
        """Every pause is over."""

        def work(tx: Transaction) -> None:
            tx.execute("UPDATE delivery SET due=0")
            breaker = ways.breaker_of(tx, "epj")
            breaker.until = 0.0
            ways.save_breaker(tx, "epj", breaker)

        self.write(work)

    def take(self, number: int = 0, owner: str = "elsewhere") -> Lease:
        """Another node has it, or takes it over."""

        def work(tx: Transaction) -> Lease | None:
            tx.execute("UPDATE lease SET until=1 WHERE name=?", (ways.name("epj", number),))
            return ways.take(tx, "epj", number, owner)

        way = self.write(work)
        assert isinstance(way, Lease)
        return way

    def rows(self, columns: str = "state, attempt") -> dict[str, tuple[Any, ...]]:
        return {
            payload.decode(): tuple(rest)
            for payload, *rest in self.database.read().rows(
                f"SELECT payload, {columns} FROM delivery JOIN delivery_body_20260309 ON delivery=id ORDER BY id"
            )
        }

    def states(self) -> dict[str, str]:
        return {text: state for text, (state,) in self.rows("state").items()}

    def at_rest(self) -> None:
        """Nobody has a way or a delivery."""
        read = self.database.read()
        assert read.rows("SELECT name FROM lease WHERE owner<>'' AND owner<>'elsewhere'") == []
        assert (
            read.rows(
                "SELECT id FROM delivery WHERE claim IS NOT NULL AND claim NOT IN"
                " (SELECT term FROM lease WHERE owner<>'')"
            )
            == []
        )
        assert self.system.closed <= self.system.opened

    def stop(self) -> None:
        for drain, heartbeat in self._nodes:
            drain.stop(SECONDS)
            heartbeat.stop()


@pytest.fixture
def house(new_database: NewDatabase) -> Iterator[House]:
    house = House(new_database)
    yield house
    house.stop()


def work_off(drain: Drain, number: int = 0) -> int:
    """Turns until there is no more to do."""
    turns = 1
    while drain.run("epj", number):
        turns += 1
        assert turns < 200, "it never rests"
    return turns


# --- what leaves ---


def test_everything_leaves_in_the_order_of_its_lane(house: House) -> None:
    texts = [f"{lane}{n:02}" for n in range(30) for lane in "abc"]
    house.queue(*texts)
    work_off(house.node())

    assert set(house.states().values()) == {"delivered"}
    for lane in "abc":
        mine = [text for text in house.system.taken if text[0] == lane]
        assert mine == sorted(mine)
        assert len(mine) == 30
    assert house.rows("state, attempt, detail, answer, claim")["a00"] == (
        *("delivered", 1, "MSA-1 AA", b"MSA|AA", None),
    )
    assert house.outcomes == ["delivered"] * 90
    assert house.system.opened == house.system.closed
    house.at_rest()


def test_nodes_share_the_ways_and_keep_the_order(house: House) -> None:
    texts = [f"{lane}{n:02}" for n in range(12) for lane in "abcdefgh"]
    house.queue(*texts)
    nodes = [house.node(), house.node()]
    threads = [threading.Thread(target=work_off, args=(nodes[number % 2], number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS * 3)
    work_off(nodes[0])

    assert sorted(house.system.taken) == sorted(texts), "each of them once"
    for lane in "abcdefgh":
        mine = [text for text in house.system.taken if text[0] == lane]
        assert mine == sorted(mine)
    house.at_rest()


def test_a_wake_up_for_nothing_does_nothing(house: House) -> None:
    drain = house.node(connections=2)

    assert drain.run("epj", 0) is False
    assert drain.run("epj", 2) is False, "there is no such way"
    assert drain.run("pacs", 0) is False
    assert (house.system.opened, house.woken) == (0, [])
    house.at_rest()


def test_a_way_that_another_node_has_is_left_to_it(house: House) -> None:
    house.queue("a1")
    house.take(0)
    drain = house.node()

    assert drain.run("epj", 0) is False, (
        "whoever has it looks for more: asking again and again would slow it down"
    )
    assert house.system.tried == []
    assert drain.run("epj", 1) is False
    assert house.system.taken == ["a1"]


def test_a_way_that_runs_here_already_is_not_run_twice(house: House) -> None:
    drain = house.node()
    told: list[bool] = []
    house.queue("a1")
    house.system.during["a1"] = lambda: told.append(drain.run("epj", 0))
    work_off(drain)

    assert told == [False]
    assert house.system.tried == ["a1"]


def test_what_comes_while_a_turn_ends_is_seen(house: House) -> None:
    """Its wake-up found the way taken: the end of the turn is what looks."""
    drain = house.node()
    house.queue("a1")
    whole = house.database.write

    def watched(work: Callable[[Transaction], Any], *, urgent: bool = False) -> Future[Any]:
        if getattr(work, "func", None) is ways.give_back:
            house.database.write = whole  # type: ignore[method-assign]
            house.queue("b1")
            assert drain.run("epj", 0) is False
        return whole(work, urgent=urgent)

    house.database.write = watched  # type: ignore[method-assign,assignment]
    assert drain.run("epj", 0) is True
    assert house.system.taken == ["a1"]


def test_a_full_claim_asks_for_another_way(house: House) -> None:
    house.queue(*(f"{lane}1" for lane in "abc"))
    drain = house.node(connections=2)
    work_off(drain)
    assert house.woken == [], "less than it could claim"
    house.queue(*(f"{lane}2" for lane in "abcdefg"))
    work_off(drain)
    assert ("epj", 1) in house.woken
    house.woken.clear()
    house.queue(*(f"{lane}3" for lane in "abcdefg"))
    work_off(drain, 1)

    assert house.woken == [], "there is no third one"


def test_a_turn_ends_and_others_may_have_the_way(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    house.queue("a1", "a2", "b1")
    drain = house.node()

    assert drain.run("epj", 0) is True
    assert house.system.taken == ["a1"], "at least one, and no more than fits"
    house.at_rest()
    assert work_off(house.node()) == 2
    assert house.system.taken == ["a1", "a2", "b1"]


def test_as_much_is_claimed_as_leaves_in_a_moment() -> None:
    assert module._next_limit(FEWEST, FEWEST, 0.01) == 2 * FEWEST
    assert module._next_limit(MOST, MOST, 0.01) == MOST
    assert module._next_limit(8, 5, 0.01) == 8, "there was no more"
    assert module._next_limit(8, 8, 0.3) == 8
    assert module._next_limit(8, 8, 9.0) == FEWEST
    assert module._next_limit(FEWEST, 1, 9.0) == FEWEST


# --- what does not leave ---


def test_poison_is_parked_and_holds_only_its_lane(house: House) -> None:
    house.system.script = {"a1": [PermanentDeliveryError("MSA-1 AE")] * 3}
    house.queue("a1", "a2", "b1", "b2")
    drain = house.node()
    for _ in range(3):
        work_off(drain)
        assert house.system.taken == ["b1", "b2"]
        house.due()
    work_off(drain)

    assert house.rows("state, attempt, refusals, detail")["a1"] == ("parked", 3, 2, "MSA-1 AE")
    assert house.rows()["a2"] == ("queued", 0)
    assert house.outcomes.count("parked") == 1
    house.write(lambda tx: parked.release(tx, 1, BY))
    work_off(drain)
    assert house.system.taken == ["b1", "b2", "a1", "a2"]
    house.at_rest()


def test_a_failure_delays_its_lane_and_is_told(house: House) -> None:
    house.system.script = {"a1": [TransientDeliveryError("MSA-1 CE")]}
    house.queue("a1", "a2", "b1")
    with capture_logs() as logs:
        work_off(house.node())

    assert house.system.tried == ["a1", "b1"]
    (due, since) = house.rows("due, failing_since")["a1"]
    assert 0.8 * 3600 - 60 < due - time.time() < 3660, "by the store's clock"
    assert since is not None
    assert [line["outcome"] for line in logs if "outcome" in line] == ["failed"]
    assert stored.attempts(house.database.read(), 1)[0][2:] == ("failed", "MSA-1 CE")


def test_what_was_claimed_behind_a_failure_is_let_go_at_once(house: House) -> None:
    """A merge or a person may make it leave before the turn is over."""
    free: list[tuple[Any, ...]] = []
    house.system.script = {"a1": [AskPersonError("who is it")]}
    house.system.during["b1"] = lambda: free.append(house.rows("claim")["a2"])
    house.queue("a1", "a2", "b1")
    work_off(house.node())

    assert free == [(None,)]


def test_what_is_too_old_is_parked_unsent(house: House) -> None:
    house.wanted = wanted(max_age=60.0)
    house.now += timedelta(hours=1)
    house.queue("a1")
    work_off(house.node())

    assert house.system.tried == []
    assert house.states() == {"a1": "parked"}
    house.write(lambda tx: parked.release(tx, 1, BY))
    work_off(house.node())
    assert house.system.taken == ["a1"]


def test_a_question_for_a_person_parks_at_once(house: House) -> None:
    house.system.script = {"a1": [AskPersonError("two patients fit")]}
    house.queue("a1", "a2")
    work_off(house.node())

    assert house.states() == {"a1": "parked", "a2": "queued"}


def test_a_dead_destination_gets_one_probe_a_pause_over_all_nodes(house: House) -> None:
    lanes = "abcdefgh"
    house.system.script = {f"{lane}1": [UnreachableError("no connection")] * 9 for lane in lanes}
    house.queue(*(f"{lane}1" for lane in lanes))
    one, other = house.node(), house.node()
    with capture_logs() as logs:
        assert work_off(one) == 1
        assert [work_off(other, number) for number in range(4)] == [1] * 4
        assert house.system.tried == ["a1"], "then it is left alone"
        for number in range(2, 5):
            house.due()
            assert [work_off(one, way) for way in (3, 2, 1)] == [1] * 3, "only way 0 sends a probe"
            assert work_off(other) == 1
            assert work_off(one) == 1
            assert len(house.system.tried) == number
    assert house.system.tried == ["a1", "b1", "c1", "d1"], "each time another patient's"
    assert [line["event"] for line in logs].count("the destination is paused") == 1
    assert house.woken == [] or set(house.woken) == {("epj", 1)}

    house.system.script = {}
    house.due()
    with capture_logs() as logs:
        work_off(one)
    assert sorted(house.system.taken) == [f"{lane}1" for lane in lanes]
    assert [line["event"] for line in logs].count("the destination answers again") == 1


def test_recipients_that_are_away_do_not_pause_the_destination(house: House) -> None:
    lanes = "abcdefghij"[: 2 * TRIP - 1]
    house.queue(*(f"{lane}{n}" for lane in lanes for n in (1, 2)), "z1")
    house.system.script = {f"{lane}1": [RecipientError("CT1 is away")] for lane in lanes}
    drain = house.node(connections=1)
    work_off(drain)

    assert house.system.taken == ["z1"]
    assert ways.breaker_of(house.database.read(), "epj").state == "closed"
    assert house.rows("state, attempt, detail")["a1"] == ("queued", 1, "CT1 is away")
    house.due()
    work_off(drain)
    assert set(house.states().values()) == {"delivered"}
    assert [text for text in house.system.taken if text[0] == "a"] == ["a1", "a2"], "its order is kept"
    house.at_rest()


def test_a_destination_that_refuses_everybody_is_paused_and_nothing_is_parked(house: House) -> None:
    lanes = "abcdefgh"
    house.system.script = {f"{lane}1": [PermanentDeliveryError("no")] * 99 for lane in lanes}
    house.queue(*(f"{lane}1" for lane in lanes))
    drain = house.node()
    work_off(drain)
    assert len(house.system.tried) == TRIP
    for _ in range(12):
        house.due()
        work_off(drain)

    assert len(house.system.tried) == TRIP + 12
    assert set(house.states().values()) == {"queued"}


def test_a_destination_that_asks_to_be_left_alone_is(house: House) -> None:
    house.system.script = {"a1": [UnreachableError("busy", wait=20_000.0)]}
    house.queue("a1")
    work_off(house.node())
    tx = house.database.read()

    assert ways.breaker_of(tx, "epj").until - tx.now() > 19_000.0, "longer than the route's own pause"


def test_a_way_that_may_not_probe_rests_while_another_does(house: House) -> None:
    """Else it would be taken and given back as fast as it can be."""
    house.system.script = {"a1": [UnreachableError("no connection")]}
    house.queue("a1", "b1")
    one, other = house.node(), house.node()
    work_off(one)
    house.due()
    told: list[bool] = []
    house.system.during["b1"] = lambda: told.extend(other.run("epj", number) for number in (0, 1))
    house.system.during["a1"] = house.system.during["b1"]
    work_off(one)

    assert told[1] is False
    assert sorted(house.system.taken) == ["a1", "b1"]


# --- a destination's own wishes ---


def test_nothing_leaves_outside_the_windows(house: House) -> None:
    hour = house.now.astimezone().hour
    later = Window.parse(f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00")
    house.queue("a1")
    drain = house.node(windows=[later])

    assert drain.run("epj", 0) is False
    assert house.system.tried == []
    house.now += timedelta(hours=2)
    work_off(drain)
    assert house.system.taken == ["a1"]


def test_a_window_that_closes_ends_the_turn(house: House) -> None:
    hour = house.now.astimezone().hour
    now = Window.parse(f"{hour:02}:00-{(hour + 1) % 24:02}:00")

    def close() -> None:
        house.now += timedelta(hours=2)

    house.queue(*(f"{lane}1" for lane in "abcdefgh"))
    house.system.during["a1"] = close

    assert house.node(windows=[now]).run("epj", 0) is False
    assert len(house.system.taken) == FEWEST, "what was in hand"
    house.at_rest()


def test_a_rate_is_kept_by_one_way_and_across_turns(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    waited: list[float] = []

    class Waits(threading.Event):
        """Time passes at once."""

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            waited.append(timeout)
            house.now += timedelta(seconds=timeout)
            return False

    drain = house.node(rate=0.5)
    drain._stopping = Waits()
    sent: list[datetime] = []
    for text in ("a1", "a2", "b1"):
        house.system.during[text] = lambda: sent.append(house.now)
    house.queue("a1", "a2", "b1")
    assert drain.run("epj", 1) is False, "it has one way only"
    work_off(drain)

    assert len(sent) == 3
    assert all(later - earlier >= timedelta(seconds=2) for earlier, later in itertools.pairwise(sent))


# --- foreign code ---


@pytest.mark.parametrize(
    ("error", "outcome"), [(UnreachableError("no key"), "unreachable"), (ValueError("secret"), "failed")]
)
def test_an_outbound_that_cannot_be_opened_is_a_failed_attempt(
    house: House, error: Exception, outcome: str
) -> None:
    house.system.broken = error
    house.queue("a1", "b1")
    with capture_logs() as logs:
        assert work_off(house.node()) == 1

    assert set(house.outcomes) == {outcome}
    assert "secret" not in str([{k: v for k, v in line.items() if k != "exc_info"} for line in logs])
    house.system.broken = None
    house.due()
    work_off(house.node())
    assert sorted(house.system.taken) == ["a1", "b1"]


def test_an_outbound_that_cannot_be_closed_keeps_no_way(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise ValueError

    monkeypatch.setattr(house.system, "close", fails)
    house.queue("a1")
    with capture_logs() as logs:
        work_off(house.node())

    assert [line["event"] for line in logs] == ["a connection cannot be closed"]
    assert house.states() == {"a1": "delivered"}
    house.at_rest()


# --- the journal, leases, the end ---


def test_stop_ends_a_turn_after_what_is_in_hand(house: House) -> None:
    drain = house.node()
    house.queue("a1", "b1", "a2")
    house.system.during["a1"] = lambda: drain.stop(0)

    assert drain.run("epj", 0) is False
    assert house.states() == {"a1": "delivered", "b1": "queued", "a2": "queued"}
    house.at_rest()
    work_off(house.node())
    assert house.system.tried == ["a1", "b1", "a2"]


def test_stop_waits_for_what_is_in_hand(house: House) -> None:
    drain, sending, answer = house.node(), threading.Event(), threading.Event()

    def slow() -> None:
        sending.set()
        assert answer.wait(SECONDS)

    house.queue("a1")
    house.system.during["a1"] = slow
    turn = threading.Thread(target=drain.run, args=("epj", 0))
    turn.start()
    assert sending.wait(SECONDS)
    drain.stop(0)
    assert turn.is_alive()
    answer.set()
    drain.stop(SECONDS)

    assert house.states() == {"a1": "delivered"}
    house.at_rest()
    turn.join(SECONDS)


class Away:
    """The journal cannot be written; each refusal is counted."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "STORE_RETRY_SECONDS", 0.0)
        self._database, self._whole = house.database, house.database.write
        self.refused = 0
        self.back_after = 0

    def go(self) -> None:
        self._database.write = self._write  # type: ignore[method-assign,assignment]

    def come_back(self) -> None:
        self._database.write = self._whole  # type: ignore[method-assign]

    def _write(
        self, work: Callable[[Transaction], Any], *, urgent: bool = False, patient: bool = False
    ) -> Future[Any]:
        self.refused += 1
        if self.refused == self.back_after:
            self.come_back()
        failed: Future[Any] = Future()
        failed.set_exception(UnwritableError("the journal cannot be written (OperationalError)"))
        return failed


@pytest.mark.parametrize("error", [None, TransientDeliveryError("MSA-1 CE")])
def test_an_outcome_is_stored_when_the_journal_is_back_and_nothing_is_sent_twice(
    house: House, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    away = Away(house, monkeypatch)
    away.back_after = 5
    house.queue("a1", "a2")
    house.system.script = {"a1": [error] if error else []}
    house.system.during["a1"] = away.go
    work_off(house.node())

    assert away.refused == 5
    assert house.system.tried == (["a1"] if error else ["a1", "a2"])
    assert house.rows()["a1"] == (("queued", 1) if error else ("delivered", 1))
    house.at_rest()


def test_a_stop_gives_up_what_cannot_be_stored_and_it_is_sent_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, drain = Away(house, monkeypatch), house.node()
    house.queue("a1", "a2")

    def ends() -> None:
        away.go()
        drain.stop(0)

    house.system.during["a1"] = ends
    with pytest.raises(UnwritableError):
        drain.run("epj", 0)
    away.come_back()
    assert house.states() == {"a1": "queued", "a2": "queued"}
    house.take(0)
    work_off(house.node(), 1)

    assert house.system.tried == ["a1", "a1", "a2"]


def test_a_way_that_could_not_be_given_back_is_taken_again_at_once_by_its_owner(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, drain = Away(house, monkeypatch), house.node()
    house.queue("a1", "b1", "a2")
    whole = house.database.write
    monkeypatch.setattr(module, "TURN_SECONDS", 0.0)
    away.back_after = 1
    house.database.write = lambda work, *, urgent=False: (  # type: ignore[method-assign,assignment]
        away._write(work) if getattr(work, "func", None) is ways.give_back else whole(work, urgent=urgent)
    )
    with pytest.raises(UnwritableError):
        drain.run("epj", 0)
    assert house.database.read().rows("SELECT count(*) FROM delivery WHERE claim IS NOT NULL") != [(0,)]
    work_off(drain)

    assert sorted(house.system.tried) == ["a1", "a2", "b1"]
    house.at_rest()


def test_a_way_that_is_lost_sends_nothing_more_and_its_outcome_is_ignored(house: House) -> None:
    drain, heartbeat = house.node(), house._nodes[-1][1]

    def lose() -> None:
        house.take(0)
        for held in list(heartbeat._held.values()):
            heartbeat._renew(held)  # what its thread does every few seconds

    house.queue("a1", "b1", "a2")
    house.system.during["a1"] = lose
    with capture_logs() as logs:
        drain.run("epj", 0)

    assert house.system.tried == ["a1"]
    assert house.states() == dict.fromkeys(("a1", "b1", "a2"), "queued")
    said = [line["event"] for line in logs]
    assert "another node has taken over" in said
    assert "an outcome came too late: another node has the delivery" in said
    assert ways.take(house.database.read(), "epj", 0, "node-c") is None, "and the other one keeps it"


def test_a_way_that_finds_itself_lost_at_its_next_claim_ends(house: House) -> None:
    house.queue("a1")
    house.system.during["a1"] = lambda: house.take(0)
    with capture_logs() as logs:
        house.node().run("epj", 0)

    assert house.states() == {"a1": "queued"}
    assert "an outcome came too late: another node has the delivery" in [line["event"] for line in logs]


def test_nothing_is_sent_where_the_lease_may_be_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "MARGIN_SECONDS", 1e9)
    house.queue("a1")
    with capture_logs() as logs:
        assert house.node().run("epj", 0) is True

    assert house.system.tried == []
    assert "the journal was away too long: a way is given back" in [line["event"] for line in logs]
    house.at_rest()


def test_what_was_stopped_before_it_left_does_not_leave_when_it_wakes_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection may take its time to open: the lease is looked at again behind that, and nobody is blamed."""

    def slow_to_open() -> None:
        monkeypatch.setattr(Held, "sure", property(lambda _: False))

    house.queue("a1", "a2")
    house.system.confirms = True
    house.system.during["a1"] = slow_to_open
    with capture_logs() as logs:
        assert house.node().run("epj", 0) is True

    assert (house.system.tried, house.system.taken) == (["a1"], [])
    assert house.states() == {"a1": "queued", "a2": "queued"}
    assert house.outcomes == []
    assert house.database.read().rows("SELECT * FROM delivery_attempt") == []
    assert house.database.read().rows("SELECT * FROM breaker") == []
    assert "the lease ran out before it left: a way is given back" in [line["event"] for line in logs]
    house.at_rest()


def test_an_outcome_that_cannot_be_written_at_all_keeps_no_way(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bool:
        raise ZeroDivisionError

    house.queue("a1", "b1")
    drain = house.node()
    monkeypatch.setattr(endings, "finish", fails)
    with pytest.raises(ZeroDivisionError):
        drain.run("epj", 0)

    house.at_rest()
    assert house._nodes[0][1]._held == {}


def test_a_merge_in_the_middle_of_a_turn_keeps_the_order(house: House) -> None:
    house.queue("a1", "b1", "a2")

    def merge() -> None:
        house.write(lambda tx: ledger.join(tx, "a", "b"))
        house.queue("b2")

    house.system.during["a1"] = merge
    work_off(house.node())

    assert house.system.taken == ["a1", "b1", "a2", "b2"]
    assert set(house.states().values()) == {"delivered"}


# --- what may be repeated ---


def may_be_repeated(payload: bytes) -> bool:
    """Unless it ends with an exclamation mark."""
    return not payload.endswith(b"!")


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No outcome that nothing waits for comes to the disk by itself."""
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 1e6)


@pytest.mark.usefixtures("unhurried")
def test_what_may_be_repeated_leaves_before_the_outcomes_in_front_of_it_are_stored(house: House) -> None:
    states: dict[str, dict[str, str]] = {}
    house.queue("a1", "a2", "a3!", "a4")
    for text in ("a2", "a3!", "a4"):
        house.system.during[text] = lambda text=text: states.update({text: house.states()})
    work_off(house.node(repeatable=may_be_repeated))

    assert house.system.taken == ["a1", "a2", "a3!", "a4"]
    assert states["a2"]["a1"] == "queued", "it did not wait"
    assert (states["a3!"]["a1"], states["a3!"]["a2"]) == ("delivered", "delivered")
    assert states["a4"]["a3!"] == "delivered", "and nothing runs ahead of one that may not be repeated"
    assert set(house.states().values()) == {"delivered"}
    house.at_rest()


@pytest.mark.usefixtures("unhurried")
def test_what_may_not_be_repeated_waits_for_the_outcome_in_front_of_it(house: House) -> None:
    states: dict[str, str] = {}
    house.queue("a1", "a2")
    house.system.during["a2"] = lambda: states.update(house.states())
    work_off(house.node())

    assert states == {"a1": "delivered", "a2": "queued"}


def test_a_failure_holds_its_lane_however_far_that_was_ahead(house: House) -> None:
    house.system.script = {"a3": [TransientDeliveryError("A700")]}
    house.queue("a1", "a2", "a3", "a4", "b1")
    drain = house.node(repeatable=may_be_repeated)
    work_off(drain)

    assert sorted(house.system.tried) == ["a1", "a2", "a3", "b1"]
    assert house.states() == {
        "a1": "delivered",
        "a2": "delivered",
        "a3": "queued",
        "a4": "queued",
        "b1": "delivered",
    }
    house.due()
    work_off(drain)
    assert [text for text in house.system.taken if text[0] == "a"] == ["a1", "a2", "a3", "a4"]
    house.at_rest()


def test_the_lease_is_asked_for_each_that_runs_ahead(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    confirm = Held.confirm
    monkeypatch.setattr(Held, "confirm", lambda held: (asked.append(None), confirm(held))[1])
    house.system.confirms = True
    house.queue(*(f"a{number}" for number in range(6)))
    work_off(house.node(repeatable=may_be_repeated))

    assert len(asked) == 6
    assert set(house.states().values()) == {"delivered"}


@pytest.mark.usefixtures("unhurried")
def test_a_way_that_is_lost_while_it_runs_ahead_is_worked_off_again_in_order(house: House) -> None:
    drain, heartbeat = house.node(repeatable=may_be_repeated), house._nodes[-1][1]

    def lose() -> None:
        house.take(0)
        for held in list(heartbeat._held.values()):
            heartbeat._renew(held)

    house.queue("a1", "a2", "a3", "a4")
    house.system.confirms = True
    house.system.during["a3"] = lose
    drain.run("epj", 0)
    known = house.states()
    assert house.system.taken == ["a1", "a2"], "the lease was over before the third one left"

    work_off(house.node(repeatable=may_be_repeated), 1)
    again = house.system.taken[2:]
    assert again == [text for text in ("a1", "a2", "a3", "a4") if known[text] == "queued"]
    assert set(house.states().values()) == {"delivered"}


def test_outcomes_that_the_journal_refuses_are_stored_in_order_when_it_is_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Away(house, monkeypatch)
    away.back_after = 3
    house.queue("a1", "a2", "a3", "a4")
    house.system.during["a1"] = away.go
    work_off(house.node(repeatable=may_be_repeated))

    assert away.refused == 3
    assert house.system.taken == ["a1", "a2", "a3", "a4"], "sent once each"
    assert set(house.states().values()) == {"delivered"}
    house.at_rest()
