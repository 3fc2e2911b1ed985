"""pydicom data sets from and to the bytes that an association carries, and from and to attributes.

No preamble and no file meta information (`broker.dicom.part10`); compressed pixel data are not touched. Nothing is cut
or repaired in silence. PS3.5 6.2, 7.5, 10.1, A.1 to A.3.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from pydicom import config as pydicom_config
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence as DicomSequence

from broker.dicom import charset as charsets
from broker.dicom import vr as vr_rules
from broker.dicom.attributes import (
    SPECIFIC_CHARACTER_SET,
    Attributes,
    Value,
    checked_items,
    key_of,
    tag_of,
    texts,
    texts_of,
    vr_of,
)
from broker.dicom.elements import UNDEFINED
from broker.dicom.fit import transliterated
from broker.dicom.uid import EXPLICIT_BIG_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from broker.errors import LocalProtocolError, RemoteProtocolError
from broker.text import nfc

# --- bytes ----------------------------------------------------------------------------------------


def read(raw: bytes, transfer_syntax_uid: str) -> Dataset:
    """Values are decoded when they are looked at. Raises `RemoteProtocolError` where the bytes are no data set."""
    implicit = transfer_syntax_uid == IMPLICIT_LITTLE_ENDIAN
    try:
        return read_dataset(BytesIO(raw), implicit, transfer_syntax_uid != EXPLICIT_BIG_ENDIAN)
    except Exception as exc:  # whatever pydicom raises of such bytes
        raise RemoteProtocolError("not a data set") from exc


def whole(dataset: Dataset) -> bool:
    """Whether each value of a data set that has just been read is as long as its header says: pydicom takes what there
    is, up to the end of the bytes."""
    found = (_element(dataset, tag) for tag in sorted(dataset.keys()))
    return all(
        len(one.value or b"") == one.length
        for one in found
        if isinstance(one, RawDataElement) and one.length != UNDEFINED
    )


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


# --- attributes -----------------------------------------------------------------------------------


def from_dataset(ds: Dataset, *, charset: str = "") -> Attributes:
    """The data set's attributes, text decoded, padding trimmed; group lengths and binary values left out.

    `charset` is the defined term that holds where the data set names none. A private value whose VR nobody says (UN:
    Implicit VR) is text where it can be. `RemoteProtocolError` names a value that cannot be read.
    """
    return _from_dataset(ds, (charset,))


def _from_dataset(ds: Dataset, terms: tuple[str, ...]) -> Attributes:
    declared = _element(ds, 0x00080005)
    if declared is not None and declared.value:
        text = _raw_text(declared, ("ascii",), "CS")
        terms = tuple(part.strip() for part in text.split("\\"))
    encodings = charsets.codecs(terms)
    attributes: dict[str, Value] = {}
    for tag in sorted(ds.keys()):
        if tag & 0xFFFF == 0:
            continue  # group length, retired
        element = _element(ds, tag)
        vr = element.VR or vr_of(key_of(tag))
        if vr == "SQ":
            items = _converted(ds, tag) or ()
            attributes[key_of(tag)] = tuple(_from_dataset(item, terms) for item in items)
        elif vr in vr_rules.BINARY:
            if not element.value:
                attributes[key_of(tag)] = ""
            elif vr == "UN" and (tag >> 16) % 2 and isinstance(element.value, bytes):
                text = charsets.decode(element.value, encodings).strip(" \0")
                if text and text.isprintable():
                    attributes[key_of(tag)] = text
        else:
            attributes[key_of(tag)] = _value_of(ds, tag, element, vr, encodings)
    return attributes


def _value_of(ds: Dataset, tag: Any, element: Any, vr: str, encodings: tuple[str, ...]) -> Value:
    if not element.value and element.value != 0:
        return ""
    if vr in vr_rules.INTEGER or vr in vr_rules.FLOAT:
        value = _converted(ds, tag)
        several = isinstance(value, (list, tuple)) or hasattr(value, "append")
        return tuple(str(v) for v in value) if several else str(value)
    return _divided(_raw_text(element, encodings, vr), vr)


def _divided(text: str, vr: str) -> Value:
    if vr in vr_rules.UNDIVIDED:
        return text.rstrip(" \0")
    parts = tuple(part.strip(" \0") for part in text.split("\\"))
    return parts if len(parts) > 1 else parts[0]


def _element(ds: Dataset, tag: int) -> Any:
    """The element as it stands, None where there is none. pydicom converts some: an empty one of no known VR, say."""
    try:
        return ds.get_item(tag)
    except Exception as exc:
        raise RemoteProtocolError(f"{key_of(tag)}: the element cannot be read") from exc


def _converted(ds: Dataset, tag: Any) -> Any:
    """The value as pydicom reads it. `RemoteProtocolError` where the bytes are none of the VR."""
    try:
        return ds[tag].value
    except Exception as exc:
        raise RemoteProtocolError(f"{key_of(tag)}: the value cannot be read") from exc


def _raw_text(element: Any, encodings: tuple[str, ...], vr: str) -> str:
    """The element's text, backslashes between values. Read from the bytes where they have not been decoded
    yet: pydicom's own reading warns with the value in its text, and replaces what it cannot decode."""
    value = element.value
    if isinstance(element, RawDataElement) and isinstance(value, bytes):
        return _decoded(value, encodings, vr)
    if isinstance(value, (list, tuple)) or hasattr(value, "append"):
        return nfc("\\".join(str(v) for v in value))
    return nfc(str(value))


