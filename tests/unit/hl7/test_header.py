from __future__ import annotations

import pytest

from broker.errors import Refused, Unreadable
from broker.hl7 import header as headers
from broker.hl7.er7 import Message
from broker.hl7.header import Header, is_batch

ADT = (
    "MSH|^~\\&|PAS^1.2^ISO|STO|BROKER|RHF|20261101120000||ADT^A01^ADT_A01|42|P^T|2.5^NOR|||AL|NE|NOR|8859/1\r"
    'PID|1||111^^^STO&2.999.7001&ISO^MR~222^^^NOR^NI||Ødegård^Bjørn^^^Dr||19700101|M||""|Gata 1^^Trondheim\r'
    "OBX|1|TX|A||first\r"
    "OBX|2|TX|B||second~third\r"
    "ZPD|x\r"
)


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


def test_several_messages_in_one_frame_are_flagged() -> None:
    raw = b"MSH|^~\\&|A\rPID|1\rMSH|^~\\&|B\rPID|2\r"

    assert Message.parse(raw).flags == ("several-messages",)


def test_a_batch_is_recognised_and_known_by_its_own_id_and_the_one_that_it_answers() -> None:
    raw = b"FHS|^~\\&|A|B|C|D|2026||name|comment|77|66\rBHS|^~\\&\rMSH|^~\\&|A\rPID|1\rBTS|1\rFTS|1\r"

    assert is_batch(raw)
    assert (Header.read(raw).control_id, Header.read(raw).reference) == ("77", "66")
    assert Header.read(raw).message_type == ""
    assert Header.read(raw).processing_id == ""
    with pytest.raises(Refused):
        Message.parse(raw)


def test_messages_with_one_header_line_share_what_was_read_of_it() -> None:
    raw = ADT.encode("latin-1")

    assert Header.read(raw) is Header.read(b"\n " + raw.replace(b"PID|1", b"PID|2"))
    assert Header.read(raw) != Header.read(raw.replace(b"|42|", b"|43|"))


def test_a_header_without_end_is_read_and_not_kept() -> None:
    kept = headers._kept.cache_info().currsize
    raw = b"MSH|^~\\&|PAS|STO|BROKER|RHF|||ADT^A01|77|P|2.5|" + b"x" * headers._KEPT_LENGTH

    assert Header.read(raw).control_id == "77"
    assert headers._kept.cache_info().currsize == kept
