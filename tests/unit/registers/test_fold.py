from __future__ import annotations

from typing import Any, get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.event import Event, EventType, Identifier, Patient, Result, StepStatus
from broker.registers import patients, steps
from broker.registers.fold import fold
from broker.registers.views import step_view
from tests.support.events import event, instance, local, national, order, patient, step
from tests.support.registers import Registers

WHO = patient(local("700123"))


def test_a_result_makes_no_patient_and_keeps_its_order(registers: Registers) -> None:
    def arrived(number: int, who: Patient | None, source: str = "lab") -> str:
        said = event("result.available", number, source=source, patient=who, result=Result())
        view = registers.fold(said).view
        assert view is not None
        return view.patient_key

    assert arrived(1, WHO) == arrived(2, WHO) != arrived(3, patient(local("700456")))
    assert arrived(4, None) == arrived(5, None) != arrived(6, None, source="monitor")
    assert registers.tables()["patient"] == []
    registers.said("patient.registered", patient=WHO)
    assert arrived(7, WHO) == registers.known(local("700123")).key


def test_a_visit_of_somebody_nobody_knows_registers_the_patient(registers: Registers) -> None:
    registers.said("encounter.started", patient=WHO)

    assert registers.known(local("700123")).verified


def test_a_step_is_seen_with_the_patient_of_pas_and_its_own_source(registers: Registers) -> None:
    registers.fold(event("step.scheduled", 1, source="epj", patient=WHO, order=order(), step=step()))
    cause = event("patient.updated", 2, patient=patient(local("700123"), family="Ny"))
    folded = registers.fold(cause)
    view = step_view(registers.tx, cause, "RIS|F1|S1")

    assert folded.touched == ("RIS|F1|S1",)
    assert view is not None
    assert view.patient is not None
    assert view.patient.name is not None
    assert (view.patient.name.family, view.verified, view.event.source) == ("Ny", True, "epj")
    assert (view.step, view.order) == (step(), order())
    assert view.event.id == cause.id
    assert step_view(registers.tx, cause, "nothing") is None


def test_what_an_order_says_of_a_provisional_patient_touches_the_other_steps(registers: Registers) -> None:
    registers.said("step.scheduled", patient=WHO, order=order(), step=step())
    named = patient(local("700123"), family="Ny")

    assert registers.said("order.placed", patient=named, order=order("F2", "P2")).touched == ("RIS|F1|S1",)
    registers.said("patient.registered", patient=WHO)
    assert registers.said("order.placed", patient=named, order=order("F2", "P2")).touched == ()


def test_a_step_that_is_over_is_not_touched_by_demographics(registers: Registers) -> None:
    registers.said("step.completed", patient=WHO, order=order(), step=step(status="COMPLETED"))

    assert registers.said("patient.updated", patient=WHO).touched == ()


def test_a_patient_event_without_a_patient_is_nothing(registers: Registers) -> None:
    assert registers.said("patient.updated").view is None


# --- any sequence of events ---

IDENTIFIERS = [local("1"), local("2"), local("3"), national("4"), national("5")]
FAMILIES = st.sampled_from(["Sørby", "Nordgård", "", None])
KEYS = {"RIS|F1|S1": "F1", "RIS|F1|S2": "F1", "RIS|F2|S1": "F2"}
PAS: tuple[EventType, ...] = ("patient.registered", "patient.updated", "encounter.started")
MERGES: tuple[EventType, ...] = ("patient.merged", "patient.id-changed")
STATUSES = st.sampled_from([None, *get_args(StepStatus)])


@st.composite
def people(draw: st.DrawFn, among: list[Identifier] = IDENTIFIERS, *, most: int = 2) -> Patient:
    found = draw(st.lists(st.sampled_from(among), min_size=1, max_size=most, unique_by=lambda i: i.value))
    return patient(*found, family=draw(FAMILIES), sex=draw(st.sampled_from(["F", "M", "", None])))


