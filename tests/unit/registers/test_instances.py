from __future__ import annotations

from typing import Any

from broker.event import Identifier
from broker.registers import exceptions
from broker.registers.fold import Folded
from tests.support.events import instance, local, national, order, patient, step
from tests.support.registers import Registers

FNR, LOCAL = national("30908299902"), local("700123")
UNNAMED = (local("30908299902"), FNR)
"""How an object's 11-digit id without issuer comes: the site's own, then each national issuer."""


def arrived(registers: Registers, *identifiers: Identifier, uid: str = "2.25.1.1", **fields: Any) -> Folded:
    who = fields.pop("who", {})
    return registers.said(
        "instance.received",
        source="images",
        patient=patient(*identifiers, **who),
        instance=instance(uid, **fields),
    )


def owner(registers: Registers, uid: str = "2.25.1.1") -> str:
    row = registers.tx.one("SELECT patient FROM instance WHERE sop_instance_uid=?", (uid,))
    assert row is not None
    return str(row[0])


def test_an_object_of_a_patient_that_pas_knows_is_that_patients(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(LOCAL))
    folded = arrived(registers, LOCAL)

    assert folded.view is not None
    assert (folded.view.verified, folded.view.patient_key) == (True, registers.known(LOCAL).key)
    assert owner(registers) == registers.known(LOCAL).key
    assert registers.reported() == []


def test_an_object_of_nobody_is_passed_on_unverified_and_reported(registers: Registers) -> None:
    folded = arrived(registers, LOCAL)

    assert folded.view is not None
    assert not folded.view.verified
    assert folded.view.patient == patient(LOCAL), "as the object states it"
    assert owner(registers) == ""
    assert registers.reported("instance-unverified") == ["2.25.1.1"]
    assert registers.tx.rows("SELECT 1 FROM patient") == [], "an object makes no patient"


def test_an_object_that_was_here_before_its_patient_is_the_patients(registers: Registers) -> None:
    """The kit of an emergency while PAS is down: images first, registration later, identified at last."""
    arrived(registers, LOCAL)
    registers.said("patient.registered", patient=patient(LOCAL, family="Ukjent"))

    assert owner(registers) == registers.known(LOCAL).key
    assert registers.reported() == []
    registers.said("patient.merged", patient=patient(FNR), prior=(LOCAL,))
    assert owner(registers) == registers.known(FNR).key


def test_an_object_of_another_issuers_number_waits_on(registers: Registers) -> None:
    arrived(registers, LOCAL)
    foreign = Identifier(value=LOCAL.value, namespace="ANDRE")
    registers.said("patient.registered", patient=patient(foreign))

    assert owner(registers) == ""
    registers.said("patient.registered", patient=patient(LOCAL))
    assert owner(registers) == "", "two have the number now, and the object may have named no issuer"
    assert registers.reported("instance-unverified") == ["2.25.1.1"]


def test_a_study_of_another_patients_examination_is_reported(registers: Registers) -> None:
    """Somebody typed another id on the device, and the row's Study Instance UID stayed."""
    for one in (FNR, LOCAL):
        registers.said("patient.registered", patient=patient(one))
    registers.said("step.scheduled", patient=patient(FNR), order=order(), step=step(study_uid="2.25.9"))
    arrived(registers, FNR, uid="2.25.1.1", study_uid="2.25.9")
    arrived(registers, LOCAL, uid="2.25.1.2", study_uid="2.25.9")

    assert owner(registers, "2.25.1.2") == registers.known(LOCAL).key
    assert registers.reported("instance-patient-differs") == ["2.25.1.2"]


def test_objects_of_nobody_keep_their_order_among_themselves(registers: Registers) -> None:
    first, second = arrived(registers, LOCAL, uid="2.25.1.1"), arrived(registers, LOCAL, uid="2.25.1.2")
    other = arrived(registers, uid="2.25.1.3")

    assert first.view is not None
    assert second.view is not None
    assert other.view is not None
    assert first.view.patient_key == second.view.patient_key != other.view.patient_key


def test_a_patient_whom_only_an_order_named_is_not_verified(registers: Registers) -> None:
    registers.said("order.placed", patient=patient(LOCAL), order=order())
    folded = arrived(registers, LOCAL)

    assert folded.view is not None
    assert not folded.view.verified
    assert owner(registers) == ""


