"""Whatever a peer sends as an identifier is read as well as it can be, or refused by our own error; it harms nothing.

Bytes go through the association server into `broker.dicom.matching`, as a modality's do, in both transfer syntaxes.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from broker.dicom import dataset, status
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.encode import encode
from broker.dicom.matching import STEPS, Query
from broker.net.association import Answer, AssociationServer, FindRequest, Peer
from tests.support.dimse import EXPLICIT, IMPLICIT, WORKLIST, Scu, command_set, p_data
from tests.support.processes import wait_until

FIND_RQ = command_set({0x0002: WORKLIST, 0x0100: 0x0020, 0x0110: 1, 0x0700: 0, 0x0800: 1})
CONTEXT = {EXPLICIT: 1, IMPLICIT: 3}
ROW: Attributes = {
    "PatientName": "Sørby^Áile",
    "PatientID": "700123",
    "AccessionNumber": "A1",
    "StudyInstanceUID": "1.2.3",
    STEPS: (
        {"Modality": "CT", "ScheduledProcedureStepStartDate": "20260310", "ScheduledStationAETitle": "CT1"},
    ),
}
UNDEFINED = 0xFFFFFFFF
ITEM, END_OF_ITEM, END_OF_SEQUENCE = (
    struct.pack("<HH", 0xFFFE, number) for number in (0xE000, 0xE00D, 0xE0DD)
)


class Worklist:
    """One row, and every question that the worklist service asks of a query."""

    sop_classes = (WORKLIST,)

    def find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        explicit = request.transfer_syntax_uid == EXPLICIT
        query = Query.read(request.identifier).of_one_device(("CT1", "CT2"))
        for asked in (query, query.also_asking(("MedicalAlerts",), ("PreMedication",))):
            _ = asked.asked, asked.stations, asked.dates, asked.dated, asked.numbered, asked.patient_id
            narrows = [verdict for verdict in asked.verdicts(ROW) if not verdict.matches]
            assert bool(narrows) != asked.matches(ROW)
            yield Answer(status=status.PENDING, identifier=encode(asked.answer(ROW), explicit=explicit))


class Errors(logging.Handler):
    """What the server logs as failed."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scu, Errors]]:
    """One association for all examples, and what its server had to say."""
    server = AssociationServer(
        "127.0.0.1", 0, spool=tmp_path_factory.mktemp("identifiers") / "in", admit=lambda _: True
    )
    server.register(Worklist())
    server.start()
    errors = Errors()
    logging.getLogger("broker.net").addHandler(errors)
    with Scu(server.port, [(WORKLIST, EXPLICIT), (WORKLIST, IMPLICIT)]) as scu:
        yield scu, errors
    logging.getLogger("broker.net").removeHandler(errors)
    server.stop(0)


def ask(asking: tuple[Scu, Errors], identifier: bytes, syntax: str) -> int:
    """The last status; fails where an error was an accident."""
    scu, errors = asking
    errors.told.clear()
    scu.send_raw(p_data(CONTEXT[syntax], 3, FIND_RQ) + p_data(CONTEXT[syntax], 2, identifier))
    pending, last = b"\0\x09\2\0\0\0\0\xff", b"\0\x09\2\0\0\0"
    while pending in (body := scu.read_pdu()[1]):
        scu.read_pdu()
    code = int.from_bytes(body[body.index(last) + len(last) :][:2], "little")
    if code != status.SUCCESS:
        assert code == status.CANNOT_UNDERSTAND
        wait_until(lambda: bool(errors.told), "it is told")
        assert "RemoteProtocolError" in errors.told[0]
    return code


# --- data sets that are damaged -----------------------------------------------------------------------------


