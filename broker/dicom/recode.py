"""Header text re-encoded from one character set to another, elements taken out, and written in a given encoding.

Only text is touched (VRs SH LO ST LT UC UT PN, PS3.5 6.1.2.3), in sequences too; an element whose bytes are
the same in both sets stays where it is. Text inside values of VR UN is not recognised as text. No I/O but
reading from the file given. PS3.3 C.12.1.1.2, PS3.5 7.1, 7.5.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import BinaryIO

from broker.dicom import attributes, charset, elements
from broker.dicom.elements import UNDEFINED, ElementSpan, Encoding
from broker.dicom.splice import Piece, Range, length
from broker.errors import RemoteProtocolError

SPECIFIC_CHARACTER_SET = 0x00080005
DELIMITER_LENGTH = 8

TEXT_VRS = frozenset(("SH", "LO", "ST", "LT", "UC", "UT", "PN"))
_SEQUENCE_END = 0xFFFEE0DD
_ITEM = 0xFFFEE000
_ITEM_END = 0xFFFEE00D


def element(tag: int, vr: str, pieces: Sequence[Piece], encoding: Encoding) -> tuple[Piece, ...]:
    """An element with a defined length. Raises `RemoteProtocolError` when its VR cannot hold so much."""
    size = length(pieces)
    order = "<" if encoding.little_endian else ">"
    group, number = tag >> 16, tag & 0xFFFF
    if not encoding.explicit:
        head = struct.pack(order + "HHL", group, number, size)
    elif vr not in elements.SHORT_VRS:
        head = struct.pack(order + "HH2sHL", group, number, vr.encode("ascii"), 0, size)
    elif size <= 0xFFFF:
        head = struct.pack(order + "HH2sH", group, number, vr.encode("ascii"), size)
    else:
        raise RemoteProtocolError(f"element {elements.tag_name(tag)}: {size} bytes are too long for VR {vr}")
    return (head, *pieces)


def item(pieces: Sequence[Piece], encoding: Encoding) -> tuple[Piece, ...]:
    """An item with a defined length."""
    return (_delimiter(_ITEM, length(pieces), encoding), *pieces)


def recoded(
    file: BinaryIO,
    span: ElementSpan,
    encoding: Encoding,
    codecs: Sequence[str],
    target: str | None,
    without: frozenset[int] = frozenset(),
) -> tuple[Piece, ...] | None:
    """The element with its text in the Python codec `target` (None: as it is), items `without` values of these tags;
    None when it stays as it is.

    Elements are of a data set read with `codecs`; items that name a character set of their own keep it.
    """
    vr = span.vr or attributes.vr_of(attributes.key_of(span.tag))
    if vr in TEXT_VRS:
        if target is None:
            return None
        raw = elements.read_value(file, span)
        if raw.isascii() and b"\x1b" not in raw:
            return None
        text = charset.decode(raw, codecs, person_name=vr == "PN")
        value = text.encode(target)
        return element(span.tag, vr, (value + b" " * (len(value) % 2),), encoding)
    if vr == "SQ":
        return _recoded_sequence(file, span, encoding, encoding, codecs, target, without)
    if vr == "UN" and span.value_length == UNDEFINED:
        return _recoded_sequence(file, span, encoding, elements.UN_ENCODING, codecs, target, without)
    return None


def _recoded_sequence(
    file: BinaryIO,
    span: ElementSpan,
    outer: Encoding,
    inner: Encoding,
    codecs: Sequence[str],
    target: str | None,
    without: frozenset[int],
) -> tuple[Piece, ...] | None:
    pieces: list[Piece] = []
    changed = False
    try:
        items = tuple(elements.read_items(file, span, inner))
    except RemoteProtocolError:
        return None  # a sequence by its tag only: some writers put a plain value there
    for entry in items:
        content = _recoded_item(file, entry, inner, codecs, target, without)
        changed = changed or content is not None
        pieces += (Range(entry.start, entry.end),) if content is None else content
    if not changed:
        return None
    if span.value_length != UNDEFINED:
        return element(span.tag, span.vr, pieces, outer)
    return (Range(span.start, span.value_start), *pieces, _delimiter(_SEQUENCE_END, 0, inner))


def _recoded_item(
    file: BinaryIO,
    entry: elements.Item,
    encoding: Encoding,
    codecs: Sequence[str],
    target: str | None,
    without: frozenset[int],
) -> tuple[Piece, ...] | None:
    if any(span.tag == SPECIFIC_CHARACTER_SET for span in entry.elements):
        target = None
    new = [
        ()
        if span.tag in without and span.end > span.value_start
        else recoded(file, span, encoding, codecs, target, without)
        for span in entry.elements
    ]
    if all(pieces is None for pieces in new):
        return None
    content: list[Piece] = []
    for span, pieces in zip(entry.elements, new, strict=True):
        if span.tag & 0xFFFF:  # a group length (retired) would no longer be true
            content += (Range(span.start, span.end),) if pieces is None else pieces
    if entry.length != UNDEFINED:
        return item(content, encoding)
    return (_delimiter(_ITEM, UNDEFINED, encoding), *content, _delimiter(_ITEM_END, 0, encoding))


def _delimiter(tag: int, size: int, encoding: Encoding) -> bytes:
    return struct.pack(("<" if encoding.little_endian else ">") + "HHL", tag >> 16, tag & 0xFFFF, size)
