"""Unicode text: its one form inside the broker, what peers get who cannot show all of it, and searches without accents.

Transliteration replaces what a codec cannot encode by what its reader would write instead, never by `?`, and leaves
no letter out (docs/charsets.md). It does not decide which codec a peer gets: that is `broker.dicom.charset` and
`broker.hl7.charset`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache
from types import MappingProxyType

# What a Norwegian clerk writes on a keyboard without the letter; NFKD would make a bare A of Å.
_NORDIC = {"æ": "ae", "ø": "oe", "å": "aa", "ä": "ae", "ö": "oe"}
# Letters that Unicode does not decompose: Sámi (Skolt too), Icelandic, Polish, Turkish, German, French.
_LATIN = {
    "đ": "d", "ð": "d", "þ": "th", "ŋ": "n", "ŧ": "t", "ʒ": "z", "ǥ": "g",
    "ł": "l", "ħ": "h", "ı": "i", "ß": "ss", "œ": "oe", "ə": "e", "ĸ": "k",
}  # fmt: skip
_CYRILLIC = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ж": "zh", "з": "z", "и": "i", "й": "j",
    "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u",
    "ф": "f", "х": "kh", "ц": "ts", "ч": "tsj", "ш": "sj", "щ": "sjtsj", "ъ": "'", "ы": "y", "ь": "'",
    "э": "e", "ю": "ju", "я": "ja", "ё": "jo", "є": "je", "і": "i", "ї": "ji", "ґ": "g", "ў": "u",
    "ђ": "dj", "ј": "j", "љ": "lj", "њ": "nj", "ћ": "c", "џ": "dz", "ѓ": "g", "ќ": "k", "ѕ": "dz",
}  # fmt: skip
_GREEK = {
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k",
    "λ": "l", "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t",
    "υ": "y", "φ": "f", "χ": "ch", "ψ": "ps", "ω": "o",
}  # fmt: skip
_SIGNS = {
    "‘": "'", "’": "'", "‚": "'", "′": "'", "ʹ": "'", "ʼ": "'", "ʻ": "'", "ˈ": "'", "´": "'",
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-", "…": "...", "•": "*", "·": "*",
    "€": "EUR", "£": "GBP", "µ": "u", "°": "deg", "×": "x", "÷": "/", "±": "+/-", "©": "(c)", "®": "(R)",
    "§": "S", "¡": "!", "\u00a0": " ", "\u202f": " ", "\u200b": "", "\ufeff": "", "\u00ad": "",
}  # fmt: skip
UNSHOWABLE = "_"
"""Stands for a character that nothing known can replace: visible, and legal in every text."""


def fold(text: str) -> str:
    """The text without case, accents and ligatures, for person-name matching (PS3.4 C.2.2.2.1).

    >>> fold("ØSTBY^Åse"), fold("Đorđević")
    ('ostby^ase', 'dordevic')
    """
    if text.isascii():
        return text.lower()
    # Folding twice: the first decomposition uncovers letters that still have a case (Unicode D145).
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold()).casefold()
    return "".join(_FOLDED.get(c, c) for c in folded if not unicodedata.combining(c))


def nfc(text: str) -> str:
    """The text as the broker holds it: one code point for a letter and its accent where there is one (Unicode NFC).

    >>> nfc("A\\u030ase") == "Åse"
    True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def transliterate(text: str, codec: str) -> tuple[str, int]:
    """The text as the Python codec can encode it, and how many characters had to be replaced.

    >>> transliterate("Åse Ødegård", "ascii")
    ('Aase Oedegaard', 3)
    """
    if encodable(text, codec):
        return text, 0
    text = nfc(text)
    parts: list[str] = []
    changed = 0
    for index, char in enumerate(text):
        if encodable(char, codec):
            parts.append(char)
        else:
            follower = text[index + 1 : index + 2]
            parts.append(_replacement(char, codec, shouting=not follower.islower()))
            changed += 1
    return "".join(parts), changed


