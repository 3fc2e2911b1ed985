from __future__ import annotations

from typing import Any, get_args

import pytest

from broker.event import Code, Encounter, Identifier, Order, StepStatus
from broker.registers import exceptions, steps
from broker.registers.fold import Folded
from tests.support.events import local, order, patient, step
from tests.support.registers import Registers
from tests.support.shared import REPOSITORY

WHO, OTHER = patient(local("700123")), patient(local("700456"), family="Nordgård")
ONE, TWO = "RIS|F1|S1", "RIS|F1|S2"
STATUSES: tuple[StepStatus, ...] = get_args(StepStatus)


def scheduled(registers: Registers, key: str = ONE, kind: str = "step.scheduled", **fields: Any) -> Folded:
    return registers.said(kind, patient=WHO, order=order(), step=step(key, **fields))


def held(registers: Registers, key: str = ONE) -> steps.Held:
    found = steps.get(registers.tx, key)
    assert found is not None
    return found


def test_a_step_is_kept_with_its_order_and_visit(registers: Registers) -> None:
    visit = Encounter(location="OYE^ROM2", visit_number=local("V1"))
    folded = registers.said("step.scheduled", patient=WHO, order=order(), step=step(), encounter=visit)

    found = held(registers)
    assert (found.step, found.order, found.encounter) == (step(), order(), visit)
    assert (found.source, found.site) == ("orders", "STO")
    assert folded.view is not None
    assert (folded.view.step, folded.view.order, folded.view.encounter) == (step(), order(), visit)
    assert folded.touched == ()


def test_a_step_that_says_no_status_is_scheduled_when_it_is_new(registers: Registers) -> None:
    scheduled(registers, status=None)

    assert registers.status(ONE) == "SCHEDULED"


def test_the_same_key_is_the_same_step(registers: Registers) -> None:
    scheduled(registers)
    folded = scheduled(registers, start_date="20260311", start_time="", description="", kind="step.changed")

    assert len(registers.tx.rows("SELECT 1 FROM step")) == 1
    found = held(registers).step
    assert (found.start_date, found.start_time) == ("20260311", "0930"), "what is not said is kept"
    assert folded.view is not None
    assert folded.view.step == found


def test_what_a_change_does_not_say_is_kept_whatever_its_kind(registers: Registers) -> None:
    full = {
        "station_aets": ("CT1_STO", "CT2_STO"),
        "protocol": Code(code="P"),
        "accession_issuer": "STO",
        "priority": "STAT",
    }
    scheduled(registers, **full)
    registers.said(
        "step.changed", patient=WHO, step=step(station_aets=(), modality="", accession_number="", status=None)
    )

    found = held(registers)
    assert found.step == step(**full)
    assert found.order == order(), "nor is the order forgotten"


@pytest.mark.parametrize("status", ["ARRIVED", "CANCELED", "COMPLETED"])
def test_an_order_change_without_status_keeps_it(registers: Registers, status: StepStatus) -> None:
    scheduled(registers, status=status)
    scheduled(registers, status=None, kind="step.changed")

    assert registers.status(ONE) == status
    assert registers.reported() == []


def test_the_cancel_of_one_step_leaves_its_siblings(registers: Registers) -> None:
    scheduled(registers, ONE)
    scheduled(registers, TWO)
    scheduled(registers, ONE, kind="step.cancelled", status="CANCELED")

    assert (registers.status(ONE), registers.status(TWO)) == ("CANCELED", "SCHEDULED")
    assert steps.of_patient(registers.tx, held(registers).patient_key) == [TWO]


WAYS: dict[StepStatus, tuple[StepStatus, ...]] = {
    "COMPLETED": ("STARTED", "COMPLETED"),
    **{status: (status,) for status in STATUSES if status not in ("SCHEDULED", "COMPLETED")},
    "SCHEDULED": (),
}
"""How a step that was scheduled gets into each status."""


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
def test_only_transitions_that_make_sense_are_made(
    registers: Registers, before: StepStatus, after: StepStatus
) -> None:
    scheduled(registers)
    for status in WAYS[before]:
        scheduled(registers, status=status, kind="step.changed")
    folded = scheduled(registers, status=after, description="changed", kind="step.changed")
    allowed = after == before or after in steps.TRANSITIONS[before]

    assert registers.status(ONE) == (after if allowed else before)
    assert (folded.view is not None) == allowed
    assert registers.reported() == ([] if allowed else [ONE])
    assert held(registers).step.description == ("changed" if allowed else ""), "refused as a whole"


