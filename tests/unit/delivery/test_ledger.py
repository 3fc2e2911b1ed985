from __future__ import annotations

from dataclasses import replace
from typing import Any

import apsw
import pytest

from broker.adapter import Receipt, Rendered, Target
from broker.delivery import ledger
from broker.delivery.ledger import Queued
from broker.journal.intake import append
from broker.store.sqlite import Transaction, migrate
from tests.support.events import event, reception

TARGET = Target(route="adt", version="v1", place="routes/adt.yaml:9", kind="hl7", destination="epj")


@pytest.fixture
def tx() -> Transaction:
    """A journal with one event, number 1."""
    connection = apsw.Connection(":memory:")
    connection.execute("PRAGMA foreign_keys=ON")
    migrate(connection)
    tx = Transaction(connection)
    append(tx, reception(1, event("patient.registered")))
    return tx


def queue(tx: Transaction, payload: bytes = b"x", lane: str = "P1", destination: str = "epj") -> Queued:
    target = replace(TARGET, destination=destination)
    return ledger.enqueue(tx, 1, lane, target, Rendered(payload=payload, summary="ADT^A04"), "t0")


def rows(tx: Transaction) -> list[tuple[Any, ...]]:
    return tx.rows("SELECT id, state, attempt, due, detail, answer, finished FROM delivery ORDER BY id")


def test_a_queued_delivery_is_open_with_its_bytes(tx: Transaction) -> None:
    queued = queue(tx, b"bytes")

    assert queued == Queued(id=1, destination="epj", lane="P1", due=0.0)
    assert list(ledger.open_deliveries(tx)) == [queued]
    delivery = ledger.load(tx, 1)
    assert (delivery.payload, delivery.route, delivery.lane, delivery.attempt) == (b"bytes", "adt", "P1", 1)


def test_deliveries_are_numbered_in_the_order_they_were_made(tx: Transaction) -> None:
    numbers = [queue(tx, lane=lane).id for lane in ("b", "a", "b")]

    assert numbers == sorted(numbers)
    assert [q.id for q in ledger.open_deliveries(tx)] == numbers


def test_what_was_taken_is_open_no_more(tx: Transaction) -> None:
    queue(tx)
    ledger.finish(tx, ledger.load(tx, 1), Receipt(detail="MSA-1 AA", answer=b"MSA|AA"), "t1")

    assert list(ledger.open_deliveries(tx)) == []
    assert rows(tx) == [(1, "delivered", 1, 0.0, "MSA-1 AA", b"MSA|AA", "t1")]
    assert tx.rows("SELECT * FROM delivery_attempt") == [(1, 1, "t1", "delivered", "MSA-1 AA")]


def test_what_was_not_taken_stays_open_and_counts_its_attempts(tx: Transaction) -> None:
    queue(tx)
    ledger.retry(tx, ledger.load(tx, 1), "refused", "MSA-1 AE", 100.5, "t1")
    ledger.retry(tx, ledger.load(tx, 1), "unreachable", "no connection", 200.0, "t2")

    assert list(ledger.open_deliveries(tx)) == [Queued(id=1, destination="epj", lane="P1", due=200.0)]
    assert ledger.load(tx, 1).attempt == 3
    assert tx.rows("SELECT attempt, outcome FROM delivery_attempt") == [(1, "refused"), (2, "unreachable")]


def test_what_was_done_within_the_commit_is_recorded_as_delivered(tx: Transaction) -> None:
    ledger.record(tx, 1, "P1", replace(TARGET, kind="worklist"), Rendered(payload=b"{}"), "t1", "row")

    assert list(ledger.open_deliveries(tx)) == []
    assert rows(tx) == [(1, "delivered", 0, 0.0, "row", None, "t1")]


def test_what_could_not_be_made_is_held_in_sight(tx: Transaction) -> None:
    assert ledger.hold(tx, 1, "P1", TARGET, "routes/adt.yaml:9: no code", "t1") == 1

    assert list(ledger.open_deliveries(tx)) == []
    assert rows(tx) == [(1, "held", 0, 0.0, "routes/adt.yaml:9: no code", None, None)]
    assert ledger.summary(tx)[0]["held"] == 1


def test_a_merge_moves_what_is_still_open(tx: Transaction) -> None:
    for lane in ("old", "old", "new"):
        queue(tx, lane=lane)
    ledger.finish(tx, ledger.load(tx, 1), Receipt(detail="ok"), "t1")
    ledger.join(tx, "old", "new")

    assert [(q.id, q.lane) for q in ledger.open_deliveries(tx)] == [(2, "new"), (3, "new")]
    assert tx.one("SELECT lane FROM delivery WHERE id=1") == ("old",), "history is not rewritten"


def test_the_summary_tells_what_waits_and_why(tx: Transaction) -> None:
    queue(tx)
    queue(tx)
    queue(tx, destination="pacs")
    ledger.finish(tx, ledger.load(tx, 1), Receipt(detail="ok"), "t1")
    ledger.retry(tx, ledger.load(tx, 2), "refused", "MSA-1 AE", 100.0, "t1")

    assert ledger.summary(tx) == [
        {
            "destination": "epj",
            "queued": 1,
            "delivered": 1,
            "held": 0,
            "oldest": "t0",
            "failing": {"delivery": 2, "attempts": 1, "detail": "MSA-1 AE"},
        },
        {"destination": "pacs", "queued": 1, "delivered": 0, "held": 0, "oldest": "t0", "failing": None},
    ]


def test_a_number_that_does_not_exist_is_an_error(tx: Transaction) -> None:
    with pytest.raises(KeyError):
        ledger.load(tx, 9)
