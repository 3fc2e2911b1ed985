from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.adapter import Receipt, Rendered, Target
from broker.delivery import ledger, parked
from broker.delivery.ledger import Open, Queued
from broker.delivery.parked import By, NotParkedError
from broker.journal.intake import append
from broker.store import days, tally
from broker.store.database import Database, Transaction
from broker.store.sqlite import in_memory
from tests.support.crossing import as_far_as_it_gets, between
from tests.support.events import cause, event, of_days, reception

TARGET = Target(route="adt", version="v1", place="routes/adt.yaml:9", kind="hl7", destination="epj")
T0 = "2026-03-09T08:01:00+00:00"
"""When the event came that everything here is made of."""
T1, T2 = "2026-03-09T09:00:00+00:00", "2026-03-09T10:00:00+00:00"
BY = By(who="kari", at=T2, reason="asked the ward")


def journal() -> Transaction:
    """A journal with one event, number 1."""
    tx = in_memory()
    append(tx, reception(1, event("patient.registered")))
    return tx


@pytest.fixture
def tx(tx: Transaction) -> Transaction:
    """A journal with one event, number 1, on both engines."""
    append(tx, reception(1, event("patient.registered")))
    return tx


def queue(tx: Transaction, payload: bytes = b"x", lane: str = "P1", destination: str = "epj") -> Queued:
    target = replace(TARGET, destination=destination)
    return ledger.enqueue(tx, cause(), lane, target, Rendered(payload=payload, summary="ADT^A04"))


def load(tx: Transaction, number: int) -> Open:
    opened = ledger.load(tx, number)
    assert opened is not None
    return opened


def rows(tx: Transaction) -> list[tuple[Any, ...]]:
    return tx.rows("SELECT id, state, attempt, due, detail, finished FROM delivery ORDER BY id")


def attempts(tx: Transaction) -> list[tuple[Any, ...]]:
    return tx.rows("SELECT delivery, attempt, at, outcome, detail FROM delivery_attempt")


def tallied(tx: Transaction) -> dict[tuple[Any, ...], int]:
    """What was counted while it happened; states that nothing is in any more left out."""
    found = tx.rows(
        "SELECT day, source, route, destination, state, number FROM tally WHERE destination<>'' AND number<>0"
    )
    return {tuple(key): number for *key, number in found}


def counted(tx: Transaction) -> dict[tuple[Any, ...], int]:
    """The same, counted from the rows."""
    found = tx.rows(
        "SELECT day, source, route, destination, state, count(*) FROM delivery GROUP BY 1, 2, 3, 4, 5"
    )
    return {tuple(key): number for *key, number in found}


def test_a_queued_delivery_is_open_with_its_bytes(tx: Transaction) -> None:
    queued = queue(tx, b"bytes")

    assert queued == Queued(id=1, destination="epj", lane="P1", due=0.0)
    assert list(ledger.open_deliveries(tx)) == [queued]
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
    assert [ledger.payload_of(tx, number) for number in (1, 2, 3)] == [b"one", b"two", None]


def test_deliveries_are_numbered_in_the_order_they_were_made(tx: Transaction) -> None:
    numbers = [queue(tx, lane=lane).id for lane in ("b", "a", "b")]

    assert numbers == sorted(numbers)
    assert [q.id for q in ledger.open_deliveries(tx)] == numbers


def test_what_was_taken_is_open_no_more(tx: Transaction) -> None:
    queue(tx)
    ledger.finish(tx, load(tx, 1), Receipt(detail="MSA-1 AA", answer=b"MSA|AA"), T1)

    assert list(ledger.open_deliveries(tx)) == []
    assert ledger.load(tx, 1) is None
    assert rows(tx) == [(1, "delivered", 1, 0.0, "MSA-1 AA", T1)]
    assert of_days(tx, "delivery_body") == [(1, b"x", b"MSA|AA")]
    assert attempts(tx) == [], "the delivery itself says that it was taken"


def test_what_was_not_taken_stays_open_and_counts_its_attempts(tx: Transaction) -> None:
    queue(tx)
    ledger.retry(tx, load(tx, 1), "unreachable", "no connection", 100.5, T0, refusals=0)
    assert load(tx, 1).failing_since is None, "it is the destination that fails"
    ledger.retry(tx, load(tx, 1), "refused", "MSA-1 AE", 150.0, T1, refusals=1)
    ledger.retry(tx, load(tx, 1), "failed", "MSA-1 CE", 200.0, T2, refusals=1)

    assert list(ledger.open_deliveries(tx)) == [Queued(id=1, destination="epj", lane="P1", due=200.0)]
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
    assert ledger.attempts(tx, 1)[1] == (2, T1, "refused", "MSA-1 AE")


def test_what_got_through_in_the_end_fails_no_longer(tx: Transaction) -> None:
    queue(tx)
    ledger.retry(tx, load(tx, 1), "refused", "MSA-1 AE", 100.0, T1, refusals=1)
    ledger.finish(tx, load(tx, 1), Receipt(detail="ok"), T2)

    assert tx.rows("SELECT state, attempt, refusals, failing_since FROM delivery") == [
        ("delivered", 2, 0, None)
    ]


