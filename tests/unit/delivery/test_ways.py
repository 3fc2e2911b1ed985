"""Lanes in SQL, statement by statement: several ways on one journal, and on PostgreSQL what happens between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from broker.adapter import Receipt, Rendered, Target
from broker.delivery import endings, ledger, parked, stored, ways
from broker.delivery.breaker import TRIP, Breaker
from broker.delivery.parked import By
from broker.delivery.stored import Open
from broker.delivery.ways import DEPTH, Claimed
from broker.journal.intake import append
from broker.store import lease
from broker.store.lease import Lease, LostLeaseError
from broker.store.postgres import PostgresDatabase
from broker.store.transaction import Session, Transaction
from tests.support.crossing import between
from tests.support.events import cause, event, reception
from tests.support.postgres import Postgres

AT = "2026-03-09T09:00:00+00:00"
BY = By(who="kari", at=AT, reason="asked the ward")
OK = Receipt(detail="ok")


def queue(tx: Transaction, *lanes: str, destination: str = "epj") -> list[int]:
    target = Target(route="r", version="v1", place="r.yaml:1", kind="hl7", destination=destination)
    return [ledger.enqueue(tx, cause(), lane, target, Rendered(payload=b"x")).id for lane in lanes]


def take(tx: Transaction, number: int = 0, owner: str = "node-a", destination: str = "epj") -> Lease:
    way = ways.take(tx, destination, number, owner)
    assert way is not None
    return way


def claim(tx: Transaction, way: Lease, limit: int = 64, after: str = "") -> list[int]:
    return numbers(ways.claim(tx, way, "epj", limit, after))


def numbers(claimed: Claimed) -> list[int]:
    return [opened.delivery.id for opened in claimed.deliveries]


def load(tx: Transaction, number: int) -> Open:
    opened = stored.load(tx, number)
    assert opened is not None
    return opened


def finish(tx: Transaction, *which: int) -> None:
    for number in which:
        assert endings.finish(tx, load(tx, number), OK, AT)


def expire(tx: Transaction, way: Lease) -> None:
    """Its time is over, and nobody took it yet."""
    tx.execute("UPDATE lease SET until=1 WHERE name=?", (way.name,))


def claims(tx: Transaction) -> dict[int, int]:
    return dict(tx.rows("SELECT id, claim FROM delivery WHERE claim IS NOT NULL"))


# --- what may leave ---


def test_heads_and_what_follows_them_are_claimed_in_the_order_of_the_journal(tx: Transaction) -> None:
    queue(tx, "b", "a", "b", "c", "a")
    way = take(tx)
    claimed = ways.claim(tx, way, "epj", 64)

    assert numbers(claimed) == [1, 2, 3, 4, 5]
    assert claimed.probe is False
    assert {opened.claim for opened in claimed.deliveries} == {way.term}
    assert claims(tx) == dict.fromkeys(range(1, 6), way.term)


def test_another_way_gets_what_is_left_and_nothing_of_those_lanes(tx: Transaction) -> None:
    queue(tx, "a", "a", "b")
    first, second = take(tx, 0), take(tx, 1)

    assert claim(tx, first, limit=1) == [1]
    assert claim(tx, second) == [3]
    assert claim(tx, second) == []
    finish(tx, 1)
    assert claim(tx, second) == [2]


def test_each_lane_has_its_share_before_any_has_more(tx: Transaction) -> None:
    queue(tx, "a", "a", "a", "b", "c", "b")

    assert claim(tx, take(tx), limit=4) == [1, 2, 4, 5]


def test_a_deep_lane_is_claimed_piece_by_piece(tx: Transaction) -> None:
    queue(tx, *"a" * (DEPTH + 3))

    assert claim(tx, take(tx)) == list(range(1, DEPTH + 1))


def test_lanes_come_in_turn(tx: Transaction) -> None:
    queue(tx, "a", "b", "c", "a", "d")
    way = take(tx)
    first = ways.claim(tx, way, "epj", 2)
    assert (numbers(first), first.last) == ([1, 2], "b")
    finish(tx, 1, 2)
    second = ways.claim(tx, way, "epj", 2, first.last)
    assert (numbers(second), second.last) == ([3, 5], "d")
    finish(tx, 3, 5)
    queue(tx, "c")

    assert claim(tx, way, 2, second.last) == [4, 6], "and from the first one again"


def test_nothing_of_another_destination_is_claimed(tx: Transaction) -> None:
    queue(tx, "a", destination="pacs")
    queue(tx, "a")

    assert claim(tx, take(tx)) == [2]


@pytest.mark.parametrize("how", ["parked", "due later"])
def test_what_may_not_leave_holds_those_behind_it_and_nobody_else(tx: Transaction, how: str) -> None:
    queue(tx, "a", "b", "a", "a", "b", "b")
    if how == "parked":
        endings.park(tx, load(tx, 3), "refused", "MSA-1 AE", AT)
    else:
        endings.retry(tx, load(tx, 3), "failed", "MSA-1 CE", 9e12, AT, refusals=0)
    way = take(tx)

    assert claim(tx, way) == [1, 2, 5, 6]
    finish(tx, 1, 2, 5, 6)
    assert claim(tx, way) == []
    assert not ways.anything(tx, "epj")
    if how == "parked":
        parked.drop(tx, 3, BY)
    else:
        tx.execute("UPDATE delivery SET due=1 WHERE id=3")
    assert ways.anything(tx, "epj")
    assert claim(tx, way) == ([4] if how == "parked" else [3, 4])


def test_after_a_merge_nothing_leaves_before_what_both_have_in_hand(tx: Transaction) -> None:
    queue(tx, "a", "b", "a")
    ours, theirs, third = take(tx, 0), take(tx, 1), take(tx, 2)
    assert claim(tx, ours, limit=1) == [1]
    assert claim(tx, theirs) == [2]
    ledger.join(tx, "a", "b")
    queue(tx, "b")

    assert claim(tx, third) == []
    finish(tx, 1)
    assert claim(tx, third) == [], "3 is the head, but the lane has one in flight"
    assert not ways.anything(tx, "epj")
    finish(tx, 2)
    assert claim(tx, third) == [3, 4]


def test_what_stands_between_two_that_are_in_hand_waits_too(tx: Transaction) -> None:
    """A lane may have two in flight after a merge; what it claims next must not make it three."""
    queue(tx, "a", "a", "b", "a")
    ours, theirs = take(tx, 0), take(tx, 1)
    assert claim(tx, ours, limit=1) == [1]
    assert claim(tx, theirs) == [3]
    ledger.join(tx, "b", "a")
    endings.retry(tx, load(tx, 1), "failed", "MSA-1 CE", 1.0, AT, refusals=0)

    assert claim(tx, ours) == [], "1 is due again, but 3 is under way"
    finish(tx, 3)
    assert claim(tx, ours) == [1, 2, 4]


# --- ways ---


def test_a_way_has_one_owner(tx: Transaction) -> None:
    way = take(tx, 0, "node-a")

    assert ways.take(tx, "epj", 0, "node-b") is None
    assert ways.free(tx, "epj", 3) == {1: 0, 2: 0}
    ways.give_back(tx, way, "epj")
    assert ways.free(tx, "epj", 3) == {0: way.term, 1: 0, 2: 0}
    again = ways.take(tx, "epj", 0, "node-b")
    assert again is not None
    assert again.term > way.term


def test_what_a_way_gives_back_others_may_send(tx: Transaction) -> None:
    queue(tx, "a", "b")
    first, second = take(tx, 0), take(tx, 1)
    assert claim(tx, first, limit=1) == [1]
    assert claim(tx, second) == [2]
    ways.give_back(tx, first, "epj")

    assert claims(tx) == {2: second.term}
    assert claim(tx, second) == [1]


def test_what_was_claimed_behind_a_failure_waits_for_its_turn(tx: Transaction) -> None:
    queue(tx, "a", "a", "a", "b")
    way, other = take(tx, 0), take(tx, 1)
    assert claim(tx, way) == [1, 2, 3, 4]
    ways.release(tx, other, [2, 3])
    assert len(claims(tx)) == 4, "only who has it lets go"
    ways.release(tx, way, [2, 3])
    endings.retry(tx, load(tx, 1), "failed", "MSA-1 CE", 9e12, AT, refusals=0)

    assert claims(tx) == {4: way.term}
    assert claim(tx, other) == []


def test_a_late_outcome_changes_nothing(tx: Transaction) -> None:
    queue(tx, "a", "b", "c")
    way = take(tx, 0, "node-a")
    late = {opened.delivery.id: opened for opened in ways.claim(tx, way, "epj", 64).deliveries}
    expire(tx, way)
    other = take(tx, 0, "node-b")
    before = tx.rows("SELECT * FROM delivery ORDER BY id")

    assert endings.finish(tx, late[1], OK, AT) is False
    assert endings.park(tx, late[2], "refused", "MSA-1 AE", AT) is False
    assert endings.retry(tx, late[3], "failed", "MSA-1 CE", 5.0, AT, refusals=1) is False
    ways.release(tx, way, [1, 2, 3])
    ways.give_back(tx, way, "epj")
    with pytest.raises(LostLeaseError):
        ways.claim(tx, way, "epj", 64)
    assert tx.rows("SELECT * FROM delivery ORDER BY id") == before
    assert stored.attempts(tx, 2) == []
    assert ways.take(tx, "epj", 0, "node-c") is None

    assert claim(tx, other) == [1, 2, 3]
    assert endings.finish(tx, late[1], OK, AT) is False, "nor while the other one has it in hand"
    finish(tx, 1, 2, 3)


def test_any_way_takes_over_what_one_had_whose_time_is_over(tx: Transaction) -> None:
    """Its own number may never be asked for again: the others are enough for what there is to do."""
    queue(tx, "a", "b", "c")
    first, dead, alive = take(tx, 0), take(tx, 1, "node-b"), take(tx, 2, "node-c")
    assert claim(tx, dead, limit=1) == [1]
    assert claim(tx, alive, limit=1, after="a") == [2]
    assert claim(tx, first) == [3]
    assert not ways.anything(tx, "epj"), "each of them is in somebody's hand"
    expire(tx, dead)

    assert ways.anything(tx, "epj")
    assert ways.free(tx, "epj", 3) == {1: dead.term}
    first = take(tx, 0)
    assert claims(tx) == {2: alive.term}, "and what the owner had under its own older term"
    assert claim(tx, first) == [1, 3]
    with pytest.raises(LostLeaseError):
        lease.hold(tx, dead)
    lease.hold(tx, alive)


def test_taking_a_way_leaves_other_leases_alone(tx: Transaction) -> None:
    """The leader's is renewed late at times, and is still its own where nobody took it."""
    queue(tx, "a", destination="pacs")
    leader = lease.take(tx, "leader", "node-b")
    pacs = take(tx, 0, "node-b", "pacs")
    assert leader is not None
    assert numbers(ways.claim(tx, pacs, "pacs", 64)) == [1]
    expire(tx, leader)
    expire(tx, pacs)
    take(tx, 0)

    lease.hold(tx, leader)
    lease.hold(tx, pacs)
    assert claims(tx) == {1: pacs.term}


