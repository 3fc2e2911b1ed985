"""Parses an expression into a tree whose nodes know their place. Knows no names, no types, no functions.

The grammar is a subset of CEL (Common Expression Language), loosest binding first:

    choice     = or [ "?" choice ":" choice ]
    or         = and { "||" and }
    and        = relation { "&&" relation }
    relation   = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=" | "in") sum ]
    sum        = unary { "+" unary }
    unary      = "!" unary | member
    member     = primary { "." name "(" arguments ")" }
    primary    = literal | "[" arguments "]" | "(" choice ")" | name "(" arguments ")" | name { "." name }

No loops, no assignment, no recursion: an expression takes time in proportion to its length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields

MAX_CHARACTERS = 2000
MAX_DEPTH = 50

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<int>-?[0-9]+)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>&&|\|\||==|!=|<=|>=|[<>!?:+.,()\[\]])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_RELATIONS = frozenset(("==", "!=", "<", "<=", ">", ">=", "in"))
_HABITS = {"and": "&&", "or": "||", "not": "!", "=": "==", "&": "&&", "|": "||", "is": "==", "True": "true"}
"""What people write who think in another language."""


class ExpressionError(ValueError):
    """An expression cannot be used; `offset` and `end` say which characters of it are to blame."""

    def __init__(self, message: str, offset: int, *, end: int | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.offset, self.hint = message, offset, hint
        self.end = offset + 1 if end is None else end

    def moved(self, by: int) -> ExpressionError:
        """The same error in a longer text, in which the expression starts at `by`."""
        return ExpressionError(self.message, self.offset + by, end=self.end + by, hint=self.hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A part of an expression: characters `start` to `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Node):
    """`'CT'`, `7`, `true`."""

    value: str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Name(Node):
    """`step.modality`."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Items(Node):
    """`['CT', 'MR']`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Node):
    """`lookup('stations', step.location)`; of a method, the subject is the first argument."""

    function: str
    arguments: tuple[Node, ...]
    method: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Not(Node):
    """`!patient.verified`."""

    operand: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain(Node):
    """Two or more operands joined by the same `&&`, `||` or `+`."""

    sign: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation(Node):
    """`step.modality == 'CT'`, `'X' in step.station_codes`."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Node):
    """`a ? b : c`."""

    condition: Node
    then: Node
    otherwise: Node


def walk(node: Node) -> Iterator[Node]:
    """A node and everything in it, in the order of the text."""
    yield node
    for part in fields(node):
        value = getattr(node, part.name)
        for inner in value if isinstance(value, tuple) else (value,):
            if isinstance(inner, Node):
                yield from walk(inner)


def parse(source: str) -> Node:
    """The tree of an expression; raises `ExpressionError`."""
    if len(source) > MAX_CHARACTERS:
        raise ExpressionError(f"longer than {MAX_CHARACTERS} characters", MAX_CHARACTERS)
    return _Parser(source).whole()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def _tokens(source: str) -> list[_Token]:
    tokens, at = [], 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            sign = source[at]
            if sign in "\"'":
                raise ExpressionError("this text has no closing quote", at, end=len(source))
            raise ExpressionError(f"'{sign}' is not part of this language", at, hint=_habit(sign))
        if match.lastgroup != "space":
            tokens.append(_Token(match.lastgroup or "", match.group(), at))
        at = match.end()
    tokens.append(_Token("end", "", len(source)))
    return tokens


def _habit(word: str) -> str:
    return f"Did you mean '{_HABITS[word]}'?" if word in _HABITS else ""


