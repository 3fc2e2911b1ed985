"""Plans how an instance gets the demographics that PAS owns, with the original values kept inside it.

Only the top-level elements that really change are written anew; everything else, pixel data above all, leaves
byte for byte (`broker.dicom.splice`). The instance's transfer syntax never changes. Its character set changes only
when it cannot show what PAS says: to the first of the receiver's sets that shows that and all of the instance's
own text, which is re-encoded. Where none does, PAS's words are transliterated. Digital signatures over changed
attributes do not survive and are not looked at. Contact data is removed at the top level and in the items of
sequences, where persons are identified (PS3.3 C.7.1.1, C.2.3, C.7.2.1, 10.1) and where an earlier system kept what it
changed.

Decides nothing about identity: whose demographics these are is for the caller to know. PS3.3 C.12.1.1.9
(Original Attributes), C.12.1.1.2 (character sets), PS3.5 7.2 (group lengths).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO, Literal

from pydicom.filereader import read_dataset

from broker import contact, text
from broker.dicom import attributes, charset, elements, fit, recode
from broker.dicom.attributes import Attributes, Value, items_of, key_of, tag_of, vr_of
from broker.dicom.dataset import from_dataset
from broker.dicom.elements import UNDEFINED, ElementSpan, Layout
from broker.dicom.splice import Piece, Range, Splice, opened
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN
from broker.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["CONTACT", "Coercion", "Splice", "opened", "plan"]

CONTACT = tuple(sorted(contact.KEYWORDS))
"""Address, telephone, next of kin and employer, which no DICOM route carries (invariant 11)."""

_ORIGINAL_ATTRIBUTES = 0x04000561
_LENGTH_TO_END = 0x00080001
_ASCII_VRS = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"))

LADDER = ("ISO_IR 100", "ISO_IR 192")
"""What a receiver takes that declares nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coercion:
    """What PAS says of the patient."""

    attributes: Attributes
    """Keyword to value; a keyword that is absent is left alone, an empty value clears."""
    remove: tuple[str, ...] = CONTACT
    """Keywords to take out; their values are not kept among the original ones either."""
    charsets: tuple[str, ...] = LADDER
    """Defined terms that the receiver takes beside the instance's own, the best first."""


def plan(file: BinaryIO, coercion: Coercion, *, now: str, source: str, system: str) -> Splice | None:
    """How to coerce the Part 10 file; None when it says what PAS says already.

    `now` (DT), `system` (who changed it) and `source` (where the previous values came from) go into
    (0400,0562) to (0400,0564). Raises `RemoteProtocolError` for a broken file, naming tag and offset.
    """
    layout = elements.scan(file)
    if not layout.deflated:
        return _Plan(file, layout, coercion).make(now, source, system, deflated_from=None)
    dataset = io.BytesIO(elements.inflate(file, layout.dataset_offset))
    inner = elements.scan_dataset(dataset, 0, EXPLICIT_LITTLE_ENDIAN)
    return _Plan(dataset, inner, coercion).make(now, source, system, deflated_from=layout.dataset_offset)


