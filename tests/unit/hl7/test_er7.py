from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import Refused, Unreadable
from broker.hl7.edit import escape
from broker.hl7.er7 import (
    NULL,
    Header,
    Message,
    Separators,
    is_batch,
    parse_path,
    read_separators,
    split_messages,
    unescape,
)

ADT = (
    "MSH|^~\\&|PAS^1.2^ISO|STO|BROKER|RHF|20261101120000||ADT^A01^ADT_A01|42|P^T|2.5^NOR|||AL|NE|NOR|8859/1\r"
    'PID|1||111^^^STO&2.999.7001&ISO^MR~222^^^NOR^NI||Ødegård^Bjørn^^^Dr||19700101|M||""|Gata 1^^Trondheim\r'
    "OBX|1|TX|A||first\r"
    "OBX|2|TX|B||second~third\r"
    "ZPD|x\r"
)


def message(text: str = ADT, encoding: str = "latin-1") -> Message:
    return Message.parse(text.encode(encoding))


def test_the_header() -> None:
    header = Header.read(ADT.encode("latin-1"))

    assert header.sending_application == "PAS^1.2^ISO"
    assert header.sending_facility == "STO"
    assert (header.receiving_application, header.receiving_facility) == ("BROKER", "RHF")
    assert (header.message_type, header.structure) == ("ADT^A01", "ADT_A01")
    assert (header.control_id, header.processing_id, header.version) == ("42", "P", "2.5")
    assert (header.accept_ack, header.application_ack) == ("AL", "NE")
    assert (header.charset, header.charsets) == ("8859/1", ("8859/1",))


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        (b"", "MSH"),
        (b"ZD4|1", "MSH"),
        (b"MSH", "MSH-1"),
        (b"MSHA", "MSH-1"),
        (b"MSH\r", "MSH-1"),
        (b"MSH|abcd|x", "MSH-2"),
        (b"\xff\xfeM\x00S\x00H\x00", "MSH"),
        ("MSH§^~\\&".encode(), "MSH-1"),
    ],
)
def test_what_is_no_header_is_unreadable_and_says_where(raw: bytes, place: str) -> None:
    with pytest.raises(Unreadable) as caught:
        Header.read(raw)

    assert str(caught.value.location) == place


@pytest.mark.parametrize("front", [b"\xef\xbb\xbf", b"\r\n\n  ", b"\xef\xbb\xbf\r\n"])
def test_bom_and_blank_lines_in_front_are_passed_over(front: bytes) -> None:
    read = Message.parse(front + b"MSH|^~\\&|A\rPID|1\r")

    assert [segment.name for segment in read] == ["MSH", "PID"]
    assert ("bom" in read.flags) == front.startswith(b"\xef")


@pytest.mark.parametrize(
    ("field", "encoding", "expected"),
    [
        ("|", "^~\\&", "|^~\\&"),
        ("|", "^~\\&#", "|^~\\&#"),
        ("|", "^~\\$", "|^~\\$"),
        ("|", "^~*&", "|^~*&"),
        ("#", "!@%*", "#!@%*"),
        ("@", "~&#\\", "@~&#\\"),
        ("^", "~|\\&", "^~|\\&"),
        ("|", "^~\\&amp;", "|^~\\&"),
        ("|", "^~\\\\&", "|^~\\&"),
        ("|", "", "|^~\\&"),
    ],
)
def test_separators(field: str, encoding: str, expected: str) -> None:
    assert "".join(read_separators(field, encoding).all) == expected
    assert read_separators(field, encoding).encoding_characters == encoding


@pytest.mark.parametrize(
    ("encoding", "repetition", "escape_", "subcomponent"),
    [
        ("^~&", "~", "", "&"),
        ("^&", "~", "", "&"),
        ("^~", "~", "", "&"),
        ("^", "~", "", "&"),
        ("^~\\", "~", "\\", "&"),
    ],
)
def test_a_short_msh_2(encoding: str, repetition: str, escape_: str, subcomponent: str) -> None:
    found = read_separators("|", encoding)

    assert (found.repetition, found.escape, found.subcomponent) == (repetition, escape_, subcomponent)


def test_one_sign_has_one_role() -> None:
    found = read_separators("|", "^^\\&")

    assert (found.component, found.repetition) == ("^", "")


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


def test_several_messages_in_one_frame_are_flagged_and_can_be_split() -> None:
    raw = b"MSH|^~\\&|A\rPID|1\rMSH|^~\\&|B\rPID|2\r"

    assert Message.parse(raw).flags == ("several-messages",)
    assert split_messages(raw) == (b"MSH|^~\\&|A\rPID|1\r", b"MSH|^~\\&|B\rPID|2\r")


def test_a_batch_is_recognised_answered_by_its_own_id_and_can_be_split() -> None:
    raw = b"FHS|^~\\&|A|B|C|D|2026||name|comment|77\rBHS|^~\\&\rMSH|^~\\&|A\rPID|1\rBTS|1\rFTS|1\r"

    assert is_batch(raw)
    assert Header.read(raw).control_id == "77"
    assert Header.read(raw).message_type == ""
    assert Header.read(raw).processing_id == ""
    with pytest.raises(Refused):
        Message.parse(raw)
    assert split_messages(raw) == (b"MSH|^~\\&|A\rPID|1\r",)


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


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
        ("\\P\\", "#"),
        ("\\E\\T\\E\\", "\\T\\"),
        ("\\E\\\\T\\\\E\\", "\\&\\"),
        ("one\\.br\\two\\.sp2\\three\\.sp+1\\", "one\ntwo\n\nthree\n"),
        ("\\H\\bold\\N\\", "bold"),
        ("\\X0D0A\\", "\r\n"),
        ("\\X0D\\\\X0A\\", "\r\n"),
        ("\\XC3B8\\", "ø"),
        ("\\XC3\\\\XB8\\", "ø"),
        ("\\XFF\\", "\\XFF\\"),
        ("\\X0\\", "\\X0\\"),
        ("**BSV 4\\5 re.", "**BSV 4\\5 re."),
        ("\\Zlocal\\ \\C2842\\ \\", "\\Zlocal\\ \\C2842\\ \\"),
        ("C:\\ \\F\\", "C:\\ |"),
    ],
)
def test_escapes_are_resolved_once_and_the_rest_stays(written: str, meant: str) -> None:
    assert unescape(written, Separators(), "utf-8") == meant


def test_hexadecimal_escapes_are_octets_of_the_messages_character_set() -> None:
    read = Message.parse(b"MSH|^~\\&|A|||||||||||||||8859/1\rOBX|||||\\XF8\\")

    assert read["OBX-5"] == "ø"


def test_without_an_escape_character_there_are_no_escapes() -> None:
    assert Message.parse(b"MSH|^~&|A\rOBX|||||a\\T\\b")["OBX-5"] == "a\\T\\b"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_what_is_escaped_reads_back(text: str) -> None:
    """But for CR LF: one line end in HL7."""
    assert unescape(escape(text), Separators()) == text.replace("\r\n", "\n")
    assert not set(escape(text)) & set("|^~&\r\n\x0b\x1c")


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