class _Parser:
    """Recursive descent, one method per rule of the grammar; depth is counted, so the stack is bounded."""

    def __init__(self, source: str) -> None:
        self._tokens = _tokens(source)
        self._at = 0
        self._depth = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._next
        self._at += 1
        return token

    def _accept(self, *signs: str) -> _Token | None:
        """The next token when it is one of these signs (or the word `in`)."""
        token = self._next
        return self._take() if token.kind in ("sign", "name") and token.text in signs else None

    def _expect(self, sign: str, what: str) -> _Token:
        token = self._accept(sign)
        if token is None:
            raise self._unexpected(f"'{sign}' is missing {what}")
        return token

    def _unexpected(self, message: str) -> ExpressionError:
        token = self._next
        found = f", '{token.text}' stands here" if token.text else ", the expression ends here"
        return ExpressionError(
            message + found, token.start, end=max(token.end, token.start + 1), hint=_habit(token.text)
        )

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ExpressionError(f"nested deeper than {MAX_DEPTH}", self._next.start)

    def whole(self) -> Node:
        if self._next.kind == "end":
            raise ExpressionError("the expression is empty", 0)
        node = self._choice()
        if self._next.kind != "end":
            raise self._unexpected("an operator or the end is missing")
        return node

    def _choice(self) -> Node:
        self._enter()
        node = self._or()
        if self._accept("?"):
            then = self._choice()
            self._expect(":", "between the two choices")
            otherwise = self._choice()
            node = Choice(start=node.start, end=otherwise.end, condition=node, then=then, otherwise=otherwise)
        self._depth -= 1
        return node

    def _or(self) -> Node:
        operands = [self._and()]
        while self._accept("||"):
            operands.append(self._and())
        return _chain("||", operands)

    def _and(self) -> Node:
        operands = [self._relation()]
        while self._accept("&&"):
            operands.append(self._relation())
        return _chain("&&", operands)

    def _relation(self) -> Node:
        left = self._sum()
        sign = self._accept(*_RELATIONS)
        if sign is None:
            return left
        right = self._sum()
        if (again := self._accept(*_RELATIONS)) is not None:
            raise ExpressionError(
                "comparisons do not chain", again.start, end=again.end, hint="Join two with &&."
            )
        return Relation(start=left.start, end=right.end, sign=sign.text, left=left, right=right)

    def _sum(self) -> Node:
        operands = [self._unary()]
        while self._accept("+"):
            operands.append(self._unary())
        return _chain("+", operands)

    def _unary(self) -> Node:
        sign = self._accept("!")
        if sign is None:
            return self._member()
        self._enter()
        operand = self._unary()
        self._depth -= 1
        return Not(start=sign.start, end=operand.end, operand=operand)

    def _member(self) -> Node:
        node, depth = self._primary(), self._depth
        while self._accept("."):
            self._enter()
            method = self._take()
            if method.kind != "name":
                self._at -= 1
                raise self._unexpected("a method's name is missing after '.'")
            self._expect("(", f"after '{method.text}'")
            arguments, end = self._arguments(")")
            node = Call(
                start=node.start, end=end, function=method.text, arguments=(node, *arguments), method=True
            )
        self._depth = depth
        return node

    def _primary(self) -> Node:
        token = self._next
        if token.kind == "int":
            return self._integer(self._take())
        if token.kind == "text":
            return self._text(self._take())
        if self._accept("["):
            items, end = self._arguments("]")
            return Items(start=token.start, end=end, items=items)
        if self._accept("("):
            node = self._choice()
            self._expect(")", "to close this bracket")
            return node
        if token.kind == "name" and token.text != "in":
            return self._name(self._take())
        raise self._unexpected("a value is missing")

    def _name(self, first: _Token) -> Node:
        if first.text in ("true", "false"):
            return Constant(start=first.start, end=first.end, value=first.text == "true")
        if self._accept("("):
            arguments, end = self._arguments(")")
            return Call(start=first.start, end=end, function=first.text, arguments=arguments)
        name, end = first.text, first.end
        while self._next.text == "." and self._tokens[self._at + 1].kind == "name":
            if self._tokens[self._at + 2].text == "(":
                break
            self._take()
            part = self._take()
            name, end = f"{name}.{part.text}", part.end
        return Name(start=first.start, end=end, name=name)

    def _arguments(self, closing: str) -> tuple[tuple[Node, ...], int]:
        found: list[Node] = []
        while (end := self._accept(closing)) is None:
            if found:
                self._expect(",", f"or '{closing}'")
            found.append(self._choice())
        return tuple(found), end.end

    def _integer(self, token: _Token) -> Node:
        digits = token.text.lstrip("-")
        if len(digits) > 18 or (len(digits) > 1 and digits.startswith("0")):
            raise ExpressionError(
                "this is not a whole number",
                token.start,
                end=token.end,
                hint="Put quotes around codes and numbers of people.",
            )
        return Constant(start=token.start, end=token.end, value=int(token.text))

    def _text(self, token: _Token) -> Node:
        body = token.text[1:-1]
        for match in re.finditer(r"\\(.)", body):
            if match[1] not in _ESCAPES:
                at = token.start + 1 + match.start()
                raise ExpressionError(
                    f"'{match[0]}' is no escape", at, end=at + 2, hint=r"Write \\ for a backslash."
                )
        value = re.sub(r"\\(.)", lambda match: _ESCAPES[match[1]], body)
        return Constant(start=token.start, end=token.end, value=value)


def _chain(sign: str, operands: list[Node]) -> Node:
    if len(operands) == 1:
        return operands[0]
    return Chain(start=operands[0].start, end=operands[-1].end, sign=sign, operands=tuple(operands))
