from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from broker.store import lease
from broker.store.database import Database
from broker.store.lease import MARGIN_SECONDS, SECONDS, Held, Lease, LostLeaseError
from broker.store.postgres import PostgresDatabase
from broker.store.transaction import Transaction
from tests.support.engines import SECONDS as WAIT
from tests.support.engines import note, notebook, notes
from tests.support.postgres import waiting_for_lock


def taken(tx: Transaction, name: str, owner: str) -> Lease:
    found = lease.take(tx, name, owner)
    assert found is not None
    return found


def renewed(tx: Transaction, held: Lease) -> Lease:
    lease.hold(tx, held)
    return held


def expire(tx: Transaction, name: str = "leader") -> None:
    """Its time is over: nobody renewed it."""
    tx.execute("UPDATE lease SET until=? WHERE name=?", (tx.now() - 1, name))


def until(tx: Transaction, name: str = "leader") -> float:
    return float(tx.rows("SELECT until FROM lease WHERE name=?", (name,))[0][0])


# --- in turn, on both engines ---


def test_who_comes_first_has_it_for_a_while(tx: Transaction) -> None:
    before = tx.now()
    first = taken(tx, "leader", "node-a")

    assert (first.name, first.owner) == ("leader", "node-a")
    assert before + SECONDS <= until(tx) <= tx.now() + SECONDS
    assert lease.take(tx, "leader", "node-b") is None


def test_another_owner_takes_it_when_its_time_is_over(tx: Transaction) -> None:
    first = taken(tx, "leader", "node-a")
    expire(tx)
    second = taken(tx, "leader", "node-b")

    assert second.term > first.term
    assert lease.take(tx, "leader", "node-a") is None


def test_the_same_owner_takes_it_again_at_once_under_a_new_term(tx: Transaction) -> None:
    """It was started again: what ran under its name is dead."""
    first = taken(tx, "leader", "node-a")
    second = taken(tx, "leader", "node-a")

    assert second.term > first.term
    with pytest.raises(LostLeaseError, match="leader"):
        lease.hold(tx, first)
    lease.hold(tx, second)


def test_what_is_given_back_is_taken_at_once(tx: Transaction) -> None:
    first = taken(tx, "leader", "node-a")
    lease.give_back(tx, first)

    with pytest.raises(LostLeaseError):
        lease.hold(tx, first)
    assert taken(tx, "leader", "node-b").term > first.term


def test_what_is_lost_cannot_be_given_back(tx: Transaction) -> None:
    first = taken(tx, "leader", "node-a")
    expire(tx)
    second = taken(tx, "leader", "node-b")
    lease.give_back(tx, first)

    lease.hold(tx, second)


def test_holding_it_renews_it(tx: Transaction) -> None:
    first = taken(tx, "leader", "node-a")
    expire(tx)
    lease.hold(tx, first)

    assert until(tx) > tx.now()
    assert lease.take(tx, "leader", "node-b") is None


def test_no_two_leases_ever_have_the_same_term(tx: Transaction) -> None:
    """A delivery is claimed by a term alone."""
    terms = [taken(tx, f"way epj {n}", f"node-{n % 2}").term for n in range(3)]
    expire(tx, "way epj 0")
    terms += [taken(tx, "way epj 0", "node-b").term, taken(tx, "leader", "node-a").term]

    assert terms == sorted(set(terms))


def test_who_lost_it_writes_nothing(database: Database) -> None:
    notebook(database)
    first = database.write(partial(taken, name="leader", owner="node-a")).result(WAIT)
    database.write(expire).result(WAIT)
    database.write(partial(taken, name="leader", owner="node-b")).result(WAIT)

    def work(tx: Transaction) -> None:
        tx.execute("INSERT INTO note (text) VALUES ('before')")
        lease.hold(tx, first)

    with pytest.raises(LostLeaseError):
        database.write(work).result(WAIT)
    note(database, "other").result(WAIT)
    assert notes(database) == ["other"]


# --- at once, on PostgreSQL ---


class Slow:
    """Does it in a transaction that stays open until `commit`."""

    def __init__(self, database: PostgresDatabase, work_of: Callable[[Transaction], Lease | None]) -> None:
        self._release = threading.Event()
        done = threading.Event()

        def work(tx: Transaction) -> Lease | None:
            found = work_of(tx)
            done.set()
            assert self._release.wait(WAIT)
            return found

        self._written = database.write(work)
        assert done.wait(WAIT)

    def commit(self) -> Lease | None:
        self._release.set()
        return self._written.result(WAIT)


def test_of_two_that_take_it_at_once_one_wins(nodes: list[PostgresDatabase]) -> None:
    first = Slow(nodes[0], partial(lease.take, name="leader", owner="node-a"))
    second = nodes[1].write(partial(lease.take, name="leader", owner="node-b"))
    waiting_for_lock(nodes[0])

    assert first.commit() is not None
    assert second.result(WAIT) is None


def test_two_leases_that_are_taken_at_once_have_two_terms(nodes: list[PostgresDatabase]) -> None:
    first = Slow(nodes[0], partial(lease.take, name="way epj 0", owner="node-a"))
    second = nodes[1].write(partial(lease.take, name="way epj 1", owner="node-b"))
    waiting_for_lock(nodes[0])
    one, two = first.commit(), second.result(WAIT)

    assert one is not None
    assert two is not None
    assert two.term > one.term


def test_what_its_owner_renews_at_that_very_moment_is_not_taken(nodes: list[PostgresDatabase]) -> None:
    """Its owner relies on it from then on: nobody else may have it too."""
    held = nodes[0].write(partial(taken, name="leader", owner="node-a")).result(WAIT)
    nodes[0].write(expire).result(WAIT)
    renewing = Slow(nodes[0], partial(renewed, held=held))
    second = nodes[1].write(partial(lease.take, name="leader", owner="node-b"))
    waiting_for_lock(nodes[0])
    renewing.commit()

    assert second.result(WAIT) is None
    nodes[0].write(partial(lease.hold, lease=held)).result(WAIT)


# --- by this machine's clock ---


def test_it_is_relied_on_for_less_than_it_stands_counted_from_before_it_was_asked_for() -> None:
    now = 100.0
    held = Held(Lease(name="leader", owner="node-a", term=1), lambda: now)
    assert not held.sure, "nobody said yet when it was asked for"

    held.renewed(99.0)
    assert held.sure
    held.confirm()
    now = 99.0 + SECONDS - MARGIN_SECONDS
    assert not held.sure
    with pytest.raises(LostLeaseError):
        held.confirm()


def test_an_older_answer_does_not_shorten_it() -> None:
    now = 100.0
    held = Held(Lease(name="leader", owner="node-a", term=1), lambda: now)
    held.renewed(100.0)
    held.renewed(95.0)
    now = 99.0 + SECONDS - MARGIN_SECONDS

    assert held.sure
