"""Small synthetic DICOM instances, and comparing two of them element by element as bytes."""

from __future__ import annotations

import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)


def write_image(path: Path, *, pixels: int = 16, **attributes: Any) -> FileDataset:
    """A CT slice with these attributes by keyword, written to the path; `pixels` in each direction."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = attributes.get("SOPInstanceUID", generate_uid())
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.PatientName, image.PatientID, image.Modality = "TEST^BILDE", "0", "CT"
    image.PatientBirthDate, image.PatientSex = "", ""
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", 1, 1
    image.Rows = image.Columns = pixels
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.PixelData = bytes(range(256)) * (pixels * pixels // 128)
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    dcmwrite(path, image, enforce_file_format=True)
    return image


def part10(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A file of any data set in a transfer syntax that pydicom writes."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.1")
    out = BytesIO()
    dcmwrite(out, dataset, enforce_file_format=True)
    return out.getvalue()


def dataset_bytes(file: bytes) -> bytes:
    """What follows the File Meta Information: the bytes that C-STORE carries."""
    return file[_dataset_offset(file) :]


def differing_tags(left: bytes, right: bytes) -> set[int]:
    """Tags at the top level whose element is absent in one file or holds other bytes.

    Values are compared as they stand in the files: nothing is decoded, so nothing is normalised away. Sequences
    are compared item by item, because whether their length is written or delimited says nothing.
    """
    return _differing(_read(left), _read(right))


def differing_elements(left: bytes, right: bytes) -> set[int]:
    """As `differing_tags`, of two data sets in explicit VR little endian, as C-STORE carries them."""
    return _differing(*(_raw(read_dataset(BytesIO(content), False, True)) for content in (left, right)))


def _differing(ours: dict[int, Any], theirs: dict[int, Any]) -> set[int]:
    return {tag for tag in ours.keys() | theirs.keys() if ours.get(tag) != theirs.get(tag)}


def _read(file: bytes) -> dict[int, Any]:
    syntax = dcmread(BytesIO(file), stop_before_pixels=True, specific_tags=[]).file_meta.TransferSyntaxUID
    content = dataset_bytes(file)
    if syntax.is_deflated:
        content = zlib.decompress(content, -zlib.MAX_WBITS)
    return _raw(read_dataset(BytesIO(content), syntax.is_implicit_VR, syntax.is_little_endian))


def _raw(dataset: Dataset) -> dict[int, Any]:
    """Tag to bytes, or to the items of a sequence; without group lengths, which say nothing (PS3.5 7.2)."""
    # All taken before any is looked at: pydicom converts some elements when it reads others.
    elements = {int(tag): dataset.get_item(tag) for tag in list(dataset.keys())}
    return {tag: _value(dataset, element) for tag, element in elements.items() if tag & 0xFFFF}


def _value(dataset: Dataset, element: Any) -> Any:
    if isinstance(element, RawDataElement):
        if _vr(element) != "SQ":
            value = bytes(element.value or b"")
            return value + b"\0" * (len(value) % 2)  # senders pad what a file has left odd (PS3.5 7.1.1)
        element = dataset[element.tag]
    return [_raw(item) for item in element.value] if element.VR == "SQ" else element.value


def _vr(raw: RawDataElement) -> str | None:
    return raw.VR or (dictionary_VR(raw.tag) if dictionary_has_tag(raw.tag) else None)


def _dataset_offset(file: bytes) -> int:
    """Behind the preamble and the group 0002, by its length element (PS3.10 7.1)."""
    assert file[128:132] == b"DICM", "no DICOM file"
    assert file[132:138] == b"\x02\x00\x00\x00UL", "File Meta Information Group Length is missing"
    return 144 + int.from_bytes(file[140:144], "little")
