"""Finds where the top-level elements of a Part 10 file stand, without decoding their values.

Memory stays small whatever the file's size: headers are read, values are skipped. Nothing is opened here
and nothing is changed; what a value means is for `pydicom` and `broker.dicom.coerce`. The elements of a
deflated data set (PS3.5 A.5) have no offsets in the file: `scan` reports it, `inflate` gives its bytes.

PS3.5 7.1 (elements), 7.5 (sequences), 6.2.2 note 2 (UN of undefined length, CP-246), A.4 (encapsulation);
PS3.10 7.1 (file meta information).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from broker.dicom.uid import DEFLATED_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from broker.errors import RemoteProtocolError

UNDEFINED = 0xFFFFFFFF

PIXEL_DATA = 0x7FE00010

# Longest data set taken out of a deflated file: those are reports and presentation states, not volumes.
INFLATED_LIMIT = 64 * 1024 * 1024

# Nesting seen in structured reports stays below 20; the limit stops a file made to exhaust the stack.
MAX_DEPTH = 64

# fmt: off
SHORT_VRS = frozenset((
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST",
    "TM", "UI", "UL", "US",
))
_LONG_VRS = frozenset((
    "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV",
))
# fmt: on

_VRS = {vr.encode(): vr for vr in SHORT_VRS}
"""By their bytes in a header of the short form, which most elements have."""

_WINDOW = 1 << 12
"""Bytes that are read at once to find headers in: most objects have all of theirs but one in their first 4 KiB."""

_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D
_SEQUENCE_END = 0xFFFEE0DD


class VrError(RemoteProtocolError):
    """A header has no VR where there has to be one: how long its element is cannot be said."""


class ElementSpan(NamedTuple):
    """One element: `[start, end)` with its header, `[value_start, end)` its value with any delimiters."""

    tag: int
    vr: str
    """As written; empty in implicit VR."""
    start: int
    end: int
    value_start: int
    value_length: int
    """As written; `UNDEFINED` when the value ends with a delimiter."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a sequence: `[start, end)` with its header and any delimiter."""

    start: int
    end: int
    length: int
    """As written; `UNDEFINED` when the item ends with a delimiter."""
    elements: tuple[ElementSpan, ...]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How element headers are written."""

    explicit: bool
    little_endian: bool


UN_ENCODING = Encoding(explicit=False, little_endian=True)
"""Of the items inside an element of VR UN, whatever is around it (PS3.5 6.2.2 note 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What the file meta information says; empty strings where it says nothing."""

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    dataset_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the elements stand. Offsets count from the start of the file."""

    transfer_syntax_uid: str
    dataset_offset: int
    elements: tuple[ElementSpan, ...]
    """In file order; empty when `deflated`. Encapsulated pixel data is one span up to the end of the file."""
    encoding: Encoding
    """As the data set is, even where the transfer syntax says otherwise."""
    deflated: bool
    end: int
    """Where the last element ends; what follows is zero padding."""


def read_meta(file: BinaryIO) -> Meta:
    """The file meta information, always explicit little endian (PS3.10 7.1). Raises `RemoteProtocolError`."""
    file.seek(0)
    if file.read(132)[128:] != b"DICM":
        raise RemoteProtocolError("not a DICOM Part 10 file: no DICM prefix at offset 128")
    reader = _Reader(file, Encoding(explicit=True, little_endian=True))
    uids: dict[int, str] = {}
    position = 132
    while (head := reader.peek(position, 2)) and head == b"\x02\x00":
        span = reader.element(position, 0)
        if span.tag in (0x00020002, 0x00020003, 0x00020010):
            uids[span.tag] = read_value(file, span).rstrip(b"\0 ").decode("ascii", "replace")
        position = span.end
    return Meta(
        transfer_syntax_uid=uids.get(0x00020010, ""),
        sop_class_uid=uids.get(0x00020002, ""),
        sop_instance_uid=uids.get(0x00020003, ""),
        dataset_offset=position,
    )


def scan(file: BinaryIO) -> Layout:
    """Walks the data set's top level. Raises `RemoteProtocolError` naming tag and offset of the fault."""
    meta = read_meta(file)
    return scan_behind(file, meta.dataset_offset, meta.transfer_syntax_uid)


def scan_behind(file: BinaryIO, offset: int, transfer_syntax_uid: str) -> Layout:
    """As `scan`, of a file whose meta information is known: it ends at `offset`."""
    if not transfer_syntax_uid:
        raise RemoteProtocolError("(0002,0010) Transfer Syntax UID is missing from the file meta information")
    if transfer_syntax_uid == DEFLATED_LITTLE_ENDIAN:
        return Layout(
            transfer_syntax_uid=DEFLATED_LITTLE_ENDIAN,
            dataset_offset=offset,
            elements=(),
            encoding=Encoding(explicit=True, little_endian=True),
            deflated=True,
            end=offset,
        )
    return scan_dataset(file, offset, transfer_syntax_uid)


def scan_dataset(
    file: BinaryIO, offset: int, transfer_syntax_uid: str, *, last_tag: int | None = None
) -> Layout:
    """As `scan`, for a data set that starts at `offset` of a file without (or past) its meta information.

    It ends before the first element with a tag above `last_tag`, behind which the file may be cut.
    """
    encoding = Encoding(
        explicit=_looks_explicit(file, offset, declared=transfer_syntax_uid != IMPLICIT_LITTLE_ENDIAN),
        little_endian=transfer_syntax_uid != EXPLICIT_BIG_ENDIAN,
    )
    spans = tuple(_top_level(_Reader(file, encoding), offset, last_tag))
    return Layout(
        transfer_syntax_uid=transfer_syntax_uid,
        dataset_offset=offset,
        elements=spans,
        encoding=encoding,
        deflated=False,
        end=spans[-1].end if spans else offset,
    )


def read_value(file: BinaryIO, span: ElementSpan) -> bytes:
    """The value's bytes, as they stand."""
    file.seek(span.value_start)
    return file.read(span.end - span.value_start)


def read_items(file: BinaryIO, span: ElementSpan, encoding: Encoding) -> Iterator[Item]:
    """The items of a sequence with their elements. `encoding` is that of the items: `UN_ENCODING` in a UN."""
    return _Reader(file, encoding).items(span)


def inflate(file: BinaryIO, offset: int) -> bytes:
    """The data set of a deflated file, which starts at `offset`; at most `INFLATED_LIMIT` bytes.

    Raises `RemoteProtocolError` when it is longer or not a deflate stream.
    """
    out = io.BytesIO()
    for part in inflated(file, offset):
        if out.tell() + len(part) > INFLATED_LIMIT:
            raise RemoteProtocolError(f"deflated data set is longer than {INFLATED_LIMIT} bytes")
        out.write(part)
    return out.getvalue()


def inflated(file: BinaryIO, offset: int) -> Iterator[bytes]:
    """As `inflate`, part by part, however long it is."""
    file.seek(offset)
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        while not stream.eof and (chunk := file.read(1 << 16)):
            while chunk and not stream.eof:
                yield stream.decompress(chunk, 1 << 20)
                chunk = stream.unconsumed_tail
        yield stream.flush()
    except zlib.error as error:
        raise RemoteProtocolError(f"data set at offset {offset} is not a deflate stream") from error
    if not stream.eof:
        raise RemoteProtocolError(f"deflated data set at offset {offset} is cut short")


def tag_name(tag: int) -> str:
    """`(gggg,eeee)`."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _looks_explicit(file: BinaryIO, offset: int, *, declared: bool) -> bool:
    """Whether the first element carries a VR: some devices label implicit as explicit, or the reverse."""
    file.seek(offset + 4)
    code = file.read(2).decode("latin-1")
    if code in SHORT_VRS or code in _LONG_VRS:
        return True
    return declared and code.isascii() and code.isupper()


def _top_level(reader: _Reader, position: int, last_tag: int | None) -> Iterator[ElementSpan]:
    while position < reader.size:
        # Some writers fill the last disk block with zeros, which no element can start with.
        if not reader.peek(position, 8).strip(b"\0"):
            return
        if last_tag is not None and reader.tag(position) > last_tag:
            return
        span = reader.element(position, 0)
        yield span
        position = span.end


class _Reader:
    """Element headers of one encoding."""

    def __init__(self, file: BinaryIO, encoding: Encoding) -> None:
        self.file = file
        self.explicit = encoding.explicit
        order = "<" if encoding.little_endian else ">"
        self._short = struct.Struct(order + "HH2sH")
        self._implicit = struct.Struct(order + "HHL")
        self._long = struct.Struct(order + "L")
        self.size = file.seek(0, io.SEEK_END)
        self._window, self._begin = b"", 0

    def peek(self, position: int, count: int) -> bytes:
        """Up to `count` bytes at `position`, of `_WINDOW` at most; fewer at the end of the file."""
        start = position - self._begin
        if start < 0 or start + count > len(self._window):
            self.file.seek(position)
            self._window, self._begin, start = self.file.read(_WINDOW), position, 0
        return self._window[start : start + count]

    def tag(self, start: int) -> int:
        """Of the element whose header starts at `start`."""
        return self._header(start)[0]

    def element(self, start: int, depth: int) -> ElementSpan:
        """The element whose header starts at `start`; sequences in it are walked where that is needed."""
        tag, vr, value_start, length = self._header(start)
        if length != UNDEFINED:
            end = value_start + length
            if end > self.size:
                raise RemoteProtocolError(
                    f"element {tag_name(tag)} at offset {start} runs past the end of the file"
                )
        elif tag == PIXEL_DATA and depth == 0:
            end = self.size
        elif vr == "UN":
            end = _Reader(self.file, UN_ENCODING).sequence(tag, start, value_start, depth + 1)
        else:
            end = self.sequence(tag, start, value_start, depth + 1)
        return ElementSpan(tag, vr, start, end, value_start, length)

    def sequence(self, tag: int, start: int, position: int, depth: int) -> int:
        """Walks items from `position` to the sequence delimiter; where the sequence ends."""
        if depth > MAX_DEPTH:
            raise RemoteProtocolError(f"element {tag_name(tag)} at offset {start} is nested too deeply")
        while True:
            inner, length = self._item_header(position, tag, start)
            position += 8
            if inner == _SEQUENCE_END:
                return position
            if inner != _ITEM:
                raise RemoteProtocolError(
                    f"{tag_name(inner)} at offset {position - 8} where an item of {tag_name(tag)} should be"
                )
            if length == UNDEFINED:
                position = self._item(tag, start, position, depth)
            elif position + length > self.size:
                raise RemoteProtocolError(
                    f"item of {tag_name(tag)} at offset {position - 8} runs past the end of the file"
                )
            else:
                position += length

    def items(self, span: ElementSpan) -> Iterator[Item]:
        """The items of a sequence that `element` has walked, elements of defined-length items included."""
        start = span.value_start
        while start < span.end:
            inner, length = self._item_header(start, span.tag, span.start)
            if inner == _SEQUENCE_END:
                return
            if inner != _ITEM:
                raise RemoteProtocolError(f"{tag_name(inner)} at offset {start} where an item should be")
            position = start + 8
            limit = span.end if length == UNDEFINED else position + length
            found: list[ElementSpan] = []
            while position < limit:
                if length == UNDEFINED and self._item_header(position, span.tag, span.start)[0] == _ITEM_END:
                    limit = position = position + 8
                    break
                found.append(self.element(position, 1))
                position = found[-1].end
            if position != limit or limit > span.end:
                raise RemoteProtocolError(
                    f"item of {tag_name(span.tag)} at offset {start} has a wrong length"
                )
            yield Item(start, limit, length, tuple(found))
            start = limit

    def _item(self, tag: int, start: int, position: int, depth: int) -> int:
        """Walks the elements of an item of undefined length to its delimiter; where the item ends."""
        while True:
            inner, _ = self._item_header(position, tag, start)
            if inner == _ITEM_END:
                return position + 8
            position = self.element(position, depth).end

    def _item_header(self, position: int, tag: int, start: int) -> tuple[int, int]:
        raw = self.peek(position, 8)
        if len(raw) < 8:
            raise RemoteProtocolError(f"element {tag_name(tag)} at offset {start} has no end")
        group, element, length = self._implicit.unpack(raw)
        return group << 16 | element, length

    def _header(self, start: int) -> tuple[int, str, int, int]:
        """(tag, VR, where the value starts, length as written)."""
        raw = self.peek(start, 12)
        if len(raw) < 8:
            raise RemoteProtocolError(f"element at offset {start} has no complete header")
        if not self.explicit:
            group, element, length = self._implicit.unpack_from(raw)
            return group << 16 | element, "", start + 8, length
        group, element, code, length = self._short.unpack_from(raw)
        tag = group << 16 | element
        if group == 0xFFFE:
            return tag, "", start + 8, self._long.unpack_from(raw, 4)[0]
        if (short := _VRS.get(code)) is not None:
            return tag, short, start + 8, length
        # PS3.5 7.1.2: VRs defined later have the long form too.
        vr = code.decode("latin-1")
        if not (vr.isascii() and vr.isupper()):
            raise VrError(f"element {tag_name(tag)} at offset {start} has no valid VR")
        if len(raw) < 12:
            raise RemoteProtocolError(f"element {tag_name(tag)} at offset {start} has no complete header")
        return tag, vr, start + 12, self._long.unpack_from(raw, 8)[0]
