"""pydicom data sets from and to the bytes that an association carries: no preamble, no file meta information.

What a value means is `attributes`' business; compressed pixel data are not touched here. PS3.5 10.1, A.1 to A.3.
"""

from __future__ import annotations

from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from broker.dicom.uid import EXPLICIT_BIG_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from broker.errors import LocalProtocolError, RemoteProtocolError


def read(raw: bytes, transfer_syntax_uid: str) -> Dataset:
    """Values are decoded when they are looked at. Raises `RemoteProtocolError` where the bytes are no data set."""
    implicit = transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN
    try:
        return read_dataset(BytesIO(raw), implicit, transfer_syntax_uid != EXPLICIT_BIG_ENDIAN)
    except Exception as exc:  # whatever pydicom raises of such bytes
        raise RemoteProtocolError("not a data set") from exc


def write(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    """Without its file meta information. Raises `LocalProtocolError` where a value does not fit its VR."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN
    buffer.is_little_endian = transfer_syntax_uid != EXPLICIT_BIG_ENDIAN
    try:
        write_dataset(buffer, dataset)
    except Exception as exc:  # whatever pydicom raises of such values
        raise LocalProtocolError("the data set cannot be encoded") from exc
    return buffer.getvalue()
