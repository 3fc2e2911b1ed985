"""The rules of answering: which message gets which answer, in both acknowledgement modes, and what is kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.adapter import Reception, Verdict
from broker.errors import Location, Refused, UnmappableError
from broker.event import Draft, EventData, Identifier, Instance, Order, Patient, Result, Step
from broker.hl7.ack import read_ack, read_acks
from broker.hl7.batch import Batch
from broker.hl7.demographics import Issuers, read_issuer
from broker.hl7.er7 import Header, Message
from broker.reception import BATCH, VERSIONS, Hl7Reader, Profile, receive, refuse, search_keys

NOW = datetime(2026, 3, 9, 7, 0, 0, tzinfo=UTC)
MESSAGE_ID = "01KK8Q7YG0GHJKMNPQRSTVWXYZ"
SECRET = "Hemmelig"


def take(message: Message, profile: Profile) -> Sequence[Draft]:
    """A mapping that reads one name, does nothing for `A08`, and breaks in every way for the rest."""
    match message.header.trigger.upper():
        case "A01":
            patient = Patient(identifiers=(Identifier(value=message["PID-3"]),))
            return [Draft(type="patient.registered", time="2026", data=EventData(patient=patient))]
        case "A08":
            return []
        case "A11":
            raise UnmappableError("PID-3 is no id", location=Location(segment="PID", field=3))
        case "A12":
            raise KeyError(message["PID-5"])
        case _:
            return [Draft.model_validate({"type": message["PID-5"], "data": {}})]


MAPPERS = {f"ADT^{trigger}": take for trigger in ("A01", "A08", "A11", "A12", "A13")}


def profile(**options: Any) -> Profile:
    issuers = Issuers(default=read_issuer("STO&2.999.7001&ISO"))
    return Profile(**{"name": "pas", "site": "STO", "issuers": issuers, **options})


def judge(raw: str | bytes, **options: Any) -> Reception:
    raw = raw.replace("\n", "\r").encode() if isinstance(raw, str) else raw
    return receive(raw, profile(**options), MAPPERS, message_id=MESSAGE_ID, now=NOW, peer="192.0.2.1")


def adt(
    kind: str = "ADT^A01",
    *,
    version: str = "2.5.1",
    processing: str = "P",
    accept: str = "",
    application: str = "",
    control_id: str = "4711",
    charset: str = "",
) -> str:
    rest = f"{kind}|{control_id}|{processing}|{version}|||{accept}|{application}||{charset}"
    msh = f"MSH|^~\\&|PAS|STO|BROKER|RHF|2026||{rest}"
    return f"{msh}\nPID|1||700123||{SECRET}^Siv\n"


def codes(reception: Reception) -> list[str]:
    return [read_ack(answer).code for answer in reception.answers]


def error_code(reception: Reception) -> str:
    return read_ack(reception.answers[-1]).error_code


UNSUPPORTED = {
    "200": (adt("BAR^P01"), "MSH-9"),
    "201": (adt("ADT^A60"), "MSH-9.2"),
    "202": (adt(processing="D"), "MSH-11"),
    "203": (adt(version="2.9"), "MSH-12"),
}


def enhanced(raw: str, accept: str, application: str) -> str:
    msh, rest = raw.split("\n", 1)
    fields = msh.split("|")
    fields[14:16] = [accept, application]
    return "|".join(fields) + "\n" + rest


# --- what is taken --------------------------------------------------------------------------------


def test_what_is_taken_is_answered_aa_with_its_control_id() -> None:
    reception = judge(adt())

    assert (reception.verdict, reception.answer_code, reception.reason) == (Verdict.ACCEPTED, "AA", "")
    assert read_ack(reception.answers[0]).control_id == "4711"
    assert (reception.message_type, reception.control_id, reception.sender) == ("ADT^A01", "4711", "PAS|STO")
    assert (reception.source, reception.site, reception.peer) == ("pas", "STO", "192.0.2.1")
    assert reception.raw == adt().replace("\n", "\r").encode()


def test_events_get_their_envelope() -> None:
    (event,) = judge(adt()).events

    assert (event.id, event.message_id) == (f"{MESSAGE_ID}.0", MESSAGE_ID)
    assert (event.source, event.site, event.time, event.event_time) == ("pas", "STO", NOW, "2026")


def test_the_answers_own_control_id_is_ours_and_fits() -> None:
    answers = judge(adt(accept="AL", application="AL")).answers
    ids = [Message.parse(answer)["MSH-10"] for answer in answers]

    assert ids == [f"{MESSAGE_ID[:19]}0", f"{MESSAGE_ID[:19]}1"]
    assert all(len(control_id) <= 20 for control_id in ids)


def test_nothing_to_do_is_taken_and_counted() -> None:
    reception = judge(adt("ADT^A08"))

    assert (reception.verdict, codes(reception)) == (Verdict.FILTERED, ["AA"])
    assert reception.reason == "ADT^A08 holds nothing to do"


@pytest.mark.parametrize(
    ("pattern", "kind"),
    [("ADT^A60", "ADT^A60"), ("ADT^A60", "ADT^a60"), ("MDM^*", "MDM^T02"), ("ADT^A01", "ADT^A01")],
)
def test_what_is_listed_as_ignorable_is_taken_and_counted(pattern: str, kind: str) -> None:
    reception = judge(adt(kind), ignore=("SIU^*", pattern))

    assert (reception.verdict, codes(reception), reception.events) == (Verdict.FILTERED, ["AA"], ())
    assert reception.reason == f"listed as ignorable: {pattern}"


def test_the_ignore_list_speaks_of_types_not_of_headers() -> None:
    assert codes(judge(adt("MDM^T02", control_id=""), ignore=("*",))) == ["AR"]
    assert codes(judge(adt("MDM^T02", version="3"), ignore=("*",))) == ["AR"]


# --- what is refused by rule ----------------------------------------------------------------------


@pytest.mark.parametrize("code", UNSUPPORTED)
def test_unsupported_is_ar(code: str) -> None:
    raw, place = UNSUPPORTED[code]
    reception = judge(raw, processing_ids=("P", "T"))

    assert (reception.verdict, reception.answer_code, codes(reception)) == (Verdict.REJECTED, "AR", ["AR"])
    assert error_code(reception) == code
    assert reception.reason.startswith(f"{place}: ")
    assert reception.raw


@pytest.mark.parametrize("code", UNSUPPORTED)
@pytest.mark.parametrize(
    ("accept", "application", "expected"),
    [
        ("AL", "NE", ["CR"]),
        ("AL", "AL", ["CR"]),
        ("ER", "ER", ["CR"]),
        ("SU", "AL", ["AR"]),
        ("NE", "AL", ["AR"]),
        ("NE", "NE", []),
        ("NE", "", []),
        ("SU", "SU", []),
    ],
)
def test_unsupported_is_cr_in_enhanced_mode(
    code: str, accept: str, application: str, expected: list[str]
) -> None:
    reception = judge(enhanced(UNSUPPORTED[code][0], accept, application), processing_ids=("P",))

    assert codes(reception) == expected
    assert reception.verdict is Verdict.REJECTED
    if expected:
        assert error_code(reception) == code


def test_processing_ids_are_all_taken_unless_told() -> None:
    for processing in ("P", "T", "D", "", "1"):
        assert codes(judge(adt(processing=processing))) == ["AA"]


@pytest.mark.parametrize(
    "version", ["2.1", "2.2", "2.3.1", "2.5", "2.5.0", "2.5+", "2.5.1", "2.8.2", "P", ""]
)
def test_versions_that_are_taken(version: str) -> None:
    assert codes(judge(adt(version=version))) == ["AA"]


@pytest.mark.parametrize("version", ["1.0", "2", "2.0", "2.9", "2.999", "3.0", "25", "D", "2.5.1x", "2.5 .1"])
def test_versions_that_are_not(version: str) -> None:
    assert VERSIONS.fullmatch(version) is None
    assert codes(judge(adt(version=version))) == ["AR"]
    assert b"203" in judge(adt(version=version)).answers[0]


def test_a_type_without_a_trigger_is_refused_for_its_trigger() -> None:
    assert (codes(judge(adt("ADT"))), error_code(judge(adt("ADT")))) == (["AR"], "201")
    assert error_code(judge(adt(""))) == "200"


@pytest.mark.parametrize(("accept", "expected"), [("", ["AR"]), ("AL", ["CR"]), ("NE", [])])
def test_a_missing_control_id_is_refused_with_an_empty_msa_2(accept: str, expected: list[str]) -> None:
    reception = judge(adt(control_id="", accept=accept))

    assert codes(reception) == expected
    assert reception.reason == "MSH-10: MSH-10 is empty"
    if expected:
        assert read_ack(reception.answers[0]).control_id == ""
        assert error_code(reception) == "101"


@pytest.mark.parametrize(
    "raw", [b"", b"\r\n", b"PID|1", b"MSH", b"MSHabc", b"\x00\xff", b"MSH|", b"MSH|aaaa|", b"GET / HTTP/1.1"]
)
def test_what_cannot_be_read_is_answered_all_the_same(raw: bytes) -> None:
    reception = judge(raw)

    assert (reception.verdict, codes(reception)) == (Verdict.REJECTED, ["AR"])
    assert read_ack(reception.answers[0]).control_id == ""
    assert (reception.raw, reception.control_id) == (raw, "")


@pytest.mark.parametrize("batch", ["FHS|^~\\&|PAS\n", "BHS|^~\\&|PAS||||||||77\n"])
def test_a_batch_is_refused_where_one_message_is_expected(batch: str) -> None:
    reception = judge(f"{batch}{adt()}BTS|1\n")

    assert (codes(reception), error_code(reception)) == (["AR"], "200")
    assert "batch" in reception.reason


# --- what a person at the sender must put right ---------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "application", "expected"),
    [
        ("", "", ["AE"]),
        ("AL", "AL", ["CA", "AE"]),
        ("AL", "NE", ["CE"]),
        ("ER", "NE", ["CE"]),
        ("NE", "AL", ["AE"]),
        ("NE", "ER", ["AE"]),
        ("NE", "NE", []),
    ],
)
def test_content_is_ae(accept: str, application: str, expected: list[str]) -> None:
    reception = judge(adt("ADT^A11", accept=accept, application=application))

    assert (reception.verdict, reception.answer_code, codes(reception)) == (Verdict.REJECTED, "AE", expected)
    assert reception.reason == "PID-3: PID-3 is no id"
    if expected:
        assert error_code(reception) == "102"


@pytest.mark.parametrize(
    ("accept", "application", "expected"),
    [
        ("AL", "AL", ["CA", "AA"]),
        ("AL", "NE", ["CA"]),
        ("NE", "AL", ["AA"]),
        ("NE", "NE", []),
        ("ER", "SU", ["AA"]),
    ],
)
def test_success_in_enhanced_mode(accept: str, application: str, expected: list[str]) -> None:
    assert codes(judge(adt(accept=accept, application=application))) == expected


def test_an_unknown_character_set_is_ae_naming_msh_18() -> None:
    reception = judge(adt(charset="KLINGON"))

    assert (codes(reception), error_code(reception)) == (["AE"], "103")
    assert reception.reason.startswith("MSH-18: ")
    assert b"MSH^1^18" in reception.answers[0]


def test_bytes_that_msh_18_does_not_hold_are_ae_unless_there_is_a_fallback() -> None:
    raw = adt(charset="UNICODE UTF-8").replace("Siv", "Gøril").encode("latin-1").replace(b"\n", b"\r")

    assert (codes(judge(raw)), judge(raw).reason[:8]) == (["AE"], "MSH-18: ")
    taken = judge(raw, fallback_charset="8859/1")
    assert (codes(taken), taken.charset, taken.flags) == (["AA"], "iso8859-1", ("charset-fallback",))


def test_several_messages_in_a_frame_are_refused_as_a_whole() -> None:
    reception = judge(adt() + adt(control_id="4712"))

    assert (codes(reception), error_code(reception), reception.events) == (["AE"], "100", ())
    assert reception.reason.startswith("MSH[2]: ")
    assert read_ack(reception.answers[0]).control_id == "4711"


@pytest.mark.parametrize(("trigger", "bug"), [("A12", "KeyError"), ("A13", "ValidationError")])
def test_a_bug_in_a_mapping_costs_no_message_and_tells_no_value(trigger: str, bug: str) -> None:
    reception = judge(adt(f"ADT^{trigger}"))

    assert (reception.verdict, codes(reception), error_code(reception)) == (Verdict.REJECTED, ["AE"], "207")
    assert reception.raw
    assert reception.flags[0].startswith(f"bug-{bug}-")
    told = f"{reception.reason} {reception.flags} {reception.answers!r}"
    assert SECRET not in told


def test_deep_validation_warns_or_refuses() -> None:
    raw = adt().replace("|2026|", "|yesterday|")

    assert judge(raw).flags == ()
    warned = judge(raw, validate="warn")
    assert codes(warned) == ["AA"]
    assert warned.flags
    assert all(flag.startswith("invalid:") for flag in warned.flags)
    strict = judge(raw, validate="strict")
    assert (codes(strict), strict.events) == (["AE"], ())
    assert "yesterday" not in strict.reason


# --- who is not answered --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ACK", "ACK^A01", "ACK^A01^ACK", "MCF"])
@pytest.mark.parametrize(("accept", "application"), [("", ""), ("AL", "AL"), ("AL", "NE")])
def test_an_acknowledgement_is_never_answered(kind: str, accept: str, application: str) -> None:
    reception = judge(adt(kind, accept=accept, application=application) + "MSA|AA|1\n")

    assert (reception.verdict, reception.answers, reception.answer_code) == (Verdict.FILTERED, (), "")
    assert reception.reason == "an acknowledgement is not answered"
    assert reception.raw
    assert reception.reused is None, "not even where its control id came before"


def test_not_even_one_without_a_control_id() -> None:
    assert judge(adt("ACK", control_id="", version="9")).answers == ()


# --- refused before it is read --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "expected"),
    [(adt(), ["AR"]), (adt(accept="AL"), ["CR"]), (adt(accept="NE"), []), ("junk", ["AR"]), (adt("ACK"), [])],
)
def test_refused_by_its_beginning(head: str, expected: list[str]) -> None:
    error = Refused("too long")
    reception = refuse(head.encode(), error, profile(), message_id=MESSAGE_ID, now=NOW, peer="192.0.2.1")

    assert codes(reception) == expected
    assert reception.raw == head.encode()


# --- what it is found by --------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", ["A08", "A11", "A99"])
def test_what_made_no_events_is_found_by_the_numbers_that_it_names(trigger: str) -> None:
    orders = 'ORC|SC|P1^EPJ|F1^RIS\nOBR|1|P1^EPJ|F1^RIS|||||||||||||||A1\nIPC|A1||""'
    found = judge(f"{adt(f'ADT^{trigger}')}{orders}\n".replace("700123", "700123^^^STO~30908299902^^^NNNOR"))

    assert found.verdict in (Verdict.FILTERED, Verdict.REJECTED)
    assert found.keys == (
        *(("patient", "700123"), ("patient", "30908299902"), ("accession", "A1")),
        *(("order", "P1"), ("order", "F1")),
    )


def test_numbers_that_a_store_cannot_hold_are_no_search_keys() -> None:
    assert judge(adt("ADT^A11").replace("700123", "70\x000123")).keys == ()


def test_search_keys_name_each_value_once() -> None:
    patient = Patient(identifiers=(Identifier(value="7"), Identifier(value="7", oid="1.2")))
    order = Order(placer_number=Identifier(value="P1"), filler_number=Identifier(value="F1"))
    step = Step(key="k", step_id="S1", accession_number="A1", study_uid="2.25.1")
    instance = Instance(
        sop_class_uid="1.2",
        sop_instance_uid="2.25.2",
        study_uid="2.25.1",
        series_uid="2.25.3",
        transfer_syntax_uid="1.2",
        path="x",
        size=1,
        sha256="0",
        calling_aet="CT1",
    )
    data = EventData(
        patient=patient,
        prior=(Identifier(value="6"),),
        order=order,
        step=step,
        instance=instance,
        result=Result(filler_number=Identifier(value="F2")),
    )
    (event,) = judge(adt()).events

    assert search_keys([event.model_copy(update={"data": data})] * 2) == (
        ("patient", "7"),
        ("patient", "6"),
        ("order", "P1"),
        ("order", "F1"),
        ("order", "F2"),
        ("accession", "A1"),
        ("study", "2.25.1"),
        ("instance", "2.25.2"),
    )


# --- for every input ------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        b"MSH|^~\\&|",
        b"MSH",
        b"BHS|^~\\&|",
        b"PID|1||7",
        b"MSA|AA|1",
        b"\r",
        b"\n",
        b"|",
        b"^",
        b"~",
        b"\\",
        b"&",
        b"ADT^A01",
        b"ACK",
        b"2.5",
        b"AL",
        b"NE",
        b"\xff",
        b"\xc3\xb8",
        b"\x1b$B",
        b"UNICODE UTF-8",
        b"ISO IR87",
        b"\\X41\\",
        b"\xef\xbb\xbf",
    ]
)


@given(st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=30).map(b"".join)))
def test_every_input_has_a_verdict_and_the_same_one_each_time(raw: bytes) -> None:
    options = profile(fallback_charset="8859/1", ignore=("MDM^*",))
    reader = Hl7Reader(profile=options, mappers=MAPPERS)
    first, second = (reader.receive(raw, message_id=MESSAGE_ID, now=NOW) for _ in range(2))

    assert first == second
    assert first.raw == raw
    assert (first.verdict is Verdict.ACCEPTED) == bool(first.events)
    assert (first.reason == "") == (first.verdict is Verdict.ACCEPTED)
    for answer in first.answers:
        assert read_ack(answer).code[1] in "AER"


# --- batches --------------------------------------------------------------------------------------

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


@pytest.mark.parametrize(
    ("time", "as_of", "occurred", "holds", "flags"),
    [
        ("20260309101500", "20260309095900", "2026-03-09T09:15:00", "2026-03-09T08:59:00", ()),
        ("20260309101500+0000", None, "2026-03-09T10:15:00", None, ()),
        ("20260309", "not a time", None, None, ()),
        ("202510260230", None, "2025-10-26T01:30:00", None, ("time-ambiguous",)),
        ("20260309", "202503300230", None, "2025-03-30T01:30:00", ("time-missing",)),
    ],
)
def test_times_stand_in_utc_beside_their_text(
    time: str, as_of: str | None, occurred: str | None, holds: str | None, flags: tuple[str, ...]
) -> None:
    def say(_message: Message, _profile: Profile) -> Sequence[Draft]:
        patient = Patient(identifiers=(Identifier(value="1"),), as_of=as_of)
        return [Draft(type="patient.updated", time=time, data=EventData(patient=patient))]

    taken = receive(
        adt().replace("\n", "\r").encode(), profile(), {"ADT^A01": say}, message_id=MESSAGE_ID, now=NOW
    )

    (event,) = taken.events
    assert (event.event_time, taken.flags) == (time, flags)
    read = [
        None if moment is None else f"{moment:%Y-%m-%dT%H:%M:%S}" for moment in (event.occurred, event.as_of)
    ]
    assert read == [occurred, holds]
    assert event.to_cloudevent().get("occurred") == (f"{occurred}+00:00" if occurred else None)


def test_the_zone_is_the_listeners() -> None:
    def say(_message: Message, _profile: Profile) -> Sequence[Draft]:
        return [Draft(type="patient.updated", time="202603091015", data=EventData())]

    raw = adt().replace("\n", "\r").encode()
    told = profile(zone=ZoneInfo("UTC"))
    (event,) = receive(raw, told, {"ADT^A01": say}, message_id=MESSAGE_ID, now=NOW).events

    assert event.occurred == datetime(2026, 3, 9, 10, 15, tzinfo=UTC)
