"""Expressions: every mistake at its character, and the answers of a naive evaluator that shares no code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.hl7.edit import Verbatim
from broker.hl7.er7 import Message
from broker.routing.expression import Scope, compile_condition, compile_expression, compile_template
from broker.routing.forms import LookupMissError, ParkError, SkipError
from broker.routing.syntax import ExpressionError
from broker.routing.tables import Row, Table
from broker.view import catalogue

STATIONS = Table(
    name="stations",
    file="stations.csv",
    rows={"CT": (Row(values=("CT1_STO", "CT2_STO"), line=2),), "MR": (Row(values=("MR1_STO",), line=3),)},
)
SCOPE = Scope(tables={"stations": STATIONS})
MESSAGE = Message.parse(
    "MSH|^~\\&|PAS|STO|||20260309||ADT^A01|1|T|2.5.1||||||UNICODE UTF-8\r"
    'PID|1||30908299902^^^A~700123^^^B||Sørby \\T\\ co^Áile||""\rPV1|1|O|W3^101^1\r'.encode()
)


def facts(**values: Any) -> dict[str, Any]:
    empty: Mapping[str, Any] = {"string": "", "list": (), "bool": False, "int": 0}
    found = {name: empty.get(kind) for name, kind in catalogue().items()}
    return {**found, **{name.replace("__", "."): value for name, value in values.items()}}


def run(source: str, **values: Any) -> Any:
    return compile_expression(source, SCOPE).run(facts(**values), MESSAGE)


# --- what it says ---


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("step.modality in ['CT', \"MR\"] && site == 'STO'", True),
        ("!(step.modality == 'MR') || patient.verified", True),
        ("step.modality != 'CT'", False),
        ("instance.size >= 10 && instance.size < 12", True),
        ("instance.size > -1", True),
        ("patient.verified ? 'a' : site == 'STO' ? 'b' : 'c'", "b"),
        ("step.station_codes", ("X", "CT")),
        ("step.station_aets == []", True),
        ("'CT' in step.station_codes", True),
        ("size(step.station_codes)", 2),
        ("size(site)", 3),
        ("first(step.station_codes)", "X"),
        ("first([])", ""),
        ("'modality:' + step.modality + '!'", "modality:CT!"),
        ("upper('æøå')", "ÆØÅ"),
        ("lower(site)", "sto"),
        ("site.startsWith('S') && site.endsWith('O') && site.contains('T')", True),
        ("'a.b'.contains('.')", True),
        ("'it''s'", None),
        (r"'it\'s' + " + r'"\"\\\n"', "it's\"\\\n"),
        ("default('', site)", "STO"),
        ("default(step.station_aets, step.station_codes)", ("X", "CT")),
        ("lookup('stations', step.modality)", ("CT1_STO", "CT2_STO")),
        ("lookup('stations', step.station_codes)", ("CT1_STO", "CT2_STO")),
        ("lookup('stations', 'US', 'NONE')", ("NONE",)),
        ("lookup('stations', 'US', '')", ()),
        ("lookup('stations', [], ['A', 'B'])", ("A", "B")),
        ("default(lookup('stations', 'US'), ['X1'])", ("X1",)),
        ("first(default(lookup('stations', 'US'), lookup('stations', 'MR')))", "MR1_STO"),
        ("msg('PID-5.1')", "Sørby & co"),
        ("msg('PID-5')", "Sørby \\T\\ co^Áile"),
        ("msg('PID-3(2).1')", "700123"),
        ("msg('PV1-3')", "W3^101^1"),
        ("msg('PID-7')", ""),
        ("msg('ZZZ-9.9')", ""),
    ],
)
def test_value(source: str, value: object) -> None:
    given = {"step__modality": "CT", "site": "STO", "instance__size": 11, "step__station_codes": ("X", "CT")}
    if value is None:
        with pytest.raises(ExpressionError):
            run(source, **given)
    else:
        assert run(source, **given) == value


def test_without_a_message_every_path_is_empty() -> None:
    assert compile_expression("msg('PID-5.1')", SCOPE).run(facts(), None) == ""


def test_a_miss_without_default_names_the_table_only() -> None:
    with pytest.raises(LookupMissError, match=r"^table .stations. has no row for this code$"):
        run("lookup('stations', site)", site="30908299902")


def test_whole_fields_of_odd_separators_are_respelled() -> None:
    odd = Message.parse(b"MSH|$%!*|A|B|||20260309||ADT$A01|1|T|2.5.1\rPID|1||1$$$A*1%2$$$B^x\r")

    assert compile_expression("msg('PID-3')", SCOPE).run(facts(), odd) == "1^^^A&1~2^^^B\\S\\x"


def test_a_failure_is_skipped_parked_or_replaced_as_the_expression_says() -> None:
    with pytest.raises(SkipError):
        run("'a' + skip(first(lookup('stations', site)))", site="30908299902")
    with pytest.raises(ParkError, match=r"^table .stations. has no row for this code$") as caught:
        run("default(park(lookup('stations', site)), ['x'])", site="30908299902")
    assert caught.value.error_code == "204"
    assert run("default(date(site, 'DA'), 'none')", site="31.12.2026") == "none"
    assert run("skip(first(lookup('stations', 'MR')))") == "MR1_STO"
    assert run("site == 'STO' ? 'yes' : park(date(site, 'DA'))", site="STO") == "yes", (
        "only what is asked for"
    )


# --- what it cannot say ---


@pytest.mark.parametrize(
    ("source", "offset", "message", "hint"),
    [
        ("step.modalty == 'x'", 0, "there is no field 'step.modalty'", "Did you mean 'step.modality'?"),
        ("site == 'x' && stp == ''", 15, "there is no field 'stp'", 'Text needs quotes: "stp".'),
        ("site = 'x'", 5, "'=' is not part of this language", "Did you mean '=='?"),
        ("site and site", 5, "an operator or the end is missing, 'and' stands here", "Did you mean '&&'?"),
        ("site == 'x", 8, "this text has no closing quote", ""),
        ("site == 1", 0, "'==' compares two of a kind, this is text and a whole number", ""),
        ("(site == 'x'", 12, "')' is missing to close this bracket, the expression ends here", ""),
        ("1 < 2 < 3", 6, "comparisons do not chain", "Join two with &&."),
        ("!site", 1, "'!' needs true or false, this is text", ""),
        ("site && true", 0, "'&&' needs true or false, this is text", ""),
        ("patient.name == patient.name", 0, "'==' compares two of a kind, this is a name and a name", ""),
        ("true < false", 0, "'<' orders text or whole numbers only", ""),
        (
            "site in 'STO'",
            0,
            "'in' needs text on its left and a list on its right, this is text and text",
            "",
        ),
        ("true ? 'a' : 1", 7, "both choices must be of a kind, this is text and a whole number", ""),
        ("lookup('statons', site)", 7, "there is no table 'statons'", "Did you mean 'stations'?"),
        ("lookup(site, site)", 7, "here must stand the name of a table in quotes", ""),
        ("lookup('stations')", 0, "wrong number of arguments", "Write lookup(table, code[, default])."),
        ("lokup('stations', site)", 0, "this language has no function 'lokup'", "Did you mean 'lookup'?"),
        ("site.startswith('S')", 5, "text has no method 'startswith'", "Did you mean 'startsWith'?"),
        (
            "site.matches('a+')",
            5,
            "text has no method 'matches'",
            "There are startsWith, endsWith, contains.",
        ),
        ("['a', 1]", 6, "a list holds text, this is a whole number", ""),
        ("pn(site)", 3, "pn needs a name, this is text", ""),
        ("size(true)", 5, "size needs text or a list, this is true or false", ""),
        ("mask(site, 'a')", 11, "mask needs a whole number, this is text", ""),
        ("date(site, 'dd.mm.yy')", 11, "there is no 'dd.mm.yy' here", "Did you mean 'dd.mm.yyyy'?"),
        (
            "date(site, site)",
            11,
            "here must stand one of DA, TM, DT, yyyy-mm-dd, dd.mm.yyyy, hh:mm, dd.mm.yyyy hh:mm, in quotes",
            "",
        ),
        ("uid()", 0, "wrong number of arguments", "Write uid(text, …)."),
        ("skip(site)", 0, "nothing in it can fail, so there is nothing to skip", "Leave skip( ) out."),
        (
            "park(lookup('stations', site, ''))",
            0,
            "nothing in it can fail, so there is nothing to park",
            "Leave park( ) out.",
        ),
        (
            "01010112345 == 1",
            0,
            "this is not a whole number",
            "Put quotes around codes and numbers of people.",
        ),
        (r"'\d'", 1, r"'\d' is no escape", r"Write \\ for a backslash."),
        ("", 0, "the expression is empty", ""),
        ("site == ", 8, "a value is missing, the expression ends here", ""),
        ("x" * 2001, 2000, "longer than 2000 characters", ""),
        ("(" * 51 + "true" + ")" * 51, 50, "nested deeper than 50", ""),
        ("!" * 60 + "true", 50, "nested deeper than 50", ""),
        ("site" + ".x()" * 60, 4 + 49 * 4 + 1, "nested deeper than 50", ""),
    ],
)
def test_mistakes_have_a_place_and_a_hint(source: str, offset: int, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source, SCOPE)

    assert (caught.value.offset, caught.value.message, caught.value.hint) == (offset, message, hint)


def test_a_bad_path_is_told() -> None:
    with pytest.raises(ExpressionError, match="'PID5' is not an HL7 path"):
        compile_expression("msg('PID5')", SCOPE)


def test_a_condition_is_true_or_false_and_cannot_miss() -> None:
    with pytest.raises(ExpressionError, match="a condition must be true or false, this is text"):
        compile_condition("site", SCOPE)
    with pytest.raises(
        ExpressionError, match="lookup can fail, and nothing says what happens then"
    ) as caught:
        compile_condition("site == '' || first(lookup('stations', site)) == 'X'", SCOPE)
    assert (caught.value.offset, caught.value.hint) == (20, "Write default(lookup('stations', site), …).")
    with pytest.raises(ExpressionError, match="there is nothing to park"):
        compile_condition("first(park(lookup('stations', site))) == 'X'", SCOPE)
    assert compile_condition("lookup('stations', site, '') == []", SCOPE).run(facts(), None) is True


@given(st.text(max_size=80))
@example("__import__('os').system('true')")
@example("site.__class__")
@example("facts")
@example("().__class__")
def test_any_text_is_compiled_or_refused_inside_it(source: str) -> None:
    try:
        compiled = compile_expression(source, SCOPE)
    except ExpressionError as error:
        offset = error.offset
    else:
        offset = 0
        assert compiled.run(facts(), None) is not None
    assert 0 <= offset <= len(source)


# --- against a naive evaluator ---

_NAMES = {"step.modality": "string", "site": "string", "patient.verified": "bool", "instance.size": "int"}
_TEXTS = st.sampled_from(["", "CT", "MR", "STO", "æ\\'\"\n"])


def _trees(kind: str, depth: int) -> st.SearchStrategy[Any]:
    """Nested tuples (sign, operands…) of one type."""
    names = st.sampled_from([(("name", n)) for n, k in _NAMES.items() if k == kind])
    if kind == "string":
        leaf = st.one_of(names, _TEXTS.map(lambda t: ("constant", t)))
    elif kind == "int":
        leaf = st.one_of(names, st.integers(-3, 3).map(lambda n: ("constant", n)))
    else:
        leaf = st.one_of(names, st.booleans().map(lambda b: ("constant", b)))
    if depth == 0:
        return leaf
    boolean, text, number = (_trees(k, depth - 1) for k in ("bool", "string", "int"))
    same = {"bool": boolean, "string": text, "int": number}[kind]
    choice = st.tuples(st.just("?"), boolean, same, same)
    if kind == "int":
        return st.one_of(leaf, choice, st.tuples(st.just("size"), text))
    if kind == "string":
        joined = st.tuples(st.just("+"), text, text)
        return st.one_of(leaf, choice, joined, st.tuples(st.sampled_from(["upper", "lower"]), text))
    order = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    return st.one_of(
        leaf,
        choice,
        st.tuples(st.just("!"), boolean),
        st.tuples(st.sampled_from(["&&", "||"]), boolean, boolean),
        st.tuples(order, text, text),
        st.tuples(order, number, number),
        st.tuples(st.just("in"), text, st.lists(_TEXTS, max_size=3)),
        st.tuples(st.sampled_from(["startsWith", "endsWith", "contains"]), text, text),
    )


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


def _write(tree: Any) -> str:
    match tree:
        case ("name", name):
            return str(name)
        case ("constant", bool(value)):
            return "true" if value else "false"
        case ("constant", str(value)):
            return _quote(value)
        case ("constant", value):
            return str(value)
        case ("?", condition, then, otherwise):
            return f"({_write(condition)} ? {_write(then)} : {_write(otherwise)})"
        case ("!", operand):
            return f"!({_write(operand)})"
        case ("in", left, right):
            return f"({_write(left)} in [{', '.join(_quote(item) for item in right)}])"
        case (("startsWith" | "endsWith" | "contains") as method, left, right):
            return f"({_write(left)}).{method}({_write(right)})"
        case (("size" | "upper" | "lower") as function, operand):
            return f"{function}({_write(operand)})"
        case (sign, left, right):
            return f"({_write(left)} {sign} {_write(right)})"
    raise AssertionError(tree)


def _naive(tree: Any, values: Mapping[str, Any]) -> Any:
    match tree:
        case ("name", name):
            return values[name]
        case ("constant", value):
            return value
        case ("?", condition, then, otherwise):
            return _naive(then if _naive(condition, values) else otherwise, values)
        case ("!", operand):
            return not _naive(operand, values)
        case ("in", left, right):
            return any(_naive(left, values) == item for item in right)
        case ("size", operand):
            return len(_naive(operand, values))
        case ("upper", operand):
            return "".join(c.upper() for c in _naive(operand, values))
        case ("lower", operand):
            return "".join(c.lower() for c in _naive(operand, values))
    sign, a, b = tree[0], _naive(tree[1], values), _naive(tree[2], values)
    return {
        "&&": lambda: a and b,
        "||": lambda: a or b,
        "+": lambda: a + b,
        "==": lambda: a == b,
        "!=": lambda: a != b,
        "<": lambda: a < b,
        "<=": lambda: not b < a,
        ">": lambda: b < a,
        ">=": lambda: not a < b,
        "startsWith": lambda: a[: len(b)] == b,
        "endsWith": lambda: b == "" or a[-len(b) :] == b,
        "contains": lambda: any(a[i : i + len(b)] == b for i in range(len(a) + 1)),
    }[sign]()


@given(_trees("bool", 3), _TEXTS, _TEXTS, st.booleans(), st.integers(-3, 3))
def test_the_same_as_a_naive_evaluator(
    tree: Any, modality: str, site: str, verified: bool, size: int
) -> None:
    values = {"step.modality": modality, "site": site, "patient.verified": verified, "instance.size": size}

    assert compile_expression(_write(tree), SCOPE).run({**facts(), **values}, None) == _naive(tree, values)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("true || false && false", True),
        ("!false && false", False),
        ("'a' + 'b' == 'ab'", True),
        ("false ? true : true || false", True),
        ("!'ab'.contains('c') && 1 < 2", True),
    ],
)
def test_precedence(source: str, value: bool) -> None:
    assert run(source) is value


# --- texts with expressions in them ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("", ""),
        ("$", "$"),
        ("${ site }", "STO"),
        ("  ${site}\n", "STO"),
        ("A ${ site }-${ step.modality } B", "A STO-CT B"),
        ("$${ site }", "${ site }"),
        ("${ '}' + \"}\" }", "}}"),
        ("${ instance.size }", "11"),
        ("${ step.station_codes }", ("X", "CT")),
    ],
)
def test_template(text: str, value: object) -> None:
    given = facts(step__modality="CT", site="STO", instance__size=11, step__station_codes=("X", "CT"))

    assert compile_template(text, SCOPE).value(given, None) == value


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("ab ${ site", 3, "'${' has no '}'"),
        ("ab ${ sit }", 6, "there is no field 'sit'"),
        ("ab ${}", 5, "the expression is empty"),
        ("ab ${ step.station_codes }", 6, "this is a list, but text is needed"),
        ("${ patient.name }", 3, "this is a name, but text is needed"),
        ("${ patient.verified }", 3, "this is true or false, but text is needed"),
        ("ab ${env:X}", 3, "an environment reference must be the whole text"),
        ("${ first(lookup('stations', site)) }", 9, "lookup can fail, and nothing says what happens then"),
    ],
)
def test_template_mistakes(text: str, offset: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_template(text, SCOPE)

    assert (caught.value.offset, caught.value.message) == (offset, message)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("W3^101", "W3^101"),
        ("${ site }", "A\\S\\B"),
        ("W3^${ site }", "W3^A\\S\\B"),
        ("${ msg('PV1-3') }", "W3^101^1"),
        ("${ msg('PV1-3') }~x", "W3^101^1~x"),
        ("${ msg('PID-5.1') }", "Sørby \\T\\ co"),
    ],
)
def test_a_whole_hl7_field_is_er7_where_the_file_says_so_and_text_elsewhere(text: str, value: str) -> None:
    found = compile_template(text, SCOPE, er7=True).value(facts(site="A^B"), MESSAGE)

    assert found == value
    assert isinstance(found, Verbatim)
