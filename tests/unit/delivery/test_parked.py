from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.adapter import Receipt, Rendered, Target
from broker.delivery import endings, ledger, parked, stored
from broker.delivery.parked import By, NotParkedError, Query
from broker.journal.intake import append
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction
from tests.support.events import cause, event, reception

TARGET = Target(route="adt", version="v1", place="routes/adt.yaml:9", kind="hl7", destination="epj")
T1 = "2026-03-09T09:00:00+00:00"
BY = By(who="kari", at="2026-03-09T10:00:00+00:00", reason="asked the ward")


@pytest.fixture
def tx() -> Transaction:
    """1: parked, in P1. 2: behind it. 3: P2, queued. 4: parked in P1. 5: held. 6: P1 to the PACS. 7: P1, delivered."""
    tx = in_memory()
    append(tx, reception(1, event("patient.registered")))
    append(tx, reception(2, event("patient.updated", 2)))
    for lane, seq in (("P1", 1), ("P1", 2), ("P2", 2), ("P1", 2)):
        queue(tx, lane, seq)
    ledger.hold(tx, cause(2), "P1", replace(TARGET, route="orders"), "routes/orders.yaml:3: no code")
    queue(tx, "P1", 1, destination="pacs")
    queue(tx, "P1", 1)
    for number, detail in ((1, "MSA-1 AE"), (4, "MSA-1 AR, error 207")):
        opened = stored.load(tx, number)
        assert opened is not None
        endings.park(tx, opened, "refused", detail, T1)
    last = stored.load(tx, 7)
    assert last is not None
    endings.finish(tx, last, Receipt(detail="ok"), T1)
    return tx


def queue(tx: Transaction, lane: str, seq: int, *, destination: str = "epj") -> int:
    target = replace(TARGET, destination=destination)
    rendered = Rendered(payload=f"{lane} {seq}".encode(), summary="ADT^A04")
    return ledger.enqueue(tx, cause(seq), lane, target, rendered).id


def state(tx: Transaction, number: int) -> Any:
    row = tx.one("SELECT state FROM delivery WHERE id=?", (number,))
    return row and row[0]


def audit(tx: Transaction) -> list[tuple[Any, ...]]:
    return tx.rows("SELECT who, at, action, reason, delivery, before FROM intervention ORDER BY id")


def ids(found: list[dict[str, Any]]) -> list[int]:
    return [row["id"] for row in found]


def test_what_waits_for_a_person_is_listed_with_all_that_helps_to_decide(tx: Transaction) -> None:
    first, fourth, held = parked.listed(tx)

    assert first == {
        "id": 1,
        "state": "parked",
        "kind": "hl7",
        "destination": "epj",
        "route": "adt",
        "place": "routes/adt.yaml:9",
        "lane": "P1",
        "attempts": 1,
        "detail": "MSA-1 AE",
        "summary": "ADT^A04",
        "since": T1,
        "created": "2026-03-09T08:01:00+00:00",
        "message": "M00001",
        "control_id": "C00001",
        "source": "pas",
        "waiting": 2,
    }
    assert (fourth["id"], fourth["message"], fourth["waiting"]) == (4, "M00002", 0)
    assert (held["id"], held["state"], held["waiting"]) == (5, "held", 0), "a held one was never in a lane"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), [1, 4, 5]),
        (Query(ids=(4, 1, 99)), [1, 4]),
        (Query(destination="epj"), [1, 4, 5]),
        (Query(destination="pacs"), []),
        (Query(route="orders"), [5]),
        (Query(lane="P1"), [1, 4, 5]),
        (Query(lane="P2"), []),
        (Query(detail="AE"), [1]),
        (Query(detail="MSA-1 A"), [1, 4]),
        (Query(detail="%"), []),
        (Query(route="adt", detail="207"), [4]),
        (Query(ids=(1,), detail="207"), []),
    ],
    ids=str,
)
def test_a_query_narrows_the_list(tx: Transaction, query: Query, found: list[int]) -> None:
    assert ids(parked.listed(tx, query)) == found


def test_a_list_is_no_longer_than_asked_for(tx: Transaction) -> None:
    assert ids(parked.listed(tx, limit=2)) == [1, 4]


def test_who_waits_behind_a_parked_delivery(tx: Transaction) -> None:
    assert [(row["id"], row["state"], row["message"]) for row in parked.behind(tx, 1)] == [
        (2, "queued", "M00002"),
        (4, "parked", "M00002"),
    ]
    assert parked.behind(tx, 4) == []
    for other in (2, 5, 7, 99):
        assert parked.behind(tx, other) == [], "nobody waits behind what is not parked"


def test_who_waits_behind_it_after_a_merge(tx: Transaction) -> None:
    ledger.join(tx, "P2", "P1")

    assert ids(parked.behind(tx, 1)) == [2, 3, 4]
    assert parked.listed(tx)[0]["waiting"] == 3


