from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.adapter import REPEAT_WINDOW, Claim, Reception, Verdict
from broker.errors import StoreError, UnwritableError
from broker.event import Draft, EventData
from broker.hl7.demographics import Issuers
from broker.hl7.er7 import Message
from broker.journal import log
from broker.journal.intake import JournalIntake, append
from broker.reception import BATCH, Profile, receive, search_keys
from broker.store import days
from broker.store.database import Database
from broker.store.sqlite import SqliteDatabase
from broker.store.transaction import Transaction
from tests.support.engines import BROKEN_RULE
from tests.support.events import START, event, instance, local, of_days, patient, reception


def stored(tx: Transaction) -> dict[str, list[tuple[Any, ...]]]:
    found = {name: tx.rows(f"SELECT * FROM {name}") for name in ("message", "event", "tally")}
    return {**found, "body": of_days(tx, "message_body"), "key": of_days(tx, "message_key")}


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
        " charset, flags, events, blob, day FROM message"
    )
    assert message == (
        "M00001", "2026-03-09T08:01:00+00:00", "pas", "STO", "127.0.0.1", "hl7", "ADT^A04", "C00001", "PAS|STO",
        "accepted", "why", "AA", "utf_8", "synthetic-id charset-mismatch", 1, "instances/ab/x.dcm", "2026-03-09",
    )  # fmt: skip
    assert of_days(tx, "message_body") == [(1, given.raw)]
    assert of_days(tx, "message_key", "kind, value, message") == [
        ("patient", "700123", 1),
        ("accession", "A1", 1),
        ("control", "C00001", 1),
    ]
    assert days.known(tx) == ["2026-03-09"]
    assert tx.rows("SELECT * FROM tally") == [("2026-03-09", "pas", "", "", "accepted", tx.node, 1)]
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


def test_a_repeat_is_known_across_days(tx: Transaction) -> None:
    append(tx, replace(registered(1), received=START.replace(hour=23, minute=59)))
    append(tx, replace(registered(2), received=START + timedelta(days=3)))

    again = replace(registered(1), message_id="M00009", received=START + timedelta(days=1))
    assert append(tx, again).repeat
    late = replace(registered(2), message_id="M00010", received=START + timedelta(days=9))
    assert append(tx, late).repeat
    assert days.known(tx) == ["2026-03-09", "2026-03-12"], "a repeat begins no day"


def test_a_window_that_begins_in_the_middle_of_a_day_ends_there(tx: Transaction) -> None:
    append(tx, replace(reception(), received=START))
    again = replace(reception(), message_id="M00009")

    assert not append(tx, replace(again, received=START + REPEAT_WINDOW + timedelta(microseconds=1))).repeat


# --- the same control id with other content (invariant 3) ---


def judged(raw: bytes = b"", *, number: int = 1) -> Reception:
    """What a listener makes of an order with the control id C1; `raw` is put into its body."""
    profile = Profile(name="orders", site="STO", issuers=Issuers(default=local("")))
    message = b"MSH|^~\\&|EPJ|STO|B|STO|2026||ORM^O01|C1|P|2.5\rNTE|1||" + raw + b"\r"

    def mapper(message: Message, profile: Profile) -> list[Draft]:
        return [Draft(type="order.placed", data=EventData())]

    return receive(
        message,
        profile,
        {"ORM^O01": mapper},
        message_id=f"M{number:05}",
        now=START + timedelta(minutes=number),
    )


def test_a_control_id_that_comes_with_other_content_is_refused(tx: Transaction) -> None:
    append(tx, judged(b"one"))
    answer = append(tx, judged(b"two", number=2))

    assert (answer.answer_code, answer.repeat) == ("AE", False)
    assert b"|205" in answer.answers[0]
    assert b"MSA|AE|C1" in answer.answers[0]
    assert answer.refused is not None
    assert answer.refused.reason == "MSH-10: the control id in MSH-10 came before with other content"
    assert tx.rows("SELECT id, verdict, events FROM message") == [
        ("M00001", "accepted", 1),
        ("M00002", "rejected", 0),
    ]
    assert [one.event.message_id for one in log.unrouted(tx, 9)] == ["M00001"], "nothing is made of it"
    assert of_days(tx, "message_body", "message") == [(1,), (2,)], "its bytes are kept"


def test_the_first_content_is_still_answered_from_the_store(tx: Transaction) -> None:
    first = append(tx, judged(b"one"))
    append(tx, judged(b"two", number=2))
    again = append(tx, judged(b"one", number=3))

    assert (again.repeat, again.answers) == (True, first.answers)
    assert append(tx, judged(b"two", number=4)).refused is not None, (
        "and the second refused each time it comes"
    )


