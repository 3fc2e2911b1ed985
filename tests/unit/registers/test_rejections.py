"""What rejection notes take out of use, whose notes are obeyed, and the images of a wrong worklist entry."""

from __future__ import annotations

from typing import Any

from broker.dicom import uid
from broker.event import (
    Code,
    InstanceReference,
    Patient,
    PerformedSeries,
    PerformedStep,
    StepReference,
    Study,
)
from broker.registers import rejections
from broker.registers.fold import Folded
from broker.registers.performed import WRONG_ENTRY
from broker.registers.views import look
from tests.support.events import event, instance, local, order, patient, step
from tests.support.registers import Registers

WHO, OTHER = patient(local("700123")), patient(local("700456"), family="Nordgård")
STEP = step()
STUDY = STEP.study_uid
QUALITY = Code(code="113001", text="Rejected for Quality Reasons", system="DCM")
CT = "1.2.840.10008.5.1.4.1.1.2"


def received(registers: Registers, *uids: str, who: Patient = WHO, sop_class: str = CT) -> None:
    for one in uids:
        came = instance(one, study_uid=STUDY, sop_class_uid=sop_class)
        registers.said("instance.received", patient=who, instance=came)


def rejected(
    registers: Registers, *uids: str, who: Patient | None = WHO, kind: str = "study.rejected"
) -> Folded:
    named = tuple(InstanceReference(sop_class_uid=CT, sop_instance_uid=one) for one in uids)
    study = Study(study_uid=STUDY, reason=QUALITY, note="2.25.99", instances=named)
    return registers.said(kind, patient=who, study=study)


def out_of_use(registers: Registers) -> list[str]:
    return [one.sop_instance_uid for one in rejections.of_study(registers.tx, STUDY)]


def known(registers: Registers) -> None:
    for who in (WHO, OTHER):
        registers.said("patient.registered", patient=who)
    registers.said("step.scheduled", patient=WHO, order=order(), step=STEP)


def number(folded: Folded) -> int:
    assert folded.view is not None
    assert folded.view.event.data.study is not None
    return folded.view.event.data.study.number


def test_a_note_takes_out_of_use_and_another_gives_back(registers: Registers) -> None:
    known(registers)
    received(registers, "2.25.1", "2.25.2")
    seen = rejected(registers, "2.25.1")

    assert (number(seen), out_of_use(registers)) == (1, ["2.25.1"])
    assert seen.view is not None
    assert (seen.view.order, seen.view.verified) == (order(), True)
    (one,) = rejections.of_study(registers.tx, STUDY)
    assert (one.code, one.note) == ("113001", "2.25.99")

    assert number(rejected(registers, "2.25.1", kind="study.restored")) == 2
    assert out_of_use(registers) == []


def test_a_note_is_not_one_of_the_images_that_stay(registers: Registers) -> None:
    known(registers)
    received(registers, "2.25.1")
    received(registers, "2.25.99", sop_class=uid.KEY_OBJECT_SELECTION)

    assert number(rejected(registers, "2.25.1")) == 0


def test_a_note_may_come_before_what_it_rejects(registers: Registers) -> None:
    known(registers)
    rejected(registers, "2.25.1")
    received(registers, "2.25.1", "2.25.2")

    assert out_of_use(registers) == ["2.25.1"]
    assert rejections.remaining(registers.tx, STUDY) == 1


def test_a_note_of_another_patient_rejects_nothing(registers: Registers) -> None:
    known(registers)
    received(registers, "2.25.1")

    assert rejected(registers, "2.25.1", who=OTHER).view is None
    assert out_of_use(registers) == []
    assert registers.reported("rejection-patient-differs") == ["2.25.99"]


def test_a_note_without_a_patient_rejects_nothing_of_anybody(registers: Registers) -> None:
    known(registers)
    received(registers, "2.25.1")
    assert rejected(registers, "2.25.1", who=None).view is None
    assert out_of_use(registers) == []
    assert registers.reported("rejection-patient-differs") == ["2.25.99"]


def test_a_note_cannot_reach_another_patients_images_by_naming_them_in_its_own_study(
    registers: Registers,
) -> None:
    known(registers)
    theirs = instance("2.25.7", study_uid="2.25.700", sop_class_uid=CT)
    registers.said("instance.received", patient=OTHER, instance=theirs)
    received(registers, "2.25.1")
    assert rejected(registers, "2.25.1", "2.25.7").view is None
    assert registers.tx.rows("SELECT * FROM rejection") == []
    assert registers.reported("rejection-patient-differs") == ["2.25.99"]


def test_a_note_without_an_issuer_is_its_patients_by_the_number(registers: Registers) -> None:
    known(registers)
    received(registers, "2.25.1")
    bare = patient(local("700123").model_copy(update={"namespace": "CT1", "oid": ""}))

    rejected(registers, "2.25.1", who=bare)
    assert out_of_use(registers) == ["2.25.1"]


