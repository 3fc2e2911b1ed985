from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Refused, Unreadable
from broker.hl7.er7 import NULL, Message, parse_path

ADT = (
    "MSH|^~\\&|PAS^1.2^ISO|STO|BROKER|RHF|20261101120000||ADT^A01^ADT_A01|42|P^T|2.5^NOR|||AL|NE|NOR|8859/1\r"
    'PID|1||111^^^STO&2.999.7001&ISO^MR~222^^^NOR^NI||Ødegård^Bjørn^^^Dr||19700101|M||""|Gata 1^^Trondheim\r'
    "OBX|1|TX|A||first\r"
    "OBX|2|TX|B||second~third\r"
    "ZPD|x\r"
)


def message(text: str = ADT, encoding: str = "latin-1") -> Message:
    return Message.parse(text.encode(encoding))


@pytest.mark.parametrize("front", [b"\xef\xbb\xbf", b"\r\n\n  ", b"\xef\xbb\xbf\r\n"])
def test_bom_and_blank_lines_in_front_are_passed_over(front: bytes) -> None:
    read = Message.parse(front + b"MSH|^~\\&|A\rPID|1\r")

    assert [segment.name for segment in read] == ["MSH", "PID"]
    assert ("bom" in read.flags) == front.startswith(b"\xef")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("PID-3", "111"),
        ("PID-3.1", "111"),
        ("PID-3(2).1", "222"),
        ("PID-3(3).1", ""),
        ("PID-3.4", "STO"),
        ("PID-3.4.2", "2.999.7001"),
        ("PID-3(2).4", "NOR"),
        ("PID-5.1", "Ødegård"),
        ("PID-5.5", "Dr"),
        ("PID-5.9", ""),
        ("PID-10", NULL),
        ("PID-10.2", NULL),
        ("PID-99", ""),
        ("OBX[2]-5(2)", "third"),
        ("OBX[3]-5", ""),
        ("NK1-2", ""),
        ("ZPD-1", "x"),
        ("MSH-1", "|"),
        ("MSH-2", "^~\\&"),
        ("MSH-3.2", "1.2"),
        ("MSH-9.2", "A01"),
    ],
)
def test_reading_by_path(path: str, value: str) -> None:
    assert message()[path] == value


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("PID-3", "111^^^STO&2.999.7001&ISO^MR~222^^^NOR^NI"),
        ("PID-3(2)", "222^^^NOR^NI"),
        ("PID-3.4", "STO&2.999.7001&ISO"),
        ("PID-3(2).4", "NOR"),
        ("MSH-2", "^~\\&"),
        ("NK1-1", ""),
    ],
)
def test_text_gives_all_that_stands_there(path: str, text: str) -> None:
    assert message().text(path) == text


def test_segments_know_their_place() -> None:
    read = message()

    assert [(s.name, s.index, s.sequence) for s in read.segments] == [
        ("MSH", 0, 1),
        ("PID", 1, 1),
        ("OBX", 2, 1),
        ("OBX", 3, 2),
        ("ZPD", 4, 1),
    ]
    assert [s.get(5) for s in read.all("OBX")] == ["first", "second"]
    assert [r.get() for r in read.all("OBX")[1].repetitions(5)] == ["second", "third"]
    assert read.first("NK1") is None
    assert "PID" in read
    assert "NK1" not in read


def test_repetitions_of_what_is_absent() -> None:
    pid = message().all("PID")[0]

    assert pid.repetitions(2) == ()
    assert pid.repetitions(40) == ()
    assert [r.get(4, 2) for r in pid.repetitions(3)] == ["2.999.7001", ""]
    assert pid.repetitions(10)[0].get(2) == NULL


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\n\r\n"])
def test_line_ends(end: str) -> None:
    read = message(ADT.replace("\r", end))

    assert [segment.name for segment in read] == ["MSH", "PID", "OBX", "OBX", "ZPD"]
    assert ("line-feed" in read.flags) == ("\n" in end)


def test_odd_segment_ids_are_kept_but_name_nothing() -> None:
    read = Message.parse(b"MSH|^~\\&|A\rPID |1\rPIDX|2\rV\r  OBX|3\r|4")

    assert [segment.name for segment in read] == ["MSH", "PID", "???", "???", "OBX", "???"]
    assert [segment.text(0) for segment in read.all("???")] == ["PIDX", "V", ""]
    assert read["PID-1"] == "1"


def test_paths_are_parsed_once_and_read_back() -> None:
    for text in ("PID-3", "PID-3.1", "OBX[2]-5(3).1.2", "ZDS-1(2)"):
        assert str(parse_path(text)) == text
    assert str(parse_path("OBX[2]-5(3).1.2").location) == "OBX[2]-5(3).1"


@pytest.mark.parametrize(
    "text", ["", "PID", "pid-3", "PID-0", "PID-3.", "PID.3", "PID-3(0)", "PID[0]-3", "PID-3.1.2.3"]
)
def test_a_bad_path_says_how_it_is_written(text: str) -> None:
    with pytest.raises(ValueError, match="is not an HL7 path"):
        parse_path(text)


def test_hexadecimal_escapes_are_octets_of_the_messages_character_set() -> None:
    read = Message.parse(b"MSH|^~\\&|A|||||||||||||||8859/1\rOBX|||||\\XF8\\")

    assert read["OBX-5"] == "ø"


def test_without_an_escape_character_there_are_no_escapes() -> None:
    assert Message.parse(b"MSH|^~&|A\rOBX|||||a\\T\\b")["OBX-5"] == "a\\T\\b"


@given(st.text(st.sampled_from("\\FSTREXHN.br0a|^&~\r\n\"'MSHø "), max_size=60))
def test_nothing_that_follows_a_header_fails(text: str) -> None:
    read = Message.parse(f"MSH|^~\\&|{text}\rPID|{text}".encode())

    for segment in read:
        for number in range(len(segment.fields) + 1):
            assert isinstance(segment.get(number, 2, 2, 2), str)
            assert len(segment.repetitions(number)) == (
                segment.text(number).count("~") + 1 if segment.text(number) else 0
            ) or (segment.name == "MSH" and number == 2)


@given(st.binary(max_size=80))
def test_no_bytes_at_all_can_do_more_than_be_unreadable(raw: bytes) -> None:
    for data in (raw, b"MSH" + raw, b"MSH|^~\\&|" + raw):
        try:
            list(Message.parse(data))
        except (Unreadable, Refused):
            continue