def usual() -> Dataset:
    """A query as devices ask it, and with what they should leave out."""
    query = to_dataset(
        {
            "SpecificCharacterSet": "ISO_IR 100",
            "PatientName": "Sør*",
            "PatientID": "",
            "PregnancyStatus": "",
            "PatientWeight": "70.5",
            "StudyInstanceUID": ("1.2.3", "1.2.4"),
            "RequestedProcedureCodeSequence": ({"CodeValue": ""},),
            STEPS: ({"Modality": "", "ScheduledProcedureStepStartDate": "20260101-20261231"},),
        },
        charset="ISO_IR 100",
    )
    query.add_new(0x80010010, "LO", "ACME")
    query.add_new(0x80011001, "UN", b"\1\2")
    return query


USUAL = {syntax: dataset.write(usual(), syntax) for syntax in CONTEXT}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # of bytes that no set decodes
FUZZ = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("syntax", CONTEXT)
def test_undamaged_it_finds_the_row(asking: tuple[Scu, Errors], syntax: str) -> None:
    assert ask(asking, USUAL[syntax], syntax) == status.SUCCESS


@FUZZ
@given(st.sampled_from(list(CONTEXT)), st.data())
def test_damaged_anywhere(asking: tuple[Scu, Errors], syntax: str, data: st.DataObject) -> None:
    damaged = bytearray(USUAL[syntax])
    for _ in range(data.draw(st.integers(0, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    ask(asking, bytes(damaged[: data.draw(st.integers(0, len(damaged)))]), syntax)


@FUZZ
@given(st.sampled_from(list(CONTEXT)), st.sampled_from(list(CONTEXT)), st.integers(0, 300))
def test_cut_and_in_another_syntax_than_was_agreed(
    asking: tuple[Scu, Errors], syntax: str, other: str, keep: int
) -> None:
    ask(asking, USUAL[other][:keep], syntax)


# --- data sets that lie -------------------------------------------------------------------------------------

TAGS = st.sampled_from(
    [
        *(0x00080000, 0x00080005, 0x00080050, 0x00080051, 0x00100010, 0x00100020, 0x00101020, 0x001021C0),
        *(0x00101F00, 0x0020000D, 0x00280010, 0x00321064, 0x00400000, 0x00400002, 0x00400003, 0x00400100),
        *(0x0040A30A, 0x00720082, 0x7FE00010, 0x80010010, 0x80011001, 0xFFFEE000, 0xFFFEE0DD, 0x00000000),
    ]
)
VRS = st.sampled_from(
    [
        "AE",
        "AT",
        "CS",
        "DA",
        "DS",
        "FD",
        "IS",
        "LO",
        "OW",
        "PN",
        "SQ",
        "TM",
        "UI",
        "UL",
        "UN",
        "US",
        "UT",
        "??",
    ]
)
VALUES = st.binary(max_size=12) | st.sampled_from(
    [
        b"",
        b"*",
        b"?" * 8,
        b"-",
        b"\\" * 4,
        b"\x1b$B",
        b"ISO 2022 IR 87\\GARBAGE ",
        b"20260101-",
        b"1e999",
        b"\xff\xfe",
    ]
)
LIES = st.sampled_from([0, 0, 0, 0, 1, -1, 7, 5000, UNDEFINED])


@st.composite
def lying(draw: st.DrawFn, explicit: bool, depth: int = 3) -> bytes:
    """Elements whose VR, length and delimiters may be wrong, sequences in one another among them."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        tag, vr, lie = draw(TAGS), draw(VRS), draw(LIES)
        if depth and (vr == "SQ" or tag in (0x00400100, 0x00321064)):
            value = b"".join(
                item(draw(lying(explicit, depth - 1)), draw(LIES), draw(st.booleans()))
                for _ in range(draw(st.integers(0, 2)))
            ) + draw(st.sampled_from([b"", END_OF_SEQUENCE + bytes(4)]))
            vr = "SQ"
        else:
            value = draw(VALUES)
        length = UNDEFINED if lie == UNDEFINED else max(0, len(value) + lie)
        head = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if not explicit:
            head += struct.pack("<L", length)
        elif vr in ("OW", "SQ", "UN", "UT"):
            head += vr.encode() + bytes(2) + struct.pack("<L", length)
        else:
            head += vr.encode() + struct.pack("<H", length & 0xFFFF)
        parts.append(head + value)
    return b"".join(parts)


def item(content: bytes, lie: int, ends: bool) -> bytes:
    length = UNDEFINED if lie == UNDEFINED else max(0, len(content) + lie)
    return ITEM + struct.pack("<L", length) + content + (END_OF_ITEM + bytes(4) if ends else b"")


@FUZZ
@given(st.sampled_from(list(CONTEXT)), st.data())
def test_whatever_lies_about_itself(asking: tuple[Scu, Errors], syntax: str, data: st.DataObject) -> None:
    ask(asking, data.draw(lying(syntax == EXPLICIT)), syntax)


@pytest.mark.parametrize("syntax", CONTEXT)
@pytest.mark.parametrize("length", [0, 4, 0xFFFE])
def test_a_group_length_that_lies_changes_nothing(
    asking: tuple[Scu, Errors], syntax: str, length: int
) -> None:
    head = struct.pack("<HH", 0x0008, 0x0000) + (b"UL\4\0" if syntax == EXPLICIT else b"\4\0\0\0")
    assert ask(asking, head + struct.pack("<L", length) + USUAL[syntax], syntax) == status.SUCCESS


@pytest.mark.parametrize("syntax", CONTEXT)
def test_nesting_without_end_is_refused(asking: tuple[Scu, Errors], syntax: str) -> None:
    vr = b"SQ\0\0" if syntax == EXPLICIT else b""
    opening = struct.pack("<HH", 0x0040, 0x0100) + vr + struct.pack("<L", UNDEFINED)
    opening += ITEM + struct.pack("<L", UNDEFINED)
    assert ask(asking, opening * 5000, syntax) == status.CANNOT_UNDERSTAND


# --- data sets that are a little odd ------------------------------------------------------------------------


def test_items_in_implicit_vr_within_explicit_vr_are_read(asking: tuple[Scu, Errors]) -> None:
    """Some devices write them so, with delimiters; nothing of the question is lost."""
    step = dataset.write(usual()[STEPS][0], IMPLICIT)
    opening = struct.pack("<HH2sHLHHL", 0x0040, 0x0100, b"SQ", 0, UNDEFINED, 0xFFFE, 0xE000, UNDEFINED)
    ends = END_OF_ITEM + bytes(4) + END_OF_SEQUENCE + bytes(4)
    patient = struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 6)
    assert ask(asking, patient + b"700123" + opening + step + ends, EXPLICIT) == status.SUCCESS
    assert ask(asking, patient + b"700123" + opening + step + ends[:-9], EXPLICIT) == status.CANNOT_UNDERSTAND


@pytest.mark.parametrize(("vr", "expected"), [(b"\0\0", status.SUCCESS), (b"??", status.CANNOT_UNDERSTAND)])
def test_without_a_vr_it_is_read_where_no_key_is_lost(
    asking: tuple[Scu, Errors], vr: bytes, expected: int
) -> None:
    """pydicom reads `??` as a part of the length, and what follows as the value."""
    odd = struct.pack("<HH2sH", 0x8001, 0x1002, vr, 0) + struct.pack("<HH2sH", 0x8001, 0x1003, b"SH", 0)
    assert ask(asking, USUAL[EXPLICIT] + odd, EXPLICIT) == expected


@pytest.mark.parametrize("syntax", CONTEXT)
@pytest.mark.parametrize("count", [1, 2, 7, 8, 100])
def test_zeros_at_the_end_are_padding(asking: tuple[Scu, Errors], syntax: str, count: int) -> None:
    assert ask(asking, USUAL[syntax] + bytes(count), syntax) == status.SUCCESS
