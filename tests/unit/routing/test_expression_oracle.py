"""The subset means what CEL means: random well-typed expressions, asked of a full CEL in Rust as well.

Left out where the two differ on purpose: `size` counts characters here and bytes there, and the functions that CEL
does not have.
"""

from __future__ import annotations

from typing import Any

import cel
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.routing.expression import Scope, compile_expression
from broker.view import FactType, catalogue

NAMES: dict[FactType, list[str]] = {
    "string": ["site", "step.modality", "step.location"],
    "list": ["step.station_codes", "step.station_aets"],
    "bool": ["patient.verified"],
    "int": ["instance.size"],
}
TEXTS = st.sampled_from(["", "CT", "MR", "C", "æø", "Å\U0001f469", "'\"\\", "\n\t", "${}"]) | st.text(
    max_size=3
)


def quoted(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{text}'"


def written(kind: FactType, depth: int) -> st.SearchStrategy[str]:
    """Expressions of one type, each operand in brackets only where the grammar of CEL may leave them out."""
    literals: dict[FactType, st.SearchStrategy[str]] = {
        "string": TEXTS.map(quoted),
        "list": st.lists(TEXTS.map(quoted), max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        "bool": st.sampled_from(["true", "false"]),
        "int": st.integers(-(10**17), 10**17).map(str),
    }
    leaf = st.sampled_from(NAMES[kind]) | literals[kind]
    if depth == 0:
        return leaf
    text, items, truth, number = (written(k, depth - 1) for k in ("string", "list", "bool", "int"))
    same = {"string": text, "list": items, "bool": truth, "int": number}[kind]
    choice = st.tuples(truth, same, same).map(lambda c: f"({c[0]} ? {c[1]} : {c[2]})")
    if kind == "string":
        return leaf | choice | st.tuples(text, text).map(" + ".join).map("({})".format)
    if kind == "int":
        return leaf | choice | items.map("size({})".format)
    if kind == "list":
        return leaf | choice
    order = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    method = st.sampled_from(["startsWith", "endsWith", "contains"])
    return st.one_of(
        leaf,
        choice,
        truth.map("!({})".format),
        st.lists(truth, min_size=2, max_size=4).map(" && ".join).map("({})".format),
        st.lists(truth, min_size=2, max_size=4).map(" || ".join).map("({})".format),
        st.tuples(truth, truth, truth).map(lambda t: f"({t[0]} || {t[1]} && {t[2]})"),
        st.tuples(text, order, text).map(lambda r: f"({r[0]} {r[1]} {r[2]})"),
        st.tuples(number, order, number).map(lambda r: f"({r[0]} {r[1]} {r[2]})"),
        st.tuples(items, st.sampled_from(["==", "!="]), items).map(lambda r: f"({r[0]} {r[1]} {r[2]})"),
        st.tuples(text, items).map(lambda r: f"({r[0]} in {r[1]})"),
        st.tuples(text, method, text).map(lambda m: f"({m[0]}).{m[1]}({m[2]})"),
    )


FACTS = st.fixed_dictionaries(
    {
        **dict.fromkeys(NAMES["string"], TEXTS),
        **{name: st.lists(TEXTS, max_size=3) for name in NAMES["list"]},
        "patient.verified": st.booleans(),
        "instance.size": st.integers(-(10**17), 10**17),
    }
)


@given(st.one_of(written("bool", 3), written("string", 3), written("int", 3)), FACTS)
@settings(max_examples=500)
def test_the_subset_says_what_cel_says(source: str, given_facts: dict[str, Any]) -> None:
    nested: dict[str, Any] = {}
    for name, value in given_facts.items():
        root, _, part = name.partition(".")
        if part:
            nested.setdefault(root, {})[part] = value
        else:
            nested[root] = value
    ours = {name: tuple(value) if isinstance(value, list) else value for name, value in given_facts.items()}

    assert compile_expression(source, Scope()).run(ours, None) == cel.evaluate(source, nested)


def test_the_names_are_of_the_catalogue() -> None:
    assert all(catalogue()[name] == kind for kind, names in NAMES.items() for name in names)
