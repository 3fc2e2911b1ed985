"""The signs of one message and what they make: parts of a field, escape sequences (HL7 v2.5.1 2.5.4, 2.7).

Reading only; `edit.escape` is the way back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from broker.errors import Location, Unreadable


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
    if not all(map(is_sign, filter(None, roles))) or not roles[0]:
        raise Unreadable("MSH-2 does not hold separators", location=Location(segment="MSH", field=2))
    component, repetition, escape, subcomponent, truncation = roles
    return Separators(field, component, repetition, escape, subcomponent, truncation, encoding_characters)


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


def part(text: str, separator: str, number: int) -> str:
    """The part of this number, from 1; empty where there is none. An empty separator separates nothing."""
    if not separator or separator not in text:
        return text if number == 1 else ""
    if number == 1:
        return text.partition(separator)[0]
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""


def is_sign(character: str) -> bool:
    """Whether it can separate: printable ASCII, no letter, digit or blank."""
    return "!" <= character <= "~" and not character.isalnum()
