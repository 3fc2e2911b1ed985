"""What a condition demands: `never` and `_meet` conclude nothing that some event disproves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.routing.domain import Domain
from broker.routing.expression import Scope, compile_condition
from broker.routing.lint import never
from broker.routing.logic import MAX_ALTERNATIVES, alternatives, both, shape
from broker.routing.surroundings import Surroundings
from broker.routing.syntax import parse
from broker.view import catalogue
from tests.unit.routing.conftest import AROUND, TABLES

SCOPE = Scope(tables=TABLES)
EVENTS = ("step.scheduled", "step.cancelled", "order.placed")
DOMAIN = Domain(events=EVENTS, tables=TABLES, around=AROUND)


def why(source: str, *events: str, around: Surroundings = AROUND) -> str:
    compile_condition(source, SCOPE)
    domain = Domain(events=events or ("step.scheduled", "step.cancelled"), tables=TABLES, around=around)
    return " ".join(part for part in never(parse(source), source, domain) if part)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("false", "it says false"),
        ("site == '' && false", "it says false"),
        ("!true", "it says false"),
        ("step.modality == 'CT' && step.modality in ['MR', 'US']", "step.modality cannot be both"),
        ("step.modality == 'CT' && !('CT' == step.modality)", "step.modality cannot be both"),
        ("!(step.modality != 'CT' || step.modality == 'CT')", "step.modality cannot be both"),
        ("step.modality in ['CT', 'MR'] && !(step.modality in ['MR', 'CT'])", "step.modality cannot be both"),
        ("size(step.location) > 5 && size(step.location) <= 5", "size(step.location) cannot be both"),
        ("size(step.location) > 5 && size(step.location) < 6", "size(step.location) cannot be both"),
        ("size(step.location) < 0", "size(step.location) is never so"),
        ("step.start_date > '20260102' && step.start_date < '20260101'", "step.start_date cannot be both"),
        ("step.location.startsWith('A') && step.location.startsWith('B')", "step.location cannot be both"),
        ("step.location.startsWith('AB') && !step.location.startsWith('A')", "step.location cannot be both"),
        ("step.location.startsWith('A') && step.location == 'B1'", "step.location cannot be both"),
        ("'X' in step.station_codes && !('X' in step.station_codes)", "'X' in step.station_codes cannot be both"),
        ("msg('PV1-2') == 'I' && msg('PV1-2') == 'O'", "msg('PV1-2') cannot be both"),
        ("(patient.verified ? site : source) == 'x' && patient.verified && !patient.verified", "patient.verified"),
        ("patient.verified && patient.verified == false", "patient.verified cannot be both"),
        ("type == 'patient.merged'", "type is none of these"),
        ("instance.modality == 'CT'", "instance.modality is always empty in step.*"),
        ("instance.size > 0", "instance.size is always empty in step.*"),
        ("step.status == 'CANCELLED'", "step.status is never that Did you mean 'CANCELED'?"),
        ("patient.sex == 'female'", "patient.sex is never that"),
        ("source == 'pas'", "source is never that It is one of orders."),
        ("site == 'SVG'", "site is never that It is one of STO."),
        ("'CT9' in lookup('stations', step.location, [])", "'CT9' in lookup('stations', step.location, []) is never"),
        ("first(lookup('stations', step.location, '')) == 'CT9'", "first(lookup('stations', step.location, '')) is"),
    ],
)  # fmt: skip
def test_what_can_never_hold(source: str, reason: str) -> None:
    assert why(source).startswith(reason)


@pytest.mark.parametrize(
    "source",
    [
        "step.modality == 'CT' && step.modality in ['CT', 'MR']",
        "size(step.location) > 5 && size(step.location) < 7",
        "step.location.startsWith('AB') && step.location.startsWith('A')",
        "step.location.contains('A') && step.location.contains('B')",
        "step.location > 'A' && step.location < 'AA'",
        "'X' in step.station_codes && 'Y' in step.station_codes",
        "step.modality == step.location && step.modality != 'CT'",
        "patient.verified ? step.modality == 'CT' : step.modality == 'MR'",
        "'CT2_STO' in lookup('stations', step.location, [])",
        "'CT9' in lookup('stations', step.location, step.station_codes)",
        "first(lookup('stations', step.location, 'CT9')) == 'CT9'",
        "step.status == ''",
        "instance.modality == ''",
        "source == 'orders' && site == 'STO'",
        "type == 'step.cancelled'",
    ],
)
def test_what_can_hold(source: str) -> None:
    assert why(source) == ""


def test_demands_on_one_event_are_not_met_by_two() -> None:
    source = "type == 'order.placed' && step.modality == 'CT'"

    assert why(source, "order.placed", "step.scheduled") == "not in order.placed nor in step.scheduled"
    assert why("type == 'step.scheduled' && step.modality == 'CT'", "order.placed", "step.scheduled") == ""


def test_nothing_is_known_of_listeners_that_do_not_say() -> None:
    assert why("source == 'pas'", around=Surroundings()) == ""


def test_what_has_too_many_alternatives_counts_as_able_to_hold() -> None:
    source = " && ".join(f"(step.key == '{n}' || step.step_id == '{n}')" for n in range(12))

    assert MAX_ALTERNATIVES < 2**12
    assert alternatives(parse(source)) is None
    assert why(source) == ""


def test_a_shape_is_the_same_wherever_it_stands() -> None:
    assert shape(parse("a == 'x'")) == shape(parse("  a=='x'"))
    assert shape(parse("a == 1")) != shape(parse("a == true"))


# --- against the compiled expression ---

WORDS = ("", "A", "AB", "B", "CT1_STO", "SCHEDULED", "step.scheduled", "order.placed")
TEXTS = ("type", "step.status", "step.modality", "step.location", "order.control")
texts = st.sampled_from(TEXTS)
words = st.sampled_from(WORDS).map(lambda word: f"'{word}'")
atoms = st.one_of(
    st.tuples(texts, st.sampled_from(("==", "!=", "<", "<=", ">", ">=")), words).map(" ".join),
    st.tuples(words, st.sampled_from(("==", "!=", "<", ">=")), texts).map(" ".join),
    st.tuples(texts, st.lists(words, min_size=1, max_size=3)).map(lambda t: f"{t[0]} in [{', '.join(t[1])}]"),
    st.tuples(texts, st.sampled_from(("startsWith", "endsWith", "contains")), words).map(
        lambda t: f"{t[0]}.{t[1]}({t[2]})"
    ),
    st.tuples(texts, st.sampled_from(("<", "<=", ">", ">=", "==")), st.integers(-1, 3)).map(
        lambda t: f"size({t[0]}) {t[1]} {t[2]}"
    ),
    st.sampled_from(("true", "false", "patient.verified", "'A' in step.station_codes")),
    words.map(lambda word: f"{word} in lookup('stations', step.location, [])"),
    words.map(lambda word: f"first(lookup('stations', step.location, 'A')) == {word}"),
)  # fmt: skip
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(("&&", "||")), inner).map(lambda t: f"({' '.join(t)})"),
        inner.map(lambda text: f"!({text})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})"),
    ),
    max_leaves=6,
)
EMPTY: dict[str, Any] = {"string": "", "list": (), "bool": False, "int": 0, "name": None}


@st.composite
def facts(draw: st.DrawFn) -> dict[str, Any]:
    """What an event of the domain can say."""
    found = {name: EMPTY[kind] for name, kind in catalogue().items()}
    found["type"] = draw(st.sampled_from(EVENTS))
    found["order.control"] = draw(st.sampled_from(WORDS))
    found["patient.verified"] = draw(st.booleans())
    if found["type"].startswith("step."):
        found["step.status"] = draw(st.sampled_from(("", "SCHEDULED", "CANCELED")))
        found["step.modality"] = draw(st.sampled_from(WORDS))
        found["step.location"] = draw(st.sampled_from((*WORDS, "R1", "R2")))
        found["step.station_codes"] = draw(st.sampled_from(((), ("A",), ("B",))))
    return found


@given(conditions, facts())
def test_what_holds_of_an_event_is_never_called_impossible(source: str, event: dict[str, Any]) -> None:
    if compile_condition(source, SCOPE).run(event, None):
        assert never(parse(source), source, DOMAIN) == ("", "")


@given(conditions, conditions, facts())
def test_two_that_hold_of_an_event_have_a_way_in_common(one: str, other: str, event: dict[str, Any]) -> None:
    if compile_condition(one, SCOPE).run(event, None) and compile_condition(other, SCOPE).run(event, None):
        first, second = alternatives(parse(one)), alternatives(parse(other))
        assert first is None or second is None or any(
            all(DOMAIN.at(event["type"]).narrowed(demand).can_hold for demand in both(way, too).values())
            for way in first
            for too in second
        )  # fmt: skip
