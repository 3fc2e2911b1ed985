from __future__ import annotations

import re

import pytest

from broker.event import Identifier, Patient, PersonName
from broker.registers import exceptions, patients
from tests.support.events import event, local, national, order, patient, step
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


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ({"family": "Ny"}, ("Ny", "19821030", "F")),
        ({"family": None, "birth_date": None, "sex": None}, ("Sørby", "19821030", "F")),
        ({"family": "", "birth_date": "", "sex": ""}, ("", "", "")),
        ({"family": None, "birth_date": "1982", "sex": None}, ("Sørby", "1982", "F")),
    ],
    ids=["a new value", "not said keeps", "empty clears", "one part"],
)
def test_an_update_says_what_it_says(
    registers: Registers, said: dict[str, str | None], becomes: tuple[str, str, str]
) -> None:
    registers.said("patient.registered", patient=patient(NEW))
    registers.said("patient.updated", patient=patient(NEW, **said))

    known = registers.known(NEW).patient
    assert known.name is not None
    assert (known.name.family, known.birth_date, known.sex) == becomes


def test_an_identifier_that_an_update_does_not_name_stays(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(FNR, NEW))
    registers.said("patient.updated", patient=patient(NEW))

    assert registers.known(FNR).patient.identifiers == (NEW, FNR)


def test_pas_makes_a_provisional_patient_its_own(registers: Registers) -> None:
    registers.said(
        "step.scheduled", patient=patient(NEW, family="Orderord", sex="M"), order=order(), step=step()
    )
    assert not registers.known(NEW).verified

    registers.said("patient.registered", patient=patient(NEW, FNR, birth_date=None, sex=None))

    known = registers.known(NEW)
    assert known.verified
    assert known.patient == patient(NEW, FNR, birth_date=None, sex=None), (
        "what the order said counts no longer"
    )


def test_an_order_says_more_of_a_patient_that_pas_does_not_know(registers: Registers) -> None:
    registers.said("order.placed", patient=patient(NEW, sex=None), order=order())
    registers.said("order.changed", patient=patient(NEW, FNR, family=None, sex="F"), order=order())

    assert registers.known(FNR).patient == patient(NEW, FNR)
    assert not registers.known(FNR).verified


def test_an_order_never_changes_what_pas_said(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(NEW))
    folded = registers.said(
        "step.scheduled", patient=patient(NEW, FNR, family="Orderord", sex="M"), order=order(), step=step()
    )

    assert registers.known(NEW).patient == patient(NEW)
    assert patients.find(registers.tx, (FNR,)) == [], "an order binds no identifier to a patient of PAS"
    assert folded.view is not None
    assert folded.view.patient == patient(NEW)
    (entry,) = exceptions.listed(registers.tx)
    assert (entry["kind"], entry["reason"]) == (
        "demographics-differ",
        "sex, family name: an order says something else than PAS",
    )
    assert "Orderord" not in str(entry)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"family": "SØRBY"},
        {"family": None, "birth_date": None, "sex": None},
        {"family": "", "birth_date": "", "sex": ""},
    ],
    ids=["the same", "other case", "nothing said", "all cleared"],
)
def test_an_order_that_contradicts_nothing_is_not_reported(
    registers: Registers, said: dict[str, str | None]
) -> None:
    registers.said("patient.registered", patient=patient(NEW))
    registers.said("order.placed", patient=patient(NEW, **said), order=order())

    assert registers.reported() == []


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


def test_pas_naming_two_known_patients_at_once_is_reported_and_joins_nothing(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(NEW))
    registers.said("patient.registered", patient=patient(FNR, family="Nordgård"))
    registers.said("patient.updated", patient=patient(NEW, FNR, sex="M"))

    assert registers.known(NEW).key != registers.known(FNR).key
    assert registers.known(NEW).patient == patient(NEW, sex="M"), (
        "the other's number is not put on this patient"
    )
    assert registers.known(FNR).patient == patient(FNR, family="Nordgård")
    assert registers.reported("identity-conflict") != []