def test_a_parked_delivery_keeps_its_place_and_is_not_sent(tx: Transaction) -> None:
    for _ in range(2):
        queue(tx)
    ledger.park(tx, load(tx, 1), "refused", "MSA-1 AE", T1)

    assert ledger.load(tx, 1) is None
    assert [(q.id, q.parked) for q in ledger.open_deliveries(tx)] == [(1, True), (2, False)]
    assert rows(tx)[0] == (1, "parked", 1, 0.0, "MSA-1 AE", None)
    assert attempts(tx) == [(1, 1, T1, "refused", "MSA-1 AE")]
    assert tx.one("SELECT failing_since FROM delivery WHERE id=1") == (T1,)


def test_what_was_done_within_the_commit_is_recorded_as_delivered(tx: Transaction) -> None:
    ledger.record(tx, cause(), "P1", replace(TARGET, kind="worklist"), Rendered(payload=b"{}"), "row")

    assert list(ledger.open_deliveries(tx)) == []
    assert rows(tx) == [(1, "delivered", 0, 0.0, "row", T0)]


def test_what_could_not_be_made_is_held_in_sight(tx: Transaction) -> None:
    assert ledger.hold(tx, cause(), "P1", TARGET, "routes/adt.yaml:9: no code") == 1

    assert list(ledger.open_deliveries(tx)) == []
    assert ledger.load(tx, 1) is None
    assert rows(tx) == [(1, "held", 0, 0.0, "routes/adt.yaml:9: no code", None)]
    assert ledger.summary(tx)[0]["held"] == 1


def test_a_merge_moves_what_is_still_open(tx: Transaction) -> None:
    for lane in ("old", "old", "old", "new"):
        queue(tx, lane=lane)
    ledger.finish(tx, load(tx, 1), Receipt(detail="ok"), T1)
    ledger.park(tx, load(tx, 2), "ask", "who", T1)
    ledger.join(tx, "old", "new")

    assert [(q.id, q.lane) for q in ledger.open_deliveries(tx)] == [(2, "new"), (3, "new"), (4, "new")]
    assert tx.one("SELECT lane FROM delivery WHERE id=1") == ("old",), "history is not rewritten"


def test_a_merge_of_a_lane_that_still_waits_for_another_overtakes_neither(tx: Transaction) -> None:
    """A visit went from `part` to `first`; then `part` turns out to be `whole`, of whom something is open too."""
    queue(tx, lane="first")
    queue(tx, lane="whole")
    ledger.part(tx, "part", "first")
    queue(tx, lane="part")

    assert ledger.join(tx, "part", "whole") == [("part", "whole"), ("whole", "first")]
    assert queue(tx, lane="whole").lane == "first"
    assert {q.lane for q in ledger.open_deliveries(tx)} == {"first"}
    for number in range(1, 5):
        ledger.finish(tx, load(tx, number), Receipt(detail="ok"), T1)
    assert queue(tx, lane="whole").lane == "whole"


def test_a_merge_of_two_lanes_that_wait_waits_for_both(tx: Transaction) -> None:
    for lane, behind in (("one", "first"), ("two", "second")):
        queue(tx, lane=behind)
        ledger.part(tx, lane, behind)
    ledger.join(tx, "one", "two")

    assert len({queue(tx, lane="two").lane, *(q.lane for q in ledger.open_deliveries(tx))}) == 1