def test_after_the_window_a_control_id_is_free_again(tx: Transaction) -> None:
    append(tx, judged(b"one"))
    later = judged(b"two", number=2 + 7 * 24 * 60)

    assert append(tx, later).answer_code == "AA"


def test_a_refused_message_that_was_corrected_is_welcome_under_its_old_id(tx: Transaction) -> None:
    wrong = replace(
        judged(b"wrong"), verdict=Verdict.REJECTED, answer_code="AE", answers=(b"MSA|AE\r",), events=()
    )
    append(tx, wrong)
    corrected = append(tx, judged(b"right", number=2))

    assert (corrected.answer_code, corrected.refused) == ("AA", None)


def test_a_person_is_told_once_of_each_control_id_that_was_used_again(database: Database) -> None:
    told: list[str] = []
    routed: list[bool] = []
    intake = JournalIntake(
        database, lambda: routed.append(True), lambda tx, refused: told.append(refused.message_id)
    )
    intake.accept_blocking(judged(b"one"))
    intake.accept_blocking(judged(b"one", number=2))
    assert told == []
    intake.accept_blocking(judged(b"two", number=3))

    assert told == ["M00003"]
    assert routed == [True], "there is nothing to route in what was refused"


def test_an_alert_that_fails_leaves_nothing_of_the_message(database: Database) -> None:
    def broken(tx: Transaction, refused: Reception) -> None:
        raise ZeroDivisionError

    intake = JournalIntake(database, lambda: None, broken)
    intake.accept_blocking(judged(b"one"))
    before = stored(database.read())
    with pytest.raises(ZeroDivisionError):
        intake.accept_blocking(judged(b"two", number=2))

    assert stored(database.read()) == before


@pytest.mark.parametrize(
    "change", [{"control_id": ""}, {"protocol": "dicom"}], ids=["no control id", "DICOM"]
)
def test_what_has_no_key_is_never_a_repeat(tx: Transaction, change: dict[str, Any]) -> None:
    append(tx, replace(reception(), **change))

    assert not append(tx, replace(reception(), message_id="M00002", **change)).repeat


def image(
    number: int, uid: str = "2.25.1.1", *, minute: float, content: str = "a", **fields: Any
) -> Reception:
    """The `number`-th object, which came in this minute of the day's work."""
    came = event("instance.received", number, source="images", instance=instance(uid, content=content))
    given: dict[str, Any] = {
        "source": "images",
        "protocol": "dicom",
        "message_type": "C-STORE",
        "control_id": "",
        "sender": "CT1_STO",
        "answer_code": "0000",
        "answers": (),
        "raw": b"",
        "blob": f"instances/{content}.dcm",
        "keys": search_keys((came,)),
        "received": START + timedelta(minutes=minute),
    }
    refusal = replace(reception(number), protocol="dicom", verdict=Verdict.REJECTED, answer_code="0111")
    claim = Claim(
        uid=uid,
        after=frozenset({"", content}),
        state=content,
        otherwise=lambda _found: replace(refusal, blob=given["blob"], received=given["received"]),
        again=True,
    )
    return reception(number, came, **{**given, "claim": claim, **fields})


def test_an_object_that_was_given_up_is_not_journaled_behind_what_its_sender_sent_next(
    tx: Transaction,
) -> None:
    """The modality hung up on a node whose journal was away, and sent it again to another one, and then the next."""
    given_up, again, after = (
        image(1, minute=1),
        image(2, minute=2),
        image(3, "2.25.1.2", minute=3, content="b"),
    )
    append(tx, again)
    append(tx, after)
    before = stored(tx)

    answer = append(tx, given_up)

    assert (answer.answer_code, answer.answers, answer.repeat) == ("0000", (), True)
    assert stored(tx) == before


def test_an_object_that_was_given_up_is_known_across_midnight(tx: Transaction) -> None:
    append(tx, image(2, minute=16 * 60 + 1))

    assert append(tx, image(1, minute=16 * 60 - 1)).repeat


def test_an_object_that_is_sent_anew_is_passed_on_anew(tx: Transaction) -> None:
    append(tx, image(1, minute=1))

    assert not append(tx, image(2, minute=2)).repeat


@pytest.mark.parametrize(
    "change",
    [{"uid": "2.25.1.2"}, {"content": "b"}, {"sender": "CT2_STO"}, {"source": "other"}],
    ids=lambda change: next(iter(change)),
)
def test_only_the_same_object_of_the_same_sender_overtakes(tx: Transaction, change: dict[str, Any]) -> None:
    append(tx, image(2, minute=2, **change))

    assert not append(tx, image(1, minute=1)).repeat


