"""The head of a DICOM file for a data set that came over an association, and the digest that tells such objects apart;
reading such a file when it is small.

Preamble and file meta information, made from what the association said, never from the data set: that
follows byte for byte. PS3.10 7.1.
"""

from __future__ import annotations

import hashlib
import struct
from io import BytesIO
from typing import NamedTuple

from pydicom import dcmread

from broker.dicom import elements
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import from_dataset
from broker.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from broker.errors import RemoteProtocolError


def head(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    calling_aet: str,
    information: bytes = b"",
) -> bytes:
    """Everything that stands before the data set; `calling_aet` becomes (0002,0016), `information`, of even length, the
    broker's own remark (0002,0102)."""
    meta = b"".join(
        (
            struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2) + b"\x00\x01",
            _element(0x0002, b"UI", sop_class_uid),
            _element(0x0003, b"UI", sop_instance_uid),
            _element(0x0010, b"UI", transfer_syntax_uid),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _element(0x0016, b"AE", calling_aet),
        )
    )
    if information:
        meta += _element(0x0100, b"UI", IMPLEMENTATION_CLASS_UID)
        meta += struct.pack("<HH2sHI", 0x0002, 0x0102, b"OB", 0, len(information)) + information
    group_length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(meta))
    return bytes(128) + b"DICM" + group_length + meta


class Contents(NamedTuple):
    """What a file says."""

    sop_instance_uid: str
    calling_aet: str
    information: bytes
    """The broker's own remark, as `head` wrote it; empty in other files."""
    attributes: Attributes


def read(raw: bytes, sop_class_uid: str) -> Contents:
    """A whole file of that class. Raises `RemoteProtocolError`."""
    elements.scan(BytesIO(raw))
    try:
        dataset = dcmread(BytesIO(raw))
    except Exception as exc:  # whatever pydicom raises of bytes that are no data set
        raise RemoteProtocolError("not a data set") from exc
    meta = dataset.file_meta
    if str(meta.get("MediaStorageSOPClassUID", "")) != sop_class_uid:
        raise RemoteProtocolError("(0002,0002) is not the SOP class of this service")
    return Contents(
        sop_instance_uid=str(meta.get("MediaStorageSOPInstanceUID", "")),
        calling_aet=str(meta.get("SourceApplicationEntityTitle", "")).strip(),
        information=bytes(meta.get("PrivateInformation", b"")).strip(),
        attributes=from_dataset(dataset),
    )


def digest(transfer_syntax_uid: str) -> hashlib._Hash:
    """SHA-256 over an object's transfer syntax, then (to be updated with) its data set.

    The same bytes mean other pixels under another transfer syntax.
    """
    return hashlib.sha256(f"{transfer_syntax_uid}\n".encode())


def _element(number: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 0x0002, number, vr, len(value)) + value
