"""Code tables: CSV files that turn a code into one or several values. Read once, immutable.

The column `code` is compared as it stands (upper and lower case differ); `aets` or `values` holds what it
stands for, several with `|` between them; the columns in `INFORMATION` are for people. `aets` must be AE
titles (PS3.5 6.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from broker import csvfile
from broker.dicom import attributes
from broker.errors import ConfigError, Fault

VALUES = ("aets", "values")
INFORMATION = ("site", "modality", "name", "location", "comment")
AE_TITLE = "ScheduledStationAETitle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a code stands for, and in which line."""

    values: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One code table."""

    name: str
    file: str
    rows: Mapping[str, Row] = field(repr=False)
    digest: str = ""
    """SHA-256 of the file: part of a route set's version."""

    def find(self, keys: tuple[str, ...]) -> tuple[str, ...] | None:
        """The values of the first key that the table knows; None when it knows none."""
        for key in keys:
            row = self.rows.get(key)
            if row is not None:
                return row.values
        return None

    def place(self, key: str) -> str:
        """`config/stations.csv:7`, for explanations."""
        row = self.rows.get(key)
        return f"{self.file}:{row.line}" if row else self.file


def load_tables(files: Mapping[str, Path]) -> dict[str, Table]:
    """Reads all tables (name to file); raises `ConfigError` with every fault of every file."""
    tables: dict[str, Table] = {}
    faults: list[Fault] = []
    for name, path in files.items():
        try:
            tables[name] = load_table(name, path)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError(faults)
    return tables


def load_table(name: str, path: Path, *, shown_as: str = "") -> Table:
    """Reads one table, called `shown_as` in faults; raises `ConfigError` with every fault at once."""
    file = shown_as or path.as_posix()
    faults: list[Fault] = []
    rows: dict[str, Row] = {}
    for row in csvfile.read(path, required=("code",), optional=(*VALUES, *INFORMATION), name=file):
        code = row.cells["code"]
        column = next((c for c in VALUES if c in row.cells), "values")
        values = tuple(v for part in row.cells.get(column, "").split("|") if (v := part.strip()))
        problems = []
        if column == "aets":
            problems += [broken.text for v in values for broken in attributes.faults({AE_TITLE: v})]
        if not code or not values:
            problems.append(f"'{column if code else 'code'}' is empty")
        if code in rows:
            problems.append(f"the code '{code}' stands here twice; first in line {rows[code].line}")
        faults += [
            Fault(file=file, line=row.line, column=1, message=f"{problem}.", code="table")
            for problem in problems
        ]
        rows.setdefault(code, Row(values=values, line=row.line))
    if faults:
        raise ConfigError(faults)
    return Table(name=name, file=file, rows=rows, digest=hashlib.sha256(path.read_bytes()).hexdigest())
