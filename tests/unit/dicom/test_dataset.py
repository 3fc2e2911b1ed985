"""A data set survives each syntax that an association may carry it in; what is none, or does not fit, is refused."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from broker.dicom import dataset, uid
from broker.dicom.attributes import from_dataset, to_dataset
from broker.errors import LocalProtocolError, RemoteProtocolError

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
