"""What the functions of the expression language do. Pure; checks no types, the compiler did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.errors import UNKNOWN_KEY, UnmappableError
from broker.event import PersonName
from broker.hl7.edit import Verbatim
from broker.hl7.er7 import NULL, Message
from broker.routing.tables import Table


class LookupMissError(UnmappableError):
    """A table has no row for any of the keys, and the expression gives no default."""

    def __init__(self, table: str) -> None:
        super().__init__(f"table '{table}' has no row for this code", error_code=UNKNOWN_KEY)
        self.table = table


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function as `docs/routes.md` shows it."""

    signature: str
    summary: str


FUNCTIONS: dict[str, Function] = {
    "lookup": Function(
        signature="lookup(table, code[, default])",
        summary="Values of a code table for a code, or for the first code of a list that the table knows. "
        "Without a default a miss means nothing on a worklist (the row is held until somebody adds the "
        "code), and an unmappable event elsewhere. A condition needs the default.",
    ),
    "msg": Function(
        signature="msg('PID-5.1')",
        summary="What the source message says there: a component as plain text, a whole field (`PV1-3`) as "
        "it is written in ER7 with `^` and `~`. Empty when absent or null. Not for worklists: their rows are "
        "rebuilt when demographics change, and the order's message is not at hand then.",
    ),
    "default": Function(signature="default(x, y)", summary="x, or y when x is empty or its lookup misses."),
    "first": Function(signature="first(list)", summary="The first text of a list, empty when there is none."),
    "size": Function(signature="size(x)", summary="How many characters a text or how many items a list has."),
    "pn": Function(signature="pn(name)", summary="A name as DICOM writes it: `HANSEN^KARI`."),
    "upper": Function(signature="upper(text)", summary="In capitals."),
    "lower": Function(signature="lower(text)", summary="In small letters."),
}

METHODS: dict[str, Function] = {
    "startsWith": Function(signature="text.startsWith(text)", summary="True when the text starts so."),
    "endsWith": Function(signature="text.endsWith(text)", summary="True when the text ends so."),
    "contains": Function(signature="text.contains(text)", summary="True when the text stands in it."),
}


def lookup(table: Table, key: str | tuple[str, ...]) -> tuple[str, ...]:
    """Raises `LookupMissError`."""
    found = table.find((key,) if isinstance(key, str) else key)
    if found is None:
        raise LookupMissError(table.name)
    return found


def lookup_or(table: Table, key: str | tuple[str, ...], default: str | tuple[str, ...]) -> tuple[str, ...]:
    found = table.find((key,) if isinstance(key, str) else key)
    if found is not None:
        return found
    return ((default,) if default else ()) if isinstance(default, str) else default


def attempt(first: Callable[[], object], second: Callable[[], object]) -> object:
    """`default(x, y)` where x can miss."""
    try:
        return first() or second()
    except LookupMissError:
        return second()


def first(items: tuple[str, ...]) -> str:
    return items[0] if items else ""


def pn(name: PersonName) -> str:
    """PS3.5 6.2.1.1: family, given, middle, prefix, suffix."""
    parts = (name.family, name.given, name.middle, name.prefix, name.suffix)
    return "^".join(part.replace("^", " ").replace("=", " ") for part in parts).rstrip("^")


_STANDARD = ("^", "~", "\\", "&")


def component(message: Message | None, path: str) -> str:
    """`msg` of a path that names a component: unescaped."""
    value = message[path] if message is not None else ""
    return "" if value == NULL else value


def whole_field(message: Message | None, path: str) -> str:
    """`msg` of a path that names none: `Verbatim` with the usual separators (HL7 v2.5.1 2.5.4)."""
    if message is None:
        return ""
    text = message.text(path)
    theirs = message.header.separators
    signs = (theirs.component, theirs.repetition, theirs.escape, theirs.subcomponent)
    if signs != _STANDARD:
        text = text.translate(_respelling(signs))
    return Verbatim("" if text == NULL else text)


def _respelling(signs: tuple[str, ...]) -> dict[int, str]:
    """Their separators become the usual ones; the usual ones, mere text to them, become escapes."""
    table = {ord(sign): f"\\{letter}\\" for sign, letter in zip(_STANDARD, "SRET", strict=True)}
    table |= {ord(theirs): ours for theirs, ours in zip(signs, _STANDARD, strict=True) if theirs}
    return table
