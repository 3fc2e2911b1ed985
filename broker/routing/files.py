"""What decides outputs, as text: routes, shared blocks and code tables, read from their folders or out of a journal.

Compiles nothing (`loader`). Environment references stand as they are written: each node resolves them by its own.
The files that tests name are not in it: they decide no output.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from broker.errors import ConfigError, Fault
from broker.yamlfile.reading import read_text

SHARED: Final = "_shared"
"""The folder of shared blocks, in that of the routes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """The text of one code table, and what faults call the file."""

    file: str
    text: str = field(repr=False)

    @property
    def suffix(self) -> str:
        """`.csv` or `.yaml`: how the text is to be read."""
        return PurePosixPath(self.file).suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteFiles:
    """One set of them. Its JSON is what table `route_set` keeps."""

    routes: Mapping[str, str] = field(repr=False)
    """What faults call a file (`routes/x.yaml`) to its text, in the order of the names."""
    tables: Mapping[str, TableFile]
    unread: tuple[Fault, ...] = ()
    """Why files of the folder are not in it; whoever loads the set raises them with all others."""

    def to_json(self) -> str:
        tables = {name: {"file": table.file, "text": table.text} for name, table in self.tables.items()}
        return json.dumps({"routes": dict(self.routes), "tables": tables})

    @classmethod
    def from_json(cls, body: str) -> RouteFiles:
        found = json.loads(body)
        return cls(
            routes=found["routes"], tables={name: TableFile(**one) for name, one in found["tables"].items()}
        )

    def texts(self) -> dict[str, str]:
        """Every file by a name that is the same wherever the folders stand: `tables/stations.csv`."""
        routes = {f"routes/{own_name(name)}": text for name, text in self.routes.items()}
        return routes | {f"tables/{name}{table.suffix}": table.text for name, table in self.tables.items()}


def read(folder: Path, tables: Mapping[str, tuple[Path, str]], *, shown_as: str) -> RouteFiles:
    """The files of a folder and the tables (name to file and what faults call it) as they stand. Raises nothing."""
    routes, unread = read_folder(folder, shown_as)
    found: dict[str, TableFile] = {}
    for name, (path, shown) in tables.items():
        try:
            found[name] = TableFile(file=shown, text=read_text(path, shown))
        except ConfigError as error:
            unread += error.faults
    return RouteFiles(routes=routes, tables=found, unread=tuple(unread))


def read_folder(folder: Path, shown_as: str) -> tuple[dict[str, str], list[Fault]]:
    """Its route files (`*.yaml`) and shared blocks (`_shared/*.yaml`), by name, and why others could not be read."""
    texts: dict[str, str] = {}
    unread: list[Fault] = []
    for path in (*sorted(folder.glob("*.yaml")), *sorted(folder.glob(f"{SHARED}/*.yaml"))):
        name = f"{shown_as}/{path.relative_to(folder).as_posix()}"
        try:
            texts[name] = read_text(path, name)
        except ConfigError as error:
            unread += error.faults
    return texts, unread


def own_name(name: str) -> str:
    """A file's name in the folder of the routes, wherever that stands: `x.yaml`, `_shared/x.yaml`."""
    base = name.rpartition("/")[2]
    return f"{SHARED}/{base}" if is_shared(name) else base


def is_shared(name: str) -> bool:
    """Whether a file of this name (`routes/_shared/eye.yaml`) holds shared blocks."""
    return name.split("/")[-2:-1] == [SHARED]


def difference(before: RouteFiles, after: RouteFiles) -> Iterator[str]:
    """What differs, file by file, as `diff -u` writes it; nothing where nothing does."""
    for lines in by_file(before, after).values():
        yield from lines


def by_file(before: RouteFiles, after: RouteFiles) -> dict[str, list[str]]:
    """Each file that differs, in the order of the names, to its difference as `diff -u` writes it."""
    one, two = before.texts(), after.texts()
    found = {
        name: list(
            difflib.unified_diff(
                one.get(name, "").splitlines(),
                two.get(name, "").splitlines(),
                name if name in one else "/dev/null",
                name if name in two else "/dev/null",
                lineterm="",
            )
        )
        for name in sorted(one.keys() | two.keys())
        if one.get(name) != two.get(name)
    }
    # Those that differ in their line ends only are the same to whoever reads them.
    return {name: lines for name, lines in found.items() if lines or (name in one) != (name in two)}
