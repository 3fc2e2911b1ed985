from __future__ import annotations

from datetime import datetime

from broker.adapter import Receipt
from broker.delivery import endings, stored
from broker.delivery.ledger import Queued
from broker.store.transaction import Transaction
from tests.support.events import of_days
from tests.support.ledger import T0, T1, T2, attempts, counted, load, queue, rows, tallied


def test_what_was_taken_is_open_no_more(tx: Transaction) -> None:
    queue(tx)
    endings.finish(tx, load(tx, 1), Receipt(detail="MSA-1 AA", answer=b"MSA|AA"), T1)

    assert list(stored.open_deliveries(tx)) == []
    assert stored.load(tx, 1) is None
    assert rows(tx) == [(1, "delivered", 1, 0.0, "MSA-1 AA", T1)]
    assert of_days(tx, "delivery_body") == [(1, b"x", b"MSA|AA")]
    assert attempts(tx) == [], "the delivery itself says that it was taken"


def test_what_was_not_taken_stays_open_and_counts_its_attempts(tx: Transaction) -> None:
    queue(tx)
    endings.retry(tx, load(tx, 1), "unreachable", "no connection", 100.5, T0, refusals=0)
    assert load(tx, 1).failing_since is None, "it is the destination that fails"
    endings.retry(tx, load(tx, 1), "refused", "MSA-1 AE", 150.0, T1, refusals=1)
    endings.retry(tx, load(tx, 1), "failed", "MSA-1 CE", 200.0, T2, refusals=1)

    assert list(stored.open_deliveries(tx)) == [Queued(id=1, destination="epj", lane="P1", due=200.0)]
    opened = load(tx, 1)
    assert (opened.delivery.attempt, opened.refusals, opened.failing_since) == (
        4,
        1,
        datetime.fromisoformat(T1),
    )
    assert [(n, outcome) for _, n, _, outcome, _ in attempts(tx)] == [
        (1, "unreachable"),
        (2, "refused"),
        (3, "failed"),
    ]
    assert stored.attempts(tx, 1)[1] == (2, T1, "refused", "MSA-1 AE")


def test_what_got_through_in_the_end_fails_no_longer(tx: Transaction) -> None:
    queue(tx)
    endings.retry(tx, load(tx, 1), "refused", "MSA-1 AE", 100.0, T1, refusals=1)
    endings.finish(tx, load(tx, 1), Receipt(detail="ok"), T2)

    assert tx.rows("SELECT state, attempt, refusals, failing_since FROM delivery") == [
        ("delivered", 2, 0, None)
    ]


def test_a_parked_delivery_keeps_its_place_and_is_not_sent(tx: Transaction) -> None:
    for _ in range(2):
        queue(tx)
    endings.park(tx, load(tx, 1), "refused", "MSA-1 AE", T1)

    assert stored.load(tx, 1) is None
    assert [(q.id, q.parked) for q in stored.open_deliveries(tx)] == [(1, True), (2, False)]
    assert rows(tx)[0] == (1, "parked", 1, 0.0, "MSA-1 AE", None)
    assert attempts(tx) == [(1, 1, T1, "refused", "MSA-1 AE")]
    assert tx.one("SELECT failing_since FROM delivery WHERE id=1") == (T1,)


def test_a_move_is_made_only_from_the_state_it_begins_in(tx: Transaction) -> None:
    queue(tx)
    before = tallied(tx)

    assert endings.move(tx, 1, "parked", "dropped", "detail=?", ("x",)) is False
    assert endings.move(tx, 99, "queued", "dropped", "detail=?", ("x",)) is False
    assert (rows(tx), tallied(tx)) == ([(1, "queued", 0, 0.0, "", None)], before)
    assert endings.move(tx, 1, "queued", "dropped", "detail=?", ("x",)) is True
    assert rows(tx) == [(1, "dropped", 0, 0.0, "x", None)]
    assert list(tallied(tx)) == [("2026-03-09", "pas", "adt", "epj", "dropped")]


def test_an_outcome_that_is_written_twice_is_written_once(tx: Transaction) -> None:
    """A commit that was reported as failed may have reached the disk all the same."""
    queue(tx)
    first = load(tx, 1)
    for _ in range(2):
        endings.retry(tx, first, "refused", "MSA-1 AE", 100.0, T1, refusals=1)
    assert [row[1] for row in attempts(tx)] == [1]
    second = load(tx, 1)
    for _ in range(2):
        endings.park(tx, second, "refused", "MSA-1 AE", T1)
    assert [row[1] for row in attempts(tx)] == [1, 2]
    endings.retry(tx, second, "refused", "MSA-1 AE", 100.0, T1, refusals=2)
    endings.finish(tx, second, Receipt(detail="ok"), T2)

    assert rows(tx) == [(1, "parked", 2, 0.0, "MSA-1 AE", None)], "a person decides, and nothing late does"
    assert tallied(tx) == counted(tx)
