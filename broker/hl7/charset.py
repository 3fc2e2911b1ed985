"""Character sets: what MSH-18 names, which codec the bytes are in, text to bytes without loss of sense.

Codecs only; no message is read here (HL7 v2.5.1 2.15.9.18, table 0211). The policy of reading:

- nothing declared: UTF-8 where the bytes are valid UTF-8 beyond ASCII, else the listener's default;
- ASCII declared but other bytes sent: as if nothing were declared, flagged;
- 8859/x declared but the bytes are valid UTF-8 beyond ASCII: UTF-8, flagged. (Text in 8859/x is practically
  never valid UTF-8 by accident.)
- bytes that the declared set cannot hold: refused naming MSH-18, unless the listener has a fallback; then the
  fallback, flagged;
- a name that no table knows: refused naming MSH-18.

What is read well and was garbled before it came is `broker.hl7.garbled`'s.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Final

from pydantic import AfterValidator

from broker.errors import DATA_TYPE_ERROR, TABLE_VALUE_NOT_FOUND, Location, Refused
from broker.scalars import Text
from broker.text import transliterate, unmojibake

MISMATCH = "charset-mismatch"
FALLBACK = "charset-fallback"

_MSH_18 = Location(segment="MSH", field=18)

# Names are compared without blanks, signs and case. Beyond table 0211 stand the spellings that peers use.
_CODECS = {
    "ASCII": "ascii",
    "USASCII": "ascii",
    "ISOIR6": "ascii",
    "UTF8": "utf-8",
    "UNICODEUTF8": "utf-8",
    "UNICODE": "utf-8",  # table 0211 means UCS-2, which no MSH can stand in; senders of it write UTF-8
    "ISOIR192": "utf-8",
    "ISOIR100": "iso8859-1",
    "ISOIR101": "iso8859-2",
    "ISOIR109": "iso8859-3",
    "ISOIR110": "iso8859-4",
    "ISOIR144": "iso8859-5",
    "ISOIR127": "iso8859-6",
    "ISOIR126": "iso8859-7",
    "ISOIR138": "iso8859-8",
    "ISOIR148": "iso8859-9",
    "ISOIR13": "shift_jis",
    "ISOIR14": "shift_jis",
    "ISOIR87": "iso2022_jp_2",
    "ISOIR159": "iso2022_jp_2",
    "SHIFTJIS": "shift_jis",
    "GB180302000": "gb18030",
    "GB18030": "gb18030",
    "KSX1001": "euc_kr",
    "BIG5": "big5",
    "WINDOWS1252": "cp1252",
    "CP1252": "cp1252",
    **{
        f"{iso}8859{part}": f"iso8859-{part}"
        for iso in ("", "ISO")
        for part in (*range(1, 12), 13, 14, 15, 16)
    },
}
NAMES: Final = tuple(_CODECS.items())
"""Names that MSH-18 may have, without blanks and signs, with their codecs."""

# With code extension (ISO 2022) these rule whatever stands beside them in MSH-18.
_EXTENDED = frozenset({"iso2022_jp_2"})


@lru_cache(maxsize=256)
def codec(name: str) -> str:
    """Python's codec for one MSH-18 value. Raises `Refused` (AE, 103) for a name that no table knows."""
    found = _CODECS.get(re.sub(r"[^A-Z0-9]", "", name.upper()))
    if found is None:
        raise Refused(
            "MSH-18 names a character set that is not supported",
            ack_code="AE",
            error_code=TABLE_VALUE_NOT_FOUND,
            location=_MSH_18,
        )
    return found


def _known(name: str) -> str:
    try:
        codec(name)
    except Refused:
        raise ValueError("must be a character set as MSH-18 names it: 8859/1, UNICODE UTF-8 …") from None
    return name


Charset = Annotated[Text, AfterValidator(_known)]
"""A character set that is known, as an option of a settings file."""


def declared_codec(names: Sequence[str]) -> str:
    """The codec that MSH-18 with all its repetitions names; empty when it names none."""
    found = [codec(name) for name in names if name.strip(' "')]
    return next((name for name in found if name in _EXTENDED), found[0] if found else "")


def decode(
    raw: bytes, declared: Sequence[str], default: str, fallback: str = ""
) -> tuple[str, tuple[str, ...]]:
    """The codec that `raw` is to be read with, and flags. Reading with it does not fail.

    `declared` are MSH-18's repetitions; `default` and `fallback` are names as MSH-18 would have them.
    """
    name = declared_codec(declared)
    if raw.isascii() and name not in _EXTENDED:
        return (codec(default) if name in ("", "ascii") else name), ()
    candidates: tuple[str, ...] = (name,)
    flags: tuple[str, ...] = ()
    if name in ("", "ascii"):
        candidates = ("utf-8", codec(default))
        flags = (MISMATCH,) if name else ()
    elif name.startswith("iso8859") and _holds("utf-8", raw):
        return "utf-8", (MISMATCH,)
    for candidate in candidates:
        if _holds(candidate, raw):
            return candidate, flags
    if fallback and _holds(codec(fallback), raw):
        return codec(fallback), (*flags, FALLBACK)
    raise Refused(
        "the message holds bytes that are not valid in the character set of MSH-18"
        + _first_place(raw, candidates[-1]),
        ack_code="AE",
        error_code=DATA_TYPE_ERROR,
        location=_MSH_18,
    )


def encode(text: str, codec: str) -> tuple[bytes, int]:
    """Bytes of `text`, and how many of its characters the codec could not show and were transliterated."""
    try:
        return text.encode(codec), 0
    except UnicodeEncodeError:
        plain, changed = transliterate(text, codec)
        return plain.encode(codec), changed


def choose(text: str, names: Sequence[str]) -> str:
    """The first of a peer's sets that shows all of the text; when none does, the one in which least is replaced."""
    return min(names, key=lambda name: transliterate(text, codec(name))[1])


TWICE: Final = "utf_8_twice"
"""Python codec of text that was read as Latin-1 though it was UTF-8, and then written as UTF-8: read back whole."""


def _twice(name: str) -> codecs.CodecInfo | None:
    if name != TWICE:
        return None

    def encode(text: str, _errors: str = "strict") -> tuple[bytes, int]:
        return text.encode("utf-8").decode("latin-1").encode("utf-8"), len(text)

    def decode(raw: Any, _errors: str = "strict") -> tuple[str, int]:
        octets = bytes(raw)
        text = unmojibake(octets.decode("utf-8"))
        if text is None:
            raise UnicodeDecodeError(TWICE, octets, 0, len(octets), "not UTF-8 twice")
        return text, len(octets)

    return codecs.CodecInfo(encode=encode, decode=decode, name=TWICE)


codecs.register(_twice)


def _first_place(raw: bytes, codec: str) -> str:
    """`; the first of them stand in PID-5`: where the bytes stop being text, if that is in a proper segment."""
    try:
        raw.decode(codec)
    except UnicodeDecodeError as exc:
        head = re.split(rb"[\r\n]", raw[: exc.start])[-1]
        segment, *fields = head.split(raw.lstrip(b"\xef\xbb\xbf\r\n ")[3:4] or b"|")
        if re.fullmatch(rb"[A-Z][A-Z0-9]{2}", segment):
            number = len(fields) + (segment == b"MSH")
            return f"; the first of them stand in {segment.decode()}-{number}"
    return ""


def _holds(codec: str, raw: bytes) -> bool:
    try:
        raw.decode(codec)
    except UnicodeDecodeError:
        return False
    return True