def test_the_summary_tells_what_waits_and_why(tx: Transaction) -> None:
    for _ in range(4):
        queue(tx)
    queue(tx, destination="pacs")
    ledger.finish(tx, load(tx, 1), Receipt(detail="ok"), T1)
    ledger.park(tx, load(tx, 2), "ask", "who", T1)
    ledger.retry(tx, load(tx, 3), "refused", "MSA-1 AE", 100.0, T1, refusals=1)
    parked.drop(tx, 2, BY)
    ledger.park(tx, load(tx, 4), "ask", "who", T1)

    nothing = {"queued": 0, "delivered": 0, "parked": 0, "held": 0, "dropped": 0, "withheld": 0, "lossy": 0}
    assert ledger.summary(tx) == [
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


def test_lossy_deliveries_are_counted_when_made_and_when_sent(tx: Transaction) -> None:
    ledger.enqueue(tx, cause(), "P1", TARGET, Rendered(payload=b"x", lossy=True))
    queue(tx, destination="pacs")
    ledger.finish(tx, load(tx, 2), Receipt(detail="0000", lossy=True), T1)

    assert [row["lossy"] for row in ledger.summary(tx)] == [1, 1]
    assert tally.lossy(tx, T0[:10]) == {"epj": 1, "pacs": 1}
    assert tally.lossy(tx, "2026-03-10") == {}
    lossy = {key: number for key, number in tallied(tx).items() if key[-1] == tally.LOSSY}
    assert tallied(tx).items() - lossy.items() == counted(tx).items()


def test_a_number_that_does_not_exist_is_not_open(tx: Transaction) -> None:
    assert ledger.load(tx, 9) is None


# --- guards ---


def test_a_move_is_made_only_from_the_state_it_begins_in(tx: Transaction) -> None:
    queue(tx)
    before = tallied(tx)

    assert ledger.move(tx, 1, "parked", "dropped", "detail=?", ("x",)) is False
    assert ledger.move(tx, 99, "queued", "dropped", "detail=?", ("x",)) is False
    assert (rows(tx), tallied(tx)) == ([(1, "queued", 0, 0.0, "", None)], before)
    assert ledger.move(tx, 1, "queued", "dropped", "detail=?", ("x",)) is True
    assert rows(tx) == [(1, "dropped", 0, 0.0, "x", None)]
    assert list(tallied(tx)) == [("2026-03-09", "pas", "adt", "epj", "dropped")]


def test_an_outcome_that_is_written_twice_is_written_once(tx: Transaction) -> None:
    """A commit that was reported as failed may have reached the disk all the same."""
    queue(tx)
    first = load(tx, 1)
    for _ in range(2):
        ledger.retry(tx, first, "refused", "MSA-1 AE", 100.0, T1, refusals=1)
    assert [row[1] for row in attempts(tx)] == [1]
    second = load(tx, 1)
    for _ in range(2):
        ledger.park(tx, second, "refused", "MSA-1 AE", T1)
    assert [row[1] for row in attempts(tx)] == [1, 2]
    ledger.retry(tx, second, "refused", "MSA-1 AE", 100.0, T1, refusals=2)
    ledger.finish(tx, second, Receipt(detail="ok"), T2)

    assert rows(tx) == [(1, "parked", 2, 0.0, "MSA-1 AE", None)], "a person decides, and nothing late does"
    assert tallied(tx) == counted(tx)


DESTINATIONS = st.sampled_from(["epj", "pacs"])
WHAT = ("enqueue", "record", "hold", "finish", "retry", "park", "release", "drop", "edit", "join")


@given(
    st.lists(
        st.tuples(st.sampled_from(WHAT), st.integers(1, 8), DESTINATIONS, st.integers(0, 1)), max_size=40
    )
)
@settings(max_examples=60, deadline=None)
def test_the_tally_agrees_with_the_rows_after_any_sequence(steps: list[tuple[str, int, str, int]]) -> None:
    tx = journal()
    for what, number, destination, day in steps:
        target = replace(TARGET, destination=destination)
        made_of = cause(1, 1 + day * 24 * 60)
        opened = ledger.load(tx, number)
        if what == "enqueue":
            ledger.enqueue(tx, made_of, f"P{number}", target, Rendered(payload=b"x"))
        elif what == "record":
            ledger.record(tx, made_of, "P1", target, Rendered(payload=b"x"), "row")
        elif what == "hold":
            ledger.hold(tx, made_of, "P1", target, "no code")
        elif what == "join":
            ledger.join(tx, f"P{number}", "P1")
        elif what in ("release", "drop", "edit"):
            try:
                if what == "edit":
                    parked.edit(tx, number, b"y", BY)
                else:
                    (parked.release if what == "release" else parked.drop)(tx, number, BY)
            except NotParkedError:
                continue
        elif opened is None:
            continue
        elif what == "finish":
            ledger.finish(tx, opened, Receipt(detail="ok", answer=b"AA"), T1)
        elif what == "retry":
            ledger.retry(tx, opened, "failed", "x", 1.0, T1, refusals=0)
        else:
            ledger.park(tx, opened, "refused", "x", T1)

    assert tallied(tx) == counted(tx)


def test_what_a_person_releases_while_it_is_withdrawn_does_not_leave(nodes: list[Database]) -> None:
    """Its lane is looked through for what waits and for what is parked: it must not be missed as both."""
    router, desk = nodes
    releasing: list[Future[None]] = []

    def parked_one(tx: Transaction) -> int:
        append(tx, reception(1, event("patient.registered")))
        told = ledger.enqueue(tx, cause(), "P1", replace(TARGET, purpose="contact"), Rendered(payload=b"x"))
        assert ledger.park(tx, load(tx, told.id), "refused", "MSA-1 AE", T1)
        return told.id

    number = router.write(parked_one).result(10)

    def release() -> None:
        done = desk.write(lambda tx: parked.release(tx, number, BY))
        releasing.append(as_far_as_it_gets(desk, done))

    def withdraw(tx: Transaction) -> list[int]:
        between(tx, "UPDATE delivery", release, behind=True)
        return ledger.withdraw(tx, "P1", T2)

    assert router.write(withdraw).result(10) == [number]
    with pytest.raises(NotParkedError):
        releasing[0].result(10)
    assert router.read().rows("SELECT state FROM delivery") == [("withheld",)]
