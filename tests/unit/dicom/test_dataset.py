"""A data set survives each syntax that an association may carry it in, and attributes come back from it as they were.

What is no data set, or does not fit, is refused.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from broker.dicom import dataset, uid
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import from_dataset, to_dataset
from broker.errors import LocalProtocolError, RemoteProtocolError
from broker.text import nfc

ROW: Attributes = {
    "PatientName": "Ødegård^Åse",
    "PatientID": "T1",
    "OtherPatientIDs": ("A", "B"),
    "StudyInstanceUID": "1.2.3",
    "PregnancyStatus": "4",
    "PatientComments": "one \\ two",
    "ScheduledProcedureStepSequence": (
        {
            "Modality": "OP",
            "ScheduledStationAETitle": ("FUNDUS1", "FUNDUS2"),
            "ScheduledProcedureStepStartDate": "20260105",
            "ScheduledProtocolCodeSequence": ({"CodeValue": "F1", "CodeMeaning": "Øye"}, {"CodeValue": "F2"}),
        },
    ),
    "ReferencedStudySequence": (),
    "AccessionNumber": "",
}

SAID = {
    "PatientName": "Hansen^Kari",
    "ScheduledProcedureStepSequence": ({"Modality": "CT"},),
    "SeriesNumber": "7",
}


@pytest.mark.parametrize(
    ("syntax", "first"),
    [
        (uid.IMPLICIT_LITTLE_ENDIAN, b"\x10\x00\x10\x00\x0c\x00\x00\x00"),
        (uid.EXPLICIT_LITTLE_ENDIAN, b"\x10\x00\x10\x00PN\x0c\x00"),
        (uid.EXPLICIT_BIG_ENDIAN, b"\x00\x10\x00\x10PN\x00\x0c"),
    ],
)
def test_what_is_written_is_read_again(syntax: str, first: bytes) -> None:
    raw = dataset.write(to_dataset(SAID), syntax)

    assert raw.startswith(first)
    assert from_dataset(dataset.read(raw, syntax)) == SAID


def test_bytes_that_are_no_data_set() -> None:
    with pytest.raises(RemoteProtocolError, match="not a data set"):
        dataset.read(b"\x08\x00\x05\x00SQ\x00\x00\xff\xff\xff\xffgarbled!", uid.EXPLICIT_LITTLE_ENDIAN)


def test_a_value_that_does_not_fit_its_vr() -> None:
    broken = Dataset()
    broken.Rows = 1
    broken["Rows"]._value = "many"

    with pytest.raises(LocalProtocolError, match="cannot be encoded"):
        dataset.write(broken, uid.EXPLICIT_LITTLE_ENDIAN)


def over_the_wire(ds: Dataset, *, implicit: bool) -> Dataset:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, True
    write_dataset(buffer, ds)
    return read_dataset(io.BytesIO(buffer.getvalue()), implicit, True)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("term", ["ISO_IR 192", "ISO_IR 100"])
def test_a_row_comes_back_from_the_wire_as_it_went(implicit: bool, term: str) -> None:
    back = from_dataset(over_the_wire(to_dataset(ROW, charset=term), implicit=implicit))
    assert {**back, "ReferencedStudySequence": ()} == {**ROW, "SpecificCharacterSet": term}


def test_a_row_comes_back_without_the_wire() -> None:
    assert from_dataset(to_dataset(ROW)) == {**ROW, "SpecificCharacterSet": "ISO_IR 192"}


def test_the_character_set_stands_only_where_it_is_needed_or_asked_for() -> None:
    assert "SpecificCharacterSet" not in to_dataset({"PatientName": "Hansen"})
    asked = to_dataset({"SpecificCharacterSet": "", "PatientName": "Hansen"}, charset="ISO_IR 100")
    assert asked.SpecificCharacterSet == "ISO_IR 100"


def test_group_lengths_and_binary_values_are_left_out() -> None:
    ds = Dataset()
    ds.add_new(0x00100000, "UL", 12)
    ds.add_new(0x00100010, "PN", "Hansen")
    ds.add_new(0x7FE00010, "OW", b"\0\0")
    ds.add_new(0x00091010, "UN", b"\0\0")
    assert from_dataset(ds) == {"PatientName": "Hansen"}


def test_unknown_and_private_tags_have_their_number() -> None:
    ds = Dataset()
    ds.add_new(0x80010010, "LO", "ACME")
    ds.add_new(0x80011001, "LO", "X")
    assert from_dataset(ds) == {"8001,0010": "ACME", "8001,1001": "X"}


def test_padding_is_no_part_of_a_value() -> None:
    raw = b"\x08\x00\x50\x00\x06\x00\x00\x00 A1 \0 " + b"\x10\x00\x20\x00\x04\x00\x00\x00T1  "
    ds = read_dataset(io.BytesIO(raw), True, True)
    assert from_dataset(ds) == {"AccessionNumber": "A1", "PatientID": "T1"}


def test_a_malformed_value_is_read_without_a_warning() -> None:
    """Warnings are errors in this suite; pydicom's would print the value."""
    raw = b"\x10\x00\x30\x00\x0a\x00\x00\x00not a date" + b"\x10\x00\x40\x00\x06\x00\x00\x00female"
    ds = read_dataset(io.BytesIO(raw), True, True)
    assert from_dataset(ds) == {"PatientBirthDate": "not a date", "PatientSex": "female"}