def encodable(text: str, codec: str) -> bool:
    """Whether the codec can show every character."""
    if text.isascii() and codec in _ASCII_SUPERSETS:
        return True
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


_ASCII_SUPERSETS = frozenset({"ascii", "latin_1", "utf_8", "cp1252", "iso8859_15"})


def _replacement(char: str, codec: str, *, shouting: bool) -> str:
    """`shouting`: no lower-case letter follows, so a capital becomes two (ÅS is AAS, Ås is Aas)."""
    lower = char.lower()
    plain = _plain(lower, codec)
    if char != lower:
        plain = plain.upper() if shouting else plain.capitalize()
        if not encodable(plain, codec):
            return UNSHOWABLE
    return plain


@lru_cache(maxsize=4096)
def _plain(char: str, codec: str) -> str:
    """One character in what the codec has: by the table, else its letter with one mark less (ǻ: å, then a)."""
    shown = _table().get(char)
    if shown is None:
        codes = [code for code in unicodedata.decomposition(char).split() if not code.startswith("<")]
        letters = [part for part in (chr(int(code, 16)) for code in codes) if not unicodedata.combining(part)]
        shown = "".join(part if encodable(part, codec) else _plain(part, codec) for part in letters)
        if not letters:
            # An accent without its letter goes with no loss of a letter; anything else must stay visible.
            return "" if unicodedata.combining(char) else UNSHOWABLE
    return shown if encodable(shown, codec) else UNSHOWABLE


@cache
def _table() -> Mapping[str, str]:
    return MappingProxyType({**_NORDIC, **_LATIN, **_CYRILLIC, **_GREEK, **_SIGNS})


# Folding takes the bare letter where transliteration takes the Norwegian pair: PS3.4 speaks of accents only.
_FOLDED: Mapping[str, str] = MappingProxyType({**_LATIN, "ø": "o", "æ": "ae"})


# --- text that was decoded wrongly ---

# UTF-8 read as Latin-1 or Windows-1252: Ã¸ for ø, Ã… for Å, Ä\x8d for č. Only what would be letters of Latin script
# is looked for (U+00C0 to U+024F), so that the lead byte is C3 to C9; the second byte is 80 to BF.
_LEADS = "".join(bytes(range(0xC3, 0xCA)).decode("latin-1"))
_SECOND = bytes(range(0x80, 0xC0))
_BYTES = "".join(sorted({*_SECOND.decode("latin-1"), *_SECOND.decode("cp1252", "ignore")}))
_MOJIBAKE = re.compile(f"[{_LEADS}][{re.escape(_BYTES)}]")
LOST = re.compile("\ufffd|ï¿½")
"""What a decoder puts in the place of bytes that it cannot read (and the same, read as Latin-1): the letter is lost."""


def mojibake(text: str) -> bool:
    """Whether a part of the text is UTF-8 that somebody read as Latin-1: `BjÃ¸rn` for `Bjørn`.

    >>> mojibake("BjÃ¸rn"), mojibake("Bjørn"), mojibake("10 Å ±2, «PÅ»")
    (True, False, False)
    """
    if text.isascii():
        return False
    for found in _MOJIBAKE.finditer(text):
        # A quotation may end with Å: `«PÅ»` is no Ż.
        quoted = found[0][1] == "»" and "«" in text[: found.start()]
        beside = text[max(found.start() - 1, 0) : found.start()] + text[found.end() : found.end() + 1]
        if not quoted and any(char.isalpha() for char in beside):
            return True
    return False


def unmojibake(text: str) -> str | None:
    """The text as it was before it was read as Latin-1; None where not all of it goes back.

    >>> unmojibake("BjÃ¸rn"), unmojibake("BjÃ¸rn Åse")
    ('Bjørn', None)
    """
    try:
        return b"".join(_octets(char) for char in text).decode("utf-8")
    except UnicodeError:
        return None


def _octets(char: str) -> bytes:
    """The byte that was read as this character: in Latin-1, else in Windows-1252, which has letters for 80 to 9F."""
    return char.encode("latin-1" if ord(char) <= 0xFF else "cp1252")