@pytest.mark.parametrize("status", STATUSES)
def test_a_row_is_held_only_while_devices_would_be_shown_it(status: StepStatus) -> None:
    state = steps.state_of_row(status, held=True)

    assert state == ("HELD" if status in steps.OPEN else status)
    assert steps.state_of_row(status, held=False) == status
    assert state == status or state in steps.TRANSITIONS[status], "losing its station is a transition"
    assert status in steps.TRANSITIONS["HELD"], "and what is held follows its step"


DRAWN = {
    ("HELD", "SCHEDULED"),
    ("SCHEDULED", "ARRIVED"),
    ("ARRIVED", "STARTED"),
    ("STARTED", "COMPLETED"),
    ("STARTED", "DISCONTINUED"),
    *((open_, ended) for open_ in ("SCHEDULED", "ARRIVED") for ended in ("CANCELED", "EXPIRED")),
    ("CANCELED", "SCHEDULED"),
    ("EXPIRED", "SCHEDULED"),
    ("DISCONTINUED", "SCHEDULED"),
}
"""The state machine of a worklist row as the specification draws it."""

PRACTICE = {
    ("SCHEDULED", "STARTED"),
    *((open_, ended) for open_ in ("SCHEDULED", "ARRIVED") for ended in ("COMPLETED", "DISCONTINUED")),
    ("ARRIVED", "SCHEDULED"),
    ("EXPIRED", "CANCELED"),
    *((open_, "HELD") for open_ in ("SCHEDULED", "ARRIVED")),
    *(("HELD", status) for status in STATUSES),
}
"""What it needs beside that, each with its reason at the table."""


def test_the_table_is_what_is_drawn_and_what_practice_needs() -> None:
    table = {(before, after) for before, targets in steps.TRANSITIONS.items() for after in targets}

    assert table == DRAWN | PRACTICE
    assert steps.TRANSITIONS["COMPLETED"] == frozenset()
    assert set(steps.TRANSITIONS) == {*STATUSES, "HELD"}


def test_the_page_shows_the_table() -> None:
    page = (REPOSITORY / "docs" / "worklist.md").read_text(encoding="utf-8")
    order = ("HELD", *STATUSES)
    lines = [
        f"| {state} | {', '.join(after for after in order if after in steps.TRANSITIONS[state]) or '-'} |"
        for state in order
    ]

    assert "\n".join(lines) in page


# --- rows that nobody came to ---


def expired(registers: Registers, **fields: Any) -> Folded:
    said = held(registers).step.model_copy(update={"status": "EXPIRED", **fields})
    return registers.said("step.expired", patient=WHO, step=said)


def test_an_idle_step_expires_and_an_order_restores_it(registers: Registers) -> None:
    scheduled(registers)

    assert expired(registers).view is not None
    assert registers.status(ONE) == "EXPIRED"
    assert held(registers).order == order(), "nothing else is said"

    scheduled(registers, start_date="20260317", kind="step.changed")
    assert registers.status(ONE) == "SCHEDULED"
    assert registers.reported() == []


def test_what_changed_since_it_was_found_idle_does_not_expire(registers: Registers) -> None:
    scheduled(registers)
    assert expired(registers, start_date="20260301").view is None, "it was moved meanwhile"

    scheduled(registers, status="STARTED", kind="step.started")
    assert expired(registers).view is None, "it has begun"
    assert registers.status(ONE) == "STARTED"
    assert registers.reported() == [], "a race is no fault"


def test_a_step_of_another_patient_is_refused_and_reported(registers: Registers) -> None:
    scheduled(registers)
    registers.said("order.placed", patient=OTHER, order=order("F9"))
    before = registers.tables()["step"]
    folded = registers.said("step.changed", patient=OTHER, order=order(), step=step(start_time="1000"))

    assert folded.view is None
    assert registers.reported("step-patient-differs") == [ONE]
    assert registers.tables()["step"] == before


