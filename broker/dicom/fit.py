"""Attributes made to fit who gets them: letters that a character set cannot show, names that are too long.

Which set and what length a device takes is not known here. What was changed is counted (invariant 12).
"""

from __future__ import annotations

from typing import Final

from broker.dicom import charset as charsets
from broker.dicom import vr as vr_rules
from broker.dicom.attributes import Attributes, Value, checked_items, texts, texts_of, vr_of
from broker.text import encodable, transliterate

PN_GROUP: Final = 64
"""Characters of a component group of a person's name (PS3.5 6.2)."""


def transliterated(attributes: Attributes, term: str) -> tuple[Attributes, int]:
    """The attributes with all text fit for the defined term, and how many characters were replaced (invariant 12)."""
    return fitted(attributes, charsets.codec(term))


def fitted(attributes: Attributes, codec: str) -> tuple[Attributes, int]:
    """As `transliterated`, for a Python codec."""
    if all(text.isascii() or encodable(text, codec) for text in texts(attributes)):
        return attributes, 0
    result: dict[str, Value] = {}
    total = 0
    for key, value in attributes.items():
        if isinstance(value, tuple) and value and not isinstance(value[0], str):
            pairs = [fitted(item, codec) for item in checked_items(key, value)]
            result[key] = tuple(item for item, _ in pairs)
            total += sum(count for _, count in pairs)
        elif vr_of(key) in vr_rules.TEXT:
            shown = [transliterate(text, codec) for text in texts_of(value)]
            result[key] = shown[0][0] if isinstance(value, str) else tuple(text for text, _ in shown)
            total += sum(count for _, count in shown)
        else:
            result[key] = value
    return result, total


def with_short_names(attributes: Attributes, limit: int = PN_GROUP) -> tuple[Attributes, int]:
    """The attributes with each component group of a name cut to the limit, and how many names were cut."""
    if not _has_long_name(attributes, limit):
        return attributes, 0
    result: dict[str, Value] = {}
    total = 0
    for key, value in attributes.items():
        if isinstance(value, tuple) and value and not isinstance(value[0], str):
            pairs = [with_short_names(item, limit) for item in checked_items(key, value)]
            found = sum(count for _, count in pairs)
            result[key] = tuple(item for item, _ in pairs) if found else value
        elif vr_of(key) == "PN" and any(len(name) > limit for name in texts_of(value)):
            names = [(name, _short(name, limit)) for name in texts_of(value)]
            found = sum(name != short for name, short in names)
            result[key] = names[0][1] if isinstance(value, str) else tuple(short for _, short in names)
        else:
            result[key], found = value, 0
        total += found
    return (result, total) if total else (attributes, 0)


def _has_long_name(attributes: Attributes, limit: int) -> bool:
    """Whether a name is longer than one group of it may be: next to none is."""
    for key, value in attributes.items():
        if isinstance(value, str):
            if len(value) > limit and vr_of(key) == "PN":
                return True
        elif value and not isinstance(value[0], str):
            if any(_has_long_name(item, limit) for item in checked_items(key, value)):
                return True
        elif any(len(name) > limit for name in texts_of(value)) and vr_of(key) == "PN":
            return True
    return False


def _short(name: str, limit: int) -> str:
    """A group that fits stays as it is; one that is cut ends without a delimiter or half of a letter with its marks."""
    groups = []
    for group in name.split("="):
        cut = group if len(group) <= limit else group[:limit]
        if cut != group:
            cut = cut.rstrip("^ ")
        groups.append(cut)
    return "=".join(groups)
