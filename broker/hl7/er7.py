"""Tolerant, lazy reading of ER7 (HL7 v2.5.1 2.5 to 2.8): bytes in, text by path out.

Nothing is validated, nothing is changed: `edit.py` writes, `validate.py` judges. What is taken as it comes:
any separators that MSH-1 and MSH-2 give, CR, LF or CR LF between segments, a BOM, blank lines, blanks
around segment ids, ids that no version knows, lone escape characters. Splitting happens when a field is
asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from broker.errors import Location, Refused, Unreadable
from broker.hl7 import charset as charsets_

NULL = '""'
"""HL7 null: the sender says that the value is to be removed (2.5.3). Distinct from empty: nothing said."""

BOM_FLAG = "bom"
LINE_FEED_FLAG = "line-feed"
SEVERAL_FLAG = "several-messages"

BAD_ID = "???"
"""Name of a segment without a proper id, as of a line that broke: what stands there may be a patient's."""

_SEGMENT_ID = re.compile(r"[A-Z][A-Z0-9]{2}")
_BOM = b"\xef\xbb\xbf"
_HEADERS = (b"MSH", b"FHS", b"BHS")
_BLANKS = b" \t\r\n"


@dataclass(frozen=True, slots=True)
class Separators:
    """The signs of one message. An empty `escape` or `truncation` means that the message has none."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""
    encoding_characters: str = "^~\\&"
    """MSH-2 as it stood."""

    @property
    def all(self) -> tuple[str, ...]:
        """Field, component, repetition, escape, subcomponent, truncation."""
        return (self.field, self.component, self.repetition, self.escape, self.subcomponent, self.truncation)


@lru_cache(maxsize=256)
def read_separators(field: str, encoding_characters: str) -> Separators:
    """Separators of MSH-1 and MSH-2.

    MSH-2 counts by position. XML's `&amp;` and a doubled backslash are undone. Where it is too short, the
    usual signs in it keep their usual roles (`^~&` has no escape character, `^&` no repetition), and a
    separator that is left out is the usual one; an escape character that is left out does not exist.
    """
    signs = encoding_characters.replace("&amp;", "&").replace("\\\\", "\\").strip() or "^~\\&"
    if len(signs) < 4:
        component, rest = signs[0], signs[1:]
        repetition = rest[0] if rest and rest[0] not in "\\&" else "~"
        rest = rest.removeprefix(repetition)
        escape = rest[0] if rest and rest[0] != "&" else ""
        rest = rest.removeprefix(escape)
        roles = [component, repetition, escape, rest or "&", ""]
    else:
        roles = [*signs[:4], signs[4] if len(signs) == 5 else ""]
    for place, sign in enumerate(roles):
        if sign in (field, *roles[:place]):  # one sign cannot have two roles: the first one has it
            roles[place] = ""
    if not all(map(_is_sign, filter(None, roles))) or not roles[0]:
        raise Unreadable("MSH-2 does not hold separators", location=Location(segment="MSH", field=2))
    component, repetition, escape, subcomponent, truncation = roles
    return Separators(field, component, repetition, escape, subcomponent, truncation, encoding_characters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """MSH, read by hand so that even a message which cannot be read further gets a proper answer.

    Applications, facilities and the control id are full field text with their escapes, to be echoed as they
    stand. Of a batch it is FHS or BHS: no message type, the batch's own control id.
    """

    separators: Separators
    sending_application: str = ""
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    datetime: str = ""
    message_code: str = ""
    trigger: str = ""
    structure: str = ""
    control_id: str = ""
    processing_id: str = ""
    version: str = ""
    accept_ack: str = ""
    """MSH-15."""
    application_ack: str = ""
    """MSH-16."""
    charset: str = ""
    """MSH-18, first repetition."""
    charsets: tuple[str, ...] = ()
    codec: str = "utf-8"
    """What this header was read with, so that what is echoed keeps its bytes."""

    @property
    def message_type(self) -> str:
        """`ADT^A01`, whatever the message's own component separator is."""
        return f"{self.message_code}^{self.trigger}" if self.trigger else self.message_code

    @classmethod
    def read(cls, raw: bytes) -> Header:
        """Raises `Unreadable` when `raw` does not begin with MSH (or FHS, BHS) and separators."""
        start = _start(raw)
        line = raw[start : _line_end(raw, start)]
        name = line[:3]
        if name not in _HEADERS:
            raise Unreadable("the message does not begin with MSH", location=Location(segment="MSH"))
        text, codec = _decode_header(line)
        field = text[3:4]
        if not _is_sign(field):
            raise Unreadable("MSH-1 is not a field separator", location=Location(segment="MSH", field=1))
        fields = [value.strip() for value in text.split(field)]
        if name == b"MSH":
            control_id = fields[9] if len(fields) > 9 else ""
        else:
            control_id = fields[10] if len(fields) > 10 else ""
            del fields[7:]  # what follows in FHS and BHS means other things
        fields += [""] * (18 - len(fields))
        separators = read_separators(field, fields[1])
        repetition, component = separators.repetition, separators.component

        def first(value: str) -> str:
            return value and _nth(_nth(value, repetition, 1), component, 1).strip()

        code, trigger, structure, *_ = [*map(str.strip, fields[8].split(component)), "", ""]
        sets = tuple(map(first, fields[17].split(repetition or None))) if fields[17] else ()
        return cls(
            separators=separators,
            sending_application=fields[2],
            sending_facility=fields[3],
            receiving_application=fields[4],
            receiving_facility=fields[5],
            datetime=first(fields[6]),
            message_code=code,
            trigger=trigger,
            structure=structure,
            control_id=control_id,
            processing_id=first(fields[10]),
            version=first(fields[11]),
            accept_ack=fields[14],
            application_ack=fields[15],
            charset=sets[0] if sets else "",
            charsets=sets,
            codec=codec,
        )


