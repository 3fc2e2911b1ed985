"""What a start reads: every open delivery, piece by piece, by destination and in lane order."""

from __future__ import annotations

import apsw
import pytest

from broker.adapter import Receipt, Rendered, Target
from broker.delivery import endings, ledger, stored
from broker.delivery.lanes import LaneBook
from broker.delivery.ledger import Cause
from broker.store.sqlite import SqliteTransaction, migrate
from broker.store.transaction import Transaction
from tests.support.events import event


@pytest.fixture
def tx() -> Transaction:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    return SqliteTransaction(connection)


def _queue(tx: Transaction, destination: str, lane: str) -> int:
    target = Target(route="adt", version="v1", place="routes/adt.yaml:9", kind="hl7", destination=destination)
    cause = Cause.of(1, event("patient.registered"))
    return ledger.enqueue(tx, cause, lane, target, Rendered(payload=b"x", summary="ADT^A04")).id


def test_every_open_delivery_is_found_whatever_the_size_of_a_piece(
    tx: Transaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [_queue(tx, destination, lane) for lane in "abcb" for destination in ("pacs-hl7", "epj")]
    endings.finish(tx, stored.load(tx, numbers[3]), Receipt(detail="MSA-1 AA"), "t1")  # type: ignore[arg-type]
    endings.park(tx, stored.load(tx, numbers[0]), "refused", "MSA-1 AE", "t1")  # type: ignore[arg-type]
    expected = [
        *((number, "epj", lane, False) for number, lane in zip(numbers[1::2], "abcb", strict=True)),
        *(
            (number, "pacs-hl7", lane, number == numbers[0])
            for number, lane in zip(numbers[::2], "abcb", strict=True)
        ),
    ]
    expected.remove((numbers[3], "epj", "b", False))

    for piece in (1, 2, 3, 4, 100):
        monkeypatch.setattr(stored, "PIECE", piece)
        found = [(q.id, q.destination, q.lane, q.parked) for q in stored.open_deliveries(tx)]
        assert found == expected, piece


def test_pieces_are_read_from_the_index_of_open_deliveries(tx: Transaction) -> None:
    """Millions that were delivered long ago cost a start nothing."""
    _queue(tx, "epj", "a")
    asked: list[str] = []
    connection = tx._connection
    connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda told: asked.append(told["sql"]))
    assert len(list(stored.open_deliveries(tx))) == 1
    connection.trace_v2(0, None)

    for sql in dict.fromkeys(asked):
        values = ("epj", 0, 5)[: sql.count("?")]
        plan = [step[3] for step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        assert len(plan) == 1, plan
        assert "INDEX delivery_open" in plan[0], plan


def test_a_head_that_comes_late_is_offered(tx: Transaction) -> None:
    """Lanes that are joined may hand an older delivery to a lane that has a newer one."""
    book = LaneBook()
    for number in (5, 7, 3):
        book.add(number, "a")

    assert [book.take(0.0)] == [3]
    book.done(3)
    assert book.take(0.0) == 5
    assert book.take(0.0) is None
