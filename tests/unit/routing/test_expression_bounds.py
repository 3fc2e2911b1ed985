"""Whatever stands in an expression: it is refused or compiled, reaches nothing but its facts, and soon ends."""

from __future__ import annotations

import dis
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.event import PersonName
from broker.hl7.er7 import Message
from broker.routing.expression import Scope, compile_condition, compile_expression, compile_template
from broker.routing.forms import FailedError, ParkError, SkipError
from broker.routing.functions import FUNCTIONS, METHODS
from broker.routing.syntax import MAX_CHARACTERS, ExpressionError
from broker.view import catalogue
from tests.unit.routing.conftest import TABLES

SCOPE = Scope(tables=TABLES)
MESSAGE = Message.parse(b"MSH|^~\\&|PAS|STO|||20260309||ADT^A01|1|T|2.5.1\rPID|1||7~8||A^B\r")
LONGEST = 100
"""Characters of the longest fact below, and of the longest thing that a function makes of nothing."""

# Runs of tokens get past the lexer, where random characters seldom do.
TOKENS = st.sampled_from(
    [
        *("(", ")", "[", "]", ",", ".", "?", ":", "!", "+", "&&", "||", "==", "!=", "<", ">=", "in", " "),
        *(
            "'CT'",
            '"x"',
            "''",
            "7",
            "-1",
            "true",
            "site",
            "patient.name",
            "step.station_codes",
            "instance.size",
        ),
        *(f"{name}(" for name in FUNCTIONS),
        *(f".{name}(" for name in METHODS),
        *(
            "'stations'",
            "'PID-5.1'",
            "'PID-3'",
            "'DA'",
            "__import__",
            "facts",
            "message",
            ".__class__",
            "lambda",
        ),
    ]
)
SOUP = st.lists(TOKENS, max_size=40).map("".join)


def _written(depth: int) -> st.SearchStrategy[str]:
    """Well-formed calls of any functions with any arguments, typed rightly or not."""
    leaf = st.sampled_from(
        [
            "site",
            "patient.id",
            "patient.name",
            "step.station_codes",
            "instance.size",
            "3",
            "'CT'",
            "'DA'",
            "true",
            "[]",
        ]
    )
    if depth == 0:
        return leaf
    inner = _written(depth - 1)
    call = st.tuples(st.sampled_from([*FUNCTIONS]), st.lists(inner, min_size=1, max_size=3))
    return st.one_of(
        leaf,
        call.map(lambda made: f"{made[0]}({', '.join(made[1])})"),
        st.tuples(inner, inner).map(" + ".join),
        st.tuples(inner, inner, inner).map(lambda made: f"({made[0]} == {made[1]} ? {made[2]} : {made[0]})"),
        inner.map(lambda made: f"lookup('stations', {made})"),
        inner.map(lambda made: f"park({made})"),
        inner.map(lambda made: f"skip({made})"),
    )


def facts() -> dict[str, Any]:
    full: dict[str, Any] = {"string": "ß" * LONGEST, "list": ("R1", "æ" * LONGEST), "bool": True, "int": 7}
    return {
        name: full.get(kind, PersonName(family="Å" * 20, given="B")) for name, kind in catalogue().items()
    }


def codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes(constant)


def harmless(run: Any) -> None:
    """No attribute is read, no name reached but the language's own, and nothing jumps back."""
    assert isinstance(run, FunctionType)
    assert run.__globals__["__builtins__"] == {}
    reachable = set(run.__globals__) - {"__builtins__"}
    for code in codes(run.__code__):
        for step in dis.get_instructions(code):
            assert "ATTR" not in step.opname, step
            assert "METHOD" not in step.opname or step.opname == "PRECALL", step
            assert "IMPORT" not in step.opname, step
            assert "BACKWARD" not in step.opname, step
            assert "STORE" not in step.opname, step
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                assert step.argval in reachable, step


def bounded(value: Any, source: str) -> None:
    """No longer than the facts that the text can name, each capital of ß counted as two."""
    texts = value if isinstance(value, tuple) else (value,)
    assert sum(len(str(text)) for text in texts) <= 2 * LONGEST * (len(source) + 1)


def refused_at(compiling: Callable[[], object]) -> int | None:
    try:
        compiling()
    except ExpressionError as error:
        return error.offset
    return None


def try_out(source: str) -> None:
    offset = refused_at(lambda: compile_expression(source, SCOPE))
    if offset is not None:
        assert 0 <= offset <= len(source)
        return
    compiled = compile_expression(source, SCOPE)
    harmless(compiled.run)
    try:
        value = compiled.run(facts(), MESSAGE)
    except (FailedError, SkipError, ParkError):
        return
    bounded(value, source)


@given(st.one_of(SOUP, _written(3)))
@settings(max_examples=400)
def test_any_tokens_are_refused_or_harmless(source: str) -> None:
    try_out(source)


@given(SOUP)
def test_a_condition_and_a_text_are_taken_or_refused_inside_them(source: str) -> None:
    for made in (
        lambda: compile_condition(source, SCOPE),
        lambda: compile_template(f"a ${{{source}}} b", SCOPE),
        lambda: compile_template(source, SCOPE, er7=True),
    ):
        offset = refused_at(made)
        assert offset is None or 0 <= offset <= len(source) + 6


@pytest.mark.parametrize(
    "unit",
    [
        "(",
        "[",
        "!",
        "site+",
        "''+",
        "true&&",
        "true?true:",
        "size(",
        "upper(",
        "default(site,",
        ".contains('')",
        "site.",
    ],
)
def test_the_longest_expression_of_one_kind_is_no_strain(unit: str) -> None:
    for source in (unit * (MAX_CHARACTERS // len(unit)), unit * ((MAX_CHARACTERS - 4) // len(unit)) + "site"):
        try_out(source)
        try_out("site" + source[: MAX_CHARACTERS - 4])


@pytest.mark.parametrize(
    "source",
    [
        "__import__('os').system('true')",
        "site.__class__",
        "site.upper.__globals__",
        "patient.name.__class__",
        "facts['site']",
        "message.raw",
        "lookup.__globals__",
        "eval('1')",
        "open('/etc/passwd')",
        "msg('PID-5.1').format(site)",
        "(lambda: 1)()",
        "[x for x in site]",
        "site[0]",
        "join(['a'])",
        "attempt(site, site)",
        "table_9",
        "__builtins__",
        "site if true else site",
        "'%999999999d' % 1",
        "'x' * 1000000000",
        "f'{site}'",
    ],
)
def test_there_is_no_way_out(source: str) -> None:
    with pytest.raises(ExpressionError):
        compile_expression(source, SCOPE)