def is_batch(raw: bytes) -> bool:
    """Whether it begins with FHS or BHS (2.10.3)."""
    start = _start(raw)
    return raw[start : start + 3] in (b"FHS", b"BHS")


def split_messages(raw: bytes) -> tuple[bytes, ...]:
    """The messages of a batch or of a crowded frame, each from its MSH on; batch segments are left out."""
    lines = re.findall(rb"[^\r\n]*(?:[\r\n]+|$)", raw.removeprefix(_BOM))
    messages: list[bytearray] = []
    for line in lines:
        name = line.lstrip()[:3]
        if name == b"MSH":
            messages.append(bytearray())
        if messages and name not in (b"FHS", b"BHS", b"BTS", b"FTS"):
            messages[-1] += line
    return tuple(bytes(message) for message in messages)


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
    """One repetition of a field."""

    __slots__ = ("_message", "text")

    def __init__(self, message: Message, text: str) -> None:
        self._message = message
        self.text = text
        """With its separators and escapes."""

    def get(self, component: int = 1, subcomponent: int = 1) -> str:
        return self._message._value(self.text, component, subcomponent)


class Segment:
    """One segment. Fields are numbered as the standard numbers them, MSH-1 being the separator itself."""

    __slots__ = ("_message", "index", "name", "sequence")

    def __init__(self, message: Message, name: str, index: int, sequence: int) -> None:
        self._message = message
        self.name = name
        """Its id, or `???` (`BAD_ID`) where it has none; `text(0)` is what stands there."""
        self.index = index
        """Position in the message, from 0."""
        self.sequence = sequence
        """Which one of its name, from 1."""

    @property
    def fields(self) -> list[str]:
        """Raw text by field number; 0 is the id. Do not change it."""
        return self._message._fields(self.index)

    def text(self, field: int) -> str:
        """The whole field with its separators and escapes."""
        fields = self.fields
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
        return tuple(Repetition(self._message, part) for part in text.split(separator))

    def location(self, field: int | None = None, component: int | None = None) -> Location:
        return Location(segment=self.name, sequence=self.sequence, field=field, component=component)

    def __repr__(self) -> str:
        return f"<Segment {self.name}[{self.sequence}]>"


