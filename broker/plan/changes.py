"""What differs between two route sets as they are written: files, routes by part, rows of code tables. Pure.

Not here: what that makes of any message (`shadow`). Nothing in a set is patient data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker.routing.engine import Route, RouteSet, SetField
from broker.routing.expression import Template
from broker.routing.files import RouteFiles, by_file
from broker.routing.tables import Row, Table

How = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file."""

    name: str
    """`routes/adt.yaml`, `tables/stations.csv`: wherever the folders stand."""
    how: How
    diff: tuple[str, ...]
    """Its lines as `diff -u` writes them."""

    @property
    def size(self) -> str:
        """`+2 -1`: lines that came and went."""
        body = self.diff[2:]
        return f"+{sum(x[:1] == '+' for x in body)} -{sum(x[:1] == '-' for x in body)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChange:
    """One route. A comment or a line that moved changes none."""

    name: str
    how: How
    place: str
    """Where it stands in the proposed set; of one that goes, in the live one."""
    parts: tuple[str, ...] = ()
    """What of it: `where`, `on_failure`, `to[0] epj MSH-8`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """One code of a table: what it stands for, and when."""

    table: str
    code: str
    how: How
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Everything that differs, in the order of the files. Empty: the sets say the same."""

    files: tuple[FileChange, ...] = ()
    routes: tuple[RouteChange, ...] = ()
    rows: tuple[RowChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files or self.routes or self.rows)


def files_between(before: RouteFiles, after: RouteFiles) -> tuple[FileChange, ...]:
    """The files that differ."""
    one, two = before.texts(), after.texts()
    return tuple(
        FileChange(name=name, how=_how(name in one, name in two), diff=tuple(lines))
        for name, lines in by_file(before, after).items()
    )


def routes_between(before: RouteSet, after: RouteSet) -> tuple[RouteChange, ...]:
    """The routes that differ: those of the proposed set first, then those that go."""
    one, two = ({route.name: route for route in routes.routes} for routes in (before, after))
    found = []
    for name, route in (two | {name: route for name, route in one.items() if name not in two}).items():
        old, new = one.get(name), two.get(name)
        parts = tuple(_differing(_parts(old), _parts(new))) if old and new else ()
        if parts or not (old and new):
            how = _how(old is not None, new is not None)
            found.append(RouteChange(name=name, how=how, place=route.place, parts=parts))
    return tuple(found)


def rows_between(before: Mapping[str, Table], after: Mapping[str, Table]) -> tuple[RowChange, ...]:
    """The codes that stand for something else; the columns for people decide nothing."""
    found = []
    for table in dict.fromkeys((*after, *before)):
        one, two = (tables[table].rows if table in tables else {} for tables in (before, after))
        for code in dict.fromkeys((*two, *one)):
            old, new = (
                "; ".join(_row(row) for row in rows[code]) if code in rows else None for rows in (one, two)
            )
            if old != new:
                how = _how(old is not None, new is not None)
                found.append(RowChange(table=table, code=code, how=how, before=old or "", after=new or ""))
    return tuple(found)


def _how(before: bool, after: bool) -> How:
    if before and after:
        return "changed"
    return "added" if after else "removed"


def _differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[str]:
    nothing = object()
    yield from (
        part for part in dict.fromkeys((*one, *two)) if one.get(part, nothing) != two.get(part, nothing)
    )


def _parts(route: Route) -> dict[str, Any]:
    """A route taken apart: the name of each part to what it says."""
    found: dict[str, Any] = {
        "description": route.description,
        "enabled": route.enabled,
        "on": route.events,
        "where": route.condition.source if route.condition else "",
    }
    for target in route.targets:
        to = f"to[{target.index}] {target.destination}"
        found[to] = (target.kind, target.send, target.purpose, target.protected)
        found |= {f"{to} {name}": _source(line) for name, line in target.set.items()}
    return {**found, "on_failure": route.on_failure, "tests": list(route.tests.values())}


def _source(line: SetField) -> str:
    """A line of `set:` as it is written, near enough to tell two apart."""
    several = line.template if isinstance(line.template, tuple) else (line.template,)
    return " | ".join(_written(template) for template in several)


def _written(template: Template) -> str:
    return "".join(p if isinstance(p, str) else f"${{{p.source}}}" for p in template.parts)


def _row(row: Row) -> str:
    period = f" [{row.start or '…'} to {row.end or '…'}]" if row.start or row.end else ""
    return " | ".join(row.values) + period
