"""What a condition demands: whether it can hold, and whether two can hold of the same event. Pure.

A condition is taken apart into alternatives (disjunctive normal form), each a set of demands on fields and calls. Only
what follows from constants and from the values that a field can have is concluded: a demand that is not understood
keeps nothing apart but its own negation. What cannot be taken apart within bounds counts as able to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import product

from broker.routing.syntax import Call, Chain, Choice, Constant, Items, Node, Not, Relation

Scalar = str | int | bool
MAX_ALTERNATIVES = 64

_FLIPPED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
_METHODS: Mapping[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
}

Shape = str
"""A part of an expression without its place: what makes two of them the same. Text, because its hash is kept."""


def shape(node: Node) -> Shape:
    """The node without where it stands."""
    parts = []
    for each in fields(node):
        value = getattr(node, each.name)
        if each.name in ("start", "end"):
            continue
        if isinstance(value, Node):
            value = shape(value)
        elif isinstance(value, tuple):
            value = [shape(part) for part in value]
        parts.append(repr(value))
    return f"{type(node).__name__}({', '.join(parts)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one alternative asks of one field or call."""

    subject: Node
    allowed: frozenset[Scalar] | None = None
    """The values it may have; None: any."""
    denied: frozenset[Scalar] = frozenset()
    orders: tuple[tuple[str, Scalar], ...] = ()
    """`("<", 5)`: comparisons that must hold."""
    forms: tuple[tuple[str, str, bool], ...] = ()
    """`("startsWith", "CT", True)`: what must hold of the text, or must not."""

    def joined(self, other: Demand) -> Demand:
        """Both at once."""
        allowed = self.allowed if other.allowed is None else other.allowed
        if self.allowed is not None and other.allowed is not None:
            allowed = self.allowed & other.allowed
        return replace(
            self,
            allowed=allowed,
            denied=self.denied | other.denied,
            orders=(*self.orders, *other.orders),
            forms=(*self.forms, *other.forms),
        )

    def within(self, values: frozenset[Scalar]) -> Demand:
        """The same of a field that can have only these values."""
        return self.joined(Demand(subject=self.subject, allowed=values))

    @property
    def can_hold(self) -> bool:
        """False only where nothing can meet the demand."""
        if self.allowed is not None:
            return any(self.takes(value) for value in self.allowed)
        return not (self._crossed() or self._torn())

    def takes(self, value: Scalar) -> bool:
        """Whether the value meets the demand."""
        return (
            (self.allowed is None or value in self.allowed)
            and value not in self.denied
            and all(_compared(value, sign, than) for sign, than in self.orders)
            and all(_METHODS[m](str(value), argument) == wanted for m, argument, wanted in self.forms)
        )

    def _crossed(self) -> bool:
        """The comparisons leave no room."""
        lows = [(than, sign == ">") for sign, than in self.orders if sign in (">", ">=")]
        highs = [(than, sign == "<") for sign, than in self.orders if sign in ("<", "<=")]
        for (low, low_open), (high, high_open) in product(lows, highs):
            if isinstance(low, int) and isinstance(high, int):
                first, last = low + low_open, high - high_open
                room = range(first, min(last, first + len(self.denied)) + 1)
                if first > last or all(number in self.denied for number in room):
                    return True
            elif _compared(low, ">", high) or (low == high and (low_open or high_open or low in self.denied)):
                return True
        return False

    def _torn(self) -> bool:
        """Two texts cannot both begin (or end) it, or what begins it must not stand in it."""
        for (method, one, wanted), (other_method, other, also) in product(self.forms, self.forms):
            if wanted and also and method == other_method and method != "contains":
                long, short = sorted((one, other), key=len, reverse=True)
                if not _METHODS[method](long, short):
                    return True
            denies = wanted and not also and other_method in (method, "contains")
            if denies and _METHODS[other_method](one, other):
                return True
        return False


def _compared(value: Scalar, sign: str, than: Scalar) -> bool:
    if isinstance(value, str) != isinstance(than, str):
        return False
    one, other = (value, than) if isinstance(value, str) else (int(value), int(than))
    return bool(
        {"<": one < other, "<=": one <= other, ">": one > other, ">=": one >= other}[sign]  # type: ignore[operator]
    )