def _decoded(raw: bytes, encodings: tuple[str, ...], vr: str) -> str:
    if vr not in vr_rules.TEXT:
        return charsets.decode(raw, ("ascii",))
    if b"\x1b" in raw:  # the code extension ends at every delimiter, the backslash too
        pieces = raw.split(b"\\")
        return "\\".join(charsets.decode(piece, encodings, person_name=vr == "PN") for piece in pieces)
    return charsets.decode(raw, encodings)


def from_bytes(raw: bytes, vr: str, encodings: tuple[str, ...]) -> Value:
    """One value of a VR that is text, as `from_dataset` reads it; `encodings` from `broker.dicom.charset.codecs`."""
    return _divided(_decoded(raw, encodings, vr), vr) if raw else ""


def to_dataset(attributes: Attributes, *, charset: str = charsets.UTF_8) -> Dataset:
    """The data set, its text fit for the defined term `charset`: what that cannot show is transliterated.

    (0008,0005) is set when there is text beyond ASCII, or when the attributes ask for it by having the key.
    `LocalProtocolError` for a key or a number that DICOM does not know; length and form are
    `broker.dicom.vr_faults`' business.
    """
    shown, _ = transliterated(attributes, charset)
    ds = _to_dataset(shown)
    if SPECIFIC_CHARACTER_SET in attributes or any(not text.isascii() for text in texts(shown)):
        _set(ds, SPECIFIC_CHARACTER_SET, charset)
    return ds


def _to_dataset(attributes: Attributes) -> Dataset:
    ds = Dataset()
    for key, value in attributes.items():
        if key != SPECIFIC_CHARACTER_SET:
            _set(ds, key, value)
    return ds


def _set(ds: Dataset, key: str, value: Value) -> None:
    vr = vr_of(key)
    converted: Any
    if vr == "SQ":
        converted = DicomSequence([_to_dataset(item) for item in checked_items(key, value)])
    elif not value:
        converted = "" if vr not in vr_rules.BINARY else None
    elif vr in vr_rules.INTEGER or vr in vr_rules.FLOAT:
        numbers = [_number(key, text, vr) for text in texts_of(value)]
        converted = numbers if len(numbers) > 1 else numbers[0]
    elif vr in vr_rules.BINARY:
        raise LocalProtocolError(f"{key}: a value of VR {vr} cannot be written as text")
    else:
        parts = list(texts_of(value))
        converted = parts if len(parts) > 1 else parts[0]
    tag = tag_of(key)
    # Validated by `broker.dicom.vr_faults`; pydicom's own check would warn with the value in its text.
    ds[tag] = DataElement(tag, vr, converted, validation_mode=pydicom_config.IGNORE)


def _number(key: str, text: str, vr: str) -> int | float:
    try:
        return int(text) if vr in vr_rules.INTEGER else float(text)
    except ValueError:
        raise LocalProtocolError(f"{key}: not a number ({vr})") from None
