"""Reads some attributes of an object straight from its bytes, as `dataset.from_dataset` would give them.

Text and sequences at the top of the data set only; nothing else is decoded or held, so that it costs a fraction of
reading the object with pydicom and takes no memory with its size. Whose the object is, others say.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import BinaryIO

from broker.dicom import charset, elements
from broker.dicom import vr as vr_rules
from broker.dicom.attributes import Attributes, Value, key_of, tag_of, vr_of
from broker.dicom.dataset import from_bytes
from broker.dicom.elements import UNDEFINED, ElementSpan, Encoding, Layout
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN
from broker.errors import RemoteProtocolError

_SPECIFIC_CHARACTER_SET = 0x00080005

_NO_TEXT = vr_rules.BINARY | vr_rules.INTEGER | vr_rules.FLOAT

_LONGEST = 1 << 16
"""Bytes of a value: what explicit VR can say of a text. No identifier and no name is longer."""

_LONGEST_SEQUENCE = 1 << 24
"""Bytes of a sequence: the evidence of a key object with 100,000 instances."""

_INFLATED_HEAD = 1 << 22
"""Bytes of a deflated data set that are held to find the attributes in."""


def read(file: BinaryIO, layout: Layout, keywords: Collection[str]) -> Attributes:
    """The attributes with these keywords, as far as the object has them; `layout` is `elements.scan`'s of the file.

    The data dictionary's VR counts, whatever the object writes. Raises `RemoteProtocolError` naming the element.
    """
    wanted = _tags(tuple(keywords))
    if layout.deflated:
        file = io.BytesIO(_inflated_head(file, layout.dataset_offset))
        layout = elements.scan_dataset(file, 0, EXPLICIT_LITTLE_ENDIAN, last_tag=max(wanted))
    return _read(file, layout.elements, layout.encoding, ("",), wanted)


@lru_cache(maxsize=16)
def _tags(keywords: tuple[str, ...]) -> frozenset[int]:
    return frozenset(map(tag_of, keywords))


def _inflated_head(file: BinaryIO, offset: int) -> bytes:
    """The first bytes of a deflated data set, which is looked through to its end, or as far as one is ever inflated."""
    head = bytearray()
    length = 0
    for part in elements.inflated(file, offset):
        head += part[: _INFLATED_HEAD - len(head)]
        length += len(part)
        if length > elements.INFLATED_LIMIT:
            break
    return bytes(head)


def _read(
    file: BinaryIO,
    spans: Iterable[ElementSpan],
    encoding: Encoding,
    terms: tuple[str, ...],
    wanted: frozenset[int] | None,
) -> Attributes:
    """Of one data set: the object's, or (`wanted` is None: all that is text) an item's."""
    found: dict[int, ElementSpan] = {}
    for span in spans:
        if wanted is None or span.tag in wanted or span.tag == _SPECIFIC_CHARACTER_SET:
            found.setdefault(span.tag, span)  # a tag that stands twice is against PS3.5 7.1
    declared = found.pop(_SPECIFIC_CHARACTER_SET, None)
    if declared is not None and (raw := _value(file, declared)):
        terms = tuple(part.strip(" \0") for part in raw.decode("ascii", "replace").split("\\"))
    codecs = _codecs(terms)
    result: dict[str, Value] = {}
    for tag, span in found.items():
        key = key_of(tag)
        vr = vr_of(key)
        if vr == "SQ":
            result[key] = _items(file, span, encoding, terms)
        elif vr not in _NO_TEXT and span.vr != "SQ" and span.value_length != UNDEFINED:
            result[key] = from_bytes(_value(file, span), vr, codecs)
    return result


_codecs = lru_cache(maxsize=64)(charset.codecs)


def _items(file: BinaryIO, span: ElementSpan, encoding: Encoding, terms: tuple[str, ...]) -> Value:
    if span.vr not in ("", "SQ", "UN"):
        return ""
    _check(span, _LONGEST_SEQUENCE)
    inner = elements.UN_ENCODING if span.vr == "UN" else encoding
    return tuple(
        _read(file, item.elements, inner, terms, None) for item in elements.read_items(file, span, inner)
    )


def _value(file: BinaryIO, span: ElementSpan) -> bytes:
    _check(span, _LONGEST)
    return elements.read_value(file, span)


def _check(span: ElementSpan, longest: int) -> None:
    if span.end - span.value_start > longest:
        raise RemoteProtocolError(f"element {elements.tag_name(span.tag)} at offset {span.start} is too long")
