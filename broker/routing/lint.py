"""Looks for what is allowed but hardly meant: conditions that never hold, rows written twice, texts that do not fit.

Warnings only, each with a code of `rules.py`; what cannot be used at all is refused by `loader.py`. A rule concludes
from what the files and the adapters declare, and leaves out what it would have to guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from broker.errors import Fault, did_you_mean
from broker.hl7.er7 import parse_path
from broker.routing import allow
from broker.routing.domain import Domain
from broker.routing.engine import Route, RouteSet, RouteTarget
from broker.routing.expression import Expression, Template
from broker.routing.language import events_of
from broker.routing.lint_values import identifiers, values
from broker.routing.logic import Alternative, Demand, alternatives, both, pinned
from broker.routing.surroundings import Surroundings
from broker.routing.syntax import Call, Chain, Constant, Name, Node, walk
from broker.yamlfile.document import NodePath


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the linter says."""

    faults: tuple[Fault, ...]
    """Warnings, in the order of the files."""
    allowed: int
    """How many a comment silenced (`# lint: allow CODE REASON`)."""


def lint(routes: RouteSet, around: Surroundings | None = None) -> Report:
    """Warnings of every route, and what is hardly meant in their surroundings."""
    around = around or Surroundings()
    linters = [
        _Linter(route, Domain(events=route.events, tables=routes.tables, around=around))
        for route in routes.routes
    ]
    faults = [fault for linter in linters for fault in linter.faults()]
    faults += [*_same_rows(linters), *around.faults]
    sources: dict[str, str] = dict(around.texts)
    for route in routes.routes:
        sources.update(route.document.sources)
    once = {(f.file, f.line, f.column, f.code, f.message): f for f in reversed(faults)}
    kept, allowed = allow.applied(reversed(once.values()), sources)
    return Report(faults=tuple(kept), allowed=allowed)


