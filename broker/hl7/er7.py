"""Tolerant, lazy reading of ER7 (HL7 v2.5.1 2.5 to 2.8): bytes in, text by path out.

Nothing is validated; nothing is changed, but that text becomes Unicode NFC: `edit.py` writes, `validate.py` judges.
What is taken as it comes: any separators that MSH-1 and MSH-2 give, CR, LF or CR LF between segments, a BOM, blank
lines, blanks around segment ids, ids that no version knows, lone escape characters. Splitting happens when a field is
asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from broker.errors import Location, Refused
from broker.hl7 import charset as charsets
from broker.hl7.header import BOM, Header, is_batch
from broker.hl7.separators import Separators, part, read_separators, unescape
from broker.text import nfc

__all__ = [
    "BAD_ID",
    "BOM_FLAG",
    "LINE_FEED_FLAG",
    "NULL",
    "SEVERAL_FLAG",
    "Header",
    "Message",
    "Path",
    "Repetition",
    "Segment",
    "Separators",
    "is_batch",
    "parse_path",
    "read_separators",
    "unescape",
]

NULL = '""'
"""HL7 null: the sender says that the value is to be removed (2.5.3). Distinct from empty: nothing said."""

BOM_FLAG = "bom"
LINE_FEED_FLAG = "line-feed"
SEVERAL_FLAG = "several-messages"

BAD_ID = "???"
"""Name of a segment without a proper id, as of a line that broke: what stands there may be a patient's."""

_SEGMENT_ID = re.compile(r"[A-Z][A-Z0-9]{2}")


@dataclass(frozen=True, slots=True)
class Path:
    """`SEG[n]-F(r).C.S`: a place in a message, all counted from 1. None where the text gave none."""

    segment: str
    occurrence: int
    field: int
    repetition: int | None = None
    component: int | None = None
    subcomponent: int | None = None

    def __str__(self) -> str:
        text = self.segment if self.occurrence == 1 else f"{self.segment}[{self.occurrence}]"
        text += f"-{self.field}"
        text += f"({self.repetition})" if self.repetition else ""
        text += f".{self.component}" if self.component else ""
        return text + (f".{self.subcomponent}" if self.subcomponent else "")

    @property
    def location(self) -> Location:
        return Location(
            segment=self.segment,
            sequence=self.occurrence,
            field=self.field,
            repetition=self.repetition,
            component=self.component,
        )


_PATH = re.compile(
    r"([A-Z][A-Z0-9]{2})(?:\[([1-9]\d{0,4})\])?-([1-9]\d{0,2})(?:\(([1-9]\d{0,4})\))?"
    r"(?:\.([1-9]\d{0,2})(?:\.([1-9]\d{0,2}))?)?"
)


@lru_cache(maxsize=4096)
def parse_path(text: str) -> Path:
    """Raises `ValueError` saying how a path is written."""
    match = _PATH.fullmatch(text)
    if match is None:
        raise ValueError(
            f"'{text}' is not an HL7 path: write SEG-field, with [n] for the nth segment, "
            "(r) for a repetition and .component.subcomponent, as in PID-5.1 or OBX[2]-3(1).2"
        )
    segment, occurrence, field, repetition, component, subcomponent = match.groups()
    return Path(
        segment,
        int(occurrence or 1),
        int(field),
        int(repetition) if repetition else None,
        int(component) if component else None,
        int(subcomponent) if subcomponent else None,
    )


class Repetition:
    """One repetition of a field, split into its components once: a name or a number is asked for all of them."""

    __slots__ = ("_components", "_message", "text")

    def __init__(self, message: Message, text: str) -> None:
        self._message = message
        self.text = text
        """With its separators and escapes."""
        self._components = text.split(message.header.separators.component)

    def get(self, component: int = 1, subcomponent: int = 1) -> str:
        if self.text == NULL:
            return NULL
        if component > len(self._components):
            return ""
        text = self._components[component - 1]
        return text if not text else self._message._component(text, subcomponent)


