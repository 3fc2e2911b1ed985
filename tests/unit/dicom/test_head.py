"""`broker.dicom.head`: what pydicom would read, of real files and of any data set; nothing long, nothing broken."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from broker.dicom import elements, head, part10
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import from_dataset
from broker.errors import RemoteProtocolError
from tests.support.images import part10 as part10_of
from tests.support.shared import shared_files

KEYWORDS = (
    *("SOPInstanceUID", "StudyInstanceUID", "Modality", "PatientName", "PatientID", "PatientBirthDate"),
    *("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
)
SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)


def read(data: bytes, keywords: tuple[str, ...] = KEYWORDS) -> Attributes:
    file = io.BytesIO(data)
    return head.read(file, elements.scan(file), keywords)


def raw(body: bytes, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """A file whose data set is these bytes."""
    start = part10.head(
        sop_class_uid="1.2.3", sop_instance_uid="2.25.1", transfer_syntax_uid=syntax, calling_aet="CT1"
    )
    return start + body


def element(tag: int, vr: str, value: bytes) -> bytes:
    """In explicit little endian, with a short length."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


@pytest.mark.parametrize(
    "path", shared_files("dicom/**/*.dcm"), ids=lambda path: path.relative_to(path.parents[1]).as_posix()
)
def test_real_files_are_read_as_pydicom_reads_them(path: Path) -> None:
    data = path.read_bytes()
    if path.name == "rtplan_truncated.dcm":
        with pytest.raises(RemoteProtocolError):
            read(data)
        return
    found = read(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = from_dataset(
            pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=list(KEYWORDS))
        )
    assert found == {key: value for key, value in expected.items() if key in KEYWORDS}


NAME = st.text(st.sampled_from("abcæøåÁčžﬁ^ "), max_size=20)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@given(
    values=st.fixed_dictionaries(
        {},
        optional={
            "PatientName": NAME,
            "PatientID": NAME,
            "IssuerOfPatientID": NAME,
            "Modality": st.just("CT"),
        },
    ),
    qualifiers=st.lists(st.sampled_from(["2.16.578.1", "1.2.3"]), max_size=2),
    undefined=st.booleans(),
)
@settings(max_examples=40)
def test_any_data_set_is_read_as_pydicom_reads_it(
    syntax: str, values: dict[str, Any], qualifiers: list[str], undefined: bool
) -> None:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    items = [Dataset() for _ in qualifiers]
    for item, oid in zip(items, qualifiers, strict=True):
        item.UniversalEntityID, item.UniversalEntityIDType = oid, "ISO"
        item.is_undefined_length_sequence_item = undefined
    dataset.IssuerOfPatientIDQualifiersSequence = items
    dataset["IssuerOfPatientIDQualifiersSequence"].is_undefined_length = undefined
    dataset.Rows, dataset.PixelData = 1, bytes(8)
    dataset["PixelData"].VR = "OW"
    data = part10_of(dataset, syntax)

    expected = from_dataset(pydicom.dcmread(io.BytesIO(data), specific_tags=list(KEYWORDS)))
    assert read(data) == {key: value for key, value in expected.items() if key in KEYWORDS}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@given(body=st.binary(max_size=200))
@settings(max_examples=100)
def test_any_bytes_are_read_or_refused(syntax: str, body: bytes) -> None:
    try:
        found = read(raw(body, syntax))
    except RemoteProtocolError:
        return
    assert found.keys() <= set(KEYWORDS)


def test_items_may_name_a_character_set_of_their_own() -> None:
    name = element(0x00080005, "CS", b"ISO_IR 100") + element(0x00400035, "LO", "Ø".encode("latin-1") + b" ")
    item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(name)) + name
    sequence = struct.pack("<HH2sHI", 0x0010, 0x0024, b"SQ", 0, len(item)) + item
    data = raw(element(0x00080005, "CS", b"ISO_IR 192") + element(0x00100010, "PN", "Å".encode()) + sequence)

    assert read(data) == {
        "PatientName": "Å",
        "IssuerOfPatientIDQualifiersSequence": ({"IdentifierTypeCode": "Ø"},),
    }


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("UN", b"4711", {"PatientID": "4711"}),  # whoever relayed it did not know the attribute
        ("SH", b"4711", {"PatientID": "4711"}),
        ("SQ", b"", {}),
    ],
)
def test_the_dictionary_s_vr_counts(vr: str, value: bytes, expected: dict[str, str]) -> None:
    long = vr in ("UN", "SQ")
    header = struct.pack("<HH2s", 0x0010, 0x0020, vr.encode())
    length = struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))
    assert read(raw(header + length + value)) == expected


def test_the_first_counts_where_an_element_stands_twice() -> None:
    both = element(0x00100020, "LO", b"1 ") + element(0x00100020, "LO", b"2 ")
    assert read(raw(both)) == {"PatientID": "1"}


@pytest.mark.parametrize(
    ("tag", "length"), [(0x00100020, 3_000_000), (0x00100024, 17_000_000)], ids=["a text", "a sequence"]
)
def test_a_value_that_is_no_identifier_is_not_held(tag: int, length: int) -> None:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, length - 8)
    data = raw(
        struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length) + item + bytes(length - 8),
        ImplicitVRLittleEndian,
    )
    tracemalloc.start()
    try:
        with pytest.raises(
            RemoteProtocolError, match=rf"\(0010,{tag & 0xFFFF:04X}\) at offset \d+ is too long"
        ):
            read(data)
        assert tracemalloc.get_traced_memory()[1] < length // 10
    finally:
        tracemalloc.stop()


def deflated(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return raw(stream.compress(body) + stream.flush(), DeflatedExplicitVRLittleEndian)


def test_of_a_deflated_object_only_the_head_is_held() -> None:
    document = 50_000_000
    body = element(0x00100020, "LO", b"4711")
    body += struct.pack("<HH2sHI", 0x0042, 0x0011, b"OB", 0, document) + bytes(document)
    data = deflated(body)
    del body
    tracemalloc.start()
    try:
        assert read(data) == {"PatientID": "4711"}
        assert tracemalloc.get_traced_memory()[1] < document // 3
    finally:
        tracemalloc.stop()


def test_a_deflated_object_that_ends_early_is_refused() -> None:
    data = deflated(element(0x00100020, "LO", b"4711") + element(0x00104000, "LT", b"x" * 60_000))
    with pytest.raises(RemoteProtocolError, match="cut short"):
        read(data[:-3])
