"""Expressions and `${ … }` texts, compiled: what they are, what they use, what they come to.

Reads no event: the caller gives the facts (`View.facts()`) and the source message. How a tree becomes code is
`compiler.py`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.hl7.edit import Verbatim, escape
from broker.hl7.er7 import Message
from broker.routing.compiler import WORDS, Code, Compiler, Scope
from broker.routing.syntax import Call, ExpressionError, Node, parse, walk
from broker.view import FactType

__all__ = [
    "Expression",
    "Scope",
    "Template",
    "compile_condition",
    "compile_expression",
    "compile_template",
    "compile_tree",
    "literal_template",
]

Value = str | int | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A compiled expression."""

    source: str
    tree: Node
    type: FactType
    fallible: Call | None
    """The first part of it that can fail where nothing says what happens then."""
    names: frozenset[str]
    paths: frozenset[str]
    """HL7 paths it reads of the source message."""
    tables: frozenset[str]
    run: Code = field(repr=False)
    """Facts and source message to value; raises `SkipError` and `ParkError`, and `FailedError` when fallible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A scalar of a route's `set:`: literal text, one whole expression, or text with expressions in it."""

    parts: tuple[str | Expression, ...]
    er7: bool = False
    """It is for a whole HL7 field: what the file says is ER7 as it stands, and so are whole fields of the
    source message; every other value is text and will be escaped."""

    @property
    def expressions(self) -> tuple[Expression, ...]:
        return tuple(part for part in self.parts if isinstance(part, Expression))

    @property
    def literal(self) -> str | None:
        """The text, when no expression is in it."""
        return None if self.expressions else "".join(str(part) for part in self.parts)

    @property
    def is_list(self) -> bool:
        return len(self.parts) == 1 and isinstance(self.parts[0], Expression) and self.parts[0].type == "list"

    def value(self, facts: Mapping[str, Any], message: Message | None) -> str | tuple[str, ...]:
        """Raises `SkipError`: leave the line out; `ParkError`: a person must look."""
        values: list[Any] = [p if isinstance(p, str) else p.run(facts, message) for p in self.parts]
        if self.is_list:
            items: tuple[str, ...] = values[0]
            return items
        if not self.er7:
            return "".join(str(value) for value in values)
        return Verbatim(
            "".join(
                value if isinstance(part, str) or isinstance(value, Verbatim) else escape(str(value))
                for part, value in zip(self.parts, values, strict=True)
            )
        )


def compile_condition(source: str, scope: Scope) -> Expression:
    """An expression for `where:`; raises `ExpressionError`."""
    expression = compile_expression(source, scope)
    if expression.type != "bool":
        raise ExpressionError(
            f"a condition must be true or false, this is {WORDS[expression.type]}", 0, end=len(source)
        )
    if expression.fallible:
        raise _unhandled(expression.fallible, source, ("default",))
    for node in walk(expression.tree):
        if isinstance(node, Call) and node.function in ("skip", "park"):
            message = f"a condition is true or false, there is nothing to {node.function}"
            raise ExpressionError(message, node.start, end=node.end, hint="Write default(x, y).")
    return expression


def compile_expression(source: str, scope: Scope) -> Expression:
    """Raises `ExpressionError`, with a suggestion where a name is nearly right."""
    return compile_tree(source, parse(source), scope)


def compile_tree(source: str, tree: Node, scope: Scope) -> Expression:
    """As `compile_expression`, of a part of an expression already parsed."""
    compiler = Compiler(scope)
    code, done = compiler.code(tree)
    return Expression(
        source=source,
        tree=tree,
        type=done.type,
        fallible=done.fallible,
        names=frozenset(compiler.names),
        paths=frozenset(compiler.paths),
        tables=frozenset(compiler.tables),
        run=code,
    )


def compile_template(text: str, scope: Scope, *, er7: bool = False) -> Template:
    """Raises `ExpressionError` with offsets in `text`. `$${` stands for a literal `${`."""
    parts: list[str | Expression] = []
    at = 0
    spans = _spans(text)
    # White space around a lone expression is YAML's folding, not a part of the value.
    alone = len(spans) == 1 and not f"{text[: spans[0][0]]}{text[spans[0][1] + 1 :]}".strip()
    for start, end in spans:
        parts.append(text[at:start].replace("$${", "${"))
        source = text[start + 2 : end]
        if source.startswith("env:"):
            raise ExpressionError("an environment reference must be the whole text", start, end=end + 1)
        if source.startswith("file:"):
            hint = "Secrets stand in config/broker.yaml, as {file: …}."
            raise ExpressionError(
                "a route reads no files: what it sets leaves", start, end=end + 1, hint=hint
            )
        try:
            expression = compile_expression(source, scope)
            _check_settable(expression, alone=alone)
        except ExpressionError as error:
            raise error.moved(start + 2) from None
        parts.append(expression)
        at = end + 1
    if alone:
        return Template(parts=(parts[1],), er7=er7)
    parts.append(text[at:].replace("$${", "${"))
    return Template(parts=tuple(part for part in parts if part != ""), er7=er7)


def literal_template(text: str, *, er7: bool = False) -> Template:
    """A text in which nothing is an expression."""
    return Template(parts=(text,) if text else (), er7=er7)


_INSIDE = re.compile(r"""(?:[^"'}]|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')*""", re.DOTALL)


def _spans(text: str) -> list[tuple[int, int]]:
    """Where the `${` and the `}` of every expression in a text stand."""
    found, at = [], 0
    while (start := text.find("${", at)) >= 0:
        if start and text[start - 1] == "$":
            at = start + 2
            continue
        match = _INSIDE.match(text, start + 2)
        end = match.end() if match else start
        if text[end : end + 1] != "}":
            raise ExpressionError(
                "'${' has no '}'", start, end=start + 2, hint="Write $${ for these two signs."
            )
        found.append((start, end))
        at = end + 1
    return found


_CATCHES: Mapping[str, str] = {
    "default": "default({0}, …)",
    "skip": "skip({0}) to leave this line out",
    "park": "park({0}) to hold the output for a person",
}


def _unhandled(failing: Call, source: str, catches: tuple[str, ...]) -> ExpressionError:
    written = source[failing.start : failing.end]
    shown = written if len(written) <= 50 else f"{failing.function}(…)"
    hint = " or ".join(_CATCHES[name].format(shown) for name in catches)
    return ExpressionError(
        f"{failing.function} can fail, and nothing says what happens then",
        failing.start,
        end=failing.end,
        hint=f"Write {hint}.",
    )


def _check_settable(expression: Expression, *, alone: bool) -> None:
    """What is set must be text, or a list that stands alone, and say what happens where it fails."""
    if expression.fallible:
        raise _unhandled(expression.fallible, expression.source, tuple(_CATCHES))
    if expression.type in ("string", "int") or (alone and expression.type == "list"):
        return
    hints: Mapping[FactType, str] = {
        "name": "Write pn(…), or name a part of it such as .family.",
        "list": "Write first(…), or let it stand alone.",
        "bool": "Write … ? 'yes' : 'no'.",
    }
    raise ExpressionError(
        f"this is {WORDS[expression.type]}, but text is needed",
        expression.tree.start,
        end=expression.tree.end,
        hint=hints[expression.type],
    )
