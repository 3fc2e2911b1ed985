from __future__ import annotations

import re

import pytest

from broker.event import Identifier
from broker.registers import patients
from tests.support.events import local, national, order, patient, step
from tests.support.registers import Registers
from tests.support.shared import REPOSITORY

OLD, NEW = local("700999"), local("700123")
FNR = national("30908299902")


def test_a_patient_that_pas_registers_is_known_by_every_identifier(registers: Registers) -> None:
    folded = registers.said("patient.registered", patient=patient(FNR, NEW))

    assert folded.view is not None
    assert (folded.view.verified, folded.view.patient) == (True, patient(FNR, NEW))
    assert registers.known(FNR) == registers.known(NEW)
    assert folded.view.patient_key == registers.known(NEW).key


def test_the_same_number_of_another_issuer_is_another_patient(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(local("1")))
    registers.said("patient.registered", patient=patient(national("1"), family="Nordgård"))

    assert registers.known(local("1")).key != registers.known(national("1")).key


# --- merges and changes of ids ---


def test_a_merge_leaves_one_patient_who_answers_to_both(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(OLD, family="Gammel"))
    registers.said("patient.registered", patient=patient(NEW))
    absorbed, survivor = registers.known(OLD).key, registers.known(NEW).key
    folded = registers.said("patient.merged", patient=patient(NEW), prior=(OLD,))

    assert folded.joined == ((absorbed, survivor),)
    assert registers.known(OLD) == registers.known(NEW)
    assert registers.known(OLD).patient == patient(NEW), "the ended number is none of the patient's any more"
    assert patients.get(registers.tx, absorbed).key == survivor


def test_a_late_message_under_the_ended_number_reaches_the_survivor(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(OLD))
    registers.said("patient.registered", patient=patient(NEW))
    registers.said("patient.merged", patient=patient(NEW), prior=(OLD,))
    placed = registers.said("step.scheduled", patient=patient(OLD), order=order(), step=step())
    updated = registers.said("patient.updated", patient=patient(OLD, sex="M"))

    survivor = registers.known(NEW)
    assert placed.view is not None
    assert (placed.view.patient_key, placed.view.verified) == (survivor.key, True)
    assert updated.view is not None
    assert updated.view.patient_key == survivor.key
    assert survivor.patient.identifiers == (NEW,), "what a merge ended does not come back by a late update"


def test_a_merge_of_what_was_merged_keeps_every_alias(registers: Registers) -> None:
    first, second, third = local("1"), local("2"), local("3")
    for one in (first, second, third):
        registers.said("patient.registered", patient=patient(one))
    registers.said("patient.merged", patient=patient(second), prior=(first,))
    registers.said("patient.merged", patient=patient(third), prior=(second,))

    assert registers.known(first) == registers.known(second) == registers.known(third)
    assert registers.known(first).patient.identifiers == (third,)
    for (key,) in registers.tx.rows("SELECT key FROM patient"):
        assert patients.get(registers.tx, key) == registers.known(third)


def test_a_merge_may_go_back(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(OLD))
    registers.said("patient.registered", patient=patient(NEW))
    registers.said("patient.merged", patient=patient(NEW), prior=(OLD,))
    folded = registers.said("patient.merged", patient=patient(OLD), prior=(NEW,))

    assert registers.known(OLD) == registers.known(NEW)
    assert registers.known(OLD).patient.identifiers == (OLD,)
    assert folded.joined == ()
    registers.said("patient.updated", patient=patient(OLD, sex="M"))
    assert registers.known(NEW).patient == patient(OLD, sex="M")


def test_a_number_that_nobody_knew_becomes_an_alias(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(NEW))
    folded = registers.said("patient.merged", patient=patient(NEW), prior=(OLD,))

    assert folded.joined == ()
    assert registers.known(OLD) == registers.known(NEW)


