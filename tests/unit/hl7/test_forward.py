"""Passing a message on: contact data gone unless the route is for contact, every other byte as it came."""

from __future__ import annotations

import pytest

from broker import contact
from broker.errors import UnmappableError
from broker.hl7.edit import Verbatim
from broker.hl7.er7 import Message
from broker.hl7.forward import as_written, forward

PLACE = "routes/a.yaml:7"
MESSAGE = (
    "MSH|^~\\&|PAS|STO|EPJ|STO|20260309||ADT^A08^ADT_A01|1|P|2.5.1||||||{charset}|\r"
    "PID|1||700123^^^STO||Sørby^Áile||2019|F|||Prøvegata 1^^Trondheim~Hytta 2|1601|^PRN^PH~^NET|^WPN||||K77\r"
    "NK1|1|Sørby^Nils|FTH|Prøvegata 1\r"
    "PV1|1|I|KIR1^12||\r"
    "ORC|NW|P1||||||||||4711^Ås||^WPN^PH|||||||RTG|Prøvegata 9|^WPN|Legegata 3\r"
    "GT1|1||Sørby^Nils\rIN1|1\r"
    "ZPI|1|Prøvegata er ikke adressen||\r"
)
CARE = (
    "MSH|^~\\&|PAS|STO|EPJ|STO|20260309||ADT^A08^ADT_A01|1|P|2.5.1||||||{charset}|\r"
    "PID|1||700123^^^STO||Sørby^Áile||2019|F||||||||||K77\r"
    "PV1|1|I|KIR1^12||\r"
    "ORC|NW|P1||||||||||4711^Ås|||||||||RTG|Prøvegata 9|^WPN|\r"
)


def read(text: str, codec: str = "utf-8", charset: str = "UNICODE UTF-8", **options: str) -> Message:
    return Message.parse(text.format(charset=charset).encode(codec), **options)  # type: ignore[arg-type]


def test_for_contact_it_leaves_as_it_came() -> None:
    message = read(MESSAGE)

    assert forward(message, {}, with_contact=True, place=PLACE) == message.raw


def test_for_care_contact_data_is_gone_and_nothing_else() -> None:
    sent = forward(read(MESSAGE), {}, with_contact=False, place=PLACE)

    assert sent.decode() == CARE.format(charset="UNICODE UTF-8")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_line_ends_stay(end: str) -> None:
    message = read(MESSAGE.replace("\r", end))

    assert forward(message, {}, with_contact=False, place=PLACE).decode() == CARE.replace("\r", end).format(
        charset="UNICODE UTF-8"
    )


def test_every_contact_field_is_taken_out_of_every_segment() -> None:
    segments = sorted({segment for segment, _ in contact.FIELDS} | contact.SEGMENTS)
    body = "\r".join(f"{name}|" + "|".join(f"X{n}" for n in range(1, 50)) for name in (*segments, *segments))
    sent = forward(read("MSH|^~\\&|PAS||||||ADT^A08|1|P|2.5\r" + body), {}, with_contact=False, place=PLACE)

    left = Message.parse(sent)
    assert not contact.SEGMENTS & {segment.name for segment in left}
    for segment, field in contact.FIELDS:
        assert [found.text(field) for found in left.all(segment)] == ["", ""]
    kept = sum(1 for segment in left for text in segment.fields if text.startswith("X"))
    assert kept == 2 * (49 * len({name for name, _ in contact.FIELDS}) - len(contact.FIELDS))


def test_changes_of_the_route() -> None:
    changes = {"MSH-5": "PACS", "PID-3": ("700123^^^STO", "9"), "PID-5.1": "A&B", "PV1-3.2": ""}
    sent = Message.parse(forward(read(MESSAGE), changes, with_contact=False, place=PLACE))

    assert sent["MSH-5"] == "PACS"
    assert sent.text("PID-3") == "700123^^^STO~9"
    assert sent.text("PID-5") == "A\\T\\B^Áile"
    assert sent.text("PV1-3") == "KIR1^"
    assert "NK1" not in sent


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("iso8859-1", {"charset": ""}),
        ("iso8859-4", {"charset": "", "default_charset": "8859/4"}),
        ("iso8859-1", {"charset": "UNICODE UTF-8", "fallback_charset": "8859/1"}),
        ("utf-8", {"charset": "8859/1"}),
        ("utf-8", {"charset": ""}),
    ],
)
@pytest.mark.parametrize("with_contact", [True, False])
def test_it_is_written_in_what_it_was_read_with(
    codec: str, options: dict[str, str], with_contact: bool
) -> None:
    """Also where MSH-18 says otherwise, or nothing: the listener's default and its fallback."""
    message = read(MESSAGE, codec, **options)
    sent = forward(message, {"PV1-7": "Bjørnø"}, with_contact=with_contact, place=PLACE)

    expected = (MESSAGE if with_contact else CARE).format(charset=options["charset"])
    assert sent.decode(codec) == expected.replace("PV1|1|I|KIR1^12||", "PV1|1|I|KIR1^12||||Bjørnø")


def test_what_hl7_did_not_cause_has_no_source() -> None:
    with pytest.raises(UnmappableError, match=r"^routes/a.yaml:7: .*no source"):
        forward(None, {}, with_contact=True, place=PLACE)


def test_a_change_to_a_segment_that_is_not_there() -> None:
    with pytest.raises(UnmappableError, match="OBR-4"):
        forward(read(MESSAGE), {"OBR-4": "X"}, with_contact=True, place=PLACE)


@pytest.mark.parametrize("path", ["PID-3", "PID-3(2)", "OBX[2]-5"])
def test_a_whole_field_stands_as_er7(path: str) -> None:
    written = as_written(path, ("a^b", "c"))

    assert written == ("a^b", "c")
    assert all(isinstance(part, Verbatim) for part in written)
    assert isinstance(as_written(path, "a^b"), Verbatim)


def test_a_component_is_plain_text() -> None:
    assert not isinstance(as_written("PID-3.1", "a^b"), Verbatim)
