from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from broker.adapter import REPEAT_WINDOW, Reception, Verdict
from broker.errors import StoreError, UnwritableError
from broker.journal import log
from broker.journal.intake import JournalIntake, append
from broker.reception import BATCH
from broker.store.sqlite import Database, Transaction, migrate
from tests.support.events import START, event, local, patient, reception


@pytest.fixture
def tx() -> Transaction:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    return Transaction(connection)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "journal.sqlite")
    database.open()
    yield database
    database.close()


def stored(tx: Transaction) -> dict[str, list[tuple[Any, ...]]]:
    return {name: tx.rows(f"SELECT * FROM {name}") for name in ("message", "message_key", "event")}


def registered(number: int = 1) -> Reception:
    return reception(number, event("patient.registered", number, patient=patient(local("700123"))))


def test_everything_of_a_reception_is_stored(tx: Transaction) -> None:
    given = replace(
        registered(),
        keys=(("patient", "700123"), ("accession", "A1"), ("patient", "700123")),
        flags=("synthetic-id", "charset-mismatch"),
        reason="why",
        blob="instances/ab/x.dcm",
    )
    answer = append(tx, given)

    assert (answer.answers, answer.answer_code, answer.repeat) == (given.answers, "AA", False)
    (message,) = tx.rows(
        "SELECT id, received, source, site, peer, protocol, type, control_id, sender, verdict, reason, answer_code,"
        " charset, flags, body, blob FROM message"
    )
    assert message == (
        "M00001", "2026-03-09T08:01:00+00:00", "pas", "STO", "127.0.0.1", "hl7", "ADT^A04", "C00001", "PAS|STO",
        "accepted", "why", "AA", "utf_8", "synthetic-id charset-mismatch", given.raw, "instances/ab/x.dcm",
    )  # fmt: skip
    assert tx.rows("SELECT kind, value FROM message_key ORDER BY value") == [
        ("patient", "700123"),
        ("accession", "A1"),
    ]
    assert [waiting.event for waiting in log.unrouted(tx, 9)] == list(given.events)


@pytest.mark.parametrize(
    "answers",
    [(), (b"one",), (b"accept\rMSA|CA\r", b"application\rMSA|AA\r"), (b"",), (b"ends in FS \x1c", b"\x0b")],
)
def test_a_repeat_gets_the_stored_answers_and_writes_nothing(
    tx: Transaction, answers: tuple[bytes, ...]
) -> None:
    append(tx, replace(registered(), answers=answers))
    before = stored(tx)
    again = replace(
        registered(),
        message_id="M00002",
        received=START + timedelta(hours=1),
        peer="10.0.0.2",
        answers=(b"made anew",),
        events=(event("patient.registered", 2, patient=patient(local("700123"))),),
    )
    answer = append(tx, again)

    assert (answer.answers, answer.answer_code, answer.repeat) == (answers, "AA", True)
    assert stored(tx) == before


def test_a_filtered_message_is_answered_from_the_store_too(tx: Transaction) -> None:
    append(tx, replace(reception(), verdict=Verdict.FILTERED, reason="listed as ignorable"))

    assert append(tx, replace(reception(), message_id="M00002")).repeat


def test_a_refused_message_that_comes_again_is_judged_again(tx: Transaction) -> None:
    refused = replace(reception(), verdict=Verdict.REJECTED, answer_code="AE", answers=(b"MSA|AE\r",))
    append(tx, refused)
    answer = append(tx, replace(registered(), message_id="M00002"))

    assert (answer.answer_code, answer.repeat) == ("AA", False)
    assert log.counts(tx) == [
        {"source": "pas", "verdict": "accepted", "messages": 1},
        {"source": "pas", "verdict": "rejected", "messages": 1},
    ]
    third = append(tx, replace(registered(), message_id="M00003"))
    assert third.repeat, "once accepted it is answered from the store"