def test_a_released_delivery_is_queued_as_if_for_the_first_time(tx: Transaction) -> None:
    parked.release(tx, 1, BY)

    opened = stored.load(tx, 1)
    assert opened is not None
    assert (opened.refusals, opened.failing_since, opened.by_hand) == (0, None, True)
    assert opened.delivery.attempt == 2, "what was tried before is not forgotten"
    assert [(q.id, q.parked) for q in stored.open_deliveries(tx)][:2] == [(1, False), (2, False)]
    assert audit(tx) == [("kari", BY.at, "release", "asked the ward", 1, None)]


def test_a_dropped_delivery_is_gone_from_its_lane_and_its_bytes_stand(tx: Transaction) -> None:
    parked.drop(tx, 1, BY)

    assert tx.one("SELECT state, finished FROM delivery WHERE id=1") == ("dropped", BY.at)
    assert 1 not in [q.id for q in stored.open_deliveries(tx)]
    assert stored.payload_of(tx, 1) == b"P1 1"
    assert audit(tx) == [("kari", BY.at, "drop", "asked the ward", 1, None)]


def test_what_is_held_can_only_be_dropped(tx: Transaction) -> None:
    with pytest.raises(NotParkedError, match="delivery 5 is held; only what is parked can be released"):
        parked.release(tx, 5, BY)
    with pytest.raises(NotParkedError, match="delivery 5 is held"):
        parked.edit(tx, 5, b"x", BY)
    parked.drop(tx, 5, BY)

    assert state(tx, 5) == "dropped"


def test_an_edit_changes_the_bytes_and_keeps_those_before(tx: Transaction) -> None:
    parked.edit(tx, 1, b"mended", BY)
    parked.edit(tx, 1, b"mended again", replace(BY, who="ola"))

    assert state(tx, 1) == "parked", "it waits until it is released"
    assert audit(tx) == [
        ("kari", BY.at, "edit", "asked the ward", 1, b"P1 1"),
        ("ola", BY.at, "edit", "asked the ward", 1, b"mended"),
    ]
    parked.release(tx, 1, BY)
    opened = stored.load(tx, 1)
    assert opened is not None
    assert opened.delivery.payload == b"mended again"
    assert stored.payload_of(tx, 2) == b"P1 2", "nobody else's bytes"


def test_an_edit_is_none_of_bytes_that_somebody_edited_meanwhile(tx: Transaction) -> None:
    """An editor may be open for an hour."""
    parked.edit(tx, 1, b"mended", BY, seen=b"P1 1")
    with pytest.raises(NotParkedError, match="delivery 1 was edited by somebody else meanwhile"):
        parked.edit(tx, 1, b"mended too", replace(BY, who="ola"), seen=b"P1 1")

    assert stored.payload_of(tx, 1) == b"mended"


@pytest.mark.parametrize(("number", "is_now"), [(2, "queued"), (7, "delivered")])
@pytest.mark.parametrize("action", ["release", "drop", "edit"])
def test_only_what_is_parked_can_be_acted_on(tx: Transaction, action: str, number: int, is_now: str) -> None:
    with pytest.raises(NotParkedError, match=rf"delivery {number} is {is_now}; only what is parked can be "):
        act(tx, action, number)

    assert (state(tx, number), audit(tx)) == (is_now, []), "nothing is done, and nothing is noted"


@pytest.mark.parametrize("action", ["release", "drop", "edit"])
def test_what_does_not_exist_is_told_with_where_to_look(tx: Transaction, action: str) -> None:
    with pytest.raises(NotParkedError, match="there is no delivery 99; `broker parked list` shows"):
        act(tx, action, 99)


@pytest.mark.parametrize("action", ["release", "drop"])
def test_nothing_is_done_twice(tx: Transaction, action: str) -> None:
    act(tx, action, 1)
    with pytest.raises(NotParkedError):
        act(tx, action, 1)

    assert len(audit(tx)) == 1


def act(tx: Transaction, action: str, number: int) -> None:
    if action == "edit":
        parked.edit(tx, number, b"other", BY)
    elif action == "release":
        parked.release(tx, number, BY)
    else:
        parked.drop(tx, number, BY)


def test_a_running_broker_hears_of_what_moves_a_delivery(tx: Transaction) -> None:
    assert (parked.last_intervention(tx), parked.interventions(tx, 0)) == (0, [])
    parked.edit(tx, 1, b"mended", BY)
    parked.release(tx, 1, BY)
    parked.drop(tx, 4, BY)
    replay = ledger.enqueue(tx, cause(), "P1", TARGET, Rendered(payload=b"x"), replay_of=7)
    parked.note(tx, "replay", replay.id, BY)
    parked.note(tx, "replay", None, BY, message=1)

    assert [(n, action, now, q.id, q.lane) for n, action, now, q in parked.interventions(tx, 0)] == [
        (2, "release", "queued", 1, "P1"),
        (3, "drop", "dropped", 4, "P1"),
        (4, "replay", "queued", replay.id, "P1"),
    ], "an edit moves nothing"
    assert [n for n, *_ in parked.interventions(tx, 3)] == [4]
    assert parked.last_intervention(tx) == 5
