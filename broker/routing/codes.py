"""Code tables in use: which lines of the routes look a code up, and which codes found no row. Pure; keeps no values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.routing.engine import RouteSet
from broker.routing.syntax import Call, Constant, Node, walk
from broker.routing.tables import Row, Table
from broker.routing.watch import Line, lines, recompiled, watched


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A line of a route that looks into a table."""

    table: str
    route: str
    place: str
    field: str
    lookup: str
    """As it stands there."""
    code: str | None
    """The code, where the line names one itself; None: an event says it."""


def uses(routes: RouteSet, table: str, code: str | None = None) -> list[Use]:
    """Every line that looks into a table, or that may ask it for this code."""
    found = []
    for line in (line for route in routes.routes for line in lines(route)):
        for node in walk(line.expression.tree):
            if not isinstance(node, Call) or node.function != "lookup" or _text(node.arguments[0]) != table:
                continue
            said = _text(node.arguments[1])
            if code is None or said is None or said == code:
                source = line.expression.source[node.start : node.end]
                found.append(
                    Use(
                        table=table,
                        route=line.route,
                        place=line.place,
                        field=line.field,
                        lookup=source,
                        code=said,
                    )
                )
    return found


def _text(node: Node) -> str | None:
    return node.value if isinstance(node, Constant) and isinstance(node.value, str) else None


Missed = Callable[[str, tuple[str, ...], str], None]
"""Told a table, the codes of which it had none, and the line of the route that asked."""


def telling_of_misses(routes: RouteSet, missed: Missed) -> RouteSet:
    """The same routes; each look-up that finds no row is told, whatever its expression makes of that."""
    return recompiled(routes, watcher=lambda line: _Misses(line, missed))


@dataclass(frozen=True, slots=True)
class _Misses:
    """Watches one line (`broker.routing.compiler.Watch`)."""

    line: Line
    missed: Missed

    def table(self, _node: Call, table: Table, /) -> Table:
        def told(keys: tuple[str, ...], _found: str, row: Row | None) -> None:
            if row is None:
                self.missed(table.name, keys, self.line.place)

        return watched(table, told)

    def outcome(self, _node: Node, _outcome: str, /) -> None:
        """Of no interest here."""
