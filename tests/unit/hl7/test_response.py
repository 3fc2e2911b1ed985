"""Answers to queries: separators, character sets, errors, and that what is written is read back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import LocalProtocolError, Location
from broker.hl7.ack import AckError
from broker.hl7.edit import Verbatim
from broker.hl7.er7 import Header, Message
from broker.hl7.response import Segment, build_response


def header(charset: str = "", signs: str = "^~\\&") -> Header:
    return Header.read(f"MSH|{signs}|EPJ|STO|BROKER|ST|2026||QBP^Q22|C1|P|2.5||||||{charset}\r".encode())


def answer(asked: Header, *segments: Segment, charset: str = "8859/1") -> tuple[bytes, int]:
    return build_response(
        asked,
        message_type=("RSP", "K22", "RSP_K21"),
        code="AA",
        control_id="A1",
        timestamp="20260310",
        segments=segments,
        charset=charset,
    )


def test_it_goes_back_to_who_asked() -> None:
    raw, lossy = answer(header(), ("QAK", {1: "T1", 2: "OK"}))

    assert (raw, lossy) == (
        b"MSH|^~\\&|BROKER|ST|EPJ|STO|20260310||RSP^K22^RSP_K21|A1|P|2.5\rMSA|AA|C1\rQAK|T1|OK\r",
        0,
    )


@pytest.mark.parametrize(
    ("asked", "default", "named", "name", "lossy"),
    [
        ("", "8859/1", "8859/1", "Cudi Æ", 2),
        ("", "UNICODE UTF-8", "UNICODE UTF-8", "Čuđi Æ", 0),
        ("UNICODE UTF-8", "8859/1", "UNICODE UTF-8", "Čuđi Æ", 0),
        ("ASCII", "8859/1", "ASCII", "Cudi AE", 3),
        ("KLINGON", "8859/1", "8859/1", "Cudi Æ", 2),
    ],
)
def test_the_character_set_is_the_askers(asked: str, default: str, named: str, name: str, lossy: int) -> None:
    raw, lost = answer(header(asked), ("PID", {5: "Čuđi Æ"}), charset=default)

    read = Message.parse(raw)
    assert (read["MSH-18"], read["PID-5"], lost) == (named, name, lossy)


def test_errors_stand_behind_msa_in_their_order() -> None:
    errors = [
        AckError(code="204", location=Location(segment="QPD", field=8, repetition=2), text="not known"),
        AckError(code="101", location=Location(segment="QPD", field=3), text="said too little"),
    ]
    raw, _ = build_response(
        header(),
        message_type=("RSP", "K22", "RSP_K21"),
        code="AE",
        control_id="A1",
        timestamp="",
        errors=errors,
    )

    assert raw.split(b"\r")[2:4] == [
        b"ERR||QPD^1^8^2|204^Unknown key identifier^HL70357|E||||not known",
        b"ERR||QPD^1^3|101^Required field missing^HL70357|E||||said too little",
    ]


def test_a_verbatim_field_cannot_break_the_message() -> None:
    with pytest.raises(LocalProtocolError):
        answer(header(), ("QPD", {1: Verbatim("a\rPID|1")}))


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)


@given(values=st.lists(TEXTS, min_size=1, max_size=4), signs=st.sampled_from(["^~\\&", "*!%$", "^~\\&#"]))
def test_what_is_written_is_read_back(values: list[str], signs: str) -> None:
    fields = dict(enumerate(values, 1))
    raw, lossy = answer(header("UNICODE UTF-8", signs), ("ZZZ", fields), ("QAK", {1: "end"}))
    read = Message.parse(raw)

    assert lossy == 0
    assert read["QAK-1"] == "end"
    for number, value in fields.items():
        expected = value.replace("\r\n", "\n")
        assert read[f"ZZZ-{number}"] == expected or not expected.isprintable() or '""' in expected
