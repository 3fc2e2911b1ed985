"""A statement as sections, paragraphs and tables; as Markdown for people, as plain values for programs.

Knows no standard: what a statement says is `dicom.py`'s, `hl7.py`'s and `ihe.py`'s.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

WIDTH: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under columns; a cell is plain text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A numbered section; its numbers come from where it stands."""

    title: str
    text: tuple[str, ...] = ()
    """Paragraphs."""
    points: tuple[str, ...] = ()
    """A list behind them."""
    tables: tuple[Table, ...] = ()
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One statement."""

    title: str
    text: tuple[str, ...]
    sections: tuple[Section, ...]

    def described(self) -> dict[str, Any]:
        """The stable shape of `--format json`."""
        return asdict(self)


def markdown(document: Document) -> str:
    """The statement as a page. A table without rows is left out."""
    lines = [f"# {document.title}", "", *_paragraphs(document.text)]
    for number, section in enumerate(document.sections, 1):
        lines += _section(section, f"{number}", 2)
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section, number: str, level: int) -> Iterator[str]:
    yield from (f"{'#' * level} {number} {section.title}", "")
    yield from _paragraphs(section.text)
    for point in section.points:
        yield _wrapped(f"- {point}", "  ")
    if section.points:
        yield ""
    for table in section.tables:
        yield from _table(table)
    for place, inner in enumerate(section.sections, 1):
        yield from _section(inner, f"{number}.{place}", level + 1)


def _paragraphs(text: Sequence[str]) -> Iterator[str]:
    for paragraph in text:
        yield from (_wrapped(paragraph, ""), "")


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        return
    yield f"| {' | '.join(table.columns)} |"
    yield f"|{' --- |' * len(table.columns)}"
    for row in table.rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