class Segment:
    """One segment. Fields are numbered as the standard numbers them, MSH-1 being the separator itself."""

    __slots__ = ("_fields", "_message", "index", "name", "sequence")

    def __init__(self, message: Message, name: str, index: int, sequence: int) -> None:
        self._message = message
        self.name = name
        """Its id, or `???` (`BAD_ID`) where it has none; `text(0)` is what stands there."""
        self.index = index
        """Position in the message, from 0."""
        self.sequence = sequence
        """Which one of its name, from 1."""
        self._fields: list[str] | None = None

    @property
    def fields(self) -> list[str]:
        """Raw text by field number; 0 is the id. Do not change it."""
        if self._fields is None:
            self._fields = self._message._fields(self.index)
        return self._fields

    def text(self, field: int) -> str:
        """The whole field with its separators and escapes."""
        fields = self._fields or self.fields
        return fields[field] if field < len(fields) else ""

    def get(self, field: int, component: int = 1, subcomponent: int = 1, repetition: int = 1) -> str:
        """Unescaped text; empty when absent. All of a field or component that is null is `NULL`."""
        text = self.text(field)
        if not text or (field <= 2 and self.name == "MSH"):
            return text
        return self._message._value(text, component, subcomponent, repetition)

    def repetitions(self, field: int) -> tuple[Repetition, ...]:
        """Every repetition, empty ones too; none when the field is absent or empty."""
        text = self.text(field)
        if not text:
            return ()
        separator = self._message.header.separators.repetition
        if not separator or (field <= 2 and self.name == "MSH"):
            return (Repetition(self._message, text),)
        return tuple([Repetition(self._message, one) for one in text.split(separator)])

    def location(self, field: int | None = None, component: int | None = None) -> Location:
        return Location(segment=self.name, sequence=self.sequence, field=field, component=component)

    def __repr__(self) -> str:
        return f"<Segment {self.name}[{self.sequence}]>"