def test_an_empty_element_of_no_known_vr_is_refused_by_its_place() -> None:
    """What pydicom raises on the way is no error of ours."""
    raw = b"\x10\x00\x10\x00PN\x02\x00A " + b"\x10\x00\x20\x00L\x00\x00\x00"
    ds = read_dataset(io.BytesIO(raw), False, True)
    with pytest.raises(RemoteProtocolError, match="PatientID"):
        from_dataset(ds)


def test_a_nested_character_set_holds_for_its_item() -> None:
    inner = to_dataset({"CodeMeaning": "Øye"}, charset="ISO_IR 100")
    outer = to_dataset({"PatientName": "Åse"}, charset="ISO_IR 192")
    outer.RequestedProcedureCodeSequence = [inner]
    back = from_dataset(over_the_wire(outer, implicit=False))
    assert back["PatientName"] == "Åse"
    assert back["RequestedProcedureCodeSequence"] == (
        {"SpecificCharacterSet": "ISO_IR 100", "CodeMeaning": "Øye"},
    )


@pytest.mark.parametrize(
    ("broken", "place"),
    [
        ({"NoSuchKeyword": "x"}, "NoSuchKeyword"),
        ({"Rows": "many"}, "Rows"),
        ({"PixelData": "x"}, "PixelData"),
        ({"RequestedProcedureCodeSequence": "x"}, "RequestedProcedureCodeSequence"),
    ],
)
def test_what_cannot_be_a_data_set_is_refused_by_place(broken: Attributes, place: str) -> None:
    with pytest.raises(LocalProtocolError, match=place):
        to_dataset(broken)


LETTERS = st.text(
    st.characters(exclude_characters="\\\0\x1b", exclude_categories=["Cs", "Cc"]), min_size=1
).map(str.strip)


@given(st.lists(LETTERS.filter(bool), min_size=1, max_size=3))
@settings(max_examples=50)
def test_any_text_survives_utf_8(values: list[str]) -> None:
    value = tuple(values) if len(values) > 1 else values[0]
    ds = over_the_wire(to_dataset({"OtherPatientIDs": value}), implicit=False)
    expected = tuple(nfc(part.strip(" \0")) for part in values)
    assert from_dataset(ds)["OtherPatientIDs"] == (expected if len(expected) > 1 else expected[0])


def test_real_character_sets(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "charsets"
    read = {
        path.name: from_dataset(dcmread(path, force=True)).get("PatientName")
        for path in sorted(folder.glob("chr*.dcm"))
    }
    assert read["chrGerm.dcm"] == "Äneas^Rüdiger"
    assert read["chrFren.dcm"] == "Buc^Jérôme"
    assert read["chrGreek.dcm"] == "Διονυσιος"
    assert read["chrRuss.dcm"] == "Люкceмбypг"
    assert read["chrH32.dcm"] == "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
    assert read["chrHbrw.dcm"] == "שרון^דבורה"


def test_text_is_nfc_whatever_it_came_in() -> None:
    ds = Dataset()
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", "A\u030ase"

    assert from_dataset(ds)["PatientName"] == "Åse"