def test_an_order_naming_two_known_patients_is_reported_and_not_filed(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(NEW))
    registers.said("patient.registered", patient=patient(FNR))
    before = registers.tables()
    folded = registers.said("step.scheduled", patient=patient(NEW, FNR), order=order(), step=step())

    assert folded.view is None
    assert registers.reported("identity-conflict") != []
    after = registers.tables()
    assert {**after, "exception": []} == {**before, "exception": []}


def test_pas_joins_what_only_orders_had_kept_apart(registers: Registers) -> None:
    """RIS writes the local number, EPJ the national one; nobody but PAS can say that they are one person's."""
    registers.said("step.scheduled", patient=patient(NEW), order=order("F1"), step=step("RIS|F1|S1"))
    registers.said("step.scheduled", patient=patient(FNR), order=order("F2"), step=step("RIS|F2|S1"))
    absorbed, survivor = registers.known(FNR).key, registers.known(NEW).key
    folded = registers.said("patient.registered", patient=patient(NEW, FNR))

    assert registers.known(NEW) == registers.known(FNR)
    assert registers.known(NEW).patient.identifiers == (NEW, FNR)
    assert folded.joined == ((absorbed, survivor),)
    assert folded.touched == ("RIS|F1|S1", "RIS|F2|S1")
    assert registers.reported() == []


def test_a_provisional_patient_joins_the_one_whom_pas_knows(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(NEW))
    registers.said("step.scheduled", patient=patient(FNR), order=order(), step=step())
    survivor = registers.known(NEW).key
    registers.said("patient.updated", patient=patient(FNR, NEW))

    assert registers.known(FNR).key == survivor, (
        "the record that PAS knows goes on, whichever number comes first"
    )
    assert registers.known(NEW).patient.identifiers == (FNR, NEW)
    assert registers.reported() == []


# --- beside the fold ---


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (patient(NEW), []),
        (patient(NEW, birth_date="19821031"), ["birth date"]),
        (patient(NEW, sex="M"), ["sex"]),
        (patient(NEW, family="Berg"), ["family name"]),
        (patient(NEW, family="Berg", sex="O", birth_date="2000"), ["birth date", "sex", "family name"]),
        (Patient(identifiers=(), name=PersonName(given="Åse")), []),
        (Patient(identifiers=()), []),
    ],
)
def test_differences_name_parts_and_no_values(other: Patient, found: list[str]) -> None:
    assert patients.differences(patient(NEW), other) == found


def test_a_key_that_does_not_exist_is_an_error(registers: Registers) -> None:
    with pytest.raises(KeyError):
        patients.get(registers.tx, "P0")


def test_an_issuer_is_its_oid_or_else_its_name(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(Identifier(value="1", namespace="A", oid="2.999.1")))
    registers.said("patient.registered", patient=patient(Identifier(value="1", namespace="A")))

    assert len(registers.tx.rows("SELECT 1 FROM patient")) == 2
    assert patients.find(registers.tx, (Identifier(value="1", namespace="B", oid="2.999.1"),)) != []


def test_an_encounter_changes_nothing_of_a_known_patient(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(NEW))
    before = registers.tables()
    registers.fold(event("encounter.started", 9, patient=patient(NEW, sex="M")))

    assert registers.tables() == before


def test_nobody_else_writes_what_is_kept_of_patients() -> None:
    """`Transaction.kept` is right only where each write tells it; a rebuild copies whole tables before it folds."""
    writes = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) patient(?:_identifier)? ")
    files = [file for folder in ("broker", "adapters") for file in (REPOSITORY / folder).rglob("*.py")]
    found = {file.relative_to(REPOSITORY).as_posix() for file in files if writes.search(file.read_text())}

    assert found == {"broker/registers/patients.py"}
