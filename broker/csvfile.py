"""Reads a CSV file that a person edits: a header row, `#` comment lines, every mistake with file, line and column.

It knows columns, not what they mean. UTF-8, comma separated, cells trimmed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.errors import ConfigError, Fault, did_you_mean
from broker.yamlfile.reading import read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row by column name, and the line it stands on."""

    line: int
    cells: dict[str, str]


def read(path: Path, *, required: Sequence[str], optional: Sequence[str] = (), name: str = "") -> list[Row]:
    """The rows of a file. Raises `ConfigError` with every fault; `name` is what faults call the file."""
    name = name or path.as_posix()
    return parse(read_text(path, name), required=required, optional=optional, name=name)


def parse(text: str, *, required: Sequence[str], optional: Sequence[str] = (), name: str) -> list[Row]:
    """The rows of a text; see `read`."""
    text = text.removeprefix("\ufeff")
    # Not splitlines(): it would also split at characters that may stand in a cell.
    numbered = enumerate(re.split(r"\r\n|\n|\r", text), 1)
    lines = [(n, line) for n, line in numbered if line.strip() and not line.startswith("#")]
    if not lines:
        raise ConfigError([_fault(name, 1, "has no header row.")])
    faults: list[Fault] = []
    header = _cells(name, *lines[0], faults)
    known = (*required, *optional)
    for column in header:
        if column not in known:
            faults.append(
                _fault(name, lines[0][0], f"no column '{column}' is known here.", did_you_mean(column, known))
            )
    faults += [
        _fault(name, lines[0][0], f"the column '{c}' is missing.") for c in required if c not in header
    ]
    twice = sorted({column for column in header if header.count(column) > 1})
    faults += [_fault(name, lines[0][0], f"the column '{c}' stands twice.") for c in twice]
    rows = []
    for number, line in lines[1:]:
        cells = _cells(name, number, line, faults)
        if len(cells) > len(header):
            faults.append(_fault(name, number, f"{len(cells)} cells stand under {len(header)} columns."))
            continue
        cells += [""] * (len(header) - len(cells))
        rows.append(Row(line=number, cells=dict(zip(header, cells, strict=True))))
    if faults:
        raise ConfigError(faults)
    return rows


def fault(path: Path, row: Row, message: str, hint: str = "") -> Fault:
    """A mistake in a row."""
    return _fault(path.as_posix(), row.line, message, hint)


def _fault(file: str, line: int, message: str, hint: str = "") -> Fault:
    return Fault(file=file, line=line, column=1, message=message, hint=hint, code="table")


def _cells(file: str, number: int, line: str, faults: list[Fault]) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], strict=True))]
    except csv.Error:
        faults.append(_fault(file, number, "the quotes in this row do not fit together."))
        return []
