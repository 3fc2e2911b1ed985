"""The forms of the expression language at run time: look-ups, the source message, and what happens on a failure.

Pure. Ordinary functions are declared in `functions.py`; `expression.py` compiles both.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.errors import UNKNOWN_KEY, UnmappableError
from broker.hl7.edit import Verbatim
from broker.hl7.er7 import NULL, Message
from broker.routing.tables import Table


class FailedError(UnmappableError):
    """A function has no result for what it was given, and nothing in the expression caught that.

    Always permanent: functions read the event, its message and tables, nothing that may answer later.
    """


class LookupMissError(FailedError):
    """A table has no row for any of the keys."""

    def __init__(self, table: str) -> None:
        super().__init__(f"table '{table}' has no row for this code", error_code=UNKNOWN_KEY)
        self.table = table


class SkipError(Exception):
    """`skip(…)` met a failure: the line is left out."""


class ParkError(UnmappableError):
    """`park(…)` met a failure: a person must look at the output."""


def lookup(table: Table, key: str | tuple[str, ...], at: str) -> tuple[str, ...]:
    """Raises `LookupMissError`."""
    found = table.find((key,) if isinstance(key, str) else key, at)
    if found is None:
        raise LookupMissError(table.name)
    return found


def lookup_or(
    table: Table, key: str | tuple[str, ...], at: str, default: str | tuple[str, ...]
) -> tuple[str, ...]:
    found = table.find((key,) if isinstance(key, str) else key, at)
    if found is not None:
        return found
    return ((default,) if default else ()) if isinstance(default, str) else default


def attempt(first: Callable[[], object], second: Callable[[], object]) -> object:
    """`default(x, y)` where x can fail."""
    try:
        return first() or second()
    except FailedError:
        return second()


def skip(inner: Callable[[], object]) -> object:
    try:
        return inner()
    except FailedError as failure:
        raise SkipError from failure


def park(inner: Callable[[], object]) -> object:
    try:
        return inner()
    except FailedError as failure:
        raise ParkError(str(failure), error_code=failure.error_code) from failure


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