# --- a destination that is ill ---


def ill(tx: Transaction, until: float) -> None:
    breaker = ways.change_breaker(tx, "epj")
    assert breaker.failed(1, unreachable=True)
    breaker.pause(until)
    ways.save_breaker(tx, "epj", breaker)


def test_an_ill_destination_gets_one_probe_by_one_way(tx: Transaction) -> None:
    queue(tx, "a", "b", "b", "c")
    first, second = take(tx, 0), take(tx, 1)
    ill(tx, until=9e12)
    assert (claim(tx, first), ways.anything(tx, "epj")) == ([], False), "it is left alone"
    ways.close_breaker(tx, "epj")
    ill(tx, until=1.0)

    assert ways.anything(tx, "epj")
    assert not ways.anything(tx, "epj", 1), "only way 0 sends probes"
    assert claim(tx, second) == []
    probing = ways.claim(tx, first, "epj", 64)
    assert (numbers(probing), probing.probe) == ([1], True)
    ways.close_breaker(tx, "epj")
    assert claim(tx, second) == [2, 3, 4]


def test_a_probe_is_one_that_did_not_fail_yet_else_the_one_that_waits_longest(tx: Transaction) -> None:
    queue(tx, "a", "b", "c")
    endings.retry(tx, load(tx, 1), "unreachable", "no", 3.0, AT, refusals=0)
    endings.retry(tx, load(tx, 2), "unreachable", "no", 2.0, AT, refusals=0)
    ill(tx, until=1.0)
    way = take(tx)

    assert claim(tx, way) == [3]
    assert endings.retry(tx, load(tx, 3), "unreachable", "no", 4.0, AT, refusals=0)
    assert claim(tx, way) == [2]


