"""`broker.dicom.attributes`: plain values to data sets and back; no rule is broken in silence."""

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

from broker.dicom import attributes as dicom
from broker.errors import LocalProtocolError, RemoteProtocolError
from broker.event import PersonName
from broker.text import nfc

ROW: dicom.Attributes = {
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


def over_the_wire(ds: Dataset, *, implicit: bool) -> Dataset:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, True
    write_dataset(buffer, ds)
    return read_dataset(io.BytesIO(buffer.getvalue()), implicit, True)


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("term", ["ISO_IR 192", "ISO_IR 100"])
def test_a_row_comes_back_from_the_wire_as_it_went(implicit: bool, term: str) -> None:
    back = dicom.from_dataset(over_the_wire(dicom.to_dataset(ROW, charset=term), implicit=implicit))
    assert {**back, "ReferencedStudySequence": ()} == {**ROW, "SpecificCharacterSet": term}


def test_a_row_comes_back_without_the_wire() -> None:
    assert dicom.from_dataset(dicom.to_dataset(ROW)) == {**ROW, "SpecificCharacterSet": "ISO_IR 192"}


def test_the_character_set_stands_only_where_it_is_needed_or_asked_for() -> None:
    assert "SpecificCharacterSet" not in dicom.to_dataset({"PatientName": "Hansen"})
    asked = dicom.to_dataset({"SpecificCharacterSet": "", "PatientName": "Hansen"}, charset="ISO_IR 100")
    assert asked.SpecificCharacterSet == "ISO_IR 100"


def test_text_that_the_set_cannot_show_is_transliterated_and_counted() -> None:
    shown, count = dicom.transliterated(ROW, "ISO_IR 6")
    assert count == 4
    assert shown["PatientName"] == "Oedegaard^Aase"
    ds = over_the_wire(dicom.to_dataset(ROW, charset="ISO_IR 6"), implicit=True)
    assert ds.PatientName == "Oedegaard^Aase"
    assert "SpecificCharacterSet" not in ds
    assert dicom.transliterated(ROW, "ISO_IR 100") == (ROW, 0)


def test_json_and_back() -> None:
    assert dicom.from_json(dicom.to_json(ROW)) == ROW
    assert list(dicom.from_json(dicom.to_json(ROW))) == list(ROW)


def test_group_lengths_and_binary_values_are_left_out() -> None:
    ds = Dataset()
    ds.add_new(0x00100000, "UL", 12)
    ds.add_new(0x00100010, "PN", "Hansen")
    ds.add_new(0x7FE00010, "OW", b"\0\0")
    ds.add_new(0x00091010, "UN", b"\0\0")
    assert dicom.from_dataset(ds) == {"PatientName": "Hansen"}


def test_unknown_and_private_tags_have_their_number() -> None:
    ds = Dataset()
    ds.add_new(0x80010010, "LO", "ACME")
    ds.add_new(0x80011001, "LO", "X")
    assert dicom.from_dataset(ds) == {"8001,0010": "ACME", "8001,1001": "X"}


def test_padding_is_no_part_of_a_value() -> None:
    raw = b"\x08\x00\x50\x00\x06\x00\x00\x00 A1 \0 " + b"\x10\x00\x20\x00\x04\x00\x00\x00T1  "
    ds = read_dataset(io.BytesIO(raw), True, True)
    assert dicom.from_dataset(ds) == {"AccessionNumber": "A1", "PatientID": "T1"}


def test_a_malformed_value_is_read_without_a_warning() -> None:
    """Warnings are errors in this suite; pydicom's would print the value."""
    raw = b"\x10\x00\x30\x00\x0a\x00\x00\x00not a date" + b"\x10\x00\x40\x00\x06\x00\x00\x00female"
    ds = read_dataset(io.BytesIO(raw), True, True)
    assert dicom.from_dataset(ds) == {"PatientBirthDate": "not a date", "PatientSex": "female"}


def test_an_empty_element_of_no_known_vr_is_refused_by_its_place() -> None:
    """What pydicom raises on the way is no error of ours."""
    raw = b"\x10\x00\x10\x00PN\x02\x00A " + b"\x10\x00\x20\x00L\x00\x00\x00"
    ds = read_dataset(io.BytesIO(raw), False, True)
    with pytest.raises(RemoteProtocolError, match="PatientID"):
        dicom.from_dataset(ds)


@pytest.mark.parametrize("tag", [0x60000010, 0x60020010, 0x50100005, 0x10000010, 0x00100020, 0x00101F00])
def test_a_tag_comes_back_from_its_key(tag: int) -> None:
    """Overlays share their keywords with those of other groups."""
    assert dicom.tag_of(dicom.key_of(tag)) == tag


def test_a_nested_character_set_holds_for_its_item() -> None:
    inner = dicom.to_dataset({"CodeMeaning": "Øye"}, charset="ISO_IR 100")
    outer = dicom.to_dataset({"PatientName": "Åse"}, charset="ISO_IR 192")
    outer.RequestedProcedureCodeSequence = [inner]
    back = dicom.from_dataset(over_the_wire(outer, implicit=False))
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
def test_what_cannot_be_a_data_set_is_refused_by_place(broken: dicom.Attributes, place: str) -> None:
    with pytest.raises(LocalProtocolError, match=place):
        dicom.to_dataset(broken)


def test_faults_name_place_and_rule_and_never_the_value() -> None:
    secret = "13116900216-much-too-long"
    found = dicom.faults(
        {
            "AccessionNumber": secret,
            "PatientName": "x",
            "PatientSex": ("M", "F"),
            "NoSuchKeyword": "x",
            "RequestedProcedureCodeSequence": "x",
            "PatientID": ({"PatientID": "x"},),
            "ScheduledProcedureStepSequence": ({"ScheduledStationAETitle": ("OK", secret)},),
        }
    )
    assert found == [
        ("AccessionNumber", "SH: at most 16 characters"),
        ("PatientSex", "CS: one value only (VM 1)"),
        ("NoSuchKeyword", "not a DICOM keyword"),
        ("RequestedProcedureCodeSequence", "SQ: a sequence needs items"),
        ("PatientID", "LO: text, not items"),
        ("ScheduledProcedureStepSequence.ScheduledStationAETitle", "AE: at most 16 characters"),
    ]
    assert secret not in repr(found)


def test_a_good_row_has_no_faults() -> None:
    assert dicom.faults(ROW) == []


@pytest.mark.parametrize(
    ("name", "written"),
    [
        (PersonName(), ""),
        (PersonName(family="Hansen"), "Hansen"),
        (
            PersonName(family="Hansen", given="Kari", middle="Anne", prefix="dr", suffix="jr"),
            "Hansen^Kari^Anne^dr^jr",
        ),
        (PersonName(family="Hansen", suffix="jr"), "Hansen^^^^jr"),
        (PersonName(family="A^B=C\\D", given=" Kari "), "A B C D^Kari"),
    ],
)
def test_person_names(name: PersonName, written: str) -> None:
    assert dicom.person_name(name) == written


@given(st.builds(PersonName, family=st.text(), given=st.text(), middle=st.text(), suffix=st.text()))
def test_no_part_of_a_name_can_become_another(name: PersonName) -> None:
    written = dicom.person_name(name)
    assert written.count("^") <= 4
    assert "=" not in written
    assert "\\" not in written


LETTERS = st.text(
    st.characters(exclude_characters="\\\0\x1b", exclude_categories=["Cs", "Cc"]), min_size=1
).map(str.strip)


@given(st.lists(LETTERS.filter(bool), min_size=1, max_size=3))
@settings(max_examples=50)
def test_any_text_survives_utf_8(values: list[str]) -> None:
    value = tuple(values) if len(values) > 1 else values[0]
    ds = over_the_wire(dicom.to_dataset({"OtherPatientIDs": value}), implicit=False)
    expected = tuple(nfc(part.strip(" \0")) for part in values)
    assert dicom.from_dataset(ds)["OtherPatientIDs"] == (expected if len(expected) > 1 else expected[0])


def test_real_character_sets(shared_data: Path) -> None:
    folder = shared_data / "dicom" / "charsets"
    read = {
        path.name: dicom.from_dataset(dcmread(path, force=True)).get("PatientName")
        for path in sorted(folder.glob("chr*.dcm"))
    }
    assert read["chrGerm.dcm"] == "Äneas^Rüdiger"
    assert read["chrFren.dcm"] == "Buc^Jérôme"
    assert read["chrGreek.dcm"] == "Διονυσιος"
    assert read["chrRuss.dcm"] == "Люкceмбypг"
    assert read["chrH32.dcm"] == "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"
    assert read["chrHbrw.dcm"] == "שרון^דבורה"


def test_a_name_is_cut_by_component_group_and_never_to_a_separator() -> None:
    row: dicom.Attributes = {
        "PatientName": f"{'A' * 63}^Siv=山田",
        "ScheduledProcedureStepSequence": ({"ScheduledPerformingPhysicianName": "Lege^Kari"},),
    }

    assert dicom.with_short_names(row)[0]["PatientName"] == f"{'A' * 63}=山田"
    assert dicom.with_short_names(row)[1] == 1
    assert dicom.with_short_names(row, 6)[0]["ScheduledProcedureStepSequence"] == (
        {"ScheduledPerformingPhysicianName": "Lege^K"},
    )
    assert dicom.with_short_names({"PatientName": "A" * 64}) == ({"PatientName": "A" * 64}, 0)


def test_text_is_nfc_whatever_it_came_in() -> None:
    ds = Dataset()
    ds.SpecificCharacterSet, ds.PatientName = "ISO_IR 192", "A\u030ase"

    assert dicom.from_dataset(ds)["PatientName"] == "Åse"
