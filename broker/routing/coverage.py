"""What the tests of the routes ever exercised: targets, the ways of every expression, rows of code tables.

Watches one set of routes while it is run and keeps places, never values. A way is one of two or more that an
expression can go: an operand that decides `&&` or `||`, either side of `? :` and of `default`, a look-up that finds
or misses, a function that works or fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from broker.hl7.er7 import Message
from broker.routing.compiler import ways
from broker.routing.engine import Route, RouteSet, RouteTarget
from broker.routing.expression import Expression, Scope
from broker.routing.syntax import Call, Chain, Choice, Node, walk
from broker.routing.tables import Row, Table
from broker.routing.watch import Line, lines, recompiled, watched

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Something that a test can exercise."""

    route: str
    place: str
    what: str
    """`to worklist worklist`, `where: step.modality == 'CT' is false`."""
    covered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was exercised, in the order of the files."""

    points: tuple[Point, ...]
    """Targets and ways of the enabled routes."""
    rows: tuple[Point, ...]
    """Rows of the tables that they look into; `route` is the table's name."""

    @property
    def percent(self) -> float:
        """Of the points: rows are a site's data, of which nobody tests every one."""
        return percent(self.points)


def percent(points: Iterable[Point]) -> float:
    """100 where there is nothing to exercise."""
    found = list(points)
    return 100 * sum(point.covered for point in found) / len(found) if found else 100.0


class Coverage:
    """Collects over any number of runs."""

    def __init__(self) -> None:
        self._seen: set[Key] = set()

    def watching(self, routes: RouteSet) -> RouteSet:
        """The same routes, telling this."""
        again = recompiled(routes, watcher=lambda line: _Watch(line, self._seen))
        return _Told(again, self._seen)

    def report(self, routes: RouteSet, only: str = "") -> Report:
        """Of the enabled routes, or of the one that is named."""
        enabled = [route for route in routes.routes if route.enabled and only in ("", route.name)]
        used = {table for route in enabled for line in lines(route) for table in line.expression.tables}
        return Report(
            points=tuple(point for route in enabled for point in self._points(route)),
            rows=tuple(p for name in sorted(used) for p in self._rows(routes.tables[name])),
        )

    def _points(self, route: Route) -> Iterator[Point]:
        for target in route.targets:
            yield Point(
                route=route.name,
                place=target.place,
                what=f"to {target.kind} {target.destination}",
                covered=_target(route.name, target.index) in self._seen,
            )
        for line in lines(route):
            for node, way in _ways(line):
                yield Point(
                    route=route.name,
                    place=line.place,
                    what=f"{line.field}: {_words(line.expression, node, way)}",
                    covered=_way(line, node, way) in self._seen,
                )

    def _rows(self, table: Table) -> Iterator[Point]:
        for code, rows in table.rows.items():
            for row in rows:
                yield Point(
                    route=table.name,
                    place=f"{table.file}:{row.line}",
                    what=code,
                    covered=_row(table.name, row.line) in self._seen,
                )


# --- keys of what was seen ---


def _target(route: str, index: int) -> Key:
    return ("target", route, index)


def _way(line: Line, node: Node, way: str) -> Key:
    return ("way", line.place, line.field, line.expression.source, node.start, node.end, type(node), way)


def _row(table: str, line: int) -> Key:
    return ("row", table, line)


# --- watching ---


class _Told(RouteSet):
    """Routes that tell which of their targets were reached, by an output or by one that a person must see."""

    def __init__(self, routes: RouteSet, seen: set[Key]) -> None:
        told = [_condition_told(route, seen) for route in routes.routes]
        super().__init__(told, version=routes.version, scope=Scope(tables=routes.tables))
        self._seen = seen

    def _make(self, route: Route, target: RouteTarget, facts: Mapping[str, Any], message: Any) -> Any:
        self._seen.add(_target(route.name, target.index))
        return super()._make(route, target, facts, message)


def _condition_told(route: Route, seen: set[Key]) -> Route:
    """The route, telling whether its condition held; `&&` and `||` tell it by the operand that decided."""
    condition = route.condition
    if condition is None or ways(condition.tree):
        return route
    line, run = next(lines(route)), condition.run

    def told(facts: Mapping[str, Any], message: Message | None) -> Any:
        held = run(facts, message)
        seen.add(_way(line, condition.tree, "true" if held else "false"))
        return held

    return replace(route, condition=replace(condition, run=told))


@dataclass(frozen=True, slots=True)
class _Watch:
    """Watches one line (`broker.routing.compiler.Watch`)."""

    line: Line
    seen: set[Key]

    def table(self, node: Call, table: Table, /) -> Table:
        def told(_keys: tuple[str, ...], _found: str, row: Row | None) -> None:
            self.seen.add(_way(self.line, node, "fails" if row is None else "works"))
            if row is not None:
                self.seen.add(_row(table.name, row.line))

        return watched(table, told)

    def outcome(self, node: Node, outcome: str, /) -> None:
        self.seen.add(_way(self.line, node, outcome))


# --- words ---


def _ways(line: Line) -> Iterator[tuple[Node, str]]:
    """Every way of an expression, in the order of the text."""
    tree = line.expression.tree
    if line.field == "where" and not ways(tree):
        yield tree, "true"
        yield tree, "false"
    for node in walk(tree):
        for way in ways(node):
            yield node, way


def _words(expression: Expression, node: Node, way: str) -> str:
    """A way as the author of the route would say it."""

    def text(part: Node) -> str:
        return expression.source[part.start : part.end]

    if way in ("true", "false"):
        return f"{text(node)} is {way}"
    match node:
        case Choice():
            return f"{text(node.condition)} is {'true' if way == 'then' else 'false'}"
        case Chain(sign=sign, operands=operands):
            decided = "true" if sign == "||" else "false"
            if way == "all":
                return f"nothing in {text(node)} is {decided}"
            return f"{text(operands[int(way)])} is {decided}"
        case Call(function="default", arguments=(one, other)):
            return f"{text(one)} is there" if way == "first" else f"{text(other)} instead"
        case Call(function="lookup"):
            return f"{text(node)} {'finds a row' if way == 'works' else 'finds none'}"
    return f"{text(node)} {way}"
