"""Evaluates routes: one event in, the targets it goes to out. Pure: the same event gives the same targets.

Renders nothing and sends nothing. A target with a value that `park` caught fails alone, beside the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from broker.adapter import Kind, Target
from broker.errors import UnmappableError
from broker.event import EVENT_TYPES
from broker.routing.expression import Expression, Scope, Template, compile_tree
from broker.routing.forms import ParkError, SkipError
from broker.routing.language import OnFailure, RouteTest
from broker.routing.provenance import Origin, origins
from broker.routing.syntax import Chain, Node
from broker.routing.tables import Table
from broker.view import View
from broker.yamlfile.document import Document

REFRESH: Final = "step.changed"
"""The event as which a step is seen when only its patient changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetField:
    """One line of a target's `set:`."""

    template: Template | tuple[Template, ...]
    place: str

    def value(self, facts: Mapping[str, Any], message: Any) -> str | tuple[str, ...]:
        if isinstance(self.template, Template):
            return self.template.value(facts, message)
        return tuple(str(part.value(facts, message)) for part in self.template)


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTarget:
    """One `to:` of a route, compiled."""

    place: str
    kind: Kind
    destination: str
    send: str = ""
    purpose: Literal["care", "contact"] = "care"
    protected: Literal["withhold", "allow"] | None = None
    """None: the route says nothing, and they are withheld."""
    set: Mapping[str, SetField] = field(default_factory=dict)
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route, compiled."""

    name: str
    file: str
    line: int
    description: str = ""
    enabled: bool = True
    events: tuple[str, ...] = ()
    condition: Expression | None = None
    where: str = ""
    """Place of the condition."""
    targets: tuple[RouteTarget, ...] = ()
    on_failure: OnFailure = field(default_factory=OnFailure)
    tests: Mapping[str, RouteTest] = field(default_factory=dict)
    """By the place where they stand."""
    document: Document = field(repr=False, compare=False)
    """The file, for whoever tells of a place in it."""

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A target that matched but could not be made: only a person can help (add the code to the table)."""

    target: Target
    """As far as it got: `set` holds what could be evaluated."""
    error: UnmappableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """What one event comes to."""

    targets: tuple[Target, ...] = ()
    withheld: tuple[Target, ...] = ()
    """Those that would tell an address that is protected: nothing is evaluated for them, and nothing leaves."""
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteVerdict:
    """What one route says to an event, and why."""

    route: str
    place: str
    """The line that decided."""
    matched: bool
    reason: str


class RouteSet:
    """All routes of a site, immutable; evaluating is thread-safe."""

    def __init__(self, routes: Iterable[Route], *, version: str, scope: Scope | None = None) -> None:
        self.routes = tuple(routes)
        self.version = version
        self._scope = scope or Scope()
        self._by_name = {route.name: route for route in self.routes}
        enabled = [route for route in self.routes if route.enabled]
        self._by_event = {
            event: tuple((r.condition.run if r.condition else None, r) for r in enabled if event in r.events)
            for event in EVENT_TYPES
        }

    @property
    def tables(self) -> Mapping[str, Table]:
        """The code tables that the routes were read with."""
        return self._scope.tables

    def __getitem__(self, name: str) -> Route:
        return self._by_name[name]

    def route(self, view: View) -> Routed:
        """Targets of an event in the order of the files, and those that failed."""
        return self._route(view, view.event.type, None)

    def worklist_targets(self, view: View) -> list[Target]:
        """Only the worklist targets of a step, as if it just changed; `view.event` is its latest event."""
        return list(self._route(view, REFRESH, "worklist").targets)

    def explain(self, view: View) -> list[RouteVerdict]:
        """What every route says to this event; never a value of it."""
        facts = view.facts()
        return [self._verdict(route, view, facts) for route in self.routes]

    def origins(self, view: View, target: Target) -> Mapping[str, tuple[str, tuple[Origin, ...]]]:
        """By the name of each `set:` line of a target that was made of this view: place, and what gave the value."""
        facts = view.facts()
        lines = next(t for t in self[target.route].targets if t.index == target.index).set
        return {
            name: (line.place, origins(line.template, self._scope, facts, view.message))
            for name, line in lines.items()
            if name in target.set  # `skip(…)` may have left it out
        }

    def _route(self, view: View, event_type: str, only: Kind | None) -> Routed:
        routes = self._by_event[event_type]
        if not routes:
            return Routed()
        facts, message = view.facts(), view.message
        facts["type"] = event_type
        targets: list[Target] = []
        withheld: list[Target] = []
        failures: list[Failure] = []
        for condition, route in routes:
            if condition is not None and not condition(facts, message):
                continue
            for target in route.targets:
                if view.protected and target.purpose == "contact" and target.protected != "allow":
                    withheld.append(self._target(route, target, {}))
                elif only is None or target.kind == only:
                    made, error = self._make(route, target, facts, message)
                    if error is None:
                        targets.append(made)
                    else:
                        failures.append(Failure(target=made, error=error))
        return Routed(targets=tuple(targets), withheld=tuple(withheld), failures=tuple(failures))

    def _make(
        self, route: Route, target: RouteTarget, facts: Mapping[str, Any], message: Any
    ) -> tuple[Target, UnmappableError | None]:
        values: dict[str, str | tuple[str, ...]] = {}
        error: UnmappableError | None = None
        for name, line in target.set.items():
            try:
                values[name] = line.value(facts, message)
            except SkipError:
                continue
            except ParkError as failure:
                error = error or UnmappableError(
                    f"{line.place}: {name}: {failure}", error_code=failure.error_code
                )
        return self._target(route, target, values), error

    def _target(
        self, route: Route, target: RouteTarget, values: Mapping[str, str | tuple[str, ...]]
    ) -> Target:
        return Target(
            route=route.name,
            version=self.version,
            place=target.place,
            kind=target.kind,
            destination=target.destination,
            send=target.send,
            set=values,
            purpose=target.purpose,
            cleared=target.protected == "allow",
            index=target.index,
        )

    def _verdict(self, route: Route, view: View, facts: Mapping[str, Any]) -> RouteVerdict:
        place, matched, reason = route.place, False, ""
        if not route.enabled:
            reason = "the route is not enabled"
        elif view.event.type not in route.events:
            reason = f"on: {view.event.type} is not among its events"
        elif route.condition is None:
            matched, reason = True, f"on: {view.event.type}"
        else:
            place, matched = route.where, bool(route.condition.run(facts, view.message))
            reason = f"on: {view.event.type}, where: true"
            if not matched:
                reason = f"where: not true is {self._culprit(route.condition, view, facts)}"
        return RouteVerdict(route=route.name, place=place, matched=matched, reason=reason)

    def _culprit(self, condition: Expression, view: View, facts: Mapping[str, Any]) -> str:
        """The first operand of a condition's `&&` that is false, as it stands in the file."""
        operands: tuple[Node, ...] = (condition.tree,)
        if isinstance(condition.tree, Chain) and condition.tree.sign == "&&":
            operands = condition.tree.operands
        for node in operands:
            if not compile_tree(condition.source, node, self._scope).run(facts, view.message):
                return condition.source[node.start : node.end]
        return condition.source
