from __future__ import annotations

from typing import Any

import pytest

from broker.event import Encounter, Identifier, Patient, PersonName
from broker.registers import temporary
from tests.support.events import event, local, national, order, patient, step
from tests.support.numbers import valid
from tests.support.registers import Registers

FNR = national(valid("309082"))
H_NUMBER = local(valid("305082")).model_copy(update={"temporary": True})
FH_NUMBER = Identifier(value=valid("812345"), namespace="FHNOR", oid="2.16.578.1.12.4.1.4.3", oid_type="ISO")
OTHER_H = Identifier(value=valid("305182"), namespace="SO2", oid="2.999.7002", oid_type="ISO", temporary=True)
LOCAL = local("700123")


def unknown(*identifiers: Identifier, given: str = "Mann 3", **fields: Any) -> Patient:
    return Patient(
        identifiers=identifiers, name=PersonName(family="Ukjent", given=given), unknown="Y", **fields
    )


def waiting(registers: Registers) -> list[tuple[str, str, str]]:
    return [(one.key, one.source, one.site) for one in temporary.unreconciled(registers.tx)]


@pytest.mark.parametrize("identifier", [H_NUMBER, FH_NUMBER])
def test_who_has_a_temporary_id_alone_waits_for_a_name(registers: Registers, identifier: Identifier) -> None:
    registers.said("patient.registered", patient=patient(identifier, LOCAL))
    registers.said("patient.updated", patient=patient(identifier))

    (one,) = temporary.unreconciled(registers.tx)
    assert (one.key, one.source, one.site) == (registers.known(LOCAL).key, "pas", "STO")
    assert one.since == event("patient.registered", 1).time.isoformat()


def test_who_is_called_unknown_waits_under_any_id_until_it_is_said_no_more(registers: Registers) -> None:
    registers.said("patient.registered", patient=unknown(LOCAL))
    assert waiting(registers) == [(registers.known(LOCAL).key, "pas", "STO")]

    registers.said("patient.updated", patient=patient(LOCAL).model_copy(update={"unknown": "N"}))
    assert waiting(registers) == []


@pytest.mark.parametrize("kind", ["patient.id-changed", "patient.merged"])
def test_who_is_identified_waits_no_longer(registers: Registers, kind: str) -> None:
    if kind == "patient.merged":
        registers.said("patient.registered", patient=patient(FNR))
    registers.said("patient.registered", patient=unknown(H_NUMBER))
    registers.said(kind, patient=patient(FNR).model_copy(update={"unknown": "N"}), prior=(H_NUMBER,))

    assert waiting(registers) == []
    assert registers.known(H_NUMBER).key == registers.known(FNR).key


def test_who_has_a_national_number_too_does_not_wait(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(FNR, H_NUMBER))

    assert waiting(registers) == []


def test_an_order_gives_no_temporary_id(registers: Registers) -> None:
    registers.said("step.scheduled", patient=patient(H_NUMBER), order=order(), step=step())

    assert waiting(registers) == []


def test_the_longest_waits_first_and_each_once(registers: Registers) -> None:
    registers.said("patient.registered", patient=unknown(FH_NUMBER, H_NUMBER))
    registers.said("patient.registered", patient=unknown(OTHER_H, given="Kvinne 1"))

    assert [key for key, *_ in waiting(registers)] == [
        registers.known(FH_NUMBER).key,
        registers.known(OTHER_H).key,
    ]


# --- given again ---


def identified(registers: Registers) -> None:
    registers.said("patient.registered", patient=unknown(H_NUMBER))
    registers.said(
        "patient.id-changed", patient=patient(FNR).model_copy(update={"unknown": "N"}), prior=(H_NUMBER,)
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("patient.registered", patient(H_NUMBER, family="Nordgård", birth_date="19500101")),
        ("patient.updated", patient(H_NUMBER, family="Nordgård", birth_date="19500101")),
        ("patient.registered", unknown(H_NUMBER, given="Mann 9")),
        ("encounter.started", unknown(H_NUMBER, given="Mann 9")),
    ],
)
def test_a_temporary_id_that_ended_is_nobody_elses(registers: Registers, kind: str, said: Patient) -> None:
    identified(registers)
    before = registers.known(FNR)
    folded = registers.said(kind, patient=said, encounter=Encounter(status="ACTIVE"))

    assert (folded.view, folded.touched) == (None, ())
    assert registers.known(H_NUMBER) == before
    assert registers.reported("temporary-id-reissued") == ["M00003"]


@pytest.mark.parametrize(
    "said",
    [
        patient(H_NUMBER),
        patient(H_NUMBER, family="Gift"),
        patient(H_NUMBER, birth_date="19821031"),
        patient(FNR, H_NUMBER, family="Nordgård", birth_date="19500101"),
    ],
    ids=["the same", "a new name", "a birth date put right", "with an id that stands"],
)
def test_a_late_word_under_the_old_id_is_of_the_same_patient(registers: Registers, said: Patient) -> None:
    identified(registers)
    folded = registers.said("patient.updated", patient=said)

    assert folded.view is not None
    assert folded.view.patient_key == registers.known(FNR).key
    assert registers.reported("temporary-id-reissued") == []


def test_so_is_one_that_only_a_merge_named(registers: Registers) -> None:
    who = patient(national("30908299902"))
    registers.said("patient.registered", patient=who)
    registers.said("patient.merged", patient=who, prior=(FH_NUMBER,))
    other = patient(FH_NUMBER, family="Nordgård", birth_date="19900101")

    assert registers.said("patient.updated", patient=other).view is None


def test_an_id_change_may_give_it_back(registers: Registers) -> None:
    """Identified as the wrong one, and PAS says so itself."""
    identified(registers)
    folded = registers.said(
        "patient.id-changed",
        patient=patient(H_NUMBER, family="Ukjent", birth_date="19500101"),
        prior=(FNR,),
    )

    assert folded.view is not None
    assert registers.reported("temporary-id-reissued") == []


def test_two_unknowns_at_once_are_two(registers: Registers) -> None:
    registers.said("patient.registered", patient=unknown(H_NUMBER, given="Mann 1"))
    registers.said("patient.registered", patient=unknown(OTHER_H, given="Mann 2"))

    assert registers.known(H_NUMBER).key != registers.known(OTHER_H).key
    assert len(waiting(registers)) == 2


def test_a_rebuild_gives_the_same() -> None:
    said = [
        event("patient.registered", 1, patient=unknown(H_NUMBER)),
        event("patient.id-changed", 2, patient=patient(FNR), prior=(H_NUMBER,)),
        event("patient.registered", 3, patient=unknown(H_NUMBER, given="Mann 9")),
    ]
    first, again = Registers(), Registers()
    for one in said:
        first.fold(one)
        again.fold(one.model_validate_json(one.model_dump_json(exclude_defaults=True)))

    assert first.tables() == again.tables()
    assert first.tables()["temporary_id"]