@st.composite
def happenings(draw: st.DrawFn) -> tuple[EventType, dict[str, Any]]:
    """One event as the adapters make them: its type and its data."""
    what = draw(st.sampled_from(["pas", "merge", "step", "cancel", "instance"]))
    if what == "pas":
        return draw(st.sampled_from(PAS)), {"patient": draw(people())}
    if what == "merge":
        prior = draw(
            st.lists(st.sampled_from(IDENTIFIERS), min_size=1, max_size=2, unique_by=lambda i: i.value)
        )
        stays = [i for i in IDENTIFIERS if i not in prior]
        return draw(st.sampled_from(MERGES)), {"patient": draw(people(stays)), "prior": tuple(prior)}
    if what == "cancel":
        status = draw(st.sampled_from(["CANCELED", "DISCONTINUED"]))
        named = order(draw(st.sampled_from(["F1", "F2", ""])), whole=status)
        return "order.cancelled", {"patient": draw(people()), "order": named}
    if what == "instance":
        sent = instance(draw(st.sampled_from(["2.25.1", "2.25.2"])), content=draw(st.sampled_from("ab")))
        return "instance.received", {"patient": draw(people(most=3)), "instance": sent}
    key = draw(st.sampled_from(sorted(KEYS)))
    said = step(key, status=draw(STATUSES), study_uid=draw(st.sampled_from(["2.25.1", "2.25.2"])))
    return "step.changed", {"patient": draw(people()), "order": order(KEYS[key]), "step": said}


def log_of(happened: list[tuple[EventType, dict[str, Any]]]) -> list[Event]:
    return [event(kind, number, **data) for number, (kind, data) in enumerate(happened, 1)]


@given(st.lists(happenings(), min_size=1, max_size=25))
@settings(max_examples=40)
def test_rebuilding_gives_the_same_registers(happened: list[tuple[EventType, dict[str, Any]]]) -> None:
    """Invariant 8: events come back from their stored form, the way a rebuild reads them."""
    lived, rebuilt = Registers(), Registers()
    seen = [lived.fold(one) for one in log_of(happened)]
    again = [
        rebuilt.fold(Event.model_validate_json(one.model_dump_json(exclude_defaults=True)))
        for one in log_of(happened)
    ]

    assert rebuilt.tables() == lived.tables()
    assert [(f.touched, f.joined, f.view and f.view.facts()) for f in again] == [
        (f.touched, f.joined, f.view and f.view.facts()) for f in seen
    ]


@given(st.lists(happenings(), min_size=1, max_size=25))
@settings(max_examples=80)
def test_the_registers_stay_in_order_whatever_happens(
    happened: list[tuple[EventType, dict[str, Any]]],
) -> None:
    registers = Registers()
    named: set[tuple[str, str]] = set()
    for one in log_of(happened):
        before = {key: patients.get(registers.tx, key) for key in _living(registers)}
        folded = fold(registers.tx, one, None)
        data = one.data
        _check(registers)
        if one.type in MERGES and folded.view is None:
            assert registers.reported("merge-held") != []
            assert {key: patients.get(registers.tx, key) for key in _living(registers)} == before, (
                "nothing of it"
            )
            continue
        if one.type.startswith("patient."):
            assert data.patient is not None
            named |= {i.key for i in (*data.patient.identifiers, *data.prior)}
            for gone, survivor in folded.joined:
                assert gone in before
                assert patients.get(registers.tx, gone).key == survivor
        if one.type == "step.changed" or one.type.startswith("order.") or data.instance is not None:
            pas = {key: known for key, known in before.items() if known.verified}
            assert {key: patients.get(registers.tx, key) for key in pas} == pas, "PAS wins"
        if one.type in MERGES:
            assert folded.view is not None
            assert not {i.key for i in data.prior} & {i.key for i in folded.view.patient.identifiers}  # type: ignore[union-attr]
        for identifier in IDENTIFIERS:
            if identifier.key in named:
                assert patients.find(registers.tx, (identifier,)) != [], "aliases are for ever"


def _living(registers: Registers) -> list[str]:
    return [key for (key,) in registers.tx.rows("SELECT key FROM patient WHERE merged_into IS NULL")]


def _check(registers: Registers) -> None:
    tx = registers.tx
    living = _living(registers)
    owner = {
        (issuer, value): key
        for value, issuer, key in tx.rows("SELECT value, issuer, patient FROM patient_identifier")
    }
    assert set(owner.values()) <= set(living), "identifiers lead to survivors"
    assert {key for (key,) in tx.rows("SELECT patient FROM step")} <= set(living)
    assert {key for (key,) in tx.rows("SELECT patient FROM instance")} <= {"", *living}
    for (gone,) in tx.rows("SELECT key FROM patient WHERE merged_into IS NOT NULL"):
        assert patients.get(tx, gone).key in living
    for key in living:
        known = patients.get(tx, key)
        assert known.patient.identifiers, "a worklist row needs one"
        assert {owner[i.key] for i in known.patient.identifiers} == {key}, "nobody shows another's identifier"
    for (key,) in tx.rows("SELECT key FROM step"):
        held = steps.get(tx, key)
        assert held is not None
        assert tx.one("SELECT status FROM step WHERE key=?", (key,)) == (held.step.status,)