class Message:
    """One message. `msg["PID-5.1"]` is decoded and unescaped text.

    A path without repetition, component or subcomponent means the first one: `PID-5` of `Dahl^Kari` is
    `Dahl`; `text("PID-5")` is all of it, as it stands.
    """

    __slots__ = ("_lines", "_names", "_split", "charset", "flags", "header", "raw")

    def __init__(self, raw: bytes, header: Header, charset: str, flags: tuple[str, ...] = ()) -> None:
        """For a caller that knows the codec; `parse` finds it out. The bytes must be valid in it."""
        text = raw.decode(charset)
        if raw.startswith(_BOM):
            text, flags = text[len(_BOM.decode(charset)) :], (*flags, BOM_FLAG)
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
        if len(names["MSH"]) > 1:
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
        charset, flags = charsets_.decode(raw, header.charsets, default_charset, fallback_charset)
        return cls(raw, header, charset, flags)

    @property
    def segments(self) -> tuple[Segment, ...]:
        found = (segment for name in self._names for segment in self.all(name))
        return tuple(sorted(found, key=lambda segment: segment.index))

    def all(self, name: str) -> tuple[Segment, ...]:
        return tuple(Segment(self, name, index, n) for n, index in enumerate(self._names.get(name, ()), 1))

    def first(self, name: str) -> Segment | None:
        at = self._names.get(name)
        return Segment(self, name, at[0], 1) if at else None

    def __contains__(self, name: str) -> bool:
        """Whether there is a segment of this name."""
        return name in self._names

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def __getitem__(self, path: str) -> str:
        where = parse_path(path)
        text = self._field(where)
        if not text or (where.field <= 2 and where.segment == "MSH"):
            return text
        return self._value(text, where.component or 1, where.subcomponent or 1, where.repetition or 1)

    def text(self, path: str) -> str:
        """Everything at the path with its separators and escapes: `text("PID-5")` is `Dahl^Kari`."""
        where = parse_path(path)
        text, separators = self._field(where), self.header.separators
        if (where.repetition or where.component) and not (where.field <= 2 and where.segment == "MSH"):
            text = _nth(text, separators.repetition, where.repetition or 1)
        if where.component:
            text = _nth(text, separators.component, where.component)
        if where.subcomponent:
            text = _nth(text, separators.subcomponent, where.subcomponent)
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
        separators = self.header.separators
        if repetition > 1 or (separators.repetition and separators.repetition in text):
            text = _nth(text, separators.repetition, repetition)
        if text == NULL:
            return NULL
        if component > 1 or separators.component in text:
            text = _nth(text, separators.component, component)
            if text == NULL:
                return NULL
        text = _nth(text, separators.subcomponent, subcomponent)
        if separators.escape and separators.escape in text:
            return unescape(text, separators, self.charset)
        return text

    def __repr__(self) -> str:
        return f"<Message {self.header.message_type}, {len(self._lines)} segments>"


def unescape(text: str, separators: Separators, codec: str = "utf-8") -> str:
    r"""Escape sequences resolved once, from left to right (2.7).

    `\F\ \S\ \T\ \R\ \E\ \P\` are the separators, `\Xhh…\` octets in the message's character set (neighbours
    are taken together), `\.br\`, `\.sp n\` and `\.ce\` line ends, `\.sk n\` blanks; `\H\ \N\` and the other
    formatting commands disappear. Character set switches (`\C…\`, `\M…\`), local escapes and lone escape
    characters stay as they are.
    """
    if not separators.escape:
        return text
    return _unescaper(separators, codec)(text)


@lru_cache(maxsize=256)
def _unescaper(separators: Separators, codec: str) -> Callable[[str], str]:
    e = re.escape(separators.escape)
    pattern = re.compile(
        rf"(?P<hex>(?:{e}X(?:[0-9A-Fa-f]{{2}})+{e})+)"
        rf"|{e}(?P<sign>[FSTREPHN]){e}"
        rf"|{e}\.(?P<command>br|sp|ce|sk|fi|nf|in|ti)\s?(?P<count>[+-]?\d{{0,2}}){e}"
    )
    signs = {
        "F": separators.field,
        "S": separators.component,
        "T": separators.subcomponent or "&",
        "R": separators.repetition or "~",
        "E": separators.escape,
        "P": separators.truncation or "#",
        "H": "",
        "N": "",
    }

    def replace(match: re.Match[str]) -> str:
        if match["sign"]:
            return signs[match["sign"]]
        if match["command"]:
            count = abs(int(match["count"])) if match["count"].strip("+-") else 1
            return {"br": "\n", "ce": "\n", "sp": "\n" * count, "sk": " " * count}.get(match["command"], "")
        octets = bytes.fromhex("".join(re.findall(rf"X([0-9A-Fa-f]+){e}", match["hex"])))
        try:
            return octets.decode(codec)
        except UnicodeDecodeError:
            return match[0]

    return lambda text: pattern.sub(replace, text)


def _nth(text: str, separator: str, number: int) -> str:
    if not separator or separator not in text:
        return text if number == 1 else ""
    if number == 1:
        return text.partition(separator)[0]
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""


def _start(raw: bytes) -> int:
    """Where the first segment begins: after a BOM, blank lines and blanks."""
    if raw.startswith(b"MSH"):
        return 0
    body = raw.removeprefix(_BOM)
    return len(raw) - len(body.lstrip(_BLANKS))


def _line_end(raw: bytes, start: int) -> int:
    end = raw.find(b"\r", start)
    end = end if end >= 0 else len(raw)
    line_feed = raw.find(b"\n", start, end)
    return line_feed if line_feed >= 0 else end


def _is_sign(character: str) -> bool:
    """Whether it can separate: printable ASCII, no letter, digit or blank."""
    return "!" <= character <= "~" and not character.isalnum()


def _decode_header(line: bytes) -> tuple[str, str]:
    """Text and codec of the header, whose MSH-18 is not known yet: UTF-8, else Latin-1, which holds all."""
    try:
        return line.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        return line.decode("iso8859-1"), "iso8859-1"
