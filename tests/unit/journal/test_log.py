from __future__ import annotations

from dataclasses import replace

import pytest

from broker.adapter import Receipt, Rendered, Target, Verdict
from broker.delivery import endings, ledger, parked, stored
from broker.delivery.parked import By
from broker.journal import log
from broker.journal.intake import append
from broker.store import days
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction
from tests.support.events import cause, event, local, of_days, patient, reception

WHO = patient(local("700123"))


@pytest.fixture
def tx() -> Transaction:
    """A journal with three messages: two events, none (refused), one event."""
    tx = in_memory()
    second = event("encounter.started", 1, patient=WHO).model_copy(update={"id": "M00001.1"})
    append(
        tx,
        replace(
            reception(1, event("patient.registered", 1, patient=WHO), second),
            keys=(("patient", "700123"), ("order", "F1")),
            flags=("synthetic-id",),
        ),
    )
    append(tx, replace(reception(2), verdict=Verdict.REJECTED, reason="MSH-10 is empty", answer_code="AR"))
    append(
        tx,
        replace(
            reception(3, event("instance.received", 3, source="images", patient=WHO)),
            source="images",
            protocol="dicom",
            raw=b"",
            charset="",
            keys=(("study", "2.25.1"), ("accession", "A1"), ("order", "F1")),
        ),
    )
    return tx


def test_events_wait_in_journal_order_with_the_message_behind_them(tx: Transaction) -> None:
    waiting = log.unrouted(tx, 10)

    assert [one.event.id for one in waiting] == ["M00001.0", "M00001.1", "M00003.0"]
    assert [one.seq for one in waiting] == sorted(one.seq for one in waiting)
    assert [(one.raw, one.charset) for one in waiting] == [
        (b"MSH|^~\\&|message 1\r", "utf_8"),
        (b"MSH|^~\\&|message 1\r", "utf_8"),
        (b"", ""),
    ]
    assert [one.event.id for one in log.unrouted(tx, 2)] == ["M00001.0", "M00001.1"]
    assert log.waiting(tx) == 3


def test_a_routed_event_waits_no_longer(tx: Transaction) -> None:
    first = log.unrouted(tx, 1)[0]
    log.mark_routed(tx, [first.seq], "v1")

    assert [one.event.id for one in log.unrouted(tx, 10)] == ["M00001.1", "M00003.0"]
    assert log.waiting(tx) == 2


def test_those_routed_together_get_their_places_in_that_order(tx: Transaction) -> None:
    one, two, three = (waiting.seq for waiting in log.unrouted(tx, 9))
    log.mark_routed(tx, [two], "v1")
    log.mark_routed(tx, [three, two, one], "v2")  # what was routed before keeps its place

    found = log.since(tx, 0, 9)
    assert [(event.seq, event.routed) for event in found] == [(two, "v1"), (three, "v2"), (one, "v2")]
    assert log.waiting(tx) == 0


def test_what_was_routed_comes_in_the_order_in_which_it_was(tx: Transaction) -> None:
    last, first = (one.seq for one in (log.unrouted(tx, 9)[2], log.unrouted(tx, 9)[0]))
    for seq in (last, first, last):  # who comes second with the same event changes nothing
        log.mark_routed(tx, [seq], "v1")

    found = log.since(tx, 0, 9)
    assert [one.event.id for one in found] == ["M00003.0", "M00001.0"]
    assert log.since(tx, found[0].place, 9) == found[1:]
    assert [one.place for one in log.unrouted(tx, 9)] == [0]


def test_an_event_comes_back_as_it_went_in(tx: Transaction) -> None:
    said = event("patient.updated", 4, patient=patient(local("700123"), family="", birth_date="", sex=None))
    append(tx, reception(4, said))

    assert log.unrouted(tx, 9)[-1].event == said


def test_messages_are_counted_per_source_and_verdict(tx: Transaction) -> None:
    assert log.counts(tx) == [
        {"source": "images", "verdict": "accepted", "messages": 1},
        {"source": "pas", "verdict": "accepted", "messages": 1},
        {"source": "pas", "verdict": "rejected", "messages": 1},
    ]


