"""Where the elements stand: any data set that pydicom writes, real files, and files that are broken."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from broker.dicom import elements
from broker.dicom.splice import Range, Splice, opened
from broker.errors import RemoteProtocolError
from tests.support.images import part10
from tests.support.shared import shared_files

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline8Bit]


def scan(data: bytes) -> elements.Layout:
    return elements.scan(io.BytesIO(data))


def identity(data: bytes) -> bytes:
    """The file cut at every element and put together again."""
    spans = scan(data).elements
    cuts = [0, *(span.start for span in spans), len(data)]
    pieces = tuple(Range(a, b) for a, b in itertools.pairwise(cuts))
    return opened(io.BytesIO(data), Splice(pieces=pieces)).read()


ITEM_TEXT = st.text(
    st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\^="), max_size=20
)


def datasets(depth: int = 2) -> st.SearchStrategy[Dataset]:
    """Data sets with text, numbers, binary, private elements and nested sequences of either length form."""
    simple: dict[str, st.SearchStrategy[object]] = {
        "PatientName": ITEM_TEXT,
        "PatientID": ITEM_TEXT,
        "ImageComments": ITEM_TEXT,
        "Rows": st.integers(0, 65535),
        "PixelPaddingValue": st.integers(0, 32767),
        "SelectorODValue": st.binary(max_size=4).map(lambda b: b * 8),
        "StrainAdditionalInformation": ITEM_TEXT,
        "FrameIncrementPointer": st.just([0x00181063, 0x00181065]),
    }

    @st.composite
    def build(draw: Callable[..., object]) -> Dataset:
        dataset = Dataset()
        for keyword in draw(st.sets(st.sampled_from(sorted(simple)))):  # type: ignore[attr-defined]
            setattr(dataset, keyword, draw(simple[keyword]))
        dataset.PixelRepresentation = 0
        if draw(st.booleans()):
            block = dataset.private_block(0x0029, "SYNTHETIC", create=True)
            block.add_new(0x01, "UN", draw(st.binary(max_size=8)))
            block.add_new(0x02, "LO", draw(ITEM_TEXT))
        if depth:
            for keyword in draw(st.sets(st.sampled_from(["ReferencedStudySequence", "ContentSequence"]))):  # type: ignore[attr-defined]
                items = draw(st.lists(datasets(depth - 1), max_size=2))
                for item in items:  # type: ignore[attr-defined]
                    item.is_undefined_length_sequence_item = draw(st.booleans())
                setattr(dataset, keyword, Sequence(items))  # type: ignore[arg-type]
                dataset[keyword].is_undefined_length = draw(st.booleans())  # type: ignore[assignment]
        return dataset

    return build()


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.name)
@given(dataset=datasets(), pixels=st.binary(max_size=64), padding=st.booleans())
@settings(max_examples=40)
def test_any_data_set_is_found_and_survives_being_cut(
    syntax: pydicom.uid.UID, dataset: Dataset, pixels: bytes, padding: bool
) -> None:
    if syntax.is_encapsulated:
        dataset.PixelData = encapsulate([pixels or b"\0\0", b"\1\2"])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = pixels + b"\0" * (len(pixels) % 2)
        dataset["PixelData"].VR = "OW"
        if padding:
            dataset.DataSetTrailingPadding = bytes(6)
    data = part10(dataset, syntax)
    layout = scan(data)

    assert layout.transfer_syntax_uid == syntax
    assert layout.encoding == elements.Encoding(not syntax.is_implicit_VR, syntax.is_little_endian)
    assert [span.tag for span in layout.elements] == [int(tag) for tag in sorted(dataset.keys())]
    edges = [layout.dataset_offset, *(span.end for span in layout.elements)]
    assert edges[:-1] == [span.start for span in layout.elements]
    assert edges[-1] == layout.end == len(data)
    assert identity(data) == data
    raw = pydicom.dcmread(io.BytesIO(data))
    for span in layout.elements:
        element = raw.get_item(span.tag)
        if isinstance(element.value, bytes):  # not yet decoded by pydicom
            assert elements.read_value(io.BytesIO(data), span)[: len(element.value)] == element.value


@given(dataset=datasets(1), keep=st.integers(0, 400), syntax=st.sampled_from(SYNTAXES))
@settings(max_examples=150)
def test_a_file_cut_anywhere_is_refused_or_ends_at_an_element(
    dataset: Dataset, keep: int, syntax: pydicom.uid.UID
) -> None:
    data = part10(dataset, syntax)
    cut = data[: max(len(data) - keep, 0)]
    try:
        layout = scan(cut)
    except RemoteProtocolError as error:
        place = str(error)
    else:
        place = "offset"
        assert not any(cut[layout.end :])
    assert "offset" in place or "(0002,0010)" in place


@given(st.binary(max_size=300), st.sampled_from(SYNTAXES))
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused(body: bytes, syntax: pydicom.uid.UID) -> None:
    data = part10(Dataset(), syntax) + body
    try:
        layout = scan(data)
        for span in layout.elements:
            for item in elements.read_items(io.BytesIO(data), span, layout.encoding):
                assert span.start < item.start < item.end <= span.end
    except RemoteProtocolError:
        pass


def real_files() -> Iterator[Path]:
    for path in shared_files("dicom/**/*"):
        with path.open("rb") as file:
            if file.read(132)[128:] == b"DICM":
                yield path


@pytest.mark.parametrize("path", list(real_files()), ids=lambda path: path.name)
def test_real_files_have_the_elements_pydicom_finds(path: Path) -> None:
    with path.open("rb") as file:
        if path.name == "rtplan_truncated.dcm":
            with pytest.raises(RemoteProtocolError, match=r"\(300A,00B0\) at offset 1410"):
                elements.scan(file)
            return
        layout = elements.scan(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
    if layout.deflated:
        assert layout.elements == ()
        data = elements.inflate(io.BytesIO(path.read_bytes()), layout.dataset_offset)
        layout = elements.scan_dataset(io.BytesIO(data), 0, ExplicitVRLittleEndian)
    found = [span.tag for span in layout.elements]
    expected = [int(tag) for tag in sorted(dataset.keys())]
    # What stands after encapsulated pixel data is part of its span.
    assert {tag for tag in found if tag <= elements.PIXEL_DATA} == {
        tag for tag in expected if tag <= elements.PIXEL_DATA
    }


def test_values_are_not_read() -> None:
    class Counting(io.BytesIO):
        count = 0

        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            self.count += len(data)
            return data

    dataset = Dataset()
    dataset.PatientName = "Test^Test"
    dataset.EncapsulatedDocument = bytes(3_000_000)
    dataset.PixelData = bytes(5_000_000)
    dataset["PixelData"].VR = "OW"
    file = Counting(part10(dataset))
    assert len(elements.scan(file).elements) == 3
    assert file.count < 50_000


@given(dataset=datasets(), window=st.integers(12, 64))
@settings(max_examples=30)
def test_headers_are_found_wherever_a_window_ends(dataset: Dataset, window: int) -> None:
    data = part10(dataset)
    whole = scan(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elements, "_WINDOW", window)
        assert scan(data) == whole


def un_sequence(inside: bytes) -> bytes:
    """An explicit VR element of VR UN and undefined length, with `inside` before its delimiter."""
    return b"\x29\x00\x10\x10UN\0\0\xff\xff\xff\xff" + inside + b"\xfe\xff\xdd\xe0\0\0\0\0"


def test_un_of_undefined_length_holds_implicit_items() -> None:
    inner = b"\x10\x00\x20\x00\x04\0\0\0ID01"
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\0\0\0\0"
    after = b"\x40\x00\x08\x02DA\x00\x00"
    data = part10(Dataset()) + un_sequence(item) + after
    layout = scan(data)
    assert [(span.tag, span.vr) for span in layout.elements] == [(0x00291010, "UN"), (0x00400208, "DA")]
    (found,) = elements.read_items(io.BytesIO(data), layout.elements[0], elements.UN_ENCODING)
    assert [elements.read_value(io.BytesIO(data), span) for span in found.elements] == [b"ID01"]


def test_deep_nesting_is_refused() -> None:
    opening = b"\x29\x00\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(RemoteProtocolError, match=r"\(0029,1010\) at offset \d+ is nested too deeply"):
        scan(part10(Dataset()) + opening * 5000)


def test_zeros_after_the_last_element_are_padding() -> None:
    dataset = Dataset()
    dataset.PatientID = "1"
    data = part10(dataset)
    layout = scan(data + bytes(500))
    assert (layout.end, len(layout.elements)) == (len(data), 1)


@pytest.mark.parametrize(
    ("label", "real"),
    [(ExplicitVRLittleEndian, ImplicitVRLittleEndian), (ImplicitVRLittleEndian, ExplicitVRLittleEndian)],
)
def test_a_data_set_labelled_wrongly_is_read_as_it_is(label: str, real: str) -> None:
    dataset = Dataset()
    dataset.PatientID = "1"
    prefix, body = part10(Dataset(), label), part10(dataset, real)
    layout = scan(prefix + body[scan(body).dataset_offset :])
    assert layout.encoding.explicit == (real == ExplicitVRLittleEndian)
    assert [span.tag for span in layout.elements] == [0x00100020]


def test_meta_information_without_group_length() -> None:
    dataset = Dataset()
    dataset.PatientID = "1"
    data = part10(dataset)
    without = data[:132] + data[144:]
    meta = elements.read_meta(io.BytesIO(without))
    assert meta.sop_instance_uid == "2.25.1"
    assert meta.sop_class_uid == "1.2.840.10008.5.1.4.1.1.7"
    assert meta.dataset_offset == elements.read_meta(io.BytesIO(data)).dataset_offset - 12


def test_not_part_10() -> None:
    with pytest.raises(RemoteProtocolError, match="offset 128"):
        scan(b"PK" + bytes(200))


def test_deflated_is_reported_and_inflated() -> None:
    dataset = Dataset()
    dataset.PatientID = "1"
    data = part10(dataset, DeflatedExplicitVRLittleEndian)
    layout = scan(data)
    assert layout.deflated
    inflated = elements.inflate(io.BytesIO(data), layout.dataset_offset)
    assert inflated == b"\x10\x00\x20\x00LO\x02\x001 "
    with pytest.raises(RemoteProtocolError, match=r"not a deflate stream|cut short"):
        elements.inflate(io.BytesIO(data[:-8] + b"\xff" * 4), layout.dataset_offset)
    with pytest.raises(RemoteProtocolError, match="cut short"):
        elements.inflate(io.BytesIO(data[:-6]), layout.dataset_offset)


def test_inflating_stops_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "INFLATED_LIMIT", 1_000_000)
    dataset = Dataset()
    dataset.EncapsulatedDocument = bytes(5_000_000)
    data = part10(dataset, DeflatedExplicitVRLittleEndian)
    with pytest.raises(RemoteProtocolError, match="longer than 1000000 bytes"):
        elements.inflate(io.BytesIO(data), scan(data).dataset_offset)
