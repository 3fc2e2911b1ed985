"""What PAS and orders say of a patient, and whose word stands."""

from __future__ import annotations

import pytest

from broker.event import Patient, PersonName
from broker.registers import demographics, exceptions, patients
from tests.support.events import event, local, national, order, patient, step
from tests.support.registers import Registers

NEW = local("700123")
FNR = national("30908299902")


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
    assert demographics.differences(patient(NEW), other) == found


def test_an_encounter_changes_nothing_of_a_known_patient(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(NEW))
    before = registers.tables()
    registers.fold(event("encounter.started", 9, patient=patient(NEW, sex="M")))

    assert registers.tables() == before
