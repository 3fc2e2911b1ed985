"""Shows faults and warnings: to people with line and caret, to programs as JSON, to GitHub as annotations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from broker.errors import Fault


def text(faults: Iterable[Fault], sources: Mapping[str, str]) -> str:
    """For a person: place, message, the line with carets, what to do. `sources`: file to its text."""
    return "\n\n".join(_block(fault, sources.get(fault.file, "").split("\n")) for fault in faults)


def _block(fault: Fault, lines: list[str]) -> str:
    code = f"[{fault.code}]" if fault.code else ""
    block = [
        f"{fault.severity}{code}: {fault.message}",
        f"  --> {fault.file}:{fault.line}:{fault.column}",
    ]
    if fault.line <= len(lines) and lines[fault.line - 1].strip():
        number, line = str(fault.line), lines[fault.line - 1].expandtabs(1)
        gutter = " " * len(number)
        carets = "^" * max(1, min(fault.end, len(line) + 1) - fault.column)
        block += [f"{gutter} |", f"{number} | {line}", f"{gutter} | {' ' * (fault.column - 1)}{carets}"]
    block += [f"  = {more}" for more in (fault.hint, fault.note) if more]
    return "\n".join(block)


def objects(faults: Iterable[Fault]) -> list[dict[str, Any]]:
    """For a program: the fields of each `Fault`."""
    return [asdict(fault) for fault in faults]


def github(faults: Iterable[Fault]) -> str:
    """Workflow commands, which GitHub shows at the line of a pull request."""
    return "\n".join(_annotation(fault) for fault in faults)


def _annotation(fault: Fault) -> str:
    said = " ".join(part for part in (fault.message, fault.note, fault.hint) if part)
    places = {"file": fault.file, "line": fault.line, "col": fault.column}
    if fault.end:
        places["endColumn"] = fault.end
    places["title"] = fault.code or fault.severity
    shown = ",".join(f"{name}={_escaped(str(value), ':,')}" for name, value in places.items())
    return f"::{fault.severity} {shown}::{_escaped(said)}"


def _escaped(value: str, also: str = "") -> str:
    """As the runner unescapes it: percent first."""
    for sign in "%\r\n" + also:
        value = value.replace(sign, f"%{ord(sign):02X}")
    return value
