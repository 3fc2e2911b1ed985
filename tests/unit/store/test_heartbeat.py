from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.errors import UnwritableError
from broker.store import lease
from broker.store.database import Database
from broker.store.heartbeat import Heartbeat
from broker.store.lease import Lease
from broker.store.transaction import Transaction

SECONDS = 10.0
"""Longest wait for what must happen."""


@pytest.fixture
def heartbeat(database: Database) -> Iterator[Heartbeat]:
    heartbeat = Heartbeat(database)
    yield heartbeat
    heartbeat.stop()


def take(database: Database, name: str = "leader", owner: str = "node-a") -> Lease:
    taken = database.write(lambda tx: lease.take(tx, name, owner)).result(SECONDS)
    assert taken is not None
    return taken


def expire(database: Database, name: str = "leader") -> None:
    database.write(lambda tx: tx.execute("UPDATE lease SET until=1 WHERE name=?", (name,))).result(SECONDS)


def until(database: Database, name: str = "leader") -> float:
    row = database.read().one("SELECT until FROM lease WHERE name=?", (name,))
    assert row is not None
    return float(row[0])


@pytest.fixture
def renewals(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """The thread does not wait long; counted is what it asked for."""
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)
    asked, whole = threading.Semaphore(0), lease.hold

    def hold(tx: Transaction, lease: Lease) -> None:
        whole(tx, lease)
        asked.release()

    monkeypatch.setattr(lease, "hold", hold)
    return asked


def test_what_is_kept_is_renewed_until_it_is_left(
    database: Database, heartbeat: Heartbeat, renewals: threading.Semaphore
) -> None:
    taken = take(database)
    held = heartbeat.keep(taken, asked=0.0)
    assert not held.sure, "as far as is known it was asked for long ago"
    expire(database)
    for _ in range(3):
        assert renewals.acquire(timeout=SECONDS)

    assert held.sure
    assert until(database) > 1
    heartbeat.leave(held)
    assert not held.sure
    heartbeat.stop()
    expire(database)
    assert take(database, owner="node-b").term > taken.term


def test_it_goes_on_whatever_renewing_comes_to(
    database: Database, heartbeat: Heartbeat, renewals: threading.Semaphore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = lease.hold

    def fails(tx: Transaction, lease: Lease) -> float:
        monkeypatch.setattr("broker.store.lease.hold", counted)
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(lease, "hold", fails)
    with capture_logs() as lines:
        held = heartbeat.keep(take(database), asked=0.0)
        assert renewals.acquire(timeout=SECONDS)
        heartbeat.leave(held)

    assert [line["event"] for line in lines] == ["a lease could not be renewed"]


def test_a_second_lease_is_renewed_by_the_same_thread(
    database: Database, heartbeat: Heartbeat, renewals: threading.Semaphore
) -> None:
    first = heartbeat.keep(take(database), asked=0.0)
    second = heartbeat.keep(take(database, "way epj 0"), asked=0.0)
    for _ in range(4):
        assert renewals.acquire(timeout=SECONDS)

    assert first.sure
    assert second.sure
    assert [t.name for t in threading.enumerate()].count("heartbeat") == 1


def test_one_that_another_node_took_is_lost_and_the_others_stand(
    database: Database, heartbeat: Heartbeat
) -> None:
    taken, other = take(database), take(database, "way epj 0")
    held, kept = heartbeat.keep(taken, asked=0.0), heartbeat.keep(other, asked=0.0)
    expire(database)
    take(database, owner="node-b")
    before = until(database)
    with capture_logs() as logs:
        for one in (held, kept):
            heartbeat._renew(one)

    assert (held.is_lost, held.sure, kept.sure) == (True, False, True)
    assert [(line["event"], line["lease"]) for line in logs] == [("another node has taken over", "leader")]
    assert until(database) == before
    assert list(heartbeat._held) == [other.term]


def test_one_that_was_given_back_meanwhile_is_no_news(database: Database, heartbeat: Heartbeat) -> None:
    """The thread went through a list that still had it."""
    held = heartbeat.keep(take(database), asked=0.0)
    whole = database.write

    def given_back(work: Any, *, urgent: bool = False) -> Future[Any]:
        heartbeat.leave(held)
        whole(lambda tx: lease.give_back(tx, held.lease)).result(SECONDS)
        return whole(work, urgent=urgent)

    database.write = given_back  # type: ignore[method-assign,assignment]
    with capture_logs() as logs:
        heartbeat._renew(held)
        heartbeat._renew(held)

    assert logs == []
    assert until(database) == 0.0


def test_while_the_journal_is_away_nothing_is_renewed_and_nothing_lost(
    database: Database, heartbeat: Heartbeat
) -> None:
    held = heartbeat.keep(take(database), asked=0.0)
    whole = database.write

    def away(work: Any, *, urgent: bool = False) -> Future[Any]:
        failed: Future[Any] = Future()
        failed.set_exception(UnwritableError("away"))
        return failed

    database.write = away  # type: ignore[method-assign,assignment]
    heartbeat._renew(held)
    assert (held.sure, held.is_lost) == (False, False)
    database.write = whole  # type: ignore[method-assign]
    heartbeat._renew(held)
    assert held.sure


def test_stop_ends_the_thread_also_where_it_never_began(database: Database) -> None:
    Heartbeat(database).stop()
    heartbeat = Heartbeat(database)
    heartbeat.keep(take(database), asked=0.0)
    heartbeat.stop()

    assert "heartbeat" not in [thread.name for thread in threading.enumerate()]
