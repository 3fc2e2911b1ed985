from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.encode import encode
from broker.errors import LocalProtocolError

ROW: Attributes = {
    "StudyInstanceUID": "2.25.123",
    "PatientName": "Sørby^Áile",
    "PatientID": "30908299902",
    "PatientWeight": "",
    "AccessionNumber": "A1",
    "ReferencedStudySequence": (),
    "PregnancyStatus": "4",
    "OtherPatientIDsSequence": (
        {"PatientID": "700123", "IssuerOfPatientID": "STO"},
        {"IssuerOfPatientIDQualifiersSequence": ({"UniversalEntityID": "2.999.7001"},)},
    ),
    "ScheduledProcedureStepSequence": (
        {
            "ScheduledStationAETitle": ("CT1_STO", "CT2_STO"),
            "Modality": "CT",
            "SpecificCharacterSet": "ISO_IR 6",
        },
    ),
}


def written(dataset: Dataset, explicit: bool) -> bytes:
    """As pydicom writes it."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = not explicit, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("charset", ["ISO_IR 100", "ISO_IR 192", "ISO_IR 6"])
def test_the_bytes_are_those_that_pydicom_writes(charset: str, explicit: bool) -> None:
    expected = written(to_dataset(ROW, charset=charset), explicit)

    assert encode(ROW, charset=charset, explicit=explicit) == expected


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\\"), max_size=20
)


@given(
    st.dictionaries(
        st.sampled_from(["PatientName", "PatientID", "PatientComments", "RequestedProcedureDescription"]),
        TEXTS | st.lists(TEXTS.filter(bool), min_size=2, max_size=3).map(tuple),
    ),
    st.booleans(),
)
def test_any_text_is_written_as_pydicom_writes_it(attributes: Attributes, explicit: bool) -> None:
    item: Attributes = {**attributes, "RequestAttributesSequence": (attributes, {})}

    assert encode(item, explicit=explicit) == written(to_dataset(item), explicit)


def test_ascii_alone_declares_no_character_set_unless_asked() -> None:
    assert encode({"PatientID": "1"}).startswith(b"\x10\x00\x20\x00LO")
    assert encode({"PatientID": "1", "SpecificCharacterSet": ""}).startswith(
        b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192"
    )


@pytest.mark.parametrize(
    ("attributes", "place"),
    [
        ({"Rows": "many"}, "Rows"),
        ({"Rows": "70000"}, "Rows"),
        ({"PixelData": "x"}, "PixelData"),
        ({"Modality": "ØY"}, "Modality"),
        ({"ReferencedStudySequence": ("x",)}, "ReferencedStudySequence"),
        ({"PatientID": "x" * 70000}, "PatientID"),
        ({"NoSuchKeyword": "x"}, "NoSuchKeyword"),
    ],
)
def test_what_dicom_cannot_hold_is_named_without_its_value(attributes: Attributes, place: str) -> None:
    with pytest.raises(LocalProtocolError, match=place) as raised:
        encode(attributes)

    assert "many" not in str(raised.value)
    assert "ØY" not in str(raised.value)
