"""Routes compiled again: with other tables, or with somebody watching how their expressions go. Reads no files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from broker.routing.compiler import Watch
from broker.routing.engine import Route, RouteSet, SetField
from broker.routing.expression import Expression, Scope, Template, compile_tree
from broker.routing.tables import Row, Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Where an expression stands."""

    route: str
    place: str
    field: str
    """`where`, or the left side of the line of `set:`."""
    expression: Expression


Watcher = Callable[[Line], Watch]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedTable(Table):
    """A table that tells of every look-up: the keys, the key that was found, and its row."""

    told: Callable[[tuple[str, ...], str, Row | None], None]

    def find(self, keys: tuple[str, ...], at: str) -> tuple[str, ...] | None:
        for key in keys:
            row = self.row(key, at)
            if row is not None:
                self.told(keys, key, row)
                return row.values
        self.told(keys, "", None)
        return None


def watched(table: Table, told: Callable[[tuple[str, ...], str, Row | None], None]) -> Table:
    """The table, telling of every look-up."""
    return WatchedTable(name=table.name, file=table.file, rows=table.rows, digest=table.digest, told=told)


def lines(route: Route) -> Iterator[Line]:
    """Every expression of a route, in the order of the file."""
    if route.condition is not None:
        yield Line(route=route.name, place=route.where, field="where", expression=route.condition)
    for target in route.targets:
        for name, line in target.set.items():
            for template in line.template if isinstance(line.template, tuple) else (line.template,):
                for expression in template.expressions:
                    yield Line(route=route.name, place=line.place, field=name, expression=expression)


def recompiled(
    routes: RouteSet, *, tables: Mapping[str, Table] | None = None, watcher: Watcher | None = None
) -> RouteSet:
    """The same routes with other tables, or watched; `tables` must have every table that they look into."""
    tables = routes.tables if tables is None else tables

    def again(line: Line) -> Expression:
        scope = Scope(tables=tables, watch=watcher(line) if watcher else None)
        return compile_tree(line.expression.source, line.expression.tree, scope)

    return RouteSet(
        [_recompiled(route, again) for route in routes.routes],
        version=routes.version,
        scope=Scope(tables=tables),
    )


def _recompiled(route: Route, again: Callable[[Line], Expression]) -> Route:
    def template(one: Template, place: str, name: str) -> Template:
        parts = (
            part
            if isinstance(part, str)
            else again(Line(route=route.name, place=place, field=name, expression=part))
            for part in one.parts
        )
        return replace(one, parts=tuple(parts))

    def line(name: str, one: SetField) -> SetField:
        if isinstance(one.template, tuple):
            return replace(one, template=tuple(template(t, one.place, name) for t in one.template))
        return replace(one, template=template(one.template, one.place, name))

    condition = route.condition and again(
        Line(route=route.name, place=route.where, field="where", expression=route.condition)
    )
    targets = tuple(
        replace(t, set={name: line(name, one) for name, one in t.set.items()}) for t in route.targets
    )
    return replace(route, condition=condition, targets=targets)
