from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.adapter import Receipt, Rendered
from broker.delivery import endings, ledger, parked, stored
from broker.delivery.parked import By, NotParkedError
from broker.journal.intake import append
from broker.store import tally
from broker.store.database import Database
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction
from tests.support.crossing import as_far_as_it_gets, between
from tests.support.events import cause, event, reception
from tests.support.ledger import T0, T1, T2, TARGET, counted, load, queue, rows, tallied

BY = By(who="kari", at=T2, reason="asked the ward")


def journal() -> Transaction:
    """A journal with one event, number 1."""
    tx = in_memory()
    append(tx, reception(1, event("patient.registered")))
    return tx


def test_deliveries_are_numbered_in_the_order_they_were_made(tx: Transaction) -> None:
    numbers = [queue(tx, lane=lane).id for lane in ("b", "a", "b")]

    assert numbers == sorted(numbers)
    assert [q.id for q in stored.open_deliveries(tx)] == numbers


def test_what_was_done_within_the_commit_is_recorded_as_delivered(tx: Transaction) -> None:
    ledger.record(tx, cause(), "P1", replace(TARGET, kind="worklist"), Rendered(payload=b"{}"), "row")

    assert list(stored.open_deliveries(tx)) == []
    assert rows(tx) == [(1, "delivered", 0, 0.0, "row", T0)]


def test_what_could_not_be_made_is_held_in_sight(tx: Transaction) -> None:
    assert ledger.hold(tx, cause(), "P1", TARGET, "routes/adt.yaml:9: no code") == 1

    assert list(stored.open_deliveries(tx)) == []
    assert stored.load(tx, 1) is None
    assert rows(tx) == [(1, "held", 0, 0.0, "routes/adt.yaml:9: no code", None)]
    assert stored.summary(tx)[0]["held"] == 1


def test_a_merge_moves_what_is_still_open(tx: Transaction) -> None:
    for lane in ("old", "old", "old", "new"):
        queue(tx, lane=lane)
    endings.finish(tx, load(tx, 1), Receipt(detail="ok"), T1)
    endings.park(tx, load(tx, 2), "ask", "who", T1)
    ledger.join(tx, "old", "new")

    assert [(q.id, q.lane) for q in stored.open_deliveries(tx)] == [(2, "new"), (3, "new"), (4, "new")]
    assert tx.one("SELECT lane FROM delivery WHERE id=1") == ("old",), "history is not rewritten"


def test_a_merge_of_a_lane_that_still_waits_for_another_overtakes_neither(tx: Transaction) -> None:
    """A visit went from `part` to `first`; then `part` turns out to be `whole`, of whom something is open too."""
    queue(tx, lane="first")
    queue(tx, lane="whole")
    ledger.part(tx, "part", "first")
    queue(tx, lane="part")

    assert ledger.join(tx, "part", "whole") == [("part", "whole"), ("whole", "first")]
    assert queue(tx, lane="whole").lane == "first"
    assert {q.lane for q in stored.open_deliveries(tx)} == {"first"}
    for number in range(1, 5):
        endings.finish(tx, load(tx, number), Receipt(detail="ok"), T1)
    assert queue(tx, lane="whole").lane == "whole"


def test_a_merge_of_two_lanes_that_wait_waits_for_both(tx: Transaction) -> None:
    for lane, behind in (("one", "first"), ("two", "second")):
        queue(tx, lane=behind)
        ledger.part(tx, lane, behind)
    ledger.join(tx, "one", "two")

    assert len({queue(tx, lane="two").lane, *(q.lane for q in stored.open_deliveries(tx))}) == 1


def test_lossy_deliveries_are_counted_when_made_and_when_sent(tx: Transaction) -> None:
    ledger.enqueue(tx, cause(), "P1", TARGET, Rendered(payload=b"x", lossy=True))
    queue(tx, destination="pacs")
    endings.finish(tx, load(tx, 2), Receipt(detail="0000", lossy=True), T1)

    assert [row["lossy"] for row in stored.summary(tx)] == [1, 1]
    assert tally.lossy(tx, T0[:10]) == {"epj": 1, "pacs": 1}
    assert tally.lossy(tx, "2026-03-10") == {}
    lossy = {key: number for key, number in tallied(tx).items() if key[-1] == tally.LOSSY}
    assert tallied(tx).items() - lossy.items() == counted(tx).items()


DESTINATIONS = st.sampled_from(["epj", "pacs"])
WHAT = ("enqueue", "record", "hold", "finish", "retry", "park", "release", "drop", "edit", "join")


@given(
    st.lists(
        st.tuples(st.sampled_from(WHAT), st.integers(1, 8), DESTINATIONS, st.integers(0, 1)), max_size=40
    )
)
@settings(max_examples=60)
def test_the_tally_agrees_with_the_rows_after_any_sequence(steps: list[tuple[str, int, str, int]]) -> None:
    tx = journal()
    for what, number, destination, day in steps:
        target = replace(TARGET, destination=destination)
        made_of = cause(1, 1 + day * 24 * 60)
        opened = stored.load(tx, number)
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
            endings.finish(tx, opened, Receipt(detail="ok", answer=b"AA"), T1)
        elif what == "retry":
            endings.retry(tx, opened, "failed", "x", 1.0, T1, refusals=0)
        else:
            endings.park(tx, opened, "refused", "x", T1)

    assert tallied(tx) == counted(tx)


def test_what_a_person_releases_while_it_is_withdrawn_does_not_leave(nodes: list[Database]) -> None:
    """Its lane is looked through for what waits and for what is parked: it must not be missed as both."""
    router, desk = nodes
    releasing: list[Future[None]] = []

    def parked_one(tx: Transaction) -> int:
        append(tx, reception(1, event("patient.registered")))
        told = ledger.enqueue(tx, cause(), "P1", replace(TARGET, purpose="contact"), Rendered(payload=b"x"))
        assert endings.park(tx, load(tx, told.id), "refused", "MSA-1 AE", T1)
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
