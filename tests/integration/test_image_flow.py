"""Images through the broker to a PACS: what PAS says is written into them, and not a byte else is touched.

The PACS is a real Orthanc, or DCMTK's storescp where the very bytes that arrive are compared. The sender is
DCMTK's storescu, or a bare socket where the very bytes that leave must be known.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.messages import SITE
from tests.support.mllp import field
from tests.support.processes import wait_until
from tests.support.storescp import Storescp

pytestmark = pytest.mark.integration

REAL = (
    "charsets/chrFren.dcm",
    "charsets/chrGreek.dcm",
    "charsets/chrJapMulti.dcm",
    "dcm4che/YBR_FULL-RLE.dcm",
    "ecg/ecgtoolkit_Example.dcm",
    "made-by-peers/ko_highdicom_of_sample-op.dcm",
    "made-by-peers/pdf_pdf2dcm_cardiosoft.dcm",
    "op/sample-op.dcm",
    "orthanc/KarstenHilbertRF.dcm",
    "orthanc/MarekLatin2.dcm",
    "pydicom/MR_small_implicit.dcm",
    "pydicom/SC_rgb_jpeg_dcmtk.dcm",
    "sr/dx_image.dcm",
    "sr/sr_document.dcm",
    "us/US1_J2KI.dcm",
    "us/parametric_map_float.dcm",
)
"""Objects of other makers: seven transfer syntaxes, several character sets, images, reports, a waveform, a PDF."""

COERCED = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    *("PatientBirthDate", "PatientSex", "SpecificCharacterSet", "OriginalAttributesSequence"),
)

ORIGINAL = 0x04000561


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Storescp]:
    server = Storescp(tmp_path / "stored")
    server.start()
    yield server
    server.stop()


def register(broker: Broker, *messages: bytes) -> None:
    """PAS says it, and the registers know it."""
    with broker.pas() as pas:
        accepted(pas, *messages)
    wait_until_routed(broker)


def original_attributes(image: pydicom.Dataset) -> pydicom.Dataset:
    """The one item of Modified Attributes in the one item of Original Attributes."""
    (entry,) = image.OriginalAttributesSequence
    (modified,) = entry.ModifiedAttributesSequence
    assert entry.ModifyingSystem == "BROKER"
    assert entry.ReasonForTheAttributeModification == "COERCE"
    return modified


def send_raw(broker: Broker, path: Path) -> bytes:
    """The file's data set, byte for byte, as one C-STORE; returns it."""
    file = path.read_bytes()
    meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
    context = (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
    with Scu(broker.dicom_port, [context]) as scu:
        assert scu.store(context, str(meta.MediaStorageSOPInstanceUID), dataset_bytes(file)) == 0
    return dataset_bytes(file)


# real objects


@pytest.mark.parametrize("name", REAL)
def test_nothing_but_the_demographics_differs(
    name: str, house: House, shared_data: Path
) -> None:
    path = shared_data / "dicom" / name