def test_of_two_nodes_that_store_one_object_the_second_sees_what_the_first_wrote(tx: Transaction) -> None:
    """Else the older one could look before, and be written behind, the newer one and what followed it."""
    alone = list[str]()
    tx.alone = alone.append  # type: ignore[method-assign]

    append(tx, image(1, minute=1))
    append(tx, image(2, minute=2))

    assert alone.count("object|2.25.1.1") == 2


def test_an_object_that_was_given_up_is_refused_as_the_one_after_it_was(tx: Transaction) -> None:
    append(tx, image(1, minute=1))
    for number, minute in ((3, 3), (2, 2)):
        other = append(tx, image(number, minute=minute, content="b"))

        assert (other.answer_code, other.refused is not None, other.repeat) == ("0111", True, False)


def test_a_reception_is_stored_whole_or_not_at_all(database: Database) -> None:
    one = event("patient.registered", patient=patient(local("700123")))
    twice = reception(1, one, one)  # the second event breaks its table's rule
    intake = JournalIntake(database, lambda: pytest.fail("there is nothing to route"))

    with pytest.raises(BROKEN_RULE):
        intake.accept_blocking(twice)
    assert set(map(len, stored(database.read()).values())) == {0}


def test_what_comes_in_one_turn_of_the_loop_is_one_commit_but_fails_one_by_one(database: Database) -> None:
    same = event("patient.registered", 2, patient=patient(local("700123")))
    intake = JournalIntake(database, lambda: None)

    async def together() -> list[Any]:
        given = [registered(1), reception(2, same, same), registered(3)]  # the second breaks its table's rule
        return await asyncio.gather(*map(intake.accept, given), return_exceptions=True)

    one, two, three = asyncio.run(together())

    assert (one.answer_code, three.answer_code) == ("AA", "AA")
    assert isinstance(two, BROKEN_RULE)
    assert not one.repeat
    assert not three.repeat
    ids = [message_id for (message_id,) in database.read().rows("SELECT id FROM message ORDER BY seq")]
    assert ids == [registered(1).message_id, registered(3).message_id]


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

    with pytest.raises(BROKEN_RULE):
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


def test_nothing_of_a_batch_is_stored_while_the_disk_is_full(sqlite_database: SqliteDatabase) -> None:
    intake = JournalIntake(sqlite_database, lambda: pytest.fail("nothing was stored"))
    sqlite_database.write(lambda tx: tx.execute("PRAGMA max_page_count=1")).result(10)

    with pytest.raises(StoreError):
        asyncio.run(intake.accept_all([registered(1), replace(registered(2), raw=b"x" * 1_000_000)]))
    assert sqlite_database.read().rows("SELECT id FROM message UNION ALL SELECT id FROM event") == []


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


def test_nothing_is_acknowledged_while_the_disk_is_full(sqlite_database: SqliteDatabase) -> None:
    intake = JournalIntake(sqlite_database, lambda: pytest.fail("nothing was stored"))
    sqlite_database.write(lambda tx: tx.execute("PRAGMA max_page_count=1")).result(10)

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


# --- objects that have a state ---


def claiming(number: int, state: str, *, again: bool = False, alert: bool = False) -> Reception:
    """An object of one UID; it may come while nobody knows it, or as it is known."""
    given = replace(reception(number), protocol="dicom", control_id="", raw=b"")
    refusal = replace(reception(number), protocol="dicom", verdict=Verdict.REJECTED, answer_code="0111")
    claim = Claim(
        uid="2.25.1",
        after=frozenset({"", state}),
        state=state,
        otherwise=lambda _found: refusal,
        again=again,
        alert=alert,
    )
    return replace(given, claim=claim)


@pytest.mark.parametrize("again", [False, True])
def test_the_same_object_is_a_repeat_unless_it_is_welcome(tx: Transaction, again: bool) -> None:
    assert not append(tx, claiming(1, "a", again=again)).repeat
    assert append(tx, claiming(2, "a", again=again)).repeat is not again
    assert tx.one("SELECT count(*) FROM message") == (1 + again,)


def test_another_object_under_the_same_uid_is_refused_and_the_first_one_stays(tx: Transaction) -> None:
    append(tx, claiming(1, "a"))
    other = append(tx, claiming(2, "b"))

    assert (other.answer_code, other.refused is not None) == ("0111", True)
    assert tx.one("SELECT state FROM object_state WHERE uid='2.25.1'") == ("a",)
    assert append(tx, claiming(3, "a")).repeat


@pytest.mark.parametrize("alert", [False, True])
def test_whether_a_person_learns_of_a_refused_object_its_claim_says(database: Database, alert: bool) -> None:
    told: list[str] = []
    intake = JournalIntake(database, lambda: None, lambda _tx, one: told.append(one.answer_code))
    intake.accept_blocking(claiming(1, "a", alert=alert))
    intake.accept_blocking(claiming(2, "b", alert=alert))

    assert told == ["0111"] * alert
