from __future__ import annotations

from datetime import datetime

from broker.adapter import Receipt, Rendered
from broker.delivery import endings, ledger, parked, stored
from broker.delivery.ledger import Queued
from broker.delivery.parked import By
from broker.store import days
from broker.store.transaction import Transaction
from tests.support.events import cause, of_days
from tests.support.ledger import T0, T1, T2, TARGET, load, queue

BY = By(who="kari", at=T2, reason="asked the ward")


def test_a_queued_delivery_is_open_with_its_bytes(tx: Transaction) -> None:
    queued = queue(tx, b"bytes")

    assert queued == Queued(id=1, destination="epj", lane="P1", due=0.0)
    assert list(stored.open_deliveries(tx)) == [queued]
    opened = load(tx, 1)
    delivery = opened.delivery
    assert (delivery.payload, delivery.route, delivery.lane, delivery.attempt) == (b"bytes", "adt", "P1", 1)
    assert (opened.day, opened.created, opened.refusals, opened.failing_since, opened.by_hand) == (
        "2026-03-09",
        datetime.fromisoformat(T0),
        0,
        None,
        False,
    )


def test_bytes_stand_in_the_day_of_their_message(tx: Transaction) -> None:
    queue(tx, b"one")
    tomorrow = cause(1, 24 * 60)
    ledger.enqueue(tx, tomorrow, "P1", TARGET, Rendered(payload=b"two"))

    assert days.known(tx) == ["2026-03-09", "2026-03-10"]
    assert of_days(tx, "delivery_body") == [(1, b"one", None), (2, b"two", None)]
    assert [load(tx, number).delivery.payload for number in (1, 2)] == [b"one", b"two"]
    assert [stored.payload_of(tx, number) for number in (1, 2, 3)] == [b"one", b"two", None]


def test_the_summary_tells_what_waits_and_why(tx: Transaction) -> None:
    for _ in range(4):
        queue(tx)
    queue(tx, destination="pacs")
    endings.finish(tx, load(tx, 1), Receipt(detail="ok"), T1)
    endings.park(tx, load(tx, 2), "ask", "who", T1)
    endings.retry(tx, load(tx, 3), "refused", "MSA-1 AE", 100.0, T1, refusals=1)
    parked.drop(tx, 2, BY)
    endings.park(tx, load(tx, 4), "ask", "who", T1)

    nothing = {"queued": 0, "delivered": 0, "parked": 0, "held": 0, "dropped": 0, "withheld": 0, "lossy": 0}
    assert stored.summary(tx) == [
        {
            "destination": "epj",
            **dict.fromkeys(nothing, 1),
            "held": 0,
            "lossy": 0,
            "withheld": 0,
            "oldest": T0,
            "failing": {"delivery": 3, "attempts": 1, "detail": "MSA-1 AE"},
        },
        {"destination": "pacs", **nothing, "queued": 1, "oldest": T0, "failing": None},
    ]


def test_a_number_that_does_not_exist_is_not_open(tx: Transaction) -> None:
    assert stored.load(tx, 9) is None
