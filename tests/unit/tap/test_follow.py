"""Each thing that passes is seen once: on both engines, out of order, over failures, and from the past on."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from broker.adapter import Receipt, Rendered, Target
from broker.delivery import endings, ledger, parked, stored
from broker.delivery.parked import By
from broker.errors import StoreError
from broker.journal import intake, log
from broker.store import days
from broker.store.database import Database
from broker.store.postgres import PostgresDatabase
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction
from broker.tap import follow as module
from broker.tap.choice import STREAMS, Item, Stream
from broker.tap.follow import Follow
from tests.support import events
from tests.support.events import START
from tests.support.postgres import Postgres

BY = By(who="kari", at=START.isoformat(), reason="a test")
AT = START.isoformat()


def message(tx: Transaction, number: int) -> None:
    """A message with one event."""
    intake.append(tx, events.reception(number, events.event("patient.updated", number)))


def delivery(tx: Transaction, event: int = 1, lane: str = "P1") -> int:
    target = Target(
        route="adt", version="v1", place="adt.yaml:9", kind="hl7", destination="epj", send="source", set={}
    )
    return ledger.enqueue(
        tx, events.cause(event), lane, target, Rendered(payload=b"MSH|^~\\&|", summary="x")
    ).id


def opened(tx: Transaction, number: int) -> stored.Open:
    found = stored.load(tx, number)
    assert found is not None
    return found


def following(tx: Transaction, *streams: Stream, **options: Any) -> Follow:
    follow = Follow(lambda: tx, streams or STREAMS)
    follow.begin(0.0, **options)
    return follow


def seen(follow: Follow, now: float = 0.0) -> list[tuple[str, int]]:
    return [(item.stream, item.number) for item in follow.round(now)[0]]


def outcomes(follow: Follow) -> list[tuple[int, object]]:
    return [(item.number, item.said["outcome"]) for item in follow.round(0.0)[0]]


def test_what_comes_is_seen_once_and_what_was_there_is_not(tx: Transaction) -> None:
    message(tx, 1)
    log.mark_routed(tx, [1], "v1")
    follow = following(tx)
    assert seen(follow) == []

    message(tx, 2)
    assert seen(follow) == [("received", 2)]
    log.mark_routed(tx, [2], "v1")
    number = delivery(tx, 2)
    assert seen(follow) == [("events", 2)], "a delivery that waits is no news"
    endings.finish(tx, opened(tx, number), Receipt(detail="MSA-1 AA"), AT)
    (item,) = follow.round(0.0)[0]
    assert (item.stream, item.number, item.said["outcome"], item.said["detail"]) == (
        *("deliveries", number, "delivered", "MSA-1 AA"),
    )
    assert seen(follow) == []


def test_the_life_of_a_delivery(tx: Transaction) -> None:
    message(tx, 1)
    log.mark_routed(tx, [1], "v1")
    before = delivery(tx, lane="P0")
    follow = following(tx, "deliveries")
    number = delivery(tx)
    assert outcomes(follow) == []
    endings.retry(tx, opened(tx, number), "refused", "MSA-1 AE", 0.0, AT, refusals=1)
    assert outcomes(follow) == [(number, "retry")]
    endings.park(tx, opened(tx, number), "refused", "MSA-1 AE", AT)
    assert outcomes(follow) == [(number, "parked")]
    parked.release(tx, number, BY)
    assert outcomes(follow) == [(number, "released")]
    endings.park(tx, opened(tx, number), "refused", "MSA-1 AE", AT)
    parked.drop(tx, number, BY)
    assert outcomes(follow) == [(number, "dropped")]
    endings.finish(tx, opened(tx, before), Receipt(detail=""), AT)
    assert outcomes(follow) == [(before, "delivered")], "it was open before anybody looked"


def test_what_ends_in_its_own_transaction_is_seen(tx: Transaction) -> None:
    message(tx, 1)
    follow = following(tx, "deliveries")
    target = Target(
        route="r", version="v1", place="r.yaml:1", kind="worklist", destination="worklist", send="", set={}
    )
    ledger.record(tx, events.cause(), "P1", target, Rendered(payload=b"{}"), "row")
    held = ledger.hold(tx, events.cause(), "P1", target, "PID-3 is empty")

    assert [outcome for _, outcome in outcomes(follow)] == ["delivered", "held"]
    parked.drop(tx, held, BY)
    assert outcomes(follow) == [(held, "dropped")]


def test_pages(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    follow = following(tx, "received")
    for number in range(1, 8):
        message(tx, number)
    rounds = [follow.round(0.0) for _ in range(3)]

    assert [[item.number for item in found] for found, _ in rounds] == [[1, 2, 3], [4, 5, 6], [7]]
    assert [more for _, more in rounds] == [True, True, False]
    assert [[item.number for item in page] for page in follow.back("received", 2)] == [[5, 6, 7], [2, 3, 4]]


def test_from_the_past_on(tx: Transaction) -> None:
    for number in range(1, 5):
        message(tx, number)
        log.mark_routed(tx, [number], "v1")
    numbers = [delivery(tx, event) for event in (1, 3, 4)]
    endings.finish(tx, opened(tx, numbers[1]), Receipt(detail=""), AT)
    since = START + timedelta(minutes=3)

    for stream, expected in (("received", [3, 4]), ("events", [3, 4]), ("deliveries", [numbers[1]])):
        one: Stream = stream  # type: ignore[assignment]
        assert [number for _, number in seen(following(tx, one, since=since))] == expected
    assert seen(following(tx, since=START + timedelta(hours=1))) == []


def test_content(tx: Transaction) -> None:
    message(tx, 1)
    log.mark_routed(tx, [1], "v1")
    number = delivery(tx)
    endings.finish(tx, opened(tx, number), Receipt(detail=""), AT)
    found = {item.stream: item for item in following(tx, since=START).round(0.0)[0]}
    follow = following(tx)

    for stream in STREAMS:
        content = follow.content(found[stream], events=True, raw=True, payload=True)
        assert [event.id for event in content.events] == ["M00001.0"]
        assert content.raw == b"MSH|^~\\&|message 1\r"
        assert content.payload == (b"MSH|^~\\&|" if stream == "deliveries" else None)
    days.drop_bodies(tx, "2026-03-09")
    assert follow.content(found["received"], events=False, raw=True, payload=True).raw is None


class Failing:
    """A reader whose statement on one table fails until it is mended."""

    def __init__(self, tx: Transaction) -> None:
        self.tx, self.broken = tx, ""

    def __getattr__(self, name: str) -> Any:
        if name not in ("rows", "one"):
            return getattr(self.tx, name)

        def run(sql: str, *rest: Any) -> Any:
            if self.broken and self.broken in sql:
                raise StoreError("the journal's server failed")
            return getattr(self.tx, name)(sql, *rest)

        return run


@pytest.mark.parametrize(
    "broken", ["FROM message", "FROM event", "FROM delivery JOIN", "FROM delivery WHERE"]
)
def test_what_was_read_before_a_failure_is_not_lost(broken: str) -> None:
    tx = in_memory()
    message(tx, 1)
    log.mark_routed(tx, [1], "v1")
    number = delivery(tx)
    reader: Any = Failing(tx)
    follow = Follow(lambda: reader, STREAMS)
    follow.begin(0.0)
    message(tx, 2)
    log.mark_routed(tx, [2], "v1")
    endings.finish(tx, opened(tx, number), Receipt(detail=""), AT)
    reader.broken = broken
    for _ in range(2):
        with pytest.raises(StoreError):
            follow.round(0.0)
    reader.broken = ""

    assert sorted(seen(follow)) == [("deliveries", number), ("events", 2), ("received", 2)]


def test_a_lower_number_that_is_there_later_is_seen(postgres: Postgres, journal_template: str) -> None:
    """Two nodes: the one that took its number first commits last."""
    url = postgres.url(postgres.database(journal_template))
    nodes: list[Database] = [PostgresDatabase(url, f"node-{n}") for n in range(2)]
    try:
        for node in nodes:
            node.open()
        slow, quick = nodes
        quick.write(lambda tx: message(tx, 1)).result(10)
        numbered, go_on = threading.Event(), threading.Event()

        def take_time(tx: Transaction) -> None:
            message(tx, 2)
            tx.rows("SELECT 1")  # the statements before it are done
            numbered.set()
            assert go_on.wait(10)

        late = slow.write(take_time)
        assert numbered.wait(10)
        before = Follow(quick.read, ("received",))
        before.begin(0.0)
        quick.write(lambda tx: message(tx, 3)).result(10)
        after = Follow(quick.read, ("received",))
        after.begin(0.0)
        assert [number for _, number in seen(before)] == [3]
        go_on.set()
        late.result(10)

        assert [number for _, number in seen(before)] == [2]
        assert [number for _, number in seen(after)] == [2], "it began when the higher one was there"
        assert seen(before) == seen(after) == []
    finally:
        for node in nodes:
            node.close()


def test_every_item_says_where_it_comes_from(tx: Transaction) -> None:
    follow = following(tx, "received")
    message(tx, 1)
    (item,) = follow.round(0.0)[0]

    assert item == Item(
        stream="received",
        number=1,
        at="2026-03-09T08:01:00+00:00",
        message=1,
        day="2026-03-09",
        message_id="M00001",
        source="pas",
        site="STO",
        protocol="hl7",
        type="ADT^A04",
        control_id="C00001",
        charset="utf_8",
        said={"verdict": "accepted", "answer": "AA", "reason": "", "flags": "", "events": 1},
    )
