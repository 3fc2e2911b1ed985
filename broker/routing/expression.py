"""Compiles expressions and `${ … }` texts to Python code objects, with every name and type checked first.

Reads no event: the caller gives the facts (`View.facts()`) and the source message. The code is built as a
Python syntax tree of constants and a closed set of operations, never of text, and runs without builtins.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.hl7.edit import Verbatim, escape
from broker.hl7.er7 import Message, parse_path
from broker.routing import functions
from broker.routing.syntax import (
    Call,
    Chain,
    Choice,
    Constant,
    ExpressionError,
    Items,
    Name,
    Node,
    Not,
    Relation,
    parse,
)
from broker.routing.tables import Table
from broker.view import FactType, catalogue
from broker.yamlfile import did_you_mean

Value = str | int | bool | tuple[str, ...]
Code = Callable[[Mapping[str, Any], Message | None], Any]

_WORDS: Mapping[FactType, str] = {
    "string": "text",
    "list": "a list",
    "bool": "true or false",
    "int": "a whole number",
    "name": "a name",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What an expression may use."""

    names: Mapping[str, FactType] = field(default_factory=catalogue)
    tables: Mapping[str, Table] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """A compiled expression."""

    source: str
    tree: Node
    type: FactType
    fallible: bool
    """A lookup in it can miss and nothing in it says what happens then."""
    names: frozenset[str]
    paths: frozenset[str]
    """HL7 paths it reads of the source message."""
    tables: frozenset[str]
    run: Code = field(repr=False)
    """Facts and source message to value; raises `LookupMissError` when fallible."""


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
        """Raises `LookupMissError`."""
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
            f"a condition must be true or false, this is {_WORDS[expression.type]}", 0, end=len(source)
        )
    if expression.fallible:
        at = source.index("lookup")
        raise ExpressionError(
            "a lookup in a condition must say what it is when the code is unknown",
            at,
            end=at + len("lookup"),
            hint="Give it a default: lookup(table, code, '').",
        )
    return expression


def compile_expression(source: str, scope: Scope) -> Expression:
    """Raises `ExpressionError`, with a suggestion where a name is nearly right."""
    return compile_tree(source, parse(source), scope)


def compile_tree(source: str, tree: Node, scope: Scope) -> Expression:
    """As `compile_expression`, of a part of an expression already parsed."""
    compiler = _Compiler(scope)
    done = compiler.node(tree)
    arguments = ast.arguments([], [ast.arg("facts"), ast.arg("message")], None, [], [], None, [])
    module = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, done.code)))
    code: Code = eval(compile(module, "<route>", "eval"), compiler.globals)
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


def _check_settable(expression: Expression, *, alone: bool) -> None:
    """What is set must be text, or a list that stands alone."""
    if expression.type in ("string", "int") or (alone and expression.type == "list"):
        return
    hints: Mapping[FactType, str] = {
        "name": "Write pn(…), or name a part of it such as .family.",
        "list": "Write first(…), or let it stand alone.",
        "bool": "Write … ? 'yes' : 'no'.",
    }
    raise ExpressionError(
        f"this is {_WORDS[expression.type]}, but text is needed",
        expression.tree.start,
        end=expression.tree.end,
        hint=hints[expression.type],
    )


@dataclass(frozen=True, slots=True)
class _Done:
    """A compiled part."""

    code: ast.expr
    type: FactType
    fallible: bool = False