class _Linter:
    """One route."""

    def __init__(self, route: Route, domain: Domain) -> None:
        self.route, self.domain = route, domain
        self.ways = alternatives(route.condition.tree) if route.condition is not None else ({},)
        self.pins = pinned(self.ways or ())

    def faults(self) -> Iterator[Fault]:
        yield from self._tests()
        yield from self._events()
        yield from self._condition()
        seen: dict[tuple[str, str, str], str] = {}
        for target in self.route.targets:
            key = (target.kind, target.destination, target.send)
            path: NodePath = ("to", target.index)
            if key in seen:
                yield self.warning("same-target", path, f"sends the same as {seen[key]}", key=True)
            seen.setdefault(key, target.place)
            yield from self._target(target, (*path, "set"))

    def warning(self, code: str, path: NodePath, message: str, hint: str = "", **where: Any) -> Fault:
        return self.route.document.fault(path, message, hint, code=code, severity="warning", **where)

    def at(
        self, code: str, path: NodePath, expression: Expression, node: Node, message: str, hint: str = ""
    ) -> Fault:
        """A warning at a part of an expression, wherever in the text of the value it stands."""
        text = str(self.route.document.get(path))
        start = text.find(f"${{{expression.source}}}")
        moved = 0 if start < 0 else start + 2
        return self.warning(code, path, message, hint, offset=moved + node.start, end=moved + node.end)

    # --- the route as a whole ---

    def _tests(self) -> Iterator[Fault]:
        route = self.route
        if not route.tests:
            yield self.warning("no-tests", ("route",), f"route '{route.name}' has no tests")
            return
        expected = {
            name for test in route.tests.values() for name, found in test.expect.outputs.items() if found
        }
        for target in route.targets:
            if not expected & {target.destination, f"{target.kind}.{target.destination}"}:
                message = f"no test expects anything at '{target.destination}'"
                hint = f"Let a test expect {target.destination}: [{{ … }}]."
                yield self.warning("untested-target", ("to", target.index, target.kind), message, hint)

    def _events(self) -> Iterator[Fault]:
        made = self.domain.around.made
        if made is None:
            return
        for number, pattern in enumerate(self.route.document.get(("on",))):
            if not made.intersection(events_of((pattern,))):
                hint = did_you_mean(pattern, sorted(made))
                yield self.warning("no-source", ("on", number), f"no listener makes {pattern}", hint)

    def _condition(self) -> Iterator[Fault]:
        condition = self.route.condition
        if condition is None:
            return
        yield from self._reads(("where",), condition)
        reason, hint = never(condition.tree, condition.source, self.domain)
        if reason:
            message = f"this condition can never hold: {reason}"
            yield self.at("never-true", ("where",), condition, condition.tree, message, hint)
            return
        tree = condition.tree
        for side in tree.operands if isinstance(tree, Chain) and tree.sign == "||" else ():
            reason, hint = never(side, condition.source, self.domain)
            if reason:
                message = f"this side of the || can never hold: {reason}"
                yield self.at("never-true", ("where",), condition, side, message, hint)

    def _reads(self, path: NodePath, expression: Expression) -> Iterator[Fault]:
        """Lookups and msg() that can only come back empty."""
        segments = self.domain.around.segments(self.domain.events) if expression.paths else None
        for call in _calls(expression):
            if call.function == "lookup":
                table = self.domain.tables[_constant(call.arguments[0])]
                keys = self.domain.keys(call.arguments[1])
                if keys and not any(key in table.rows for key in keys):
                    hint = did_you_mean(min(keys), table.rows)
                    message = f"table '{table.name}' has no row for what is looked up here"
                    yield self.at("no-row", path, expression, call.arguments[1], message, hint)
            elif call.function == "msg" and segments is not None:
                segment = parse_path(_constant(call.arguments[0])).segment
                if segment not in segments and not segment.startswith("Z"):
                    message = f"no message behind {_roots(self.domain)} has a segment {segment}"
                    yield self.at("no-segment", path, expression, call.arguments[0], message)

    # --- a target ---

    def _target(self, target: RouteTarget, path: NodePath) -> Iterator[Fault]:
        yield from self._protected(target)
        for name, line in target.set.items():
            several = isinstance(line.template, tuple)
            for number, template in enumerate(
                line.template if isinstance(line.template, tuple) else (line.template,)
            ):
                at: NodePath = (*path, name, number) if several else (*path, name)
                for expression in template.expressions:
                    yield from self._reads(at, expression)
                    yield from self._empty(at, expression)
                    yield from self._private(at, expression, target)
                yield from self._values(at, name, template, target)
        for name, other in identifiers(target):
            hint = f"Set {other} as well."
            yield self.warning(
                "missing-issuer", (*path, name), "the identifier is set without its issuer", hint, key=True
            )

    def _protected(self, target: RouteTarget) -> Iterator[Fault]:
        at = ("to", target.index)
        if target.purpose == "contact" and target.protected is None:
            message = f"'{target.destination}' gets no message about a patient whose address is protected"
            hint = "Say protected: withhold, or allow where it is cleared for them."
            yield self.warning("protected-unsaid", (*at, "purpose"), message, hint)
        elif target.purpose != "contact" and target.protected is not None:
            message = "no address leaves on a route that is not for contact"
            yield self.warning("idle-protected", (*at, "protected"), message, "Take the line out.", key=True)

    def _empty(self, path: NodePath, expression: Expression) -> Iterator[Fault]:
        for node in walk(expression.tree):
            if isinstance(node, Name) and self.domain.is_empty(node.name):
                message = f"{node.name} is always empty in {_roots(self.domain)}"
                yield self.at("always-empty", path, expression, node, message)

    def _private(self, path: NodePath, expression: Expression, target: RouteTarget) -> Iterator[Fault]:
        for call in _calls(expression) if target.purpose != "contact" else ():
            if call.function == "msg" and _constant(call.arguments[0]).startswith("Z"):
                message = (
                    "what a Z-segment holds only its sender knows, and this route is not for contact data"
                )
                yield self.at("private-segment", path, expression, call.arguments[0], message)

    def _values(self, path: NodePath, name: str, template: Template, target: RouteTarget) -> Iterator[Fault]:
        keyword = name if target.kind == "worklist" else ""
        charsets = self.domain.around.charsets.get(target.destination, {})
        for found in values(template, keyword, charsets, self.domain):
            if found.expression is None or found.node is None:
                yield self.warning(found.code, path, found.message)
            else:
                yield self.at(found.code, path, found.expression, found.node, found.message)


