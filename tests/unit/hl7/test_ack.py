from __future__ import annotations

import pytest

from broker.errors import Location, Refused, Unreadable
from broker.hl7.ack import AckError, Acknowledgement, answers, build_ack, is_ack, mode, read_ack, read_acks
from broker.hl7.er7 import Header, Message


def header(version: str = "2.5", accept: str = "", application: str = "", kind: str = "ADT^A01") -> Header:
    return Header.read(
        f"MSH|^~\\&|PAS|STO|BROKER|RHF|2026||{kind}|42|T|{version}|||{accept}|{application}".encode()
    )


def ack(of: Header | None, code: str = "AA", **more: object) -> str:
    return build_ack(of, code=code, control_id="A1", timestamp="20261101", **more).decode()  # type: ignore[arg-type]


WRONG = AckError(
    code="103", location=Location(segment="OBX", sequence=2, field=3, component=1), text="look at OBX[2]-3.1"
)


def test_sender_and_receiver_change_places() -> None:
    assert ack(header()) == "MSH|^~\\&|BROKER|RHF|PAS|STO|20261101||ACK^A01^ACK|A1|T|2.5\rMSA|AA|42\r"


@pytest.mark.parametrize(
    ("version", "kind", "err"),
    [
        ("2.1", "ACK", "ERR|OBX[2]-3.1 103"),
        ("2.2", "ACK^A01", "ERR|OBX^2^3^103&look at OBX[2]-3.1"),
        ("2.3.1", "ACK^A01", "ERR|OBX^2^3^103&look at OBX[2]-3.1"),
        ("2.4", "ACK^A01^ACK", "ERR|OBX^2^3^103&look at OBX[2]-3.1"),
        ("2.5", "ACK^A01^ACK", "ERR||OBX^2^3^1^1|103^Table value not found^HL70357|E||||look at OBX[2]-3.1"),
        (
            "2.8.2",
            "ACK^A01^ACK",
            "ERR||OBX^2^3^1^1|103^Table value not found^HL70357|E||||look at OBX[2]-3.1",
        ),
    ],
)
def test_the_answer_has_the_senders_version(version: str, kind: str, err: str) -> None:
    written = ack(header(version), "AE", error=WRONG, text="not taken").split("\r")

    assert written[0].split("|")[8] == kind
    assert written[0].split("|")[11] == version
    assert written[1] == "MSA|AE|42|not taken"
    assert written[2] == err


@pytest.mark.parametrize("version", ["", "P", "2.5+", "12", "1.0"])
def test_what_is_no_version_is_answered_in_2_5_1(version: str) -> None:
    assert ack(header(version)).split("\r")[0].endswith("|2.5.1")


def test_no_header_at_all() -> None:
    error = AckError.of(Unreadable("the message does not begin with MSH", location=Location(segment="MSH")))

    assert ack(None, "AR", error=error) == (
        "MSH|^~\\&|||||20261101||ACK|A1|P|2.5.1\r"
        "MSA|AR\r"
        "ERR||MSH^1|207^Application internal error^HL70357|E||||the message does not begin with MSH\r"
    )


def test_an_error_carries_its_own_code() -> None:
    refused = Refused(
        "MSH-18 is unknown", ack_code="AE", error_code="103", location=Location(segment="MSH", field=18)
    )

    assert "ERR||MSH^1^18|103^" in ack(header(), "AE", error=AckError.of(refused))


def test_odd_separators_and_letters_are_given_back_as_they_came() -> None:
    raw = "MSH#!@%*#PÆS!1.2#STO#####ADT!A01#a%T%b#P#2.5######8859/1@x".encode("latin-1")

    written = build_ack(Header.read(raw), code="AA", control_id="A1", timestamp="2026", text="a#b")

    assert written.decode("latin-1") == (
        "MSH#!@%*###PÆS!1.2#STO#2026##ACK!A01!ACK#A1#P#2.5######8859/1@x\rMSA#AA#a%T%b#a%F%b\r"
    )


def test_accept_acknowledgements() -> None:
    assert "\rMSA|CA|42\r" in ack(header(), accept=True)
    assert "\rMSA|CR|42\r" in ack(header(), "AR", accept=True)
    with pytest.raises(ValueError, match="table 0008"):
        ack(header(), "OK")


