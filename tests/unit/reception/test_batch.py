"""A batch taken apart, and its one answer."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.adapter import Reception, Verdict
from broker.errors import Refused
from broker.hl7.ack import read_ack, read_acks
from broker.hl7.batch import Batch
from broker.hl7.er7 import Header
from broker.reception import BATCH, Hl7Reader, refuse
from tests.support.receiving import MAPPERS, MESSAGE_ID, NOW, SECRET, adt, codes, profile

BHS = "BHS|^~\\&|PAS|STO|BROKER|RHF|2026||||B1\n"

FHS = "FHS|^~\\&|PAS|STO|BROKER|RHF|2026||||F1\n"


def judge_batch(raw: str, **options: Any) -> tuple[list[Reception], tuple[bytes, ...]]:
    """The receptions, and the answer as it would leave once all of them are stored."""
    ids = (f"01KK8Q7YG0GHJKMNPQRSTV{number:04}" for number in count())
    reader = Hl7Reader(profile=profile(**options), mappers=MAPPERS)
    batch = reader.receive_batch(
        raw.replace("\n", "\r").encode(), new_id=lambda: next(ids), now=NOW, peer="192.0.2.1"
    )
    receptions = list(batch.receptions)
    return receptions, batch.answer([reception.answers for reception in receptions])


def told(answer: tuple[bytes, ...]) -> list[tuple[str, str]]:
    """Code and control id of every acknowledgement in the one frame."""
    (frame,) = answer
    return [(ack.code, ack.control_id) for ack in read_acks(frame)]


def test_a_batch_is_its_envelope_and_its_members_in_order() -> None:
    members = [adt(control_id="1"), adt("ADT^A08", control_id="2"), adt(control_id="3")]

    (envelope, *judged), answer = judge_batch(f"{FHS}{BHS}{''.join(members)}BTS|3\nFTS|1\n")

    assert (envelope.verdict, envelope.message_type, envelope.control_id, envelope.sender) == (
        Verdict.FILTERED, BATCH, "F1", "PAS|STO",
    )  # fmt: skip
    assert envelope.reason == "the envelope of 3 messages"
    assert (envelope.answers, envelope.answer_code, envelope.events) == ((), "", ())
    assert envelope.reused is None, "a new BHS-7 makes no other batch"
    assert envelope.raw == f"{FHS}{BHS}BTS|3\nFTS|1\n".replace("\n", "\r").encode()
    assert [one.raw for one in judged] == [member.replace("\n", "\r").encode() for member in members]
    assert [one.verdict for one in judged] == [Verdict.ACCEPTED, Verdict.FILTERED, Verdict.ACCEPTED]
    assert len({one.message_id for one in (envelope, *judged)}) == 4
    assert [one.events[0].message_id for one in judged if one.events] == [
        judged[0].message_id,
        judged[2].message_id,
    ]
    assert told(answer) == [("AA", "1"), ("AA", "2"), ("AA", "3")]
    assert Header.read(answer[0]).reference == "F1"
    assert [group.header.reference for group in Batch.read(answer[0]).groups if group.header] == ["B1"]


def test_a_bad_member_is_answered_individually_among_the_others() -> None:
    members = [
        adt(control_id="1"),
        adt("ADT^A11", control_id="2"),
        adt("BAR^P01", control_id="3"),
        adt("ADT^A12", control_id="4"),
        "MSH|^~\n",
        "MSHaaaa\nPID|1\n",
        adt(control_id="5"),
    ]

    (_, *judged), answer = judge_batch(BHS + "".join(members))

    # MSHaaaa begins no segment: it stays with the message before it, as any broken line does.
    assert [one.verdict.value for one in judged] == [
        "accepted", "rejected", "rejected", "rejected", "rejected", "accepted",
    ]  # fmt: skip
    assert told(answer) == [("AA", "1"), ("AE", "2"), ("AR", "3"), ("AE", "4"), ("AR", ""), ("AA", "5")]
    assert SECRET.encode() not in answer[0]


def test_a_member_that_lost_its_msh_is_refused_and_kept() -> None:
    (_, *judged), answer = judge_batch(f"{BHS}PID|1||{SECRET}\n{adt(control_id='1')}BTS|2\n")

    assert told(answer) == [("AR", ""), ("AA", "1")]
    assert judged[0].raw == f"PID|1||{SECRET}\r".encode()


def test_each_member_is_answered_by_its_own_rules() -> None:
    members = [
        adt(control_id="1"),
        adt(control_id="2", accept="AL", application="AL"),
        adt(control_id="3", accept="AL", application="NE"),
        adt(control_id="4", accept="NE", application="NE"),
        adt("ADT^A11", control_id="5", accept="ER", application="NE"),
        adt("ACK^A01", control_id="6"),
    ]

    receptions, answer = judge_batch(BHS + "".join(members))

    assert told(answer) == [("AA", "1"), ("CA", "2"), ("AA", "2"), ("CA", "3"), ("CE", "5")]
    assert b"\rBTS|5\r" in answer[0]
    assert len(receptions) == 7, "all are kept"


def test_a_batch_that_needs_no_answers_gets_none() -> None:
    silent = adt(control_id="1", accept="NE", application="NE")

    receptions, answer = judge_batch(f"{BHS}{silent}{adt('ACK^A01')}BTS|2\n")

    assert (len(receptions), answer) == (3, ())


def test_an_empty_batch_is_taken_and_answered_with_one() -> None:
    (envelope,), answer = judge_batch(f"{FHS}{BHS}BTS|0\nFTS|1\n")

    assert (envelope.verdict, envelope.answer_code, envelope.answers) == (Verdict.FILTERED, "AA", answer)
    assert told(answer) == []
    assert Header.read(answer[0]).reference == "F1"
    assert b"\rBTS|0\r" in answer[0]


def test_an_empty_batch_that_is_an_answer_is_not_answered() -> None:
    """HL7 v2.5.1 2.10.3.1 b: nothing in it was refused."""
    receptions, answer = judge_batch(f"{BHS.strip()}|OURS\nBTS|0\n")

    assert (len(receptions), answer) == (1, ())


@pytest.mark.parametrize("trailer", ["BTS|3\n", "BTS|1\n", "BTS|x\n", f"BTS|2\n{FHS}"])
def test_a_batch_of_which_something_was_lost_is_refused_whole(trailer: str) -> None:
    raw = f"{BHS}{adt(control_id='1')}{adt(control_id='2', accept='NE', application='NE')}{trailer}"

    (refused,), answer = judge_batch(raw)

    assert (refused.verdict, refused.message_type, refused.control_id) == (Verdict.REJECTED, BATCH, "B1")
    assert refused.raw == raw.replace("\n", "\r").encode(), "nothing of it disappears"
    assert refused.events == ()
    assert told(answer) == [("AE", "B1")]
    assert read_ack(answer[0]).error_code in ("100", "102")
    assert (b"BTS" if "x" in trailer or "2" not in trailer else b"FHS") in answer[0]


def test_a_batch_that_is_refused_before_it_is_read_is_kept_as_one() -> None:
    refused = refuse(BHS.encode(), Refused("too long"), profile(), message_id=MESSAGE_ID, now=NOW)

    assert (refused.message_type, refused.control_id, codes(refused)) == (BATCH, "B1", ["AR"])


def test_a_batch_that_is_too_large_is_refused_whole() -> None:
    (refused,), answer = judge_batch(BHS + adt() * 3, max_batch=2)

    assert (refused.verdict, told(answer)) == (Verdict.REJECTED, [("AR", "B1")])


@pytest.mark.parametrize("raw", ["BHS", "FHS|aaaa|\n", f"BHS\n{adt()}"])
def test_a_batch_that_cannot_be_read_is_answered_all_the_same(raw: str) -> None:
    (refused,), answer = judge_batch(raw)

    assert (refused.verdict, refused.raw, told(answer)) == (
        Verdict.REJECTED, raw.replace("\n", "\r").encode(), [("AR", "")],
    )  # fmt: skip


@given(
    st.lists(
        st.sampled_from([BHS, FHS, adt(), "BTS|1\n", "BTS|2\n", "FTS|1\n", "PID|1\n", "x\n"]), max_size=9
    )
)
def test_every_batch_has_a_verdict_for_all_of_its_bytes(parts: list[str]) -> None:
    raw = BHS + "".join(parts)

    receptions, answer = judge_batch(raw)

    assert sum(len(reception.raw) for reception in receptions) == len(raw.encode())
    assert len(answer) <= 1