# --- conditions ---


def never(tree: Node, source: str, domain: Domain) -> tuple[str, str]:
    """Why a condition cannot hold, and a suggestion; two empty texts where it can, or nobody can tell."""
    ways = alternatives(tree)
    if ways is None:
        return "", ""
    if not ways:
        return "it says false", ""
    reasons = [_unmet(way, source, domain) for way in ways]
    if all(reason for reason, _ in reasons):
        return reasons[0]
    for event in domain.events:
        here = domain.at(event)
        if any(not _unmet(way, source, here)[0] for way in ways):
            return "", ""
    return f"not in {' nor in '.join(domain.events)}", ""


def _unmet(way: Alternative, source: str, domain: Domain) -> tuple[str, str]:
    """Why an alternative cannot hold: the first demand that nothing can meet."""
    for demand in way.values():
        subject = demand.subject
        said = source[subject.start : subject.end]
        if not demand.can_hold:
            return f"{said} cannot be both", ""
        if domain.narrowed(demand).can_hold:
            continue
        if not isinstance(subject, Name):
            return f"{said} is never so", ""
        if subject.name == "type":
            return "type is none of these", ""
        if domain.is_empty(subject.name):
            return f"{subject.name} is always empty in {_roots(domain)}", ""
        return f"{subject.name} is never that", _suggested(demand, domain)
    return "", ""


def _suggested(demand: Demand, domain: Domain) -> str:
    known = sorted(str(value) for value in domain.values(demand.subject) or () if value != "")
    near = next(
        (h for word in sorted(map(str, demand.allowed or ())) if (h := did_you_mean(word, known))), ""
    )
    return near or (f"It is one of {', '.join(known)}." if known else "")


def _same_rows(linters: list[_Linter]) -> Iterator[Fault]:
    """Routes that may write the row that an earlier one wrote."""
    writers = sorted(
        (
            (target.destination, number, linter, target)
            for number, linter in enumerate(linters)
            for target in linter.route.targets
            if target.kind == "worklist"
        ),
        key=lambda writer: (writer[0], writer[1], writer[3].index),
    )
    for _, group in groupby(writers, key=lambda writer: writer[0]):
        before: list[_Linter] = []
        for destination, _, linter, target in group:
            if linter in before:
                continue
            other = next((other for other in before if _meet(other, linter)), None)
            before.append(linter)
            if other is not None:
                message = f"route '{other.route.name}' ({other.route.place}) writes the same rows of '{destination}'"
                hint = "Let their where: exclude each other."
                yield linter.warning("same-row", ("to", target.index, "worklist"), message, hint)


def _meet(one: _Linter, other: _Linter) -> bool:
    """Whether one event can be the business of both, as far as can be told."""
    if any(values.isdisjoint(other.pins[key]) for key, values in one.pins.items() if key in other.pins):
        return False
    events = [event for event in one.route.events if event in other.route.events]
    if not events or one.ways is None or other.ways is None:
        return False
    for first in one.ways:
        for second in other.ways:
            joined = both(first, second)
            if all(joined[key].can_hold for key in second) and any(
                _possible(joined, one.domain.at(event)) for event in events
            ):
                return True
    return False


def _possible(way: Alternative, domain: Domain) -> bool:
    return all(domain.narrowed(demand).can_hold for demand in way.values())


def _roots(domain: Domain) -> str:
    """`step.* and order.*`."""
    return " and ".join(dict.fromkeys(f"{event.partition('.')[0]}.*" for event in domain.events))


def _calls(expression: Expression) -> Iterator[Call]:
    return (node for node in walk(expression.tree) if isinstance(node, Call) and not node.method)


def _constant(node: Node) -> str:
    """What the compiler made sure is a text."""
    return str(node.value) if isinstance(node, Constant) else ""
