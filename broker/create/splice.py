"""Puts lines into files that people edit: everything else stays as they wrote it, comments and layout too.

Where a file is written in a way that nothing can be put into safely it says so, and the person does it. What the
lines mean is the caller's.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from broker.errors import ConfigError, Fault
from broker.yamlfile.document import Document, NodePath, json_path
from broker.yamlfile.reading import loads

WIDTH = 120
"""Lines of a list that grow beyond this go on in the next one."""


def into_list(document: Document, path: NodePath, value: str, env: Mapping[str, str]) -> str:
    """The text with one more item at the end of a list of plain texts; the list is made where there is none.

    Raises `ConfigError` with the place when it must be done by hand.
    """
    items = document.get(path) if path in document else ()
    if path in document.references or not isinstance(items, tuple):
        raise ConfigError([document.fault(path, "cannot be added to", f"Add {value} by hand.")])
    if items:
        text = _after_last(document, (*path, len(items) - 1), value)
    elif path in document:
        start = _index(document.source, *document.mark(path))
        text = re.sub(r"\A\[\s*\]", f"[{value}]", document.source[start:])
        text = document.source[:start] + text
    else:
        text = _as_first_key(document, path, value)
    if loads(text, document.file, env=env).get(path) != (*items, value):
        raise ConfigError([document.fault(path, "cannot be added to", f"Add {value} by hand.")])
    return text


def at_end_of(document: Document, key: str, lines: str) -> str:
    """The text with these lines at the end of the block under a key of the file's first level, or at its own end."""
    rows = document.source.splitlines(keepends=True)
    if rows and not rows[-1].endswith("\n"):
        rows[-1] += "\n"
    if key not in document.value:
        return "".join([*rows, f"\n{key}:\n", lines])
    first = document.key_mark((key,))[0]
    follows = (n for n in range(first, len(rows)) if re.match(r"[^\s#]", rows[n]))
    end = next(follows, len(rows))
    while end > first and (not rows[end - 1].strip() or rows[end - 1].startswith("#")):
        end -= 1
    return "".join([*rows[:end], "\n", lines, *rows[end:]])


def _after_last(document: Document, last: NodePath, value: str) -> str:
    """Behind the last item: in its line, or, in a list of an item a line, in the next."""
    source, (line, column) = document.source, document.mark(last)
    start = _index(source, line, column)
    begin, end = source.rfind("\n", 0, start) + 1, source.find("\n", start)
    end = len(source) if end < 0 else end
    if re.fullmatch(r"\s*-\s+", source[begin:start]):
        return f"{source[:end]}\n{source[begin:start]}{value}{source[end:]}"
    item = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'|[^,\]\s#]+').match(source, start)
    stop = item.end() if item else end
    if end - begin + len(value) + 2 > WIDTH:
        indent = (
            column - 1 if source[begin:start].strip() == "" else source.find("[", begin, start) + 1 - begin
        )
        return f"{source[:stop]},\n{' ' * indent}{value}{source[stop:]}"
    return f"{source[:stop]}, {value}{source[stop:]}"


def _as_first_key(document: Document, path: NodePath, value: str) -> str:
    """`key: [value]` as the first line of a block mapping."""
    above = document.get(path[:-1]) if path[:-1] in document else None
    if not isinstance(above, dict) or not above:
        raise ConfigError(
            [document.fault(path, f"there is no {json_path(path[:-1])} block", "Add it by hand.")]
        )
    line, column = document.key_mark((*path[:-1], next(iter(above))))
    start = _index(document.source, line, 1)
    indent = document.source[start : start + column - 1]
    if indent.strip():
        raise ConfigError([document.fault(path[:-1], f"stands in one line: add {path[-1]} to it by hand")])
    return f"{document.source[:start]}{indent}{path[-1]}: [{value}]\n{document.source[start:]}"


def _index(text: str, line: int, column: int) -> int:
    start = 0
    for _ in range(line - 1):
        start = text.index("\n", start) + 1
    return start + column - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A CSV file as lines, with what stands in them by column."""

    file: str
    lines: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]
    """(line, from 1; cells by column)."""

    @classmethod
    def parse(cls, text: str, file: str) -> Sheet:
        """Raises `ConfigError` where there is no header row."""
        lines = tuple(re.split(r"(?<=\n)", text))
        read = list(_cells(lines))
        if not read:
            raise ConfigError([Fault(file=file, line=1, column=1, message="has no header row.")])
        header = tuple(read[0][1])
        rows = tuple((line, dict(zip(header, cells, strict=False))) for line, cells in read[1:])
        return cls(file=file, lines=lines, header=header, rows=rows)

    def place(self, line: int) -> str:
        return f"{self.file}:{line}"

    def with_row(self, cells: Mapping[str, str], *, after: int) -> str:
        """The text with one more row behind that line; columns that the file does not have are left out."""
        written = io.StringIO()
        csv.writer(written, lineterminator="").writerow([cells.get(column, "") for column in self.header])
        end = "\r\n" if self.lines[after - 1].endswith("\r\n") else "\n"
        above = self.lines[after - 1] if self.lines[after - 1].endswith("\n") else self.lines[after - 1] + end
        return "".join([*self.lines[: after - 1], above, written.getvalue() + end, *self.lines[after:]])


def _cells(lines: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            yield number, [cell.strip() for cell in next(csv.reader([line.rstrip("\r\n")]))]
