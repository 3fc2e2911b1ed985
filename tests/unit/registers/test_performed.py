"""What MPPS make of scheduled steps, whose they are, and what is reported of them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from broker.event import Encounter, Patient, PerformedStatus, PerformedStep, StepReference, StepStatus
from broker.registers import filing, performed
from broker.registers.fold import Folded
from broker.registers.performed import WRONG_ENTRY, outcome
from broker.registers.views import look
from broker.registers.worklist import Reader
from tests.support.events import event, local, national, order, patient, step
from tests.support.registers import Registers
from tests.unit.registers.test_worklist import put

WHO, OTHER = patient(local("700123")), patient(local("700456"), family="Nordgård")
ONE, TWO = "RIS|F1|S1", "RIS|F1|S2"


def ordered(registers: Registers, *keys: str, who: Patient = WHO, **fields: Any) -> None:
    registers.said("patient.registered", patient=who)
    for key in keys:
        registers.said("step.scheduled", patient=who, order=order(), step=step(key, **fields))


def reference(key: str = ONE, **fields: Any) -> StepReference:
    """How a device names the step that it was shown."""
    found = step(key)
    given = {"study_uid": found.study_uid, "accession_number": "A1", "step_id": found.step_id}
    return StepReference(**{**given, **fields})


def begun(
    registers: Registers,
    *references: StepReference,
    uid: str = "2.25.1",
    who: Patient | None = WHO,
    **fields: Any,
) -> Folded:
    said = PerformedStep(
        uid=uid, status="IN PROGRESS", calling_aet=fields.pop("aet", "CT1_STO"), steps=references, **fields
    )
    return registers.said("step.started", patient=who, performed=said)


def ended(
    registers: Registers, status: PerformedStatus = "COMPLETED", *, uid: str = "2.25.1", reason: str = ""
) -> Folded:
    said = PerformedStep(uid=uid, status=status, calling_aet="CT1_STO", discontinuation=reason)
    return registers.said(f"step.{status.lower()}", performed=said)


def owner(registers: Registers, uid: str = "2.25.1") -> str:
    (row,) = registers.tx.rows("SELECT patient FROM mpps WHERE uid=?", (uid,))
    return str(row[0])


def owner_of(registers: Registers, number: str) -> str:
    return registers.known(local(number)).key


# --- the step ---


def test_a_step_begins_and_is_completed_with_its_order_in_view(registers: Registers) -> None:
    ordered(registers, ONE)
    started = begun(registers, reference())

    assert registers.status(ONE) == "STARTED"
    assert started.view is not None
    assert (started.view.step, started.view.order) == (step(status="STARTED"), order())
    assert (started.view.event.source, started.view.performed and started.view.performed.uid) == (
        "orders",
        "2.25.1",
    )
    assert started.view.patient_key == owner(registers)

    completed = ended(registers)
    assert registers.status(ONE) == "COMPLETED"
    assert completed.view is not None
    assert completed.view.step == step(status="COMPLETED")
    assert completed.view.performed is not None
    assert completed.view.performed.steps == (reference(),), "what the N-CREATE said is still known"
    assert registers.reported() == []


def test_the_wrong_entry_opens_the_step_again(registers: Registers) -> None:
    ordered(registers, ONE)
    begun(registers, reference())
    folded = ended(registers, "DISCONTINUED", reason=WRONG_ENTRY)

    assert registers.status(ONE) == "SCHEDULED"
    assert folded.view is not None
    assert folded.view.step == step()
    assert registers.reported() == []


@pytest.mark.parametrize("reason", ["", "110513", "110515"])
def test_any_other_reason_leaves_it_discontinued(registers: Registers, reason: str) -> None:
    ordered(registers, ONE)
    begun(registers, reference())
    ended(registers, "DISCONTINUED", reason=reason)

    assert registers.status(ONE) == "DISCONTINUED"


def test_the_wrong_entry_does_not_open_what_ris_ended(registers: Registers) -> None:
    ordered(registers, ONE)
    begun(registers, reference())
    registers.said("step.discontinued", patient=WHO, order=order(), step=step(status="DISCONTINUED"))
    ended(registers, "DISCONTINUED", reason=WRONG_ENTRY)

    assert registers.status(ONE) == "DISCONTINUED"


def test_one_mpps_of_several_steps_is_seen_once_for_each(registers: Registers) -> None:
    ordered(registers, ONE, TWO)
    folded = begun(registers, reference(ONE), reference(TWO))

    assert (registers.status(ONE), registers.status(TWO)) == ("STARTED", "STARTED")
    assert folded.view is not None
    views = (folded.view, *folded.others)
    assert [view.step.key for view in views if view.step is not None] == [ONE, TWO]
    ended(registers)
    assert (registers.status(ONE), registers.status(TWO)) == ("COMPLETED", "COMPLETED")


def test_two_mpps_of_one_step_are_both_kept_and_it_is_done_when_none_goes_on(registers: Registers) -> None:
    ordered(registers, ONE)
    begun(registers, reference(), uid="2.25.1")
    begun(registers, reference(), uid="2.25.2", aet="CT2_STO")
    ended(registers, uid="2.25.1")
    assert registers.status(ONE) == "STARTED"

    ended(registers, "DISCONTINUED", uid="2.25.2")
    assert registers.status(ONE) == "COMPLETED"
    assert registers.tx.rows("SELECT mpps, step FROM mpps_step ORDER BY 1") == [
        ("2.25.1", ONE),
        ("2.25.2", ONE),
    ]
    assert registers.reported() == []


def test_what_is_appended_to_a_completed_step_is_kept_and_changes_nothing(registers: Registers) -> None:
    ordered(registers, ONE)
    begun(registers, reference())
    ended(registers)
    folded = begun(registers, reference(), uid="2.25.2")

    assert registers.status(ONE) == "COMPLETED"
    assert folded.view is not None
    assert folded.view.step is None, "nobody is told again where the step stands"
    assert registers.reported() == []


@pytest.mark.parametrize("status", ["CANCELED", "EXPIRED", "DISCONTINUED"])
def test_what_is_performed_though_it_is_over_is_kept_and_reported(
    registers: Registers, status: StepStatus
) -> None:
    ordered(registers, ONE)
    registers.said("step.changed", patient=WHO, order=order(), step=step(status=status))
    begun(registers, reference())

    assert registers.status(ONE) == status
    assert registers.reported("step-refused") == [ONE]
    assert owner(registers)


STATUSES: tuple[tuple[PerformedStatus, str], ...] = (
    ("IN PROGRESS", ""),
    ("COMPLETED", ""),
    ("DISCONTINUED", ""),
    ("DISCONTINUED", WRONG_ENTRY),
)


@pytest.mark.parametrize("several", [c for n in (1, 2, 3) for c in itertools.product(STATUSES, repeat=n)])
def test_what_several_mpps_make_of_a_step(several: tuple[tuple[PerformedStatus, str], ...]) -> None:
    found = outcome(several)
    counting = {status for status, reason in several if reason != WRONG_ENTRY}

    assert (found == "SCHEDULED") == (not counting)
    assert (found == "STARTED") == ("IN PROGRESS" in counting)
    assert (found == "COMPLETED") == (counting in ({"COMPLETED"}, {"COMPLETED", "DISCONTINUED"}))
    assert found == outcome(reversed(several)), "their order says nothing"


# --- which step ---


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (reference(), True),
        (reference(accession_number=""), True),
        (reference(study_uid="2.25.99"), True),
        (reference(step_id=""), True),
        (reference(step_id="S9"), False),
        (reference(study_uid="2.25.99", accession_number=""), False),
        (reference(study_uid="2.25.99", accession_number="A9"), False),
        (reference(study_uid="2.25.99", step_id=""), False),
    ],
)
def test_a_step_is_found_by_its_id_in_its_study_or_under_its_number(
    registers: Registers, said: StepReference, meant: bool
) -> None:
    ordered(registers, ONE)
    begun(registers, said)

    assert registers.status(ONE) == ("STARTED" if meant else "SCHEDULED")
    assert registers.reported("mpps-unscheduled") == ([] if meant else ["2.25.1"])


def test_of_two_steps_that_would_do_none_is_guessed(registers: Registers) -> None:
    ordered(registers, ONE, TWO, study_uid="2.25.7")
    begun(registers, StepReference(study_uid="2.25.7"))

    assert (registers.status(ONE), registers.status(TWO)) == ("SCHEDULED", "SCHEDULED")
    assert registers.reported("mpps-unscheduled") == ["2.25.1"]


def test_what_was_not_scheduled_is_kept_and_found_when_its_order_comes(registers: Registers) -> None:
    registers.said("patient.registered", patient=WHO)
    folded = begun(registers, reference())

    assert folded.view is not None
    assert (folded.view.step, folded.view.patient_key) == (None, owner(registers))
    assert registers.reported("mpps-unscheduled") == ["2.25.1"]
    ordered(registers, ONE)
    ended(registers)
    assert registers.status(ONE) == "COMPLETED"
    assert registers.reported() == []


# --- whose ---


def test_an_mpps_under_the_old_id_of_a_moved_visit_is_its_patients(registers: Registers) -> None:
    """The device took the row before A45 came."""
    visit = local("V1")
    said = step(ONE)
    for one in (WHO, OTHER):
        registers.said("patient.registered", patient=one)
    encounter = Encounter(visit_number=visit)
    registers.said("step.scheduled", patient=WHO, order=order(), step=said, encounter=encounter)
    registers.said("encounter.reassigned", patient=OTHER, prior=WHO.identifiers, prior_visits=(visit,))
    begun(registers, reference(), issuer_stated=True)

    assert registers.status(ONE) == "STARTED"
    assert owner(registers) == registers.known(*OTHER.identifiers).key
    assert registers.reported() == []
    registers.said("patient.merged", patient=patient(local("700999")), prior=WHO.identifiers)
    assert owner(registers) == registers.known(*OTHER.identifiers).key, "nothing of the old id any more"


def test_another_patients_mpps_begins_no_step(registers: Registers) -> None:
    ordered(registers, ONE)
    registers.said("patient.registered", patient=OTHER)
    folded = begun(registers, reference(), who=OTHER, issuer_stated=True)

    assert registers.status(ONE) == "SCHEDULED"
    assert registers.reported("mpps-patient-differs") == ["2.25.1"]
    assert folded.view is not None
    assert owner(registers) == registers.known(local("700456")).key, "it stays with the patient whom it names"


def test_a_name_decides_nothing(registers: Registers) -> None:
    ordered(registers, ONE)
    begun(registers, reference(), who=patient(local("700123"), family="Feil", birth_date="19000101"))

    assert registers.status(ONE) == "STARTED"


@pytest.mark.parametrize(("stated", "begins"), [(False, True), (True, False)])
def test_an_id_whose_issuer_was_left_out_may_be_any_of_the_patients(
    registers: Registers, stated: bool, begins: bool
) -> None:
    ordered(registers, ONE, who=patient(national("30908299902")))
    begun(registers, reference(), who=patient(local("30908299902")), issuer_stated=stated)

    assert registers.status(ONE) == ("STARTED" if begins else "SCHEDULED")


def test_an_mpps_without_a_patient_is_its_steps_patients(registers: Registers) -> None:
    ordered(registers, ONE)
    begun(registers, reference(), who=None)

    assert owner(registers) == registers.known(local("700123")).key


def test_an_ended_id_leads_to_the_survivor_before_and_after(registers: Registers) -> None:
    ordered(registers, ONE)
    begun(registers, reference(), uid="2.25.1")
    registers.said("patient.merged", patient=OTHER, prior=WHO.identifiers)
    begun(registers, reference(), uid="2.25.2")
    survivor = registers.known(local("700456")).key

    assert (owner(registers, "2.25.1"), owner(registers, "2.25.2")) == (survivor, survivor)
    ended(registers, uid="2.25.1")
    ended(registers, uid="2.25.2")
    assert registers.status(ONE) == "COMPLETED"
    assert registers.reported() == []


def test_an_mpps_of_nobody_keeps_its_order_and_joins_its_patients_lane(registers: Registers) -> None:
    first = begun(registers)
    assert first.view is not None
    assert (owner(registers), first.view.patient) == ("", WHO)
    registers.said("patient.registered", patient=WHO)
    second = ended(registers)

    assert second.joined == ((first.view.patient_key, owner(registers)),)
    assert second.view is not None
    assert second.view.patient_key == owner(registers) == registers.known(local("700123")).key


# --- beside it ---


def test_what_never_ends_is_overdue_once(registers: Registers) -> None:
    begun(registers)
    at = registers.tx.rows("SELECT created FROM mpps")[0][0]

    assert performed.overdue(registers.tx, at) == []
    assert performed.overdue(registers.tx, "2026-03-10") == ["2.25.1"]
    ended(registers)
    assert performed.overdue(registers.tx, "2026-03-10") == []


def test_an_event_is_seen_again_as_it_stands_by_now(registers: Registers) -> None:
    ordered(registers, ONE)
    begun(registers, reference())
    ended(registers)
    said = PerformedStep(uid="2.25.1", status="IN PROGRESS", calling_aet="CT1_STO")
    view = look(registers.tx, event("step.started", performed=said), None)

    assert view is not None
    assert view.step == step(status="COMPLETED")
    unknown = said.model_copy(update={"uid": "2.25.404"})
    assert look(registers.tx, event("step.started", performed=unknown), None) is None


def test_who_began_it_is_shown_it_and_nobody_else(registers: Registers) -> None:
    registers.said("patient.registered", patient=WHO)
    put(registers, ONE)
    begun(registers, reference(), aet="CT1_STO")
    reader = Reader(lambda: registers.tx)

    assert list(reader.candidates()) == []
    assert [row.status for row in reader.candidates(started_by="CT1_STO")] == ["STARTED"]
    assert list(reader.candidates(started_by="CT2_STO")) == []
    ended(registers)
    assert list(reader.candidates(started_by="CT1_STO")) == []


def test_what_was_merged_by_mistake_goes_back_with_the_id_it_came_under(registers: Registers) -> None:
    ordered(registers, ONE)
    registers.said("patient.registered", patient=OTHER)
    own = owner_of(registers, "700123")
    begun(registers, reference(), uid="2.25.1")
    registers.said("patient.merged", patient=OTHER, prior=WHO.identifiers)
    begun(registers, reference(), uid="2.25.2", who=None)
    assert owner(registers, "2.25.1") == owner(registers, "2.25.2") == owner_of(registers, "700456")

    filing.refile(registers.tx, local("700123").key, own)
    assert owner(registers, "2.25.1") == owner(registers, "2.25.2") == own