Alternative = Mapping[Shape, Demand]
"""Demands that must all be met, by the shape of their subject."""


def alternatives(tree: Node) -> tuple[Alternative, ...] | None:
    """The ways in which a condition can hold; None when there are too many to look at.

    Empty when it never can: a constant says so.
    """
    try:
        found = list(_ways(tree, positive=True))
    except _TooManyError:
        return None
    return tuple(found)


class _TooManyError(Exception):
    """More alternatives than are looked at."""


def _ways(node: Node, *, positive: bool) -> Iterator[Alternative]:
    match node:
        case Not(operand=operand):
            yield from _ways(operand, positive=not positive)
        case Constant(value=value):
            if value is positive:
                yield {}
        case Chain(sign=sign, operands=operands) if sign in ("&&", "||"):
            if (sign == "||") == positive:
                yield from _bounded(way for operand in operands for way in _ways(operand, positive=positive))
            else:
                yield from _all_of(operands, [positive] * len(operands))
        case Choice(condition=condition, then=then, otherwise=otherwise):
            yield from _all_of((condition, then), [True, positive])
            yield from _all_of((condition, otherwise), [False, positive])
        case _:
            demand = _demand(node, positive=positive)
            yield {shape(demand.subject): demand}


def _bounded(ways: Iterator[Alternative]) -> Iterator[Alternative]:
    for number, way in enumerate(ways):
        if number >= MAX_ALTERNATIVES:
            raise _TooManyError
        yield way


def _all_of(operands: tuple[Node, ...], signs: list[bool]) -> Iterator[Alternative]:
    ways: list[Alternative] = [{}]
    for operand, positive in zip(operands, signs, strict=True):
        more = list(_ways(operand, positive=positive))
        if len(ways) * len(more) > MAX_ALTERNATIVES:
            raise _TooManyError
        ways = [both(one, other) for one in ways for other in more]
    yield from ways


def pinned(ways: tuple[Alternative, ...]) -> Mapping[Shape, frozenset[Scalar]]:
    """The subjects of which every way allows certain values only, and these. Two sets of ways that pin one subject
    to other values have nothing in common."""
    found: dict[Shape, frozenset[Scalar]] = {}
    for key in ways[0] if ways else ():
        allowed = [way[key].allowed if key in way else None for way in ways]
        known = [values for values in allowed if values is not None]
        if len(known) == len(ways):
            found[key] = frozenset[Scalar]().union(*known)
    return found


def both(one: Alternative, other: Alternative) -> Alternative:
    """The demands of both."""
    joined = dict(one)
    for key, demand in other.items():
        joined[key] = joined[key].joined(demand) if key in joined else demand
    return joined


def _demand(node: Node, *, positive: bool) -> Demand:
    """What a part that is no longer taken apart asks, or its negation."""
    if isinstance(node, Relation):
        found = _relation(node, positive=positive)
        if found is not None:
            return found
    if isinstance(node, Call) and node.method and node.function in _METHODS:
        subject, argument = node.arguments
        if isinstance(argument, Constant) and not isinstance(subject, Constant):
            return Demand(subject=subject, forms=((node.function, str(argument.value), positive),))
    return Demand(subject=node, allowed=frozenset((positive,)))


def _relation(node: Relation, *, positive: bool) -> Demand | None:
    left, right, sign = node.left, node.right, node.sign
    if sign == "in":
        items = right.items if isinstance(right, Items) else ()
        values = frozenset(item.value for item in items if isinstance(item, Constant))
        if not items or isinstance(left, Constant) or not all(isinstance(item, Constant) for item in items):
            return None
        return Demand(subject=left, allowed=values) if positive else Demand(subject=left, denied=values)
    if isinstance(left, Constant) and not isinstance(right, Constant):
        left, right, sign = right, left, _FLIPPED[sign]
    if isinstance(left, Constant | Items) or not isinstance(right, Constant):
        return None
    sign = sign if positive else _OPPOSITE[sign]
    if sign == "==":
        return Demand(subject=left, allowed=frozenset((right.value,)))
    if sign == "!=":
        return Demand(subject=left, denied=frozenset((right.value,)))
    return Demand(subject=left, orders=((sign, right.value),))