def test_after_a_merge_the_old_number_rejects_too(registers: Registers) -> None:
    known(registers)
    received(registers, "2.25.1")
    registers.said("patient.merged", patient=OTHER, prior=(local("700123"),))

    rejected(registers, "2.25.1", who=WHO)
    assert out_of_use(registers) == ["2.25.1"]


def test_seen_again_it_is_as_the_registers_stand_now(registers: Registers) -> None:
    known(registers)
    received(registers, "2.25.1")
    said = event(
        "study.rejected",
        registers.next(),
        patient=WHO,
        study=Study(
            study_uid=STUDY,
            reason=QUALITY,
            instances=(InstanceReference(sop_class_uid=CT, sop_instance_uid="2.25.1"),),
        ),
    )
    registers.fold(said)
    received(registers, "2.25.2")

    again = look(registers.tx, said, None)
    assert again is not None
    assert again.event.data.study is not None
    assert again.event.data.study.number == 1


# --- the wrong worklist entry ---


def wrong_entry(registers: Registers, *uids: str, **fields: Any) -> None:
    reference = StepReference(study_uid=STUDY, accession_number="A1", step_id=STEP.step_id)
    begun = PerformedStep(uid="2.25.50", status="IN PROGRESS", calling_aet="CT1_STO", steps=(reference,))
    registers.said("step.started", patient=WHO, performed=begun)
    ended = PerformedStep(
        uid="2.25.50",
        status="DISCONTINUED",
        calling_aet="CT1_STO",
        discontinuation=fields.get("reason", WRONG_ENTRY),
        series=(PerformedSeries(series_uid="2.25.60", instances=uids),) if uids else (),
    )
    registers.said("step.discontinued", performed=ended)


def test_images_of_a_wrong_entry_are_told_until_they_are_rejected(registers: Registers) -> None:
    known(registers)
    received(registers, "2.25.1", "2.25.2", "2.25.3")
    wrong_entry(registers, "2.25.1", "2.25.2")

    assert registers.reported("wrong-entry-images") == ["2.25.50"]
    rejected(registers, "2.25.1")
    assert registers.reported("wrong-entry-images") == ["2.25.50"]
    rejected(registers, "2.25.2")
    assert registers.reported("wrong-entry-images") == []
    rejected(registers, "2.25.2", kind="study.restored")
    assert registers.reported("wrong-entry-images") == ["2.25.50"]


def test_where_the_modality_lists_nothing_it_is_the_study(registers: Registers) -> None:
    known(registers)
    received(registers, "2.25.1")
    wrong_entry(registers)

    assert registers.reported("wrong-entry-images") == ["2.25.50"]
    rejected(registers, "2.25.1")
    assert registers.reported("wrong-entry-images") == []


def test_the_examination_that_follows_a_wrong_entry_is_not_its(registers: Registers) -> None:
    """The row was served again: the right examination came under the same study."""
    known(registers)
    wrong_entry(registers)
    received(registers, "2.25.1", "2.25.2")
    reference = StepReference(study_uid=STUDY, accession_number="A1", step_id=STEP.step_id)
    right = PerformedStep(uid="2.25.51", status="IN PROGRESS", calling_aet="CT1_STO", steps=(reference,))
    registers.said("step.started", patient=WHO, performed=right)
    made = PerformedSeries(series_uid="2.25.60", instances=("2.25.1", "2.25.2"))
    ended = right.model_copy(update={"status": "COMPLETED", "series": (made,)})
    registers.said("step.completed", performed=ended)
    registers.said("study.completed", study=Study(study_uid=STUDY, basis="mpps", number=2, expected=2))

    assert registers.reported("wrong-entry-images") == []
    received(registers, "2.25.3")
    (wrong,) = (one for (one,) in registers.tx.rows("SELECT body FROM mpps WHERE uid='2.25.50'"))
    said = PerformedStep.model_validate_json(wrong)
    assert rejections.made_by(registers.tx, STUDY, said) == {"2.25.3"}


def test_images_that_come_later_are_found_when_the_study_is_complete(registers: Registers) -> None:
    known(registers)
    wrong_entry(registers)
    received(registers, "2.25.1")

    assert registers.reported("wrong-entry-images") == []
    registers.said("study.completed", study=Study(study_uid=STUDY, basis="quiet"))
    assert registers.reported("wrong-entry-images") == ["2.25.50"]


def test_other_reasons_to_end_leave_their_images(registers: Registers) -> None:
    known(registers)
    received(registers, "2.25.1")
    wrong_entry(registers, "2.25.1", reason="110501")

    assert registers.reported("wrong-entry-images") == []