class _Plan:
    """One instance's plan in the making."""

    def __init__(self, file: BinaryIO, layout: Layout, coercion: Coercion) -> None:
        self._file = file
        self._layout = layout
        self._size = file.seek(0, io.SEEK_END)
        # A tag that stands twice is against PS3.5 7.1; the first one counts, the others go when it changes.
        self._spans: dict[int, ElementSpan] = {}
        for span in layout.elements:
            self._spans.setdefault(span.tag, span)
        self._codecs = charset.codecs(self._terms())
        # What is written with code extensions (ISO 2022 escapes) would need them too; ASCII never does.
        self._codec = "ascii" if self._codecs[0] == "shift_jis" else self._codecs[0]
        self._charsets = coercion.charsets
        said, cut = fit.with_short_names(coercion.attributes)
        self._lossy = cut > 0
        self._new = {tag_of(key): value for key, value in said.items() if not self._says(key, value)}
        self._remove = frozenset(tag_of(key) for key in coercion.remove)
        self._removed = sorted(self._remove & self._spans.keys())
        self._changes = self._minimised()
        self._inside = frozenset(self._changes) - {_ORIGINAL_ATTRIBUTES}
        """Sequences with contact data in an item."""

    def make(self, now: str, source: str, system: str, *, deflated_from: int | None) -> Splice | None:
        if not (self._new or self._removed or self._changes):
            return None
        character_set = self._widen()
        original = self._original(now, source, system)
        for tag, value in self._new.items():
            # A sequence without items is not allowed for these attributes (type 3), so that it goes.
            self._changes[tag] = (
                () if vr_of(key_of(tag)) == "SQ" and not value else self._element(key_of(tag), value)
            )
        for tag in self._removed:
            self._changes[tag] = ()
        if self._new or self._removed or self._inside:  # else only earlier systems' copies were taken out
            self._changes[_ORIGINAL_ATTRIBUTES] = original
        return Splice(
            pieces=tuple(self._pieces()),
            changed=tuple(key_of(tag) for tag in sorted(self._new)),
            removed=tuple(key_of(tag) for tag in sorted(self._removed)),
            character_set=character_set,
            lossy=self._lossy,
            deflated_from=deflated_from,
        )

    def _minimised(self) -> dict[int, tuple[Piece, ...]]:
        """The sequences that hold contact data somewhere, without it."""
        encoding = self._layout.encoding
        tags = _written(self._remove, "little" if encoding.little_endian else "big")
        found: dict[int, tuple[Piece, ...]] = {}
        for tag, span in self._spans.items():
            if span.vr not in ("", "SQ", "UN") or tag >= elements.PIXEL_DATA or tag in self._remove:
                continue
            if span.vr != "SQ" and span.value_length != UNDEFINED and vr_of(key_of(tag)) != "SQ":
                continue
            raw = self._read(
                span
            )  # looked through first: to take apart thousands of frames' items would cost more
            if any(one in raw for one in tags):
                pieces = recode.recoded(self._file, span, encoding, self._codecs, None, self._remove)
                if pieces is not None:
                    found[tag] = pieces
        return found

    def _terms(self) -> list[str]:
        span = self._spans.get(recode.SPECIFIC_CHARACTER_SET)
        raw = elements.read_value(self._file, span) if span else b""
        return raw.decode("ascii", "replace").rstrip("\0 ").split("\\")

    def _says(self, key: str, value: Value) -> bool:
        """Whether the instance says so already, in a way that its character set allows."""
        span = self._spans.get(tag_of(key))
        if not value:
            return span is None or span.value_start == span.end
        if span is None or _comparable(self._present(span), key) != _comparable(value, key):
            return False
        # Equal as we read it; others can read it only if the declared set has it or escapes to it (ISO 2022).
        return self._shows(key, value) or b"\x1b" in self._read(span)

    def _present(self, span: ElementSpan) -> Value:
        vr = vr_of(key_of(span.tag))
        if vr != "SQ":
            return charset.decode(elements.read_value(self._file, span), self._codecs, person_name=vr == "PN")
        raw = self._read(span)
        encoding = self._layout.encoding
        dataset = read_dataset(io.BytesIO(raw), not encoding.explicit, encoding.little_endian, len(raw))
        return from_dataset(dataset, charset="\\".join(self._terms())).get(key_of(span.tag), "")

    def _shows(self, key: str, value: Value) -> bool:
        return all(text.encodable(part, self._codec) for part in attributes.texts({key: value}))

    def _widen(self) -> str:
        """Changes the character set when it cannot show what PAS says; the new defined term, or empty.

        Where no set shows it all, the one is taken in which least is replaced, the instance's own before others.
        """
        best, term, recoded = self._replaced(self._codec), "", dict[int, tuple[Piece, ...]]()
        codec = self._codec
        for candidate in self._charsets:
            tried = charset.codec(candidate)
            if best and self._replaced(tried) < best and (pieces := self._recoded(tried)) is not None:
                best, term, recoded, codec = self._replaced(tried), candidate, pieces, tried
        self._codec = codec
        if best:
            fitted, _ = fit.fitted({key_of(tag): value for tag, value in self._new.items()}, codec)
            # Longer by what it is written with: æ becomes ae.
            fitted, _ = fit.with_short_names(fitted)
            self._new = {tag_of(key): value for key, value in fitted.items()}
            self._lossy = True
        if term:
            self._changes.update(recoded)
            self._changes[recode.SPECIFIC_CHARACTER_SET] = self._element("SpecificCharacterSet", term)
        return term

    def _replaced(self, codec: str) -> int:
        """Characters of what PAS says that the codec cannot show."""
        return fit.fitted({key_of(tag): value for tag, value in self._new.items()}, codec)[1]

    def _recoded(self, codec: str) -> dict[int, tuple[Piece, ...]] | None:
        """The instance's own text in the codec; None where that cannot show all of it."""
        found: dict[int, tuple[Piece, ...]] = {}
        for tag, span in self._spans.items():
            # Past the pixel data stands no text but padding and signatures.
            if tag < elements.PIXEL_DATA:
                try:
                    pieces = recode.recoded(
                        self._file, span, self._layout.encoding, self._codecs, codec, self._remove
                    )
                except UnicodeEncodeError:
                    return None
                if pieces is not None:
                    found[tag] = pieces
        return found

    def _original(self, now: str, source: str, system: str) -> tuple[Piece, ...]:
        """(0400,0561) with one more item: what the changed attributes said before."""
        encoding = self._layout.encoding
        previous: list[Piece] = []
        nameless = {*self._removed, *self._inside} - self._new.keys()
        for tag in sorted({*self._new, *nameless}):
            span = self._spans.get(tag)
            if tag in nameless or span is None:
                # Named without a value: contact data must not travel on here, and absent values are none.
                previous += recode.element(tag, vr_of(key_of(tag)), (), encoding)
            else:
                previous += self._changes.get(tag) or (Range(span.start, span.end),)
        modified = recode.element(0x04000550, "SQ", recode.item(previous, encoding), encoding)
        said = {
            "AttributeModificationDateTime": now,
            "ModifyingSystem": text.transliterate(system, self._codec)[0],
            "SourceOfPreviousValues": text.transliterate(source, self._codec)[0],
            "ReasonForTheAttributeModification": "COERCE",
        }
        rest = [piece for key, value in said.items() for piece in self._element(key, value)]
        return self._appended(recode.item((*modified, *rest), encoding))

    def _appended(self, item: Sequence[Piece]) -> tuple[Piece, ...]:
        """(0400,0561) with `item` after the items it has."""
        encoding = self._layout.encoding
        span = self._spans.get(_ORIGINAL_ATTRIBUTES)
        if span is None:
            return recode.element(_ORIGINAL_ATTRIBUTES, "SQ", item, encoding)
        if span.vr not in ("", "SQ"):
            # Its items are implicit VR whatever is around them; appending ours would mix two encodings.
            raise RemoteProtocolError(
                f"element (0400,0561) at offset {span.start} is not written as a sequence"
            )
        undefined = span.value_length == UNDEFINED
        content_end = span.end - (recode.DELIMITER_LENGTH if undefined else 0)
        present = self._changes.get(_ORIGINAL_ATTRIBUTES) or (
            Range(span.start, span.value_start),
            Range(span.value_start, content_end),
            Range(content_end, span.end),
        )
        if undefined:
            return (*present[:-1], *item, present[-1])
        return recode.element(_ORIGINAL_ATTRIBUTES, "SQ", (*present[1:], *item), encoding)

    def _element(self, key: str, value: Value) -> tuple[Piece, ...]:
        """The element as the instance would write it."""
        vr = vr_of(key)
        if vr == "SQ":
            content: list[Piece] = []
            for entry in items_of(value):
                ordered = sorted(entry.items(), key=lambda pair: tag_of(pair[0]))
                inner = [piece for name, part in ordered for piece in self._element(name, part)]
                content += recode.item(inner, self._layout.encoding)
            return recode.element(tag_of(key), vr, content, self._layout.encoding)
        if vr not in recode.TEXT_VRS and vr not in _ASCII_VRS:
            raise LocalProtocolError(f"{key}: a value of VR {vr} cannot be coerced")
        try:
            raw = _joined(value).encode(self._codec if vr in recode.TEXT_VRS else "ascii")
        except UnicodeEncodeError:
            # Without its cause, whose text shows the value.
            raise LocalProtocolError(f"{key}: a value of VR {vr} is not ASCII") from None
        padding = (b"\0" if vr == "UI" else b" ") * (len(raw) % 2)
        return recode.element(tag_of(key), vr, (raw + padding,), self._layout.encoding)

    def _pieces(self) -> Iterator[Piece]:
        """The whole data set, changes in their places; the file's meta information and padding around it."""
        touched = {tag >> 16 for tag in self._changes}
        added = sorted(tag for tag in self._changes if tag not in self._spans)
        kept = 0  # where the source's bytes go on
        for span in self._layout.elements:
            while added and added[0] < span.tag:
                yield Range(kept, span.start)
                yield from self._changes[added.pop(0)]
                kept = span.start
            first = self._spans[span.tag] is span
            if span.tag in self._changes:
                yield Range(kept, span.start)
                yield from self._changes[span.tag] if first else ()
                kept = span.end
            elif span.tag == _LENGTH_TO_END or (span.tag & 0xFFFF == 0 and span.tag >> 16 in touched):
                # Retired lengths that would no longer be true.
                yield Range(kept, span.start)
                kept = span.end
        yield Range(kept, self._layout.end)
        for tag in added:
            yield from self._changes[tag]
        yield Range(self._layout.end, self._size)

    def _read(self, span: ElementSpan) -> bytes:
        self._file.seek(span.start)
        return self._file.read(span.end - span.start)


@cache
def _written(tags: frozenset[int], order: Literal["little", "big"]) -> tuple[bytes, ...]:
    """As they stand in a file."""
    return tuple(b"".join(part.to_bytes(2, order) for part in (tag >> 16, tag & 0xFFFF)) for tag in tags)


def _joined(value: Value) -> str:
    """The texts of a value, backslashes between them."""
    return value if isinstance(value, str) else "\\".join(part for part in value if isinstance(part, str))


def _comparable(value: Value, key: str) -> object:
    """What of a value carries meaning: no padding, no empty name components, no empty attributes of items."""
    vr = vr_of(key)
    if vr == "SQ":
        return [
            {name: _comparable(part, name) for name, part in entry.items() if part}
            for entry in items_of(value)
        ]
    parts = [part.strip(" \0") for part in _joined(value).split("\\")]
    if vr == "PN":
        parts = ["=".join(group.rstrip("^ ") for group in part.split("=")).rstrip("=") for part in parts]
    return parts
