from __future__ import annotations

from typing import Any, get_args

import pytest

from broker.event import Code, Encounter, Identifier, Order, StepStatus
from broker.registers import exceptions, steps
from broker.registers.fold import Folded
from tests.support.events import local, order, patient, step
from tests.support.registers import Registers

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


@pytest.mark.parametrize("before", STATUSES)
@pytest.mark.parametrize("after", STATUSES)
def test_only_transitions_that_make_sense_are_made(
    registers: Registers, before: StepStatus, after: StepStatus
) -> None:
    scheduled(registers)
    if before != "SCHEDULED":
        scheduled(registers, status="STARTED" if before == "COMPLETED" else before, kind="step.changed")
        scheduled(registers, status=before, kind="step.changed")
    folded = scheduled(registers, status=after, description="changed", kind="step.changed")
    allowed = after == before or after in steps.TRANSITIONS[before]

    assert registers.status(ONE) == (after if allowed else before)
    assert (folded.view is not None) == allowed
    assert registers.reported() == ([] if allowed else [ONE])
    assert held(registers).step.description == ("changed" if allowed else ""), "refused as a whole"


def test_a_completed_step_is_never_scheduled_again() -> None:
    assert steps.TRANSITIONS["COMPLETED"] == frozenset()
    assert set(steps.TRANSITIONS) == set(STATUSES)


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