@pytest.mark.parametrize(
    "change",
    [
        {"raw": b"MSH|^~\\&|other content\r"},
        {"control_id": "C99999"},
        {"sender": "PAS|ORK"},
        {"source": "orders"},
        {"received": START + timedelta(minutes=1) + REPEAT_WINDOW + timedelta(seconds=1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_differs_in_one_part_is_no_repeat(tx: Transaction, change: dict[str, Any]) -> None:
    append(tx, reception())
    answer = append(tx, replace(reception(), message_id="M00002", **change))

    assert not answer.repeat
    assert len(tx.rows("SELECT 1 FROM message")) == 2


def test_the_window_is_open_to_its_last_moment(tx: Transaction) -> None:
    append(tx, replace(reception(), received=START.replace(microsecond=1)))
    last = START.replace(microsecond=1) + REPEAT_WINDOW

    assert append(tx, replace(reception(), message_id="M00002", received=last)).repeat


@pytest.mark.parametrize(
    "change", [{"control_id": ""}, {"protocol": "dicom"}], ids=["no control id", "DICOM"]
)
def test_what_has_no_key_is_never_a_repeat(tx: Transaction, change: dict[str, Any]) -> None:
    append(tx, replace(reception(), **change))

    assert not append(tx, replace(reception(), message_id="M00002", **change)).repeat


def test_a_reception_is_stored_whole_or_not_at_all(database: Database) -> None:
    one = event("patient.registered", patient=patient(local("700123")))
    twice = reception(1, one, one)  # the second event breaks its table's rule
    intake = JournalIntake(database, lambda: pytest.fail("there is nothing to route"))

    with pytest.raises(apsw.ConstraintError):
        intake.accept_blocking(twice)
    assert stored(database.read()) == {"message": [], "message_key": [], "event": []}


def test_the_router_is_told_after_the_commit_and_only_of_new_events(database: Database) -> None:
    told: list[int] = []
    intake = JournalIntake(database, lambda: told.append(log.waiting(database.read())))

    intake.accept_blocking(registered(1))
    intake.accept_blocking(replace(registered(1), message_id="M00009"))  # a repeat
    intake.accept_blocking(reception(2))  # without events
    asyncio.run(intake.accept(registered(3)))

    assert told == [1, 2]


def test_a_batch_is_stored_whole_in_order_or_not_at_all(database: Database) -> None:
    one = event("patient.registered", patient=patient(local("700123")))
    told: list[int] = []
    intake = JournalIntake(database, lambda: told.append(log.waiting(database.read())))
    good = [registered(1), reception(2), registered(3)]

    with pytest.raises(apsw.ConstraintError):
        asyncio.run(intake.accept_all([*good, reception(4, one, one)]))
    assert database.read().rows("SELECT id FROM message UNION ALL SELECT id FROM event") == []
    assert told == []

    asyncio.run(intake.accept_all(good))
    rows = database.read().rows("SELECT id FROM message ORDER BY seq")
    assert [row[0] for row in rows] == [one.message_id for one in good]
    assert told == [2], "once, after the commit"


def test_repeats_in_a_batch_and_across_batches_are_answered_from_the_store(database: Database) -> None:
    intake = JournalIntake(database, lambda: None)
    again = replace(registered(1), message_id="M00002", answers=(b"another",))

    first = asyncio.run(intake.accept_all([registered(1), again]))
    second = asyncio.run(intake.accept_all([replace(again, message_id="M00003"), reception(4)]))

    assert [said.repeat for said in (*first, *second)] == [False, True, True, False]
    assert {said.answers for said in (*first, second[0])} == {registered(1).answers}


def test_a_message_may_have_the_control_id_of_its_batch(database: Database) -> None:
    intake = JournalIntake(database, lambda: None, lambda *_: pytest.fail("nothing was used again"))
    envelope = replace(
        reception(1), message_type=BATCH, control_id="C1", raw=b"BHS|1", verdict=Verdict.FILTERED
    )
    member = replace(registered(2), control_id="C1", reused=lambda: registered(3))
    again = replace(envelope, message_id="M00003", raw=b"BHS|2")

    asyncio.run(intake.accept_all([envelope, member]))
    said = asyncio.run(
        intake.accept_all([again, replace(member, message_id="M00004"), replace(envelope, message_id="M5")])
    )

    assert [(one.repeat, one.refused) for one in said] == [(False, None), (True, None), (True, None)]


def test_nothing_of_a_batch_is_stored_while_the_disk_is_full(database: Database) -> None:
    intake = JournalIntake(database, lambda: pytest.fail("nothing was stored"))
    database.write(lambda tx: tx.execute("PRAGMA max_page_count=1")).result(10)

    with pytest.raises(StoreError):
        asyncio.run(intake.accept_all([registered(1), replace(registered(2), raw=b"x" * 1_000_000)]))
    assert database.read().rows("SELECT id FROM message UNION ALL SELECT id FROM event") == []


def test_repeats_in_one_group_commit_are_found(database: Database) -> None:
    release, entered = threading.Event(), threading.Event()

    def wait_inside(tx: Transaction) -> None:
        entered.set()
        assert release.wait(10)

    database.write(wait_inside, urgent=True)
    assert entered.wait(10)
    jobs = [
        database.write(lambda tx, n=n: append(tx, replace(registered(), message_id=f"M{n}")), urgent=True)  # type: ignore[misc]
        for n in range(2)
    ]
    release.set()

    assert [job.result(10).repeat for job in jobs] == [False, True]


def test_nothing_is_acknowledged_while_the_disk_is_full(database: Database) -> None:
    intake = JournalIntake(database, lambda: pytest.fail("nothing was stored"))
    database.write(lambda tx: tx.execute("PRAGMA max_page_count=1")).result(10)

    large = replace(registered(), raw=b"x" * 1_000_000)
    with pytest.raises(StoreError):
        intake.accept_blocking(large)
    with pytest.raises(StoreError):
        asyncio.run(intake.accept(large))


def test_a_listener_that_is_cancelled_while_it_waits_leaves_the_journal_working(database: Database) -> None:
    release, entered = threading.Event(), threading.Event()

    def wait_inside(tx: Transaction) -> None:
        entered.set()
        assert release.wait(10)

    async def cancelled() -> None:
        task = asyncio.create_task(intake.accept(registered(1)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    intake = JournalIntake(database, lambda: None)
    database.write(wait_inside, urgent=True)
    assert entered.wait(10)
    asyncio.run(cancelled())
    release.set()

    assert intake.accept_blocking(registered(2)).answer_code == "AA"


def test_without_room_nothing_is_written_and_with_room_again_it_is(database: Database) -> None:
    room = [False]

    def check() -> None:
        if not room[0]:
            raise UnwritableError("the disk is nearly full")

    intake = JournalIntake(database, lambda: None, check_room=check)
    with pytest.raises(UnwritableError):
        intake.accept_blocking(registered())
    with pytest.raises(UnwritableError):
        asyncio.run(intake.accept(registered()))
    assert log.counts(database.read()) == []

    room[0] = True
    assert not intake.accept_blocking(registered()).repeat
    assert [row["messages"] for row in log.counts(database.read())] == [1]
