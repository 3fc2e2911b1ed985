"""Specific Character Set (0008,0005): defined terms, Python codecs, and which term a peer's answer gets.

Reads every defined term, code extensions included; writes single terms only (no ISO 2022 escapes): a name
that none of a peer's terms can show is transliterated by `broker.text`. PS3.3 C.12.1.1.2, PS3.5 6.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator
from pydicom.charset import decode_bytes
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from broker import text
from broker.errors import LocalProtocolError
from broker.scalars import Text

DEFAULT_REPERTOIRE = "ISO_IR 6"
UTF_8 = "ISO_IR 192"

_CODECS: Mapping[str, str] = MappingProxyType(
    {
        "ISO_IR 6": "ascii",
        "ISO_IR 100": "latin_1",
        "ISO_IR 101": "iso8859_2",
        "ISO_IR 109": "iso8859_3",
        "ISO_IR 110": "iso8859_4",
        "ISO_IR 144": "iso_ir_144",
        "ISO_IR 127": "iso_ir_127",
        "ISO_IR 126": "iso_ir_126",
        "ISO_IR 138": "iso_ir_138",
        "ISO_IR 148": "iso_ir_148",
        "ISO_IR 203": "iso8859_15",
        "ISO_IR 13": "shift_jis",
        "ISO_IR 166": "iso_ir_166",
        "ISO_IR 192": "utf_8",
        "GB18030": "gb18030",
        "GBK": "gbk",
    }
)
_MULTI_BYTE: Mapping[str, str] = MappingProxyType(
    {
        "ISO_IR 87": "iso2022_jp",
        "ISO_IR 159": "iso2022_jp_2",
        "ISO_IR 149": "euc_kr",
        "ISO_IR 58": "iso_ir_58",
    }
)
TERMS: tuple[str, ...] = tuple(_CODECS)
"""Defined terms that the broker writes, and reads."""
READ_ONLY_TERMS: tuple[str, ...] = tuple(_MULTI_BYTE)
"""Multi-byte sets of code extensions: read, never written."""

# Other ways in which senders write a term: ISO IR 100, ISO-IR 100, ISO 2022 IR 100, ISO_IR100, UTF-8.
_SPELLINGS = re.compile(r"ISO[ _-]?(?:2022[ _-]?)?IR[ _-]?(\d+)", re.IGNORECASE)
_ALIASES = {"": DEFAULT_REPERTOIRE, "UTF-8": UTF_8, "UTF8": UTF_8}


def known(term: str) -> bool:
    """Whether the broker can write the term (one defined term, no code extension)."""
    return term in _CODECS


def _term(term: str) -> str:
    if not known(term):
        raise ValueError(f"must be a defined term that can be written: {', '.join(_CODECS)}")
    return term


Term = Annotated[Text, AfterValidator(_term)]
"""A defined term as an option of a settings file."""


def codec(term: str) -> str:
    """The Python codec of a defined term that can be written. The empty term is the default repertoire."""
    try:
        return _CODECS[term or DEFAULT_REPERTOIRE]
    except KeyError:
        raise LocalProtocolError("(0008,0005): not a defined term that can be written") from None


def codecs(terms: Sequence[str]) -> tuple[str, ...]:
    """Codecs to read the values of (0008,0005) with, misspelt terms too; unknown terms are left out.

    At least one codec is returned: ASCII when no term is known.
    """
    found = []
    for term in terms:
        term = term.strip()
        match = _SPELLINGS.fullmatch(term)
        plain = f"ISO_IR {match[1]}" if match else _ALIASES.get(term.upper(), term.upper())
        name = _CODECS.get(plain) or _MULTI_BYTE.get(plain)
        if name and name not in found:
            found.append(name)
    if found and found[0] in _MULTI_BYTE.values():
        found.insert(0, "ascii")
    return tuple(found) or ("ascii",)


def decode(raw: bytes, encodings: Sequence[str], *, person_name: bool = False) -> str:
    """The text of a value in NFC. Bytes outside the declared set are read as UTF-8, else Latin-1: never as `?`."""
    if b"\x1b" in raw:
        delimiters = PN_DELIMS if person_name else TEXT_VR_DELIMS
        # An escape sequence says what follows it, whether (0008,0005) announced that set or not.
        return text.nfc(decode_bytes(raw, [*encodings, *_CODECS.values(), *_MULTI_BYTE.values()], delimiters))
    for name in (encodings[0], "utf_8"):
        try:
            return text.nfc(raw.decode(name))
        except UnicodeDecodeError:
            continue
    return raw.decode("latin_1")


def encodable(value: str, term: str) -> bool:
    """Whether the term can show every character of the value."""
    return text.encodable(value, codec(term))


def choose(texts: Iterable[str], terms: Sequence[str]) -> str:
    """The first of a peer's terms that can show all texts; when none can, the one in which least is replaced."""
    if not terms:
        raise LocalProtocolError("(0008,0005): a peer needs at least one character set")
    values = [value for value in texts if not value.isascii()]
    for term in terms:
        if all(encodable(value, term) for value in values):
            return term
    return min(terms, key=lambda term: sum(transliterate(value, term)[1] for value in values))


def ladder(asked: str, declared: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """The terms that a peer's answer may be in, the best first.

    (0008,0005) of a query is no key, yet devices name in it what they can show (`asked`): that is tried first, unless
    the settings declare what the device can show and it is none of that. `default`: where they declare nothing.
    """
    terms = tuple(declared or default)
    wanted = known(asked) and asked and (asked in terms or not declared)
    return (asked, *(term for term in terms if term != asked)) if wanted else terms


def transliterate(value: str, term: str) -> tuple[str, int]:
    """The value as the term can show it, and how many characters were replaced."""
    return text.transliterate(value, codec(term))