def test_the_study_uid_is_given_once(registers: Registers) -> None:
    scheduled(registers, study_uid="2.25.1")
    folded = scheduled(registers, study_uid="2.25.2", description="new", kind="step.changed")

    assert held(registers).step.study_uid == "2.25.1"
    assert held(registers).step.description == "new", "the rest of the change is made"
    assert folded.view is not None
    assert folded.view.step is not None
    assert folded.view.step.study_uid == "2.25.1"
    assert registers.reported("study-uid-changed") == [ONE]


def test_a_study_uid_that_was_only_derived_anew_is_no_change(registers: Registers) -> None:
    scheduled(registers, study_uid="2.25.1")
    scheduled(registers, study_uid="2.25.2", study_uid_derived=True, kind="step.changed")

    assert held(registers).step.study_uid == "2.25.1"
    assert not held(registers).step.study_uid_derived
    assert registers.reported() == []


# --- orders that end as a whole ---


@pytest.mark.parametrize("status", ["CANCELED", "DISCONTINUED"])
def test_an_order_that_ends_takes_its_steps_along_and_no_others(
    registers: Registers, status: StepStatus
) -> None:
    scheduled(registers, ONE)
    scheduled(registers, TWO, status="ARRIVED")
    registers.said("step.scheduled", patient=WHO, order=order("F2"), step=step("RIS|F2|S1"))
    folded = registers.said("order.cancelled", patient=WHO, order=order(whole=status))

    assert (registers.status(ONE), registers.status(TWO)) == (status, status)
    assert registers.status("RIS|F2|S1") == "SCHEDULED"
    assert folded.touched == (ONE, TWO)
    assert folded.view is not None
    assert registers.reported() == []


def test_what_is_done_stays_done_when_the_order_ends(registers: Registers) -> None:
    scheduled(registers, ONE, status="COMPLETED")
    scheduled(registers, TWO)
    folded = registers.said("order.cancelled", patient=WHO, order=order(whole="CANCELED"))

    assert (registers.status(ONE), registers.status(TWO)) == ("COMPLETED", "CANCELED")
    assert folded.touched == (TWO,)
    assert registers.reported("step-refused") == [ONE]


def test_an_order_that_ends_twice_changes_nothing_more(registers: Registers) -> None:
    scheduled(registers)
    registers.said("order.cancelled", patient=WHO, order=order(whole="CANCELED"))
    folded = registers.said("order.cancelled", patient=WHO, order=order(whole="CANCELED"))

    assert folded.touched == ()
    assert registers.reported() == []


def test_an_order_of_another_patient_ends_nothing(registers: Registers) -> None:
    scheduled(registers)
    registers.said("patient.registered", patient=OTHER)
    folded = registers.said("order.cancelled", patient=OTHER, order=order(whole="CANCELED"))

    assert registers.status(ONE) == "SCHEDULED"
    assert folded.touched == ()
    assert registers.reported("step-patient-differs") == [ONE]


def test_a_placer_who_does_not_know_the_fillers_number_can_still_end_its_order(registers: Registers) -> None:
    scheduled(registers)
    folded = registers.said("order.cancelled", patient=WHO, order=order(filler="", whole="CANCELED"))

    assert registers.status(ONE) == "CANCELED"
    assert folded.touched == (ONE,)


def test_an_order_cancelled_without_saying_so_of_the_whole_ends_no_step(registers: Registers) -> None:
    scheduled(registers)
    registers.said("order.cancelled", patient=WHO, order=order())

    assert registers.status(ONE) == "SCHEDULED"


@pytest.mark.parametrize(
    ("placed", "named", "same"),
    [
        (order("1", "2"), order("1", "2"), True),
        (order("1", "2"), order("1", ""), True),
        (order("1", "2"), order("1", "9"), True),
        (order("1", "2"), order("", "2"), True),
        (order("", "2"), order("1", "2"), True),
        (order("1", "2"), order("9", "2"), False),
        (order("1", ""), order("", "1"), False),
        (order("1", ""), order("2", ""), False),
        (order("1", ""), order("1", "").model_copy(update={"filler_number": local("1")}), False),
        (order("", "2"), order("", ""), False),
    ],
)
def test_two_orders_are_the_same_by_the_fillers_number_or_else_the_placers(
    registers: Registers, placed: Order, named: Order, same: bool
) -> None:
    registers.said("step.scheduled", patient=WHO, order=placed, step=step())

    found = steps.of_order(registers.tx, named, registers.known(local("700123")).key)
    assert [held.step.key for held in found] == ([ONE] if same else [])