class Message:
    """One message. `msg["PID-5.1"]` is decoded and unescaped text.

    A path without repetition, component or subcomponent means the first one: `PID-5` of `Dahl^Kari` is
    `Dahl`; `text("PID-5")` is all of it, as it stands.
    """

    __slots__ = ("_lines", "_names", "_split", "_values", "charset", "flags", "header", "raw")

    def __init__(self, raw: bytes, header: Header, charset: str, flags: tuple[str, ...] = ()) -> None:
        """For a caller that knows the codec; `parse` finds it out. The bytes must be valid in it."""
        text = nfc(raw.decode(charset))
        if raw.startswith(BOM):
            text, flags = text[len(BOM.decode(charset)) :], (*flags, BOM_FLAG)
        if "\n" in text:
            text, flags = text.replace("\n", "\r"), (*flags, LINE_FEED_FLAG)
        lines = [line for line in text.split("\r") if line and not line.isspace()]
        lines[0] = lines[0].lstrip()
        self.raw = raw
        self.header = header
        self.charset = charset
        """Python codec that the text was read with."""
        self.flags = flags
        """Remarks: `charset-mismatch`, `charset-fallback`, `bom`, `line-feed`, `several-messages`."""
        self._lines = lines
        self._split: dict[int, list[str]] = {}
        self._values: dict[str, str] = {}
        names: dict[str, list[int]] = {}
        field = header.separators.field
        for index, line in enumerate(lines):
            name = line[:3]
            if line[3:4] != field or not name.isalnum() or not name.isupper():
                name = line.partition(field)[0].strip()
                name = name if _SEGMENT_ID.fullmatch(name) else BAD_ID
            if name in names:
                names[name].append(index)
            else:
                names[name] = [index]
        self._names = names
        if len(names.get("MSH", ())) > 1:
            self.flags = (*flags, SEVERAL_FLAG)

    @classmethod
    def parse(
        cls,
        raw: bytes,
        *,
        header: Header | None = None,
        default_charset: str = "8859/1",
        fallback_charset: str = "",
    ) -> Message:
        """Raises `Unreadable` when there is no header, `Refused` when MSH-18 cannot be met or it is a batch.

        `header` is for a caller that has read it from the same bytes already.
        """
        header = header or Header.read(raw)
        if is_batch(raw):
            where = Location(segment="MSH")
            raise Refused("a batch stands where one message is expected", error_code="200", location=where)
        charset, flags = charsets.decode(raw, header.charsets, default_charset, fallback_charset)
        return cls(raw, header, charset, flags)

    @property
    def segments(self) -> tuple[Segment, ...]:
        found = {segment.index: segment for name in self._names for segment in self.all(name)}
        return tuple([found[index] for index in range(len(self._lines))])

    def all(self, name: str) -> tuple[Segment, ...]:
        return tuple([Segment(self, name, index, n) for n, index in enumerate(self._names.get(name, ()), 1)])

    def first(self, name: str) -> Segment | None:
        at = self._names.get(name)
        return Segment(self, name, at[0], 1) if at else None

    def __contains__(self, name: str) -> bool:
        """Whether there is a segment of this name."""
        return name in self._names

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def __getitem__(self, path: str) -> str:
        value = self._values.get(path)  # many routes ask for the same few paths
        if value is None:
            value = self._values[path] = self._at(parse_path(path))
        return value

    def _at(self, where: Path) -> str:
        text = self._field(where)
        if not text or (where.field <= 2 and where.segment == "MSH"):
            return text
        return self._value(text, where.component or 1, where.subcomponent or 1, where.repetition or 1)

    def text(self, path: str) -> str:
        """Everything at the path with its separators and escapes: `text("PID-5")` is `Dahl^Kari`."""
        where = parse_path(path)
        text, separators = self._field(where), self.header.separators
        if (where.repetition or where.component) and not (where.field <= 2 and where.segment == "MSH"):
            text = part(text, separators.repetition, where.repetition or 1)
        if where.component:
            text = part(text, separators.component, where.component)
        if where.subcomponent:
            text = part(text, separators.subcomponent, where.subcomponent)
        return text

    def _field(self, where: Path) -> str:
        at = self._names.get(where.segment)
        if at is None or where.occurrence > len(at):
            return ""
        fields = self._fields(at[where.occurrence - 1])
        return fields[where.field] if where.field < len(fields) else ""

    def _fields(self, index: int) -> list[str]:
        """Raw text by field number, split when first asked for."""
        fields = self._split.get(index)
        if fields is None:
            separator = self.header.separators.field
            fields = self._split[index] = self._lines[index].split(separator)
            if fields[0] == "MSH":
                fields.insert(1, separator)
        return fields

    def _value(self, text: str, component: int, subcomponent: int, repetition: int = 1) -> str:
        """One unescaped value of a field's text."""
        if text.isalnum():  # as most fields are: nothing in it separates or escapes
            return text if component == subcomponent == repetition == 1 else ""
        separators = self.header.separators
        if repetition > 1 or (separators.repetition and separators.repetition in text):
            text = part(text, separators.repetition, repetition)
        if text == NULL:
            return NULL
        if component > 1 or separators.component in text:
            text = part(text, separators.component, component)
        return self._component(text, subcomponent)

    def _component(self, text: str, subcomponent: int) -> str:
        """One unescaped value of a component's text."""
        if text.isalnum():
            return text if subcomponent == 1 else ""
        if text == NULL:
            return NULL
        separators = self.header.separators
        text = part(text, separators.subcomponent, subcomponent)
        if separators.escape and separators.escape in text:
            return nfc(unescape(text, separators, self.charset))
        return text

    def __repr__(self) -> str:
        return f"<Message {self.header.message_type}, {len(self._lines)} segments>"
