"""The rules of answering: which message gets which answer, in both acknowledgement modes, and what is kept of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.adapter import Reception, Verdict
from broker.errors import Refused
from broker.hl7.ack import read_ack
from broker.hl7.er7 import Message
from broker.reception import VERSIONS, Hl7Reader, refuse
from tests.support.receiving import MAPPERS, MESSAGE_ID, NOW, SECRET, adt, codes, judge, profile


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