def test_nor_is_the_patient_of_the_step_it_was_made_for(registers: Registers) -> None:
    registers.said("step.scheduled", patient=patient(LOCAL), order=order(), step=step(study_uid="2.25.1"))
    folded = arrived(registers, LOCAL, study_uid="2.25.1")

    assert folded.view is not None
    assert not folded.view.verified
    assert owner(registers) == ""


def test_an_object_sent_again_is_verified_once_pas_has_spoken(registers: Registers) -> None:
    arrived(registers, LOCAL)
    registers.said("patient.registered", patient=patient(LOCAL))
    arrived(registers, LOCAL)

    assert owner(registers) == registers.known(LOCAL).key
    assert registers.reported() == []


def test_a_national_number_without_issuer_is_found(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(FNR))
    folded = arrived(registers, *UNNAMED)

    assert folded.view is not None
    assert folded.view.verified


def test_a_number_without_issuer_that_fits_two_patients_fits_none(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(FNR))
    registers.said("patient.registered", patient=patient(UNNAMED[0], family="Nordgård"))
    folded = arrived(registers, *UNNAMED)

    assert folded.view is not None
    assert not folded.view.verified
    assert registers.reported("instance-unverified") == ["2.25.1.1"]


def test_the_step_it_was_made_for_tells_whose_a_number_without_issuer_is(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(FNR))
    registers.said("patient.registered", patient=patient(UNNAMED[0], family="Nordgård"))
    registers.said("step.scheduled", patient=patient(FNR), order=order(), step=step(study_uid="2.25.1"))
    folded = arrived(registers, *UNNAMED, study_uid="2.25.1")

    assert folded.view is not None
    assert folded.view.patient_key == registers.known(FNR).key


def test_the_study_alone_makes_nobody_the_owner(registers: Registers) -> None:
    """The modality picked the wrong row: the object's own id speaks against the step."""
    registers.said("patient.registered", patient=patient(FNR))
    registers.said("step.scheduled", patient=patient(FNR), order=order(), step=step(study_uid="2.25.1"))
    folded = arrived(registers, local("999"), study_uid="2.25.1")

    assert folded.view is not None
    assert not folded.view.verified


def test_an_id_that_a_merge_ended_leads_to_the_survivor(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(local("700999")))
    registers.said("patient.registered", patient=patient(LOCAL))
    registers.said("patient.merged", patient=patient(LOCAL), prior=(local("700999"),))
    arrived(registers, local("700999"))

    assert owner(registers) == registers.known(LOCAL).key


def test_a_merge_moves_objects(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(local("700999")))
    registers.said("patient.registered", patient=patient(LOCAL))
    arrived(registers, local("700999"))
    registers.said("patient.merged", patient=patient(LOCAL), prior=(local("700999"),))

    assert owner(registers) == registers.known(LOCAL).key


def test_the_same_uid_with_other_content_is_reported_and_not_passed_on(registers: Registers) -> None:
    arrived(registers, LOCAL, content="a")
    before = registers.tables()["instance"]
    folded = arrived(registers, LOCAL, content="b")

    assert folded.view is None
    assert registers.reported("instance-differs") == ["2.25.1.1"]
    assert registers.tables()["instance"] == before


def test_the_same_object_again_is_passed_on_again(registers: Registers) -> None:
    arrived(registers, LOCAL)

    assert arrived(registers, LOCAL).view is not None
    assert len(registers.tables()["instance"]) == 1


def test_an_object_that_differs_in_more_than_one_part_is_reported_by_names_of_parts(
    registers: Registers,
) -> None:
    registers.said("patient.registered", patient=patient(LOCAL))
    one = arrived(registers, LOCAL, uid="2.25.1.1", who={"sex": "M"})
    two = arrived(registers, LOCAL, uid="2.25.1.2", who={"sex": "M", "family": "Nordgård"})

    assert one.view is not None
    assert two.view is not None
    assert registers.reported("demographics-differ") == ["2.25.1.2"]
    assert "Nordgård" not in str(exceptions.listed(registers.tx))


def test_an_issuer_that_the_object_names_is_believed_even_against_the_order(registers: Registers) -> None:
    """The same number of another hospital is another person, whatever study the object claims to belong to."""
    registers.said("patient.registered", patient=patient(LOCAL))
    registers.said("step.scheduled", patient=patient(LOCAL), order=order(), step=step(study_uid="2.25.9"))
    foreign = Identifier(value=LOCAL.value, namespace="ANDRE")
    folded = arrived(registers, foreign, study_uid="2.25.9", issuer_stated=True)

    assert folded.view is not None
    assert not folded.view.verified
    assert registers.reported("instance-unverified") == ["2.25.1.1"]
