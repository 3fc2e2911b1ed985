"""Turns the tree of an expression into Python code, with every name, type and number of arguments checked first.

The code is built as a Python syntax tree of constants and a closed set of operations, never of text: no builtins, no
attributes, no loops. What the pieces do at run time stands in `functions.py` and `forms.py`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from broker.errors import did_you_mean
from broker.hl7.er7 import Message, parse_path
from broker.routing import forms, functions
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
)
from broker.routing.tables import Table
from broker.view import TIME, FactType, catalogue

Code = Callable[[Mapping[str, Any], Message | None], Any]

WORDS: Mapping[FactType, str] = {
    "string": "text",
    "list": "a list",
    "bool": "true or false",
    "int": "a whole number",
    "name": "a name",
}


class Watch(Protocol):
    """Somebody who is told how expressions go: which codes they look up, which way they take."""

    def table(self, node: Call, table: Table, /) -> Table:
        """The table that this look-up shall use: the same, or one that tells."""
        ...

    def outcome(self, node: Node, outcome: str, /) -> None:
        """A part with more than one way took this one of `ways(node)`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What an expression may use."""

    names: Mapping[str, FactType] = field(default_factory=catalogue)
    tables: Mapping[str, Table] = field(default_factory=dict)
    watch: Watch | None = None
    """For coverage; costs time."""


_GLOBALS: Mapping[str, Any] = {
    "__builtins__": {},
    "attempt": forms.attempt,
    "component": forms.component,
    "join": "".join,
    "lookup": forms.lookup,
    "lookup_or": forms.lookup_or,
    "park": forms.park,
    "skip": forms.skip,
    "whole_field": forms.whole_field,
    **{n: f.run for n, f in {**functions.FUNCTIONS, **functions.METHODS}.items() if f.run is not None},
}
"""Everything that compiled code can reach: no builtins, and no operation that reads an attribute."""


@dataclass(frozen=True, slots=True)
class Done:
    """A compiled part."""

    code: ast.expr
    type: FactType
    fallible: Call | None = None


class Compiler:
    """Compiles one tree, and keeps what it uses."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.names: set[str] = set()
        self.paths: set[str] = set()
        self.tables: set[str] = set()
        self.globals: dict[str, Any] = dict(_GLOBALS)

    def code(self, tree: Node) -> tuple[Code, Done]:
        """The tree as a function of facts and source message. Raises `ExpressionError`."""
        done = self.node(tree)
        arguments = ast.arguments([], [ast.arg("facts"), ast.arg("message")], None, [], [], None, [])
        module = ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, done.code)))
        code: Code = eval(compile(module, "<route>", "eval"), self.globals)
        return code, done

    def node(self, node: Node) -> Done:
        match node:
            case Constant(value=value):
                kind: FactType = (
                    "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "string"
                )
                return Done(ast.Constant(value), kind)
            case Name():
                return self._name(node)
            case Items(items=items):
                done = [self._typed(item, "string", "a list holds text") for item in items]
                return Done(_tuple(done), "list", _fallible(*done))
            case Not(operand=operand):
                inner = self._typed(operand, "bool", "'!' needs true or false")
                return Done(ast.UnaryOp(ast.Not(), inner.code), "bool", inner.fallible)
            case Chain():
                return self._chain(node)
            case Relation():
                return self._relation(node)
            case Choice():
                return self._choice(node)
            case Call():
                return self._call(node)
        raise AssertionError(node)

    def _typed(self, node: Node, wanted: FactType, why: str) -> Done:
        done = self.node(node)
        if done.type != wanted:
            raise ExpressionError(f"{why}, this is {WORDS[done.type]}", node.start, end=node.end)
        return done

    def _name(self, node: Name) -> Done:
        kind = self._scope.names.get(node.name)
        if kind is None:
            hint = did_you_mean(node.name, self._scope.names) or _unknown_name_hint(
                node.name, self._scope.names
            )
            raise ExpressionError(f"there is no field '{node.name}'", node.start, end=node.end, hint=hint)
        self.names.add(node.name)
        return Done(_fact(node.name), kind)

    def _chain(self, node: Chain) -> Done:
        if node.sign == "+":
            parts = [self._typed(operand, "string", "'+' joins text") for operand in node.operands]
            return _call("join", [_tuple(parts)], "string", _fallible(*parts))
        parts = [
            self._typed(operand, "bool", f"'{node.sign}' needs true or false") for operand in node.operands
        ]
        sign = ast.And() if node.sign == "&&" else ast.Or()
        codes = [self._told(node, part.code, _decides(node, n)) for n, part in enumerate(parts)]
        return Done(ast.BoolOp(sign, codes), "bool", _fallible(*parts))

    def _relation(self, node: Relation) -> Done:
        left, right = self.node(node.left), self.node(node.right)
        if node.sign == "in":
            if left.type != "string" or right.type != "list":
                message = f"'in' needs text on its left and a list on its right, this is {WORDS[left.type]}"
                raise ExpressionError(f"{message} and {WORDS[right.type]}", node.start, end=node.end)
        elif left.type != right.type or left.type == "name":
            message = (
                f"'{node.sign}' compares two of a kind, this is {WORDS[left.type]} and {WORDS[right.type]}"
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
        return Done(ast.Compare(left.code, [signs[node.sign]], [right.code]), "bool", _fallible(left, right))

    def _choice(self, node: Choice) -> Done:
        condition = self._typed(node.condition, "bool", "'?' needs true or false before it")
        then, otherwise = self.node(node.then), self.node(node.otherwise)
        if then.type != otherwise.type:
            message = (
                f"both choices must be of a kind, this is {WORDS[then.type]} and {WORDS[otherwise.type]}"
            )
            raise ExpressionError(message, node.then.start, end=node.end)
        told = self._told(node, condition.code, lambda held: "then" if held else "otherwise")
        code = ast.IfExp(told, then.code, otherwise.code)
        return Done(code, then.type, _fallible(condition, then, otherwise))

    def _call(self, node: Call) -> Done:
        known = functions.METHODS if node.method else functions.FUNCTIONS
        if node.function not in known:
            kind, place = ("method", "text") if node.method else ("function", "this language")
            hint = did_you_mean(node.function, known) or f"There are {', '.join(known)}."
            at = node.arguments[0].end + 1 if node.method else node.start
            message = f"{place} has no {kind} '{node.function}'"
            raise ExpressionError(message, at, end=at + len(node.function), hint=hint)
        function = known[node.function]
        least, most = _arity(function.signature, method=node.method)
        if not least <= len(node.arguments) <= most:
            hint = f"Write {function.signature}."
            raise ExpressionError("wrong number of arguments", node.start, end=node.end, hint=hint)
        if function.run is not None:
            return self._ordinary(node, function)
        done: Done = getattr(self, f"_{node.function}")(node)
        return done

    def _ordinary(self, node: Call, function: functions.Function) -> Done:
        """A call of what is declared with its types."""
        parts = []
        for number, argument in enumerate(node.arguments):
            done, takes = self.node(argument), function.takes[min(number, len(function.takes) - 1)]
            if done.type not in takes:
                wanted = " or ".join(WORDS[kind] for kind in takes)
                message = f"{node.function} needs {wanted}, this is {WORDS[done.type]}"
                raise ExpressionError(message, argument.start, end=argument.end)
            if number in function.words:
                self._word(argument, function.words[number])
            parts.append(done)
        fallible = _fallible(*parts) or (node if function.fails else None)
        done = _call(node.function, [part.code for part in parts], function.gives, fallible)
        return replace(done, code=self._tried(node, done.code)) if function.fails else done

    def _word(self, node: Node, words: Collection[str]) -> None:
        word = self._literal(node, f"one of {', '.join(words)}, in quotes")
        if word not in words:
            hint = did_you_mean(word, words) or f"There are {', '.join(words)}."
            raise ExpressionError(f"there is no '{word}' here", node.start, end=node.end, hint=hint)

    def _lookup(self, node: Call) -> Done:
        table, key, *rest = node.arguments
        name = self._literal(table, "the name of a table in quotes")
        if name not in self._scope.tables:
            hint = did_you_mean(name, self._scope.tables) or _there_are("tables", self._scope.tables)
            raise ExpressionError(f"there is no table '{name}'", table.start, end=table.end, hint=hint)
        self.tables.add(name)
        watch, found = self._scope.watch, self._scope.tables[name]
        slot = self._slot(found if watch is None else watch.table(node, found))
        codes = [self.node(argument) for argument in (key, *rest)]
        for argument, done in zip((key, *rest), codes, strict=True):
            if done.type not in ("string", "list"):
                message = f"lookup needs text or a list, this is {WORDS[done.type]}"
                raise ExpressionError(message, argument.start, end=argument.end)
        arguments = [slot, codes[0].code, _fact(TIME), *(done.code for done in codes[1:])]
        fallible = _fallible(*codes) or (None if rest else node)
        return _call("lookup_or" if rest else "lookup", arguments, "list", fallible)

    def _msg(self, node: Call) -> Done:
        path = self._literal(node.arguments[0], "an HL7 path in quotes, such as 'PID-5.1'")
        try:
            where = parse_path(path)
        except ValueError as error:
            at = node.arguments[0]
            raise ExpressionError(str(error), at.start, end=at.end) from None
        self.paths.add(path)
        function = "whole_field" if where.component is None else "component"
        return _call(function, [_load("message"), ast.Constant(path)], "string")

    def _default(self, node: Call) -> Done:
        one, other = (self.node(argument) for argument in node.arguments)
        if one.type != other.type or one.type not in ("string", "list"):
            message = (
                f"default needs two texts or two lists, this is {WORDS[one.type]} and {WORDS[other.type]}"
            )
            raise ExpressionError(message, node.start, end=node.end)
        first = self._told(node, one.code, lambda value: "first" if value else "")
        second = self._told(node, other.code, lambda _value: "second")
        if not one.fallible:
            return Done(ast.BoolOp(ast.Or(), [first, second]), one.type, other.fallible)
        return _call("attempt", [_later(first), _later(second)], one.type, other.fallible)

    def _skip(self, node: Call) -> Done:
        return self._caught(node)

    def _park(self, node: Call) -> Done:
        return self._caught(node)

    def _caught(self, node: Call) -> Done:
        (inner,) = (self.node(argument) for argument in node.arguments)
        if inner.fallible is None:
            message = f"nothing in it can fail, so there is nothing to {node.function}"
            raise ExpressionError(message, node.start, end=node.end, hint=f"Leave {node.function}( ) out.")
        return _call(node.function, [_later(inner.code)], inner.type)

    def _told(self, node: Node, code: ast.expr, way: Callable[[Any], str]) -> ast.expr:
        """The code; whoever watches is told which way its value means ("": none yet)."""
        watch = self._scope.watch
        if watch is None:
            return code

        def tell(value: Any) -> Any:
            if taken := way(value):
                watch.outcome(node, taken)
            return value

        return ast.Call(self._slot(tell), [code], [])

    def _tried(self, node: Node, code: ast.expr) -> ast.expr:
        """The code of a call that may fail; whoever watches is told whether it did."""
        watch = self._scope.watch
        if watch is None:
            return code

        def tell(call: Callable[[], Any]) -> Any:
            try:
                value = call()
            except forms.FailedError:
                watch.outcome(node, "fails")
                raise
            watch.outcome(node, "works")
            return value

        return ast.Call(self._slot(tell), [_later(code)], [])

    def _slot(self, value: object) -> ast.expr:
        """A name of the compiled code's own for a value."""
        name = f"slot_{len(self.globals)}"
        self.globals[name] = value
        return _load(name)

    def _literal(self, node: Node, what: str) -> str:
        if isinstance(node, Constant) and isinstance(node.value, str):
            return node.value
        raise ExpressionError(f"here must stand {what}", node.start, end=node.end)


def ways(node: Node) -> tuple[str, ...]:
    """The ways that a part of an expression can go, where there is more than one."""
    match node:
        case Choice():
            return ("then", "otherwise")
        case Chain(sign="&&" | "||"):
            return (*map(str, range(len(node.operands))), "all")
        case Call(function="default"):
            return ("first", "second")
        case Call(function="lookup"):
            return ("works", "fails")
        case Call(function=name, method=False) if functions.FUNCTIONS[name].fails:
            return ("works", "fails")
    return ()


def _decides(node: Chain, number: int) -> Callable[[Any], str]:
    """The way of `&&` or `||` that an operand's value means: it decides, or as the last leaves all undecided."""
    decided, last = node.sign == "||", number == len(node.operands) - 1
    return lambda value: str(number) if value is decided else "all" if last else ""


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _fact(name: str) -> ast.expr:
    return ast.Subscript(_load("facts"), ast.Constant(name), ast.Load())


def _tuple(parts: Iterable[Done]) -> ast.expr:
    return ast.Tuple([part.code for part in parts], ast.Load())


def _later(code: ast.expr) -> ast.expr:
    """The code as a function without arguments, for what may catch its failure."""
    return ast.Lambda(ast.arguments([], [], None, [], [], None, []), code)


def _call(function: str, arguments: list[ast.expr], kind: FactType, fallible: Call | None = None) -> Done:
    return Done(ast.Call(_load(function), arguments, []), kind, fallible)


def _fallible(*parts: Done) -> Call | None:
    return next((part.fallible for part in parts if part.fallible is not None), None)


def _arity(signature: str, *, method: bool) -> tuple[int, int]:
    """Least and most arguments, read off the signature that the documentation shows."""
    inside = signature.partition("(")[2].rstrip(")")
    most = inside.count(",") + 1 + method
    least = most - inside.count("[") - inside.count("…")
    return least, sys.maxsize if "…" in inside else most


def _there_are(what: str, names: Mapping[str, object]) -> str:
    return f"There are {', '.join(sorted(names))}." if names else f"There are no {what}."


def _unknown_name_hint(name: str, names: Mapping[str, object]) -> str:
    root = name.partition(".")[0]
    inside = [known for known in names if known.startswith(f"{root}.")]
    return f"There are {', '.join(inside)}." if inside else f'Text needs quotes: "{name}".'
