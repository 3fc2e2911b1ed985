"""A patient's studies at an archive, by every number and issuer."""

from __future__ import annotations

from typing import Any, cast

import pytest

from broker.dicom.attributes import Attributes
from broker.hl7.demographics import Issuers, read_issuer
from broker.net.retrieve_scu import RetrieveScu
from broker.runtime.archive_search import STUDY_KEYS, Found, Number, issuers_of, numbers_of, of_patient
from broker.settings import load
from tests.support.events import LOCAL, NATIONAL, local, patient
from tests.support.registers import Registers
from tests.support.shared import REPOSITORY

ISSUERS = Issuers(
    default=read_issuer("X&1.1&ISO"),
    known=(read_issuer(f"STO&{LOCAL}&ISO"), read_issuer("ORK&2.999.7002&ISO")),
)


class Answers:
    """An archive's answers by Patient ID."""

    def __init__(self, **by_id: list[Attributes]) -> None:
        self.by_id = {name.removeprefix("n"): rows for name, rows in by_id.items()}
        self.asked: list[Attributes] = []

    def find(self, level: str, keys: Attributes, *, most: int) -> list[Attributes]:
        assert level == "STUDY"
        self.asked.append(keys)
        return self.by_id.get(str(keys["PatientID"]), [])[:most]


def study(uid: str, issuer: str = "", oid: str = "") -> Attributes:
    qualifiers = ({"UniversalEntityID": oid, "UniversalEntityIDType": "ISO"},) if oid else ()
    return {
        "StudyInstanceUID": uid,
        "IssuerOfPatientID": issuer,
        "IssuerOfPatientIDQualifiersSequence": qualifiers,
    }


def search(answers: Answers, *numbers: Number, most: int = 10) -> Found:
    return of_patient(cast(RetrieveScu, answers), numbers, ISSUERS, STUDY_KEYS, most)


def uids(found: Found) -> list[Any]:
    return [one["StudyInstanceUID"] for one in found.answers]


OWN = Number(value="700123", issuers=frozenset({LOCAL}), shared=False)
OLD = Number(value="700001", issuers=frozenset({LOCAL}), shared=False)


def test_every_number_is_asked_for_and_each_study_shown_once() -> None:
    answers = Answers(
        n700123=[study("1.1"), study("1.2", "STO")], n700001=[study("1.2"), study("1.3", oid=LOCAL)]
    )

    found = search(answers, OWN, OLD)

    assert [keys["PatientID"] for keys in answers.asked] == ["700123", "700001"]
    assert answers.asked[0]["IssuerOfPatientID"] == "", "asked for, not asked by: many archives have none"
    assert (uids(found), found.numbers, found.others, found.whole) == (["1.1", "1.2", "1.3"], 2, 0, True)


def test_the_same_number_of_another_hospital_is_somebody_else() -> None:
    answers = Answers(n700123=[study("1.1", "ORK"), study("1.2", oid="2.999.7002"), study("1.3", "STO")])

    found = search(answers, OWN)

    assert (uids(found), found.others) == (["1.3"], 2)


def test_without_an_issuer_a_number_of_several_patients_tells_nothing() -> None:
    shared = Number(value="700123", issuers=frozenset({LOCAL}), shared=True)

    found = search(Answers(n700123=[study("1.1"), study("1.2", "STO")]), shared)

    assert (uids(found), found.unsure, found.others) == (["1.2"], 1, 0)


def test_an_archive_may_have_merged_or_not_have_looked() -> None:
    """Its answers name the number that they are under, where they name one."""
    answers = Answers(
        n700001=[
            {**study("1.1"), "PatientID": "700123"},
            {**study("1.2"), "PatientID": "700001"},
            {**study("1.3"), "PatientID": "4711"},
        ]
    )

    found = search(answers, OWN, OLD)

    assert (uids(found), found.others) == (["1.1", "1.2"], 1)


def test_more_than_is_wanted_is_said() -> None:
    found = search(Answers(n700123=[study(f"1.{n}") for n in range(9)]), OWN, most=4)

    assert (len(found.answers), found.whole) == (4, False)


def test_numbers_that_a_merge_ended_lead_to_the_patient_for_ever() -> None:
    registers = Registers()
    other = local("700123").model_copy(update={"namespace": "ORK", "oid": "2.999.7002"})
    for who in (local("700123"), local("700001"), other):
        registers.said("patient.registered", patient=patient(who))
    registers.said("patient.merged", patient=patient(local("700123")), prior=(local("700001"),))
    key = registers.known(local("700123")).key

    found = {one.value: one for one in numbers_of(registers.tx, key)}

    assert found["700001"] == OLD
    assert found["700123"] == Number(value="700123", issuers=frozenset({LOCAL}), shared=True)


@pytest.mark.parametrize(("namespace", "oid", "issuer"), [("NNNOR", "", NATIONAL), ("", NATIONAL, NATIONAL)])
def test_issuers_are_those_of_the_listeners(namespace: str, oid: str, issuer: str) -> None:
    known = issuers_of(load(REPOSITORY / "config" / "broker.yaml", env={}))

    assert known.complete("1", namespace, oid, "", "").issuer == issuer