@pytest.mark.parametrize(
    ("accept", "application", "taken", "wrong", "refused"),
    [
        ("", "", ("AA",), ("AE",), ("AR",)),
        ("XX", "44", ("AA",), ("AE",), ("AR",)),
        ("AL", "NE", ("CA",), ("CE",), ("CR",)),
        ("AL", "", ("CA",), ("CE",), ("CR",)),
        ("AL", "D", ("CA",), ("CE",), ("CR",)),
        ("AL", "AL", ("CA", "AA"), ("CA", "AE"), ("CR",)),
        ("AL", "ER", ("CA",), ("CA", "AE"), ("CR",)),
        ("AL", "SU", ("CA", "AA"), ("CE",), ("CR",)),
        ("NE", "NE", (), (), ()),
        ("", "NE", ("AA",), ("AE",), ("AR",)),
        ("NE", "AL", ("AA",), ("AE",), ("AR",)),
        ("", "AL", ("AA",), ("AE",), ("AR",)),
        ("ER", "NE", (), ("CE",), ("CR",)),
        ("ER", "AL", ("AA",), ("AE",), ("CR",)),
        ("SU", "NE", ("CA",), (), ()),
        ("SU", "AL", ("CA", "AA"), ("CA", "AE"), ("AR",)),
    ],
)
def test_which_acknowledgements_are_due(
    accept: str, application: str, taken: tuple[str, ...], wrong: tuple[str, ...], refused: tuple[str, ...]
) -> None:
    of = header(accept=accept, application=application)

    assert (answers(of, "AA"), answers(of, "AE"), answers(of, "AR")) == (taken, wrong, refused)
    original = (("", ""), ("", "NE"), ("XX", "44"))
    assert mode(of) == ("original" if (accept, application) in original else "enhanced")


def test_who_cannot_be_read_is_answered() -> None:
    assert answers(None, "AR") == ("AR",)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"MSH|^~\\&|||||||ACK|1|P|2.3\rMSA|AA|42", True),
        (b"MSH|^~\\&|||||||MCF|1|P|2.3\r", True),
        (b"MSH|^~\\&|||||||ORR^O02|1|P|2.3\rMSA|AA|42", True),
        (b"MSH|^~\\&|||||||ADT^A01|1|P|2.3\rPID|1", False),
    ],
)
def test_answers_are_recognised(raw: bytes, expected: bool) -> None:
    assert is_ack(Message.parse(raw)) is expected


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ("MSA|AA|42", Acknowledgement(code="AA", control_id="42")),
        ("MSA| aa |42|fine", Acknowledgement(code="AA", control_id="42", text="fine")),
        ("MSA|CA|42", Acknowledgement(code="CA", control_id="42")),
        (
            "MSA|AE|4\\T\\2|no|||207^x",
            Acknowledgement(code="AE", control_id="4\\T\\2", text="no", error_code="207"),
        ),
        ("MSA|AE|42\rERR|PID^1^3^101&x", Acknowledgement(code="AE", control_id="42", error_code="101")),
        (
            "MSA|AR|42\rERR||PID^1|200^x|E||||why",
            Acknowledgement(code="AR", control_id="42", text="why", error_code="200"),
        ),
    ],
)
def test_reading_an_acknowledgement(segments: str, expected: Acknowledgement) -> None:
    for charset in ("", "KOI8-R", "UNICODE UTF-8"):
        raw = f"MSH|^~\\&|||||||ACK|1|P|2.3||||||{charset}\r{segments}\r".encode()

        assert read_ack(raw) == expected


def test_what_an_answer_says_of_itself() -> None:
    assert Acknowledgement(code="CA", control_id="1").positive
    assert not Acknowledgement(code="AE", control_id="1").positive


@pytest.mark.parametrize(
    "raw", [b"", b"\x06", b"MSH|^~\\&|A\r", b"MSH|^~\\&|A\rMSA\r", b"MSH|^~\\&|A\rMSA|OK|42\r"]
)
def test_what_is_no_acknowledgement_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        read_ack(raw)


def test_every_acknowledgement_of_a_batch_is_read() -> None:
    one, two = ack(header()), ack(None, "AR")

    assert [(found.code, found.control_id) for found in read_acks(one.encode())] == [("AA", "42")]
    batch = f"BHS|^~\\&\r{one}{two}BTS|2\r".encode()
    assert [(found.code, found.control_id) for found in read_acks(batch)] == [("AA", "42"), ("AR", "")]
    assert read_acks(b"BHS|^~\\&\rBTS|0\r") == ()


@pytest.mark.parametrize("raw", [b"BHS|^~\\&\rMSH|^~\\&|A\r", b"BHS|^~\\&\rBTS|1\r", b"BHS|aaaa\r", b"PID|1"])
def test_a_batch_that_holds_anything_else_is_no_answer(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        read_acks(raw)


def test_an_empty_batch_holds_no_acknowledgement() -> None:
    with pytest.raises(Unreadable, match="no MSA"):
        read_ack(b"BHS|^~\\&\rBTS|0\r")
