"""Notes that are made here: what they name, whose they are, and what is refused before anything leaves."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread

from broker.errors import ConfigError
from broker.event import Code, Patient, PerformedStep, StepReference
from broker.runtime import rejecting
from tests.support.events import instance, local, patient
from tests.support.golden import NOW
from tests.support.registers import Registers

WHO, OTHER = patient(local("700123")), patient(local("700456"), family="Nordgård")
STUDY, ELSEWHERE = "2.25.7", "2.25.70"
CT = "1.2.840.10008.5.1.4.1.1.2"
TITLE = Code(code="113001", text="Rejected for Quality Reasons", system="DCM")


@pytest.fixture
def registers() -> Registers:
    """Two patients whose images came under one Study Instance UID."""
    found = Registers()
    for who in (WHO, OTHER):
        found.said("patient.registered", patient=who)
    received(found, "2.25.7.1", WHO)
    received(found, "2.25.7.2", OTHER)
    return found


def received(registers: Registers, uid: str, who: Patient) -> None:
    came = instance(uid, study_uid=STUDY, sop_class_uid=CT, series_uid="2.25.8")
    registers.said("instance.received", patient=who, instance=came)


def test_a_note_is_one_patients(registers: Registers) -> None:
    both = rejecting.chosen(registers.tx, STUDY)
    assert len(both) == 2
    with pytest.raises(ConfigError, match="of 2 patients") as told:
        rejecting.make(registers.tx, STUDY, both, TITLE, now=NOW)
    assert "700" not in str(told.value)


def test_of_a_study_of_two_patients_the_images_of_one_are_rejected_under_that_ones_name(
    registers: Registers,
) -> None:
    theirs = rejecting.chosen(registers.tx, STUDY, only=["2.25.7.2"])
    note = dcmread(BytesIO(rejecting.make(registers.tx, STUDY, theirs, TITLE, now=NOW).file))
    assert note.PatientID == "700456"


def test_an_mpps_of_another_study_chooses_nothing(registers: Registers) -> None:
    """It lists nothing: else the whole study would be rejected."""
    steps = (StepReference(study_uid=ELSEWHERE),)
    said = PerformedStep(uid="2.25.5", status="IN PROGRESS", calling_aet="CT1_STO", steps=steps)
    registers.said("step.started", patient=WHO, performed=said)
    with pytest.raises(ConfigError, match="not of the study"):
        rejecting.chosen(registers.tx, STUDY, mpps="2.25.5")
