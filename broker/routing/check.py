"""Looks for what is allowed but hardly meant (untested routes, idle conditions), and shows faults to people.

Warnings only; what cannot be used at all is refused by `loader.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

from broker.errors import Fault
from broker.routing.engine import Route, RouteSet
from broker.routing.expression import Expression
from broker.routing.syntax import Chain, Constant, Items, Name, Node, Relation

_PARTS: Mapping[str, tuple[str, ...]] = {
    "step": ("step",),
    "instance": ("instance",),
    "result": ("result",),
    "order": ("order", "step", "result"),
}
"""Which events fill a part of the facts; parts that are not listed may stand in any."""


def lint(routes: RouteSet) -> list[Fault]:
    """Warnings, in the order of the files."""
    return [fault for route in routes.routes for fault in _lint(route)]


def _lint(route: Route) -> Iterator[Fault]:
    if not route.tests:
        yield _warning(route.place, "no-tests", f"route '{route.name}' has no tests")
    if route.condition is not None:
        reason = _never(route.condition, route.events)
        if reason:
            yield _warning(route.where, "never-true", f"this condition can never hold: {reason}")
    seen: dict[tuple[str, str, str], str] = {}
    for target in route.targets:
        key = (target.kind, target.destination, target.send)
        if key in seen:
            yield _warning(target.place, "same-target", f"sends the same as {seen[key]}")
        seen.setdefault(key, target.place)


def _warning(place: str, code: str, message: str) -> Fault:
    file, _, line = place.rpartition(":")
    return Fault(file=file, line=int(line), column=1, message=f"{message}.", code=code, severity="warning")


def _never(condition: Expression, events: tuple[str, ...]) -> str:
    """Why a condition cannot hold, for the simple cases: constants, and equalities joined by `&&`."""
    tree = condition.tree
    operands = tree.operands if isinstance(tree, Chain) and tree.sign == "&&" else (tree,)
    allowed: dict[str, frozenset[str]] = {"type": frozenset(events)}
    for operand in operands:
        if isinstance(operand, Constant) and operand.value is False:
            return "it says false"
        name, values = _equality(operand)
        if not name:
            continue
        part = name.partition(".")[0]
        if (
            part in _PARTS
            and "" not in values
            and not any(e.partition(".")[0] in _PARTS[part] for e in events)
        ):
            roots = dict.fromkeys(f"{event.partition('.')[0]}.*" for event in events)
            return f"{name} is always empty in {' and '.join(roots)}"
        allowed[name] = allowed.get(name, values) & values
        if not allowed[name]:
            return f"{name} is none of these" if name == "type" else f"{name} cannot be both"
    return ""


def _equality(node: Node) -> tuple[str, frozenset[str]]:
    """The field and the texts it must be one of; an empty name when the node says nothing so simple."""
    if isinstance(node, Relation) and isinstance(node.left, Name) and node.sign in ("==", "in"):
        items = node.right.items if isinstance(node.right, Items) else (node.right,)
        values = [item.value for item in items if isinstance(item, Constant) and isinstance(item.value, str)]
        if len(values) == len(items):
            return node.left.name, frozenset(values)
    return "", frozenset()


def render_faults(faults: Iterable[Fault], sources: Mapping[str, str]) -> str:
    """Faults for a person: place, message, the line with a caret, what to do. `sources`: file to its text."""
    blocks = []
    for fault in faults:
        lines = sources.get(fault.file, "").split("\n")
        code = f"[{fault.code}]" if fault.code else ""
        block = [
            f"{fault.severity}{code}: {fault.message}",
            f"  --> {fault.file}:{fault.line}:{fault.column}",
        ]
        if fault.line <= len(lines) and lines[fault.line - 1].strip():
            number, text = str(fault.line), lines[fault.line - 1].expandtabs(1)
            gutter = " " * len(number)
            block += [f"{gutter} |", f"{number} | {text}", f"{gutter} | {' ' * (fault.column - 1)}^"]
        if fault.hint:
            block.append(f"  = {fault.hint}")
        blocks.append("\n".join(block))
    return "\n\n".join(blocks)


def faults_json(faults: Iterable[Fault]) -> str:
    """Faults for a program: a JSON list of objects with the fields of `Fault`."""
    return json.dumps([asdict(fault) for fault in faults], ensure_ascii=False, indent=2)