def test_a_change_need_not_repeat_the_numbers_of_its_order(registers: Registers) -> None:
    """The EPJ knows its order by the placer's number, so that must not be lost on the way."""
    registers.said(
        "step.scheduled", patient=WHO, order=order(control="NW", procedure=Code(code="P")), step=step()
    )
    registers.said("step.changed", patient=WHO, order=order(placer="", control="XO"), step=step())

    assert held(registers).order == order(control="XO", procedure=Code(code="P"))


def test_a_step_that_nobody_knows_is_none(registers: Registers) -> None:
    assert steps.get(registers.tx, "nothing") is None
    assert exceptions.listed(registers.tx) == []


def test_the_fillers_number_does_not_make_a_second_row_of_the_placers_step(registers: Registers) -> None:
    placed = Order(control="NW", placer_number=local("P1"))
    numbered = Order(control="XO", placer_number=local("P1"), filler_number=local("F1"))
    registers.said(
        "step.scheduled",
        patient=WHO,
        order=placed,
        step=step("STO|P1|P1", step_id="P1", requested_procedure_id="P1"),
    )
    registers.said(
        "step.changed",
        patient=WHO,
        order=numbered,
        step=step("STO|F1|S1", step_id="S1", start_date="20260311"),
    )

    assert [key for (key,) in registers.tx.rows("SELECT key FROM step")] == ["STO|P1|P1"]
    assert held(registers, "STO|P1|P1").step.start_date == "20260311"


def test_a_step_with_an_id_of_its_own_stays_another_step(registers: Registers) -> None:
    placed = Order(control="NW", placer_number=local("P1"))
    numbered = Order(control="NW", placer_number=local("P1"), filler_number=local("F1"))
    registers.said(
        "step.scheduled",
        patient=WHO,
        order=placed,
        step=step("STO|P1|A", step_id="A", requested_procedure_id="R"),
    )
    registers.said("step.scheduled", patient=WHO, order=numbered, step=step("STO|F1|B", step_id="B"))

    assert len(registers.tx.rows("SELECT key FROM step")) == 2


@pytest.mark.parametrize(
    "said", [order(filler=""), order().model_copy(update={"filler_number": Identifier(value="F1")})]
)
def test_a_cancel_that_leaves_out_a_number_or_an_issuer_reaches_the_row(
    registers: Registers, said: Order
) -> None:
    scheduled(registers)
    folded = registers.said(
        "step.cancelled", patient=WHO, order=said, step=step("EPJ|P1|S1", status="CANCELED")
    )

    assert folded.view is not None
    assert [key for (key,) in registers.tx.rows("SELECT key FROM step")] == [ONE]
    assert registers.status(ONE) == "CANCELED"


def test_a_cancel_of_what_nobody_knows_is_reported_and_told_to_nobody(registers: Registers) -> None:
    folded = scheduled(registers, kind="step.cancelled", status="CANCELED")

    assert folded.view is None
    assert registers.reported("cancel-unmatched") == [ONE]


def test_an_order_that_comes_after_its_cancel_is_scheduled(registers: Registers) -> None:
    scheduled(registers, kind="step.cancelled", status="CANCELED")
    scheduled(registers)

    assert registers.status(ONE) == "SCHEDULED"
    assert registers.reported() == []


def test_a_whole_cancel_of_an_unknown_order_is_reported(registers: Registers) -> None:
    folded = registers.said("order.cancelled", patient=WHO, order=order(whole="CANCELED"))

    assert folded.view is None
    assert len(registers.reported("cancel-unmatched")) == 1


def test_a_whole_cancel_is_told_with_the_numbers_the_order_is_known_by(registers: Registers) -> None:
    scheduled(registers)
    folded = registers.said("order.cancelled", patient=WHO, order=order(filler="", whole="CANCELED"))

    assert folded.view is not None
    assert folded.view.order is not None
    assert folded.view.order.filler_number == order().filler_number


def test_one_study_uid_for_two_patients_is_reported(registers: Registers) -> None:
    scheduled(registers, study_uid="2.25.7")
    registers.said("step.scheduled", patient=OTHER, order=order("F9"), step=step(TWO, study_uid="2.25.7"))

    assert registers.reported("study-uid-shared") == [TWO]