def test_the_breaker_is_what_was_saved_of_it(tx: Transaction) -> None:
    assert ways.breaker_of(tx, "epj").state == "closed"
    breaker = Breaker()
    for number in range(TRIP - 1):
        assert breaker.refused(number) is False
    ways.save_breaker(tx, "epj", breaker)
    again = ways.change_breaker(tx, "epj")
    assert again.refused(99) is True
    again.pause(50.0)
    ways.save_breaker(tx, "epj", again)

    found = ways.breaker_of(tx, "epj")
    assert (found.state, found.failures, found.until) == ("open", 1, 50.0)
    assert ways.breaker_of(tx, "pacs").state == "closed"


# --- two nodes at the same moment: PostgreSQL only ---


@pytest.fixture
def begin(postgres: Postgres, journal_template: str) -> Iterator[Callable[[], tuple[Session, Transaction]]]:
    """Begins a transaction of another node; a journal with one event and its day."""
    url = postgres.url(postgres.database(journal_template))
    databases: list[PostgresDatabase] = []
    sessions: list[Session] = []

    def another() -> tuple[Session, Transaction]:
        databases.append(PostgresDatabase(url, f"node-{len(databases)}"))
        sessions.append(databases[-1]._start())
        return sessions[-1], sessions[-1].begin()

    session, tx = another()
    append(tx, reception(1, event("patient.registered")))
    session.commit()
    yield another
    for session in sessions:
        session.rollback()
        session.close()


