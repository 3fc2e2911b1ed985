"""Unicode text for peers that cannot show all of it, and for searches that must not depend on accents.

Transliteration replaces what a codec cannot encode by what its reader would write instead, and never by `?`.
It does not decide which codec a peer gets: that is `broker.dicom.charset` and `broker.hl7.charset`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

# What a Norwegian clerk writes on a keyboard without the letter; NFKD would make a bare A of Å.
_NORDIC = {"æ": "ae", "ø": "oe", "å": "aa", "ä": "ae", "ö": "oe"}
# Letters that Unicode does not decompose: Sami, Icelandic, Polish, Turkish, German, French.
_LATIN = {
    "đ": "d", "ð": "d", "þ": "th", "ŋ": "n", "ŧ": "t", "ʒ": "z", "ǥ": "g",
    "ł": "l", "ħ": "h", "ı": "i", "ß": "ss", "œ": "oe", "ə": "e", "ĸ": "k",
}  # fmt: skip
_CYRILLIC = {
    "а": "a", "б": "b", "в": "v", "г": "g", "д": "d", "е": "e", "ж": "zh", "з": "z", "и": "i", "й": "j",
    "к": "k", "л": "l", "м": "m", "н": "n", "о": "o", "п": "p", "р": "r", "с": "s", "т": "t", "у": "u",
    "ф": "f", "х": "kh", "ц": "ts", "ч": "tsj", "ш": "sj", "щ": "sjtsj", "ъ": "", "ы": "y", "ь": "",
    "э": "e", "ю": "ju", "я": "ja", "ё": "jo", "є": "je", "і": "i", "ї": "ji", "ґ": "g", "ў": "u",
    "ђ": "dj", "ј": "j", "љ": "lj", "њ": "nj", "ћ": "c", "џ": "dz", "ѓ": "g", "ќ": "k", "ѕ": "dz",
}  # fmt: skip
_GREEK = {
    "α": "a", "β": "v", "γ": "g", "δ": "d", "ε": "e", "ζ": "z", "η": "i", "θ": "th", "ι": "i", "κ": "k",
    "λ": "l", "μ": "m", "ν": "n", "ξ": "x", "ο": "o", "π": "p", "ρ": "r", "σ": "s", "ς": "s", "τ": "t",
    "υ": "y", "φ": "f", "χ": "ch", "ψ": "ps", "ω": "o",
}  # fmt: skip
_SIGNS = {
    "‘": "'", "’": "'", "‚": "'", "′": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
    "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-", "…": "...", "•": "*", "·": "*",
    "€": "EUR", "£": "GBP", "µ": "u", "°": "deg", "×": "x", "÷": "/", "±": "+/-", "©": "(c)", "®": "(R)",
    "§": "S", "¿": "", "¡": "", "\u00a0": " ", "\u202f": " ", "\u200b": "", "\ufeff": "", "\u00ad": "",
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


def transliterate(text: str, codec: str) -> tuple[str, int]:
    """The text as the Python codec can encode it, and how many characters had to be replaced.

    >>> transliterate("Åse Ødegård", "ascii")
    ('Aase Oedegaard', 3)
    """
    if encodable(text, codec):
        return text, 0
    text = unicodedata.normalize("NFC", text)
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
    plain = _table().get(lower)
    if plain is None:
        plain = "".join(c for c in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(c))
        plain = "".join(_table().get(c, c) for c in plain)
    if char != lower:
        plain = plain.upper() if shouting else plain.capitalize()
    if not encodable(plain, codec):
        return UNSHOWABLE
    # A base letter without its accent; empty only for signs that the table drops on purpose.
    return plain if plain or lower in _table() or unicodedata.combining(char) else UNSHOWABLE


@cache
def _table() -> Mapping[str, str]:
    return MappingProxyType({**_NORDIC, **_LATIN, **_CYRILLIC, **_GREEK, **_SIGNS})


# Folding takes the bare letter where transliteration takes the Norwegian pair: PS3.4 speaks of accents only.
_FOLDED: Mapping[str, str] = MappingProxyType({**_LATIN, "ø": "o", "æ": "ae"})
