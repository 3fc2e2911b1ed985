"""Code tables: CSV or YAML files that turn a code into one or several values. Read once, immutable; reads no clock.

The column `code` is compared as it stands (upper and lower case differ); `aets` or `values` holds what it
stands for, several with `|` between them (in YAML: a list); the columns in `INFORMATION` are for people. `aets` must
be AE titles (PS3.5 6.2). `from` (included) and `to` (not included) say when a row holds: a day in UTC, or a time with
its offset. The time of the event decides, never today's, so that the same events always give the same rows.

A YAML table has the columns as keys: `rows: [{ code: OYE, aets: [FUNDUS1, OCT1], to: 2026-04-01 }]`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from broker import csvfile
from broker.dicom.vr_faults import vr_faults
from broker.errors import ConfigError, Fault
from broker.scalars import Text, as_written, moment
from broker.yamlfile.check import validate
from broker.yamlfile.reading import loads, read_text

VALUES = ("aets", "values")
PERIOD = ("from", "to")
INFORMATION = ("site", "modality", "name", "location", "comment")
AE_TITLE = "ScheduledStationAETitle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a code stands for, when, and in which line."""

    values: tuple[str, ...]
    line: int
    start: str = ""
    """UTC, `YYYYMMDDHHMMSS` as the fact `time`; empty: always was."""
    end: str = ""
    """The first moment at which it holds no more; empty: until further notice."""
    titles: bool = False
    """The values are AE titles."""
    about: str = ""
    """What the row says for people."""

    def holds(self, at: str) -> bool:
        return self.start <= at and (not self.end or at < self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One code table."""

    name: str
    file: str
    rows: Mapping[str, tuple[Row, ...]] = field(repr=False)
    """Code to its rows, of which at most one holds at any time."""
    digest: str = ""
    """SHA-256 of the file: part of a route set's version."""

    def row(self, key: str, at: str) -> Row | None:
        """The row of a code that holds at this time (UTC, `YYYYMMDDHHMMSS`)."""
        for row in self.rows.get(key, ()):
            if row.holds(at):
                return row
        return None

    def find(self, keys: tuple[str, ...], at: str) -> tuple[str, ...] | None:
        """The values of the first key that the table knows at this time; None when it knows none."""
        for key in keys:
            row = self.row(key, at)
            if row is not None:
                return row.values
        return None

    def place(self, key: str, at: str = "") -> str:
        """`config/stations.csv:7`, for explanations: the row that holds, else the code's last."""
        rows = self.rows.get(key, ())
        row = next((row for row in rows if row.holds(at)), rows[-1] if rows else None)
        return self.place_of(row) if row else self.file

    def place_of(self, row: Row) -> str:
        """`config/stations.csv:7`."""
        return f"{self.file}:{row.line}"


def load_table(name: str, path: Path, *, shown_as: str = "") -> Table:
    """Reads one table, called `shown_as` in faults; raises `ConfigError` with every fault at once."""
    file = shown_as or path.as_posix()
    return read_table(name, read_text(path, file), file)


def read_table(name: str, text: str, file: str) -> Table:
    """A table of a text, called `file` in faults: CSV, or YAML where that name says so; see `load_table`."""
    faults: list[Fault] = []
    rows: dict[str, tuple[Row, ...]] = {}
    written = _from_yaml(text, file) if file.endswith((".yaml", ".yml")) else _from_csv(text, file)
    for one in written:
        row, problems = _row(one)
        earlier = rows.get(one.code, ())
        problems += [
            f"the code '{one.code}' stands here twice{_when(row, other)}; first in line {other.line}"
            for other in earlier
            if _overlap(row, other)
        ][:1]
        faults += [
            Fault(file=file, line=row.line, column=1, message=f"{problem}.", code="table")
            for problem in problems
        ]
        rows[one.code] = (*earlier, row)
    if faults:
        raise ConfigError(faults)
    return Table(name=name, file=file, rows=rows, digest=hashlib.sha256(text.encode()).hexdigest())


# --- as it is written ---


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    line: int
    code: str
    column: str
    values: tuple[str, ...]
    start: str
    end: str
    about: str


def _from_csv(text: str, file: str) -> Iterator[_Written]:
    for row in csvfile.parse(text, required=("code",), optional=(*VALUES, *PERIOD, *INFORMATION), name=file):
        column = next((c for c in VALUES if c in row.cells), "values")
        yield _Written(
            line=row.line,
            code=row.cells["code"],
            column=column,
            values=tuple(v for part in row.cells.get(column, "").split("|") if (v := part.strip())),
            start=row.cells.get("from", ""),
            end=row.cells.get("to", ""),
            about=_about(row.cells),
        )


def _listed(value: object) -> object:
    """One text, or a list of texts, as a list."""
    return tuple(map(as_written, value)) if isinstance(value, tuple) else (as_written(value),)


_Values = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _YamlRow(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    code: Text
    aets: _Values | None = None
    values: _Values | None = None
    start: Text = Field("", alias="from")
    end: Text = Field("", alias="to")
    site: Text = ""
    modality: Text = ""
    name: Text = ""
    location: Text = ""
    comment: Text = ""


class _YamlTable(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)

    rows: tuple[_YamlRow, ...]


def _from_yaml(text: str, file: str) -> Iterator[_Written]:
    document = loads(text, file)
    for number, row in enumerate(validate(document, _YamlTable).rows):
        column = "values" if row.aets is None else "aets"
        yield _Written(
            line=document.mark(("rows", number))[0],
            code=row.code,
            column=column,
            values=tuple(v for v in (row.aets or row.values or ()) if v),
            start=row.start,
            end=row.end,
            about=_about({name: getattr(row, name) for name in INFORMATION}),
        )


def _about(cells: Mapping[str, str]) -> str:
    return ", ".join(text for name in INFORMATION if (text := cells.get(name, "")))


# --- what it means ---


def _row(one: _Written) -> tuple[Row, list[str]]:
    """The row, and what is wrong with it."""
    problems = []
    if one.column == "aets":
        problems += [broken.text for v in one.values for broken in vr_faults({AE_TITLE: v})]
    if not one.code or not one.values:
        problems.append(f"'{one.column if one.code else 'code'}' is empty")
    period = {"from": "", "to": ""}
    for name, text in (("from", one.start), ("to", one.end)):
        try:
            period[name] = f"{moment(text):%Y%m%d%H%M%S}" if text else ""
        except ValueError as error:
            problems.append(f"'{name}' {error}")
    start, end = period.values()
    if start and end and end <= start:
        problems.append("'to' is not after 'from'")
    titles = one.column == "aets"
    row = Row(values=one.values, line=one.line, start=start, end=end, titles=titles, about=one.about)
    return row, problems


def _overlap(one: Row, other: Row) -> bool:
    return (not other.end or one.start < other.end) and (not one.end or other.start < one.end)


def _when(one: Row, other: Row) -> str:
    dated = one.start or one.end or other.start or other.end
    return " for the same time" if dated else ""
