"""Where the value of a `set:` line came from: the field, the table row, the literal or the HL7 path that gave it. Pure.

It follows the branches that were taken for this event; it does not judge whether they were the right ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from broker.hl7.er7 import Message
from broker.routing.expression import Expression, Scope, Template, compile_tree
from broker.routing.forms import FailedError
from broker.routing.functions import FUNCTIONS
from broker.routing.syntax import Call, Chain, Choice, Constant, Items, Name, Node, Not, Relation
from broker.view import TIME


class Origin(NamedTuple):
    """One thing that a value was made of."""

    kind: Literal["text", "field", "table", "miss", "message"]
    """`miss`: a table that has no row for the code. `message`: an HL7 path of the source message."""
    name: str
    """The field (`step.modality`), the table, the path; of a text nothing."""
    place: str = ""
    """The table's row that held then, `config/stations.csv:7`; of a miss the table's file."""
    code: str = ""
    """The code that was looked up."""


def origins(
    template: Template | tuple[Template, ...], scope: Scope, facts: Mapping[str, Any], message: Message | None
) -> tuple[Origin, ...]:
    """What the value of a `set:` line is made of for these facts, each once, in the order of the file."""
    templates = (template,) if isinstance(template, Template) else template
    found: list[Origin] = []
    for part in (part for one in templates for part in one.parts):
        if isinstance(part, Expression):
            found += _Reader(part.source, scope, facts, message).of(part.tree)
        else:
            found.append(Origin("text", ""))
    return tuple(dict.fromkeys(found))


class _Reader:
    """One expression with the facts it was evaluated on."""

    def __init__(self, source: str, scope: Scope, facts: Mapping[str, Any], message: Message | None) -> None:
        self._source, self._scope, self._facts, self._message = source, scope, facts, message

    def of(self, node: Node) -> Iterator[Origin]:
        match node:
            case Constant(value=str()):
                yield Origin("text", "")
            case Name(name=name):
                yield Origin("field", name)
            case Choice(condition=condition, then=then, otherwise=otherwise):
                yield from self.of(then if self._value(condition) else otherwise)
            case Call(function="msg", arguments=(Constant(value=path),)):
                yield Origin("message", str(path))
            case Call(function="default", arguments=(one, other)):
                yield from self.of(one if self._value(one) else other)
            case Call(function="lookup", arguments=(Constant(value=table), key, *rest)):
                yield from self._lookup(str(table), key, rest)
            case Call(function=function, arguments=parts, method=False):
                words = FUNCTIONS[function].words  # they say how, not what
                for number, part in enumerate(parts):
                    if number not in words:
                        yield from self.of(part)
            case Call(arguments=parts) | Chain(operands=parts) | Items(items=parts):
                for part in parts:
                    yield from self.of(part)
            case Relation(left=left, right=right):
                yield from self.of(left)
                yield from self.of(right)
            case Not(operand=operand):
                yield from self.of(operand)

    def _lookup(self, name: str, key: Node, rest: list[Node]) -> Iterator[Origin]:
        table = self._scope.tables[name]
        value = self._value(key)
        codes = (value,) if isinstance(value, str) else tuple(value or ())
        at = self._facts[TIME]
        hit = next((code for code in codes if table.row(code, at) is not None), None)
        if hit is not None:
            yield Origin("table", name, table.place(hit, at), hit)
            yield from self.of(key)
        elif rest and self._value(rest[0]):
            yield from self.of(rest[0])
        else:
            yield Origin("miss", name, table.file, ", ".join(code for code in codes if code))
            yield from self.of(key)

    def _value(self, node: Node) -> Any:
        """What a part of the expression came to; None where it failed."""
        try:
            return compile_tree(self._source, node, self._scope).run(self._facts, self._message)
        except FailedError:
            return None