def test_the_bytes_of_a_message_stand_in_its_day(tx: Transaction) -> None:
    assert log.body(tx, 1, "2026-03-09") == b"MSH|^~\\&|message 1\r"
    assert log.body(tx, 1, "2026-03-10") is None
    assert log.body(tx, 3, "2026-03-09") == b"", "an object's bytes stand in the spool"
    assert of_days(tx, "message_body", "message") == [(1,), (2,)]

    days.drop_bodies(tx, "2026-03-09")
    assert log.body(tx, 1, "2026-03-09") is None
    assert log.body(tx, 3, "2026-03-09") is None
    assert log.unrouted(tx, 1)[0].raw == b"", "the ledger can still be read"
    assert log.timeline(tx, 1)["id"] == "M00001"


def test_events_of_some_types_from_a_time_on(tx: Transaction) -> None:
    append(tx, reception(4, event("patient.updated", 4, patient=WHO)))
    types = ("patient.registered", "patient.updated", "instance.received")
    third = tx.rows("SELECT received FROM message WHERE seq=3")[0][0]

    def ids(since: str, after: int, limit: int = 9) -> list[str]:
        return [one.event.id for one in log.lately(tx, since, types, after, limit)]

    assert ids("", log.before(tx, "")) == ["M00001.0", "M00003.0", "M00004.0"]
    start = log.before(tx, third)
    assert ids(third, start) == ["M00003.0", "M00004.0"]
    assert ids(third, start, limit=1) == ["M00003.0"]
    (first,) = log.lately(tx, third, types, start, 1)
    assert ids(third, first.seq) == ["M00004.0"]
    assert ids("9999", log.before(tx, "9999")) == []


def test_a_message_is_found_by_its_id(tx: Transaction) -> None:
    assert log.named(tx, "M00001").raw == b"MSH|^~\\&|message 1\r"
    with pytest.raises(KeyError):
        log.named(tx, "700123")


def test_the_timeline_tells_everything_but_the_content(tx: Transaction) -> None:
    target = Target(route="r", version="v1", place="routes/r.yaml:3", kind="hl7", destination="epj")
    first = log.unrouted(tx, 1)[0]
    number = ledger.enqueue(
        tx, cause(first.seq), "P1", target, Rendered(payload=b"secret", summary="ADT^A04")
    ).id

    def opened() -> stored.Open:
        found = stored.load(tx, number)
        assert found is not None
        return found

    endings.park(tx, opened(), "ask", "which of two", "2026-03-09T09:00:00+00:00")
    parked.release(tx, number, By(who="kari", at="2026-03-09T10:00:00+00:00", reason="it is the first"))
    endings.finish(tx, opened(), Receipt(detail="MSA-1 AA"), "t3")
    log.mark_routed(tx, [first.seq], "v1")

    told = log.timeline(tx, 1)

    assert {k: told[k] for k in ("id", "type", "control_id", "verdict", "answer", "charset", "flags")} == {
        "id": "M00001", "type": "ADT^A04", "control_id": "C00001", "verdict": "accepted", "answer": "AA",
        "charset": "utf_8", "flags": ["synthetic-id"],
    }  # fmt: skip
    assert [(e["id"], e["type"], e["routes"]) for e in told["events"]] == [
        ("M00001.0", "patient.registered", "v1"),
        ("M00001.1", "encounter.started", None),
    ]
    (shown,) = told["events"][0]["deliveries"]
    assert (shown["destination"], shown["state"], shown["attempt"], shown["place"]) == (
        "epj",
        "delivered",
        2,
        "routes/r.yaml:3",
    )
    assert [(a["attempt"], a["at"], a["outcome"], a["detail"]) for a in shown["attempts"]] == [
        (1, "2026-03-09T09:00:00+00:00", "ask", "which of two"),
    ], "what failed; the delivery itself tells of what did not"
    assert (shown["detail"], shown["finished"], shown["replay_of"]) == ("MSA-1 AA", "t3", None)
    assert [(i["who"], i["action"], i["reason"]) for i in shown["interventions"]] == [
        ("kari", "release", "it is the first")
    ]
    assert "secret" not in str(told)
    assert "700123" not in str(told)