Begin = Callable[[], tuple[Session, Transaction]]


FRONTS, LOCK = "OFFSET", "SKIP LOCKED"


def started(begin: Begin, *lanes: str, connections: int = 2) -> list[Lease]:
    session, tx = begin()
    queue(tx, *lanes)
    held = [take(tx, number, f"node-{number}") for number in range(connections)]
    session.commit()
    return held


def test_what_another_node_is_claiming_is_neither_waited_for_nor_claimed_twice(begin: Begin) -> None:
    first, second = started(begin, "a", "a", "b")
    _, ours = begin()
    _, theirs = begin()

    assert claim(ours, first, limit=1) == [1]
    assert claim(theirs, second) == [3], "2 waits for 1, which is as good as claimed"


@pytest.mark.parametrize("committed", [True, False])
def test_a_head_that_another_node_claims_meanwhile_takes_its_lane_with_it(
    begin: Begin, committed: bool
) -> None:
    first, second = started(begin, "a", "a", "b")
    session, ours = begin()
    _, theirs = begin()

    def meanwhile() -> None:
        assert claim(ours, first, limit=1) == [1]
        if committed:
            session.commit()

    between(theirs, LOCK, meanwhile)
    assert claim(theirs, second) == [3]


def test_a_lane_that_is_worked_off_meanwhile_is_left_to_the_next_claim(begin: Begin) -> None:
    first, second = started(begin, "a", "a")
    session, ours = begin()
    _, theirs = begin()

    def meanwhile() -> None:
        assert claim(ours, first, limit=1) == [1]
        finish(ours, 1)
        session.commit()

    between(theirs, LOCK, meanwhile)
    assert claim(theirs, second) == []
    assert claim(theirs, second) == [2]


@pytest.mark.parametrize("when", [FRONTS, LOCK])
def test_a_merge_between_the_statements_of_a_claim_lets_nobody_pass(begin: Begin, when: str) -> None:
    """Lane a's head is number 2; after the merge number 1 is before it, and is not due."""
    first, _ = started(begin, "b", "a", "a")
    session, early = begin()
    assert endings.retry(early, load(early, 1), "failed", "MSA-1 CE", 9e12, AT, refusals=0)
    session.commit()
    session, router = begin()
    _, tx = begin()

    def meanwhile() -> None:
        ledger.join(router, "a", "b")
        session.commit()

    between(tx, when, meanwhile)
    assert claim(tx, first) == []


def test_a_merge_and_claims_of_both_lanes_give_nothing_to_two(begin: Begin) -> None:
    first, second = started(begin, "b", "a", "b", "a")
    merging, router = begin()
    _, ours = begin()
    _, theirs = begin()

    def meanwhile() -> None:
        ledger.join(router, "a", "b")
        merging.commit()
        assert claim(ours, first) == [1, 2, 3, 4]

    between(theirs, FRONTS, meanwhile)
    assert claim(theirs, second) == []


def test_a_way_that_is_renewed_at_this_moment_is_not_ended(begin: Begin) -> None:
    _first, second = started(begin, "a", "b")
    session, tx = begin()
    assert claim(tx, second, limit=1) == [1]
    expire(tx, second)
    session.commit()
    renewing, late = begin()
    lease.hold(late, second)
    _, tx = begin()
    between(tx, "INSERT INTO lease", renewing.commit)
    take(tx, 0, "node-0")

    lease.hold(tx, second)
    assert claims(tx) == {1: second.term}