def test_a_merge_of_two_that_nobody_knew_registers_the_survivor(registers: Registers) -> None:
    registers.said("patient.merged", patient=patient(NEW), prior=(OLD,))

    assert registers.known(OLD) == registers.known(NEW)
    assert registers.known(OLD).verified
    assert registers.known(OLD).patient == patient(NEW)


def test_a_merge_moves_steps_and_instances(registers: Registers) -> None:
    registers.said("step.scheduled", patient=patient(OLD), order=order(), step=step())
    registers.said("patient.registered", patient=patient(NEW))
    folded = registers.said("patient.merged", patient=patient(NEW), prior=(OLD,))

    survivor = registers.known(NEW).key
    assert registers.tx.rows("SELECT key, patient FROM step") == [("RIS|F1|S1", survivor)]
    assert folded.touched == ("RIS|F1|S1",)
    again = registers.said("step.changed", patient=patient(OLD), order=order(), step=step(start_time="1000"))
    assert again.view is not None, "the order still names the old number, and is not refused for it"


def test_a_later_update_gives_a_merged_in_identifier_its_place(registers: Registers) -> None:
    """MRG-1 ended the local number; the national one came along, and PAS goes on naming it."""
    registers.said("patient.registered", patient=patient(OLD, FNR))
    registers.said("patient.registered", patient=patient(NEW))
    registers.said("patient.merged", patient=patient(NEW), prior=(OLD,))
    registers.said("patient.updated", patient=patient(FNR, NEW))

    assert registers.known(FNR).patient.identifiers == (FNR, NEW)


@pytest.mark.parametrize("kind", ["patient.id-changed", "patient.merged"])
def test_a_change_of_id_keeps_the_record(registers: Registers, kind: str) -> None:
    registers.said("patient.registered", patient=patient(OLD, FNR))
    before = registers.known(OLD).key
    registers.said("step.scheduled", patient=patient(OLD), order=order(), step=step())
    folded = registers.said(kind, patient=patient(NEW, family=None, birth_date=None, sex=None), prior=(OLD,))

    assert registers.known(NEW).key == before
    assert registers.known(OLD).key == before
    assert registers.known(NEW).patient == patient(NEW, FNR), "the name is kept, the old number is not"
    assert folded.joined == ()
    assert folded.touched == ("RIS|F1|S1",)


def test_a_change_of_id_that_names_the_patients_other_number(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(OLD, FNR))
    registers.said("patient.id-changed", patient=patient(NEW, FNR), prior=(OLD,))

    assert registers.known(NEW) == registers.known(OLD) == registers.known(FNR)
    assert registers.known(FNR).patient.identifiers == (NEW, FNR)


def test_a_change_of_id_may_go_back(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(OLD))
    registers.said("patient.id-changed", patient=patient(NEW), prior=(OLD,))
    registers.said("patient.id-changed", patient=patient(OLD), prior=(NEW,))

    assert registers.known(NEW).patient.identifiers == (OLD,)


# --- identifiers that belong to several patients ---


# --- beside the fold ---


def test_a_key_that_does_not_exist_is_an_error(registers: Registers) -> None:
    with pytest.raises(KeyError):
        patients.get(registers.tx, "P0")


def test_an_issuer_is_its_oid_or_else_its_name(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(Identifier(value="1", namespace="A", oid="2.999.1")))
    registers.said("patient.registered", patient=patient(Identifier(value="1", namespace="A")))

    assert len(registers.tx.rows("SELECT 1 FROM patient")) == 2
    assert patients.find(registers.tx, (Identifier(value="1", namespace="B", oid="2.999.1"),)) != []


def test_nobody_else_writes_what_is_kept_of_patients() -> None:
    """`Transaction.kept` is right only where each write tells it; a rebuild copies whole tables before it folds."""
    writes = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) patient(?:_identifier)? ")
    files = [file for folder in ("broker", "adapters") for file in (REPOSITORY / folder).rglob("*.py")]
    found = {file.relative_to(REPOSITORY).as_posix() for file in files if writes.search(file.read_text())}

    assert found == {"broker/registers/patients.py"}