class _Compiler:
    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.names: set[str] = set()
        self.paths: set[str] = set()
        self.tables: set[str] = set()
        self.globals: dict[str, Any] = {
            "__builtins__": {},
            "attempt": functions.attempt,
            "component": functions.component,
            "first": functions.first,
            "len": len,
            "lookup": functions.lookup,
            "lookup_or": functions.lookup_or,
            "pn": functions.pn,
            "whole_field": functions.whole_field,
        }

    def node(self, node: Node) -> _Done:
        match node:
            case Constant(value=value):
                kind: FactType = (
                    "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "string"
                )
                return _Done(ast.Constant(value), kind)
            case Name():
                return self._name(node)
            case Items(items=items):
                done = [self._typed(item, "string", "a list holds text") for item in items]
                return _Done(
                    ast.Tuple([d.code for d in done], ast.Load()), "list", any(d.fallible for d in done)
                )
            case Not(operand=operand):
                inner = self._typed(operand, "bool", "'!' needs true or false")
                return _Done(ast.UnaryOp(ast.Not(), inner.code), "bool", inner.fallible)
            case Chain():
                return self._chain(node)
            case Relation():
                return self._relation(node)
            case Choice():
                return self._choice(node)
            case Call():
                return self._call(node)
        raise AssertionError(node)

    def _typed(self, node: Node, wanted: FactType, why: str) -> _Done:
        done = self.node(node)
        if done.type != wanted:
            raise ExpressionError(f"{why}, this is {_WORDS[done.type]}", node.start, end=node.end)
        return done

    def _name(self, node: Name) -> _Done:
        kind = self._scope.names.get(node.name)
        if kind is None:
            hint = did_you_mean(node.name, self._scope.names) or _unknown_name_hint(
                node.name, self._scope.names
            )
            raise ExpressionError(f"there is no field '{node.name}'", node.start, end=node.end, hint=hint)
        self.names.add(node.name)
        return _Done(ast.Subscript(_load("facts"), ast.Constant(node.name), ast.Load()), kind)

    def _chain(self, node: Chain) -> _Done:
        if node.sign == "+":
            parts = [self._typed(operand, "string", "'+' joins text") for operand in node.operands]
            code = parts[0].code
            for part in parts[1:]:
                code = ast.BinOp(code, ast.Add(), part.code)
            return _Done(code, "string", any(p.fallible for p in parts))
        parts = [
            self._typed(operand, "bool", f"'{node.sign}' needs true or false") for operand in node.operands
        ]
        sign = ast.And() if node.sign == "&&" else ast.Or()
        return _Done(ast.BoolOp(sign, [p.code for p in parts]), "bool", any(p.fallible for p in parts))

    def _relation(self, node: Relation) -> _Done:
        left, right = self.node(node.left), self.node(node.right)
        fallible = left.fallible or right.fallible
        if node.sign == "in":
            if left.type != "string" or right.type != "list":
                message = f"'in' needs text on its left and a list on its right, this is {_WORDS[left.type]}"
                raise ExpressionError(f"{message} and {_WORDS[right.type]}", node.start, end=node.end)
        elif left.type != right.type or left.type == "name":
            message = (
                f"'{node.sign}' compares two of a kind, this is {_WORDS[left.type]} and {_WORDS[right.type]}"
            )
            hint = "Write 'x' in the list." if "list" in (left.type, right.type) else ""
            raise ExpressionError(message, node.start, end=node.end, hint=hint)
        elif node.sign not in ("==", "!=") and left.type not in ("string", "int"):
            raise ExpressionError(
                f"'{node.sign}' orders text or whole numbers only", node.start, end=node.end
            )
        signs: Mapping[str, ast.cmpop] = {
            "==": ast.Eq(),
            "!=": ast.NotEq(),
            "<": ast.Lt(),
            "<=": ast.LtE(),
            ">": ast.Gt(),
            ">=": ast.GtE(),
            "in": ast.In(),
        }
        return _Done(ast.Compare(left.code, [signs[node.sign]], [right.code]), "bool", fallible)

    def _choice(self, node: Choice) -> _Done:
        condition = self._typed(node.condition, "bool", "'?' needs true or false before it")
        then, otherwise = self.node(node.then), self.node(node.otherwise)
        if then.type != otherwise.type:
            message = (
                f"both choices must be of a kind, this is {_WORDS[then.type]} and {_WORDS[otherwise.type]}"
            )
            raise ExpressionError(message, node.then.start, end=node.end)
        fallible = condition.fallible or then.fallible or otherwise.fallible
        return _Done(ast.IfExp(condition.code, then.code, otherwise.code), then.type, fallible)

    def _call(self, node: Call) -> _Done:
        known = functions.METHODS if node.method else functions.FUNCTIONS
        if node.function not in known:
            kind, place = ("method", "text") if node.method else ("function", "this language")
            hint = did_you_mean(node.function, known) or f"There are {', '.join(known)}."
            at = node.arguments[0].end + 1 if node.method else node.start
            message = f"{place} has no {kind} '{node.function}'"
            raise ExpressionError(message, at, end=at + len(node.function), hint=hint)
        signature = known[node.function].signature
        least, most = _arity(signature, method=node.method)
        if not least <= len(node.arguments) <= most:
            raise ExpressionError(
                "wrong number of arguments", node.start, end=node.end, hint=f"Write {signature}."
            )
        if node.method:
            parts = [
                self._typed(argument, "string", f"{node.function} needs text") for argument in node.arguments
            ]
            return self._method(node.function, parts)
        done: _Done = getattr(self, f"_{node.function}")(node)
        return done

    def _method(self, name: str, parts: list[_Done]) -> _Done:
        subject, argument = parts
        fallible = subject.fallible or argument.fallible
        if name == "contains":
            return _Done(ast.Compare(argument.code, [ast.In()], [subject.code]), "bool", fallible)
        method = ast.Attribute(subject.code, name.lower(), ast.Load())
        return _Done(ast.Call(method, [argument.code], []), "bool", fallible)

    def _lookup(self, node: Call) -> _Done:
        table, key, *rest = node.arguments
        name = self._literal(table, "the name of a table in quotes")
        if name not in self._scope.tables:
            hint = did_you_mean(name, self._scope.tables) or _there_are("tables", self._scope.tables)
            raise ExpressionError(f"there is no table '{name}'", table.start, end=table.end, hint=hint)
        self.tables.add(name)
        slot = f"table_{len(self.globals)}"
        self.globals[slot] = self._scope.tables[name]
        codes = [self.node(argument) for argument in (key, *rest)]
        for argument, done in zip((key, *rest), codes, strict=True):
            if done.type not in ("string", "list"):
                message = f"lookup needs text or a list, this is {_WORDS[done.type]}"
                raise ExpressionError(message, argument.start, end=argument.end)
        fallible = not rest or any(done.fallible for done in codes)
        return _call(
            "lookup_or" if rest else "lookup", [_load(slot), *(d.code for d in codes)], "list", fallible
        )

    def _msg(self, node: Call) -> _Done:
        path = self._literal(node.arguments[0], "an HL7 path in quotes, such as 'PID-5.1'")
        try:
            where = parse_path(path)
        except ValueError as error:
            at = node.arguments[0]
            raise ExpressionError(str(error), at.start, end=at.end) from None
        self.paths.add(path)
        function = "whole_field" if where.component is None else "component"
        return _call(function, [_load("message"), ast.Constant(path)], "string")

    def _default(self, node: Call) -> _Done:
        one, other = (self.node(argument) for argument in node.arguments)
        if one.type != other.type or one.type not in ("string", "list"):
            message = (
                f"default needs two texts or two lists, this is {_WORDS[one.type]} and {_WORDS[other.type]}"
            )
            raise ExpressionError(message, node.start, end=node.end)
        if not one.fallible:
            return _Done(ast.BoolOp(ast.Or(), [one.code, other.code]), one.type, other.fallible)
        nothing = ast.arguments([], [], None, [], [], None, [])
        thunks: list[ast.expr] = [ast.Lambda(nothing, part.code) for part in (one, other)]
        return _call("attempt", thunks, one.type, other.fallible)

    def _first(self, node: Call) -> _Done:
        done = self._typed(node.arguments[0], "list", "first needs a list")
        return _call("first", [done.code], "string", done.fallible)

    def _size(self, node: Call) -> _Done:
        done = self.node(node.arguments[0])
        if done.type not in ("string", "list"):
            raise ExpressionError(
                f"size needs text or a list, this is {_WORDS[done.type]}", node.start, end=node.end
            )
        return _call("len", [done.code], "int", done.fallible)

    def _pn(self, node: Call) -> _Done:
        done = self._typed(node.arguments[0], "name", "pn needs a name such as patient.name")
        return _call("pn", [done.code], "string", done.fallible)

    def _upper(self, node: Call) -> _Done:
        return self._case(node)

    def _lower(self, node: Call) -> _Done:
        return self._case(node)

    def _case(self, node: Call) -> _Done:
        done = self._typed(node.arguments[0], "string", f"{node.function} needs text")
        method = ast.Attribute(done.code, node.function, ast.Load())
        return _Done(ast.Call(method, [], []), "string", done.fallible)

    def _literal(self, node: Node, what: str) -> str:
        if isinstance(node, Constant) and isinstance(node.value, str):
            return node.value
        raise ExpressionError(f"here must stand {what}", node.start, end=node.end)


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _call(function: str, arguments: list[ast.expr], kind: FactType, fallible: bool = False) -> _Done:
    return _Done(ast.Call(_load(function), arguments, []), kind, fallible)


def _arity(signature: str, *, method: bool) -> tuple[int, int]:
    """Least and most arguments, read off the signature that the documentation shows."""
    inside = signature.partition("(")[2].rstrip(")")
    most = inside.count(",") + 1 + method
    return most - inside.count("["), most


def _there_are(what: str, names: Mapping[str, object]) -> str:
    return f"There are {', '.join(sorted(names))}." if names else f"There are no {what}."


def _unknown_name_hint(name: str, names: Mapping[str, object]) -> str:
    root = name.partition(".")[0]
    inside = [known for known in names if known.startswith(f"{root}.")]
    return f"There are {', '.join(inside)}." if inside else f'Text needs quotes: "{name}".'
