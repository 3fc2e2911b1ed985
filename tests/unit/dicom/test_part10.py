"""`broker.dicom.part10`: the head is what pydicom reads as file meta information."""

from __future__ import annotations

import hashlib
import io

import pytest
from pydicom import dcmread

from broker.dicom import part10, uid
from broker.errors import RemoteProtocolError


@pytest.mark.parametrize("calling_aet", ["CAMERA", "CAMERA1"])
def test_the_head_of_a_file(calling_aet: str) -> None:
    head = part10.head(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=uid.EXPLICIT_LITTLE_ENDIAN,
        calling_aet=calling_aet,
    )
    body = b"\x10\x00\x10\x00PN\x04\x00Test"
    ds = dcmread(io.BytesIO(head + body))
    assert ds.PatientName == "Test"
    assert ds.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    assert ds.file_meta.TransferSyntaxUID == uid.EXPLICIT_LITTLE_ENDIAN
    assert ds.file_meta.ImplementationClassUID == uid.IMPLEMENTATION_CLASS_UID
    assert ds.file_meta.SourceApplicationEntityTitle == calling_aet
    assert ds.file_meta.FileMetaInformationGroupLength == len(head) - 132 - 12


def test_a_small_file_is_read_whole_and_only_one_of_its_class() -> None:
    raw = part10.head(
        sop_class_uid=uid.PERFORMED_STEP,
        sop_instance_uid="1.2.3",
        transfer_syntax_uid=uid.EXPLICIT_LITTLE_ENDIAN,
        calling_aet="CT1",
    )
    raw += b"\x10\x00\x10\x00PN\x04\x00Test"

    assert part10.read(raw, uid.PERFORMED_STEP) == ("1.2.3", {"PatientName": "Test"})
    with pytest.raises(RemoteProtocolError, match="0002,0002"):
        part10.read(raw, uid.INSTANCE_AVAILABILITY)
    with pytest.raises(RemoteProtocolError):
        part10.read(raw[:-3], uid.PERFORMED_STEP)


def test_a_remark_of_our_own_stands_in_the_head() -> None:
    head = part10.head(
        sop_class_uid=uid.STORAGE_COMMITMENT,
        sop_instance_uid=uid.STORAGE_COMMITMENT_INSTANCE,
        transfer_syntax_uid=uid.EXPLICIT_LITTLE_ENDIAN,
        calling_aet="CT1",
        information=b"E2",
    )
    meta = dcmread(io.BytesIO(head)).file_meta
    assert (meta.PrivateInformationCreatorUID, meta.PrivateInformation) == (
        uid.IMPLEMENTATION_CLASS_UID,
        b"E2",
    )
    assert meta.FileMetaInformationGroupLength == len(head) - 132 - 12


def test_the_digest_tells_the_same_bytes_in_two_transfer_syntaxes_apart() -> None:
    found = []
    for syntax in (uid.EXPLICIT_LITTLE_ENDIAN, uid.IMPLICIT_LITTLE_ENDIAN):
        digest = part10.digest(syntax)
        digest.update(b"data")
        digest.update(b" set")
        found.append(digest.hexdigest())
    assert found[0] == hashlib.sha256(b"1.2.840.10008.1.2.1\ndata set").hexdigest()
    assert found[0] != found[1]
