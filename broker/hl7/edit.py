"""Strict writing of ER7: edits on the byte string, and new messages. No judging of what the values mean.

An edit leaves every byte that it was not asked to change: line ends, trailing separators, odd segments.
Values are escaped with the message's own separators and written in its own character set (HL7 v2.5.1 2.7,
2.15.9.18).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from broker.errors import SEGMENT_SEQUENCE_ERROR, LocalProtocolError, UnmappableError
from broker.hl7 import charset as charsets
from broker.hl7.er7 import NULL, Header, Message, Path, Separators, is_batch, parse_path

Value = str | tuple[str, ...]
"""A text, or a tuple: one text per repetition. Texts are escaped, unless they are `Verbatim`."""

OnLossy = Callable[[str], None]
"""Called with the path of each value that the character set could not show and that was transliterated."""

STANDARD = Separators()

_LINES = re.compile(rb"([^\r\n]*)(\r\n|\r|\n|$)")
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_TERMINATOR = b"\r"


class Verbatim(str):
    """ER7 text that is written as it stands: it is escaped already, or its separators are meant as such."""

    __slots__ = ()


def components(*parts: str, separators: Separators = STANDARD) -> Verbatim:
    """A field of these components: `components("ORM", "O01", "ORM_O01")` is `ORM^O01^ORM_O01`."""
    written = [part if isinstance(part, Verbatim) else escape(part, separators) for part in parts]
    return Verbatim(separators.component.join(written).rstrip(separators.component))


def escape(text: str, separators: Separators = STANDARD) -> str:
    r"""`text` as it must stand in a field (2.7.1): line ends become `\.br\`, controls `\Xhh\`.

    A message without an escape character cannot hold its separators as text: they become blanks.
    """
    if not text or text.isalnum():
        return text
    return text.replace("\r\n", "\n").translate(_escapes(separators))


@lru_cache(maxsize=256)
def _escapes(separators: Separators) -> Mapping[int, str]:
    """What is written for each character that cannot stand as it is."""
    e = separators.escape
    names = {chr(code): f"X{code:02X}" for code in range(ord(" ")) if chr(code) != "\t"}
    names["\n"] = ".br"
    names.update((sign, name) for sign, name in zip(separators.all, "FSRETP", strict=True) if sign)
    return {ord(sign): f"{e}{name}{e}" if e else " " for sign, name in names.items()}


def edit(
    source: bytes | Message,
    changes: Mapping[str, Value],
    *,
    add: bool = False,
    default_charset: str = "8859/1",
    on_lossy: OnLossy | None = None,
) -> bytes:
    """`source` with `changes` (path to value) made; what a path gives, field or component, is replaced whole.

    A tuple writes repetitions: of the whole field, or of one component in each. Short segments are
    extended. A segment that is missing is appended with `add`, else `UnmappableError` names it. MSH-1,
    MSH-2 and MSH-18 cannot be set here (`LocalProtocolError`): they say how all the rest is written; see
    `recode`.
    """
    text = _Lines.of(source, default_charset)
    for key, value in changes.items():
        path = parse_path(key)
        if path.segment == "MSH" and path.field in (1, 2, 18):
            raise LocalProtocolError(
                f"{key} cannot be edited: it says how the rest of the message is written"
            )
        index = text.find(path.segment, path.occurrence)
        if index is None:
            if not add or path.occurrence != len(text.all(path.segment)) + 1:
                raise UnmappableError(
                    f"there is no segment for {key}",
                    error_code=SEGMENT_SEQUENCE_ERROR,
                    location=path.location,
                )
            index = text.append(path.segment)
        line = _set(text.line(index), path, value, text.separators)
        if text.replace(index, line) and on_lossy is not None:
            on_lossy(key)
    return text.join()


def blank(
    source: bytes | Message,
    paths: Iterable[str] = (),
    segments: Collection[str] = (),
    *,
    default_charset: str = "8859/1",
) -> bytes:
    """`source` with the values at `paths` emptied and whole `segments` taken out; every other byte stays.

    A path without `[n]` or `(r)` means every such segment and every repetition. What is absent stays absent.
    """
    text = _Lines.of(source, default_charset)
    for key in paths:
        path = parse_path(key)
        for index, occurrence in text.all(path.segment):
            if "[" not in key or occurrence == path.occurrence:
                text.replace(index, _blank(text.line(index), path, text.separators))
    for name in segments:
        for index, _ in text.all(name):
            text.remove(index)
    return text.join()


def recode(
    source: bytes | Message,
    charset: str,
    *,
    default_charset: str = "8859/1",
    on_lossy: OnLossy | None = None,
) -> bytes:
    """`source` in another character set, named as MSH-18 has it, and MSH-18 set. A BOM goes.

    Octets beyond ASCII that an escape sequence gives (`\\X…\\`) are of the old set: they become what they mean.
    """
    text = _Lines.of(source, default_charset)
    octets = _octets(text.separators, text.codec)
    lines = [octets(text.line(index)) for index in range(len(text.pieces))]
    text.bom, text.codec = b"", charsets.codec(charset)
    for index, line in enumerate(lines):
        if text.names[index] == "MSH":
            line = _set(line, Path("MSH", 1, 18), charset, text.separators)
        if text.replace(index, line) and on_lossy is not None:
            on_lossy(text.names[index])
    return text.join()


def _octets(separators: Separators, codec: str) -> Callable[[str], str]:
    """What writes `\\X…\\` beyond ASCII as the letters that they are in the codec; what is no text there stays."""
    e = re.escape(separators.escape)
    pattern = re.compile(rf"(?:{e}X(?:[0-9A-Fa-f]{{2}})+{e})+")

    def letters(match: re.Match[str]) -> str:
        raw = bytes.fromhex("".join(re.findall(rf"X([0-9A-Fa-f]+){e}", match[0])))
        try:
            return match[0] if raw.isascii() else escape(raw.decode(codec), separators)
        except UnicodeDecodeError:
            return match[0]

    return lambda line: pattern.sub(letters, line) if separators.escape else line


def build(
    segments: Sequence[tuple[str, Mapping[int | str, Value]]],
    *,
    charset: str = "UNICODE UTF-8",
    version: str = "2.5.1",
    on_lossy: OnLossy | None = None,
) -> bytes:
    r"""A new message with `|^~\&` and CR ends. Keys are field numbers or what follows the `-` of a path.

    MSH-1, MSH-2, MSH-12 and MSH-18 are filled in. The caller gives MSH-7 and MSH-10: nothing here knows a
    clock.

    >>> build([("MSH", {9: components("ORM", "O01"), 10: "1"}), ("ORC", {"2.1": "A&B"})], charset="ASCII")
    b'MSH|^~\\&|||||||ORM^O01|1||2.5.1||||||ASCII\rORC||A\\T\\B\r'
    """
    if not segments or segments[0][0] != "MSH":
        raise LocalProtocolError("a message begins with MSH")
    codec, written = charsets.codec(charset), bytearray()
    for number, (name, values) in enumerate(segments):
        if not _NAME.fullmatch(name):
            raise LocalProtocolError("a segment name is a capital letter and two capital letters or digits")
        line = name
        if number == 0:
            line = f"MSH|{STANDARD.encoding_characters}"
            values = {12: version, 18: charset, **values}
        fields = line.split(STANDARD.field)
        for key, value in values.items():
            _change(fields, parse_path(f"{name}-{key}"), value, STANDARD)
        encoded, lossy = charsets.encode(STANDARD.field.join(fields), codec)
        if lossy and on_lossy is not None:
            on_lossy(name)
        written += encoded + _TERMINATOR
    return bytes(written)


@dataclass(slots=True)
class _Lines:
    """A message cut into its segments' bytes, each with its own line end."""

    bom: bytes
    pieces: list[tuple[bytes, bytes]]
    names: list[str]
    separators: Separators
    codec: str

    @classmethod
    def of(cls, source: bytes | Message, default_charset: str) -> _Lines:
        message = source if isinstance(source, Message) else None
        raw = source.raw if isinstance(source, Message) else source
        header = message.header if message else Header.read(raw)
        if is_batch(raw):
            raise LocalProtocolError("a batch cannot be edited as a message")
        codec = message.charset if message else charsets.decode(raw, header.charsets, default_charset)[0]
        body = raw.removeprefix(b"\xef\xbb\xbf")
        pieces = [(m[1], m[2]) for m in _LINES.finditer(body) if m[0]]
        field = header.separators.field.encode()
        names = [line.partition(field)[0].strip().decode(codec, "replace") for line, _ in pieces]
        return cls(raw[: len(raw) - len(body)], pieces, names, header.separators, codec)

    def all(self, name: str) -> list[tuple[int, int]]:
        """(index, occurrence) of the segments of this name."""
        found = [index for index, other in enumerate(self.names) if other == name]
        return [(index, occurrence) for occurrence, index in enumerate(found, 1)]

    def find(self, name: str, occurrence: int) -> int | None:
        return next((index for index, n in self.all(name) if n == occurrence), None)

    def line(self, index: int) -> str:
        return self.pieces[index][0].decode(self.codec)

    def replace(self, index: int, line: str) -> int:
        """Returns how many characters were transliterated."""
        encoded, lossy = charsets.encode(line, self.codec)
        self.pieces[index] = (encoded, self.pieces[index][1])
        return lossy

    def append(self, name: str) -> int:
        line, end = self.pieces[-1]
        usual = self.pieces[0][1] or _TERMINATOR
        self.pieces[-1] = (line, end or usual)
        self.pieces.append((name.encode(), usual))
        self.names.append(name)
        return len(self.pieces) - 1

    def remove(self, index: int) -> None:
        """Takes the segment out; its place stays, so that indexes hold."""
        self.pieces[index] = (b"", b"")
        self.names[index] = ""

    def join(self) -> bytes:
        return self.bom + b"".join(line + end for line, end in self.pieces)


def _set(line: str, path: Path, value: Value, separators: Separators) -> str:
    """The segment with the value at the path; only field and below are looked at."""
    fields = line.split(separators.field)
    _change(fields, path, value, separators)
    return separators.field.join(fields)


def _change(fields: list[str], path: Path, value: Value, separators: Separators) -> None:
    """Puts the value at the path into the segment's fields."""
    at = path.field - 1 if path.segment == "MSH" else path.field
    fields += [""] * (at + 1 - len(fields))
    if isinstance(value, tuple):
        if path.repetition is not None:
            raise ValueError(f"{path} names one repetition: it cannot take several")
        texts = [_written(text, separators) for text in value]
        if len(texts) > 1 and not separators.repetition:
            raise LocalProtocolError(f"{path} cannot be repeated: the message has no repetition separator")
        if path.component is None:
            fields[at] = separators.repetition.join(texts)
        else:
            for number, text in enumerate(texts, 1):
                fields[at] = _put(fields[at], separators.repetition, number, _into(path, text, separators))
    elif path.repetition is None and path.component is None:
        fields[at] = _written(value, separators)
    else:
        change = _into(path, _written(value, separators), separators)
        fields[at] = _put(fields[at], separators.repetition, path.repetition or 1, change)


def _blank(line: str, path: Path, separators: Separators) -> str:
    fields = line.split(separators.field)
    at = path.field - 1 if path.segment == "MSH" else path.field
    if at >= len(fields):
        return line
    if path.repetition is None and path.component is None:
        fields[at] = ""
    else:
        change = _into(path, "", separators)
        split = separators.repetition and separators.repetition in fields[at]
        parts = fields[at].split(separators.repetition) if split else [fields[at]]
        for number, part in enumerate(parts, 1):
            if path.repetition in (None, number) and part:
                parts[number - 1] = change(part)
        fields[at] = separators.repetition.join(parts)
    return separators.field.join(fields)


def _into(path: Path, text: str, separators: Separators) -> Callable[[str], str]:
    """What puts `text` into one repetition, at the component and subcomponent of the path."""

    def into_component(old: str) -> str:
        if path.subcomponent is None:
            return text
        return _put(old, separators.subcomponent, path.subcomponent, lambda _: text)

    def into_repetition(old: str) -> str:
        if path.component is None:
            return text
        return _put(old, separators.component, path.component, into_component)

    return into_repetition


def _put(old: str, separator: str, number: int, change: Callable[[str], str]) -> str:
    """`old` with its part of this number changed. A null is taken out first: it is no part but all of it."""
    old = "" if old == NULL and number > 1 else old
    parts = old.split(separator) if separator else [old]
    if number > len(parts):
        if not separator:
            raise LocalProtocolError("the message has no separator for this level")
        if not change(""):
            return old
        parts += [""] * (number - len(parts))
    parts[number - 1] = change(parts[number - 1])
    return separator.join(parts)


def _written(text: str, separators: Separators) -> str:
    return text if isinstance(text, Verbatim) else escape(text, separators)
