from __future__ import annotations

from typing import Any

import pytest

from adapters.pas.inbound import INBOUND as PAS
from broker.event import Identifier, Patient, PersonName
from broker.registers import newborns
from broker.registers.fold import Folded
from tests.support import golden
from tests.support.events import instance, local, national, patient
from tests.support.numbers import valid
from tests.support.registers import Registers

MOTHER = patient(national(valid("309082")), local("700123"))
FNR = national(valid("098326"))
NOBODY = Identifier(value="")


def h_number(first: str, oid: str = "2.999.7001") -> Identifier:
    return Identifier(value=valid(first), oid=oid, oid_type="ISO", temporary=True)


FIRST, SECOND = h_number("094326"), h_number("094326", "2.999.7002")


def child(*identifiers: Identifier, given: str = "Jente", **fields: Any) -> Patient:
    return Patient(
        identifiers=identifiers,
        **{
            "name": PersonName(family="Hansen", given=given),
            "birth_date": "20260309",
            "sex": "F",
            "mother": MOTHER.identifiers[0],
            **fields,
        },
    )


def of_the_mother(registers: Registers) -> list[str]:
    return [one.key for one in newborns.children(registers.tx, registers.known(*MOTHER.identifiers).key)]


@pytest.fixture
def family(registers: Registers) -> Registers:
    """A mother and her child."""
    registers.said("patient.registered", patient=MOTHER)
    registers.said("patient.registered", patient=child(FIRST))
    return registers


def test_mother_and_child_are_two_patients(family: Registers) -> None:
    assert family.known(FIRST).key != family.known(*MOTHER.identifiers).key
    assert of_the_mother(family) == [family.known(FIRST).key]
    assert family.known(FIRST).patient.mother == MOTHER.identifiers[0]


def test_the_mother_may_be_registered_after_the_child_and_under_another_id(registers: Registers) -> None:
    registers.said("patient.registered", patient=child(FIRST, mother=local("700123")))
    registers.said("patient.registered", patient=MOTHER)

    assert of_the_mother(registers) == [registers.known(FIRST).key]


def test_twins_are_two_and_each_knows_its_place(family: Registers) -> None:
    twin = h_number("094426")
    family.said("patient.updated", patient=child(FIRST, given="Jente 1", multiple_birth="Y", birth_order="1"))
    family.said(
        "patient.registered", patient=child(twin, given="Jente 2", multiple_birth="Y", birth_order="2")
    )

    assert of_the_mother(family) == [family.known(FIRST).key, family.known(twin).key]
    assert [family.known(i).patient.birth_order for i in (FIRST, twin)] == ["1", "2"]
    assert [family.known(i).patient.multiple_birth for i in (FIRST, twin)] == ["Y", "Y"]


def test_a_null_clears_the_mother_and_an_empty_field_does_not(family: Registers) -> None:
    family.said("patient.updated", patient=child(FIRST, mother=None))
    assert of_the_mother(family) == [family.known(FIRST).key]
    assert family.known(FIRST).patient.mother == MOTHER.identifiers[0]

    family.said("patient.updated", patient=child(FIRST, mother=NOBODY))
    assert of_the_mother(family) == []
    assert not (family.known(FIRST).patient.mother or NOBODY).value
    assert family.tables()["mother"] == []


def test_the_same_as_pas_writes_it(registers: Registers) -> None:
    """PID-21, 24 and 25 of messages, from the mother's admission to a null."""

    def says(number: int, mother: str) -> None:
        text = (
            rf"MSH|^~\&|PAS|STO|BROKER|HMN|2026030908{number:02}00||ADT^A31|C{number}|P|2.5" + "\n"
            f"EVN||2026030908{number:02}00\n"
            f"PID|1||{FIRST.value}^^^STO||Hansen^Jente 2||20260309|F{'|' * 13}{mother}|||Y|2\nPV1|1|N"
        )
        read = golden.reader(PAS).receive(golden.er7(text), message_id=f"M{number:025}", now=golden.NOW)
        for one in read.events:
            registers.fold(one)

    registers.said("patient.registered", patient=MOTHER)
    says(1, f"{MOTHER.identifiers[0].value}^^^NNNOR&2.16.578.1.12.4.1.4.1&ISO")
    assert of_the_mother(registers) == [registers.known(FIRST).key]
    says(2, "")
    assert of_the_mother(registers) == [registers.known(FIRST).key]
    says(3, '""')
    assert of_the_mother(registers) == []
    twin = registers.known(FIRST).patient
    assert (twin.multiple_birth, twin.birth_order) == ("Y", "2")


def test_another_mother_takes_the_place_of_the_first(family: Registers) -> None:
    other = local("700999")
    family.said("patient.registered", patient=patient(other, family="Lund"))
    family.said("patient.updated", patient=child(FIRST, mother=other))

    assert of_the_mother(family) == []
    (one,) = newborns.children(family.tx, family.known(other).key)
    assert one.key == family.known(FIRST).key


def test_a_mother_who_is_merged_keeps_her_child(family: Registers) -> None:
    survivor = local("700777")
    family.said("patient.registered", patient=patient(survivor))
    family.said("patient.merged", patient=patient(survivor), prior=(MOTHER.identifiers[1],))

    assert of_the_mother(family) == [family.known(FIRST).key]


def test_two_h_numbers_of_two_hospitals_end_in_one_national_number(family: Registers) -> None:
    """Each hospital gave the child a number of its own, then the national one came."""
    family.said("patient.registered", patient=child(SECOND))
    assert len(of_the_mother(family)) == 2

    family.said("patient.id-changed", patient=child(FNR), prior=(FIRST,))
    family.said("patient.merged", patient=child(FNR), prior=(SECOND,))

    assert {family.known(i).key for i in (FNR, FIRST, SECOND)} == {family.known(FNR).key}
    assert of_the_mother(family) == [family.known(FNR).key]

    family.said("patient.updated", patient=child(FNR, mother=NOBODY))
    assert of_the_mother(family) == [], "what a merged record said is cleared as well"


# --- images of a newborn under the mother's id ---


def arrived(registers: Registers, who: Patient, uid: str = "2.25.1.1", *, neonatal: bool = True) -> Folded:
    return registers.said(
        "instance.received", source="images", patient=who, instance=instance(uid, neonatal=neonatal)
    )


def filed(registers: Registers) -> list[tuple[Any, ...]]:
    return registers.tx.rows("SELECT sop_instance_uid, patient FROM instance")


def test_what_comes_from_among_newborns_under_the_mothers_id_is_held(family: Registers) -> None:
    folded = arrived(family, MOTHER)

    assert folded.view is None
    assert filed(family) == []
    assert family.reported("mother-for-child") == ["2.25.1.1"]


def test_it_may_come_again_under_the_childs_id(family: Registers) -> None:
    arrived(family, MOTHER)
    folded = arrived(family, child(FIRST))

    assert folded.view is not None
    assert filed(family) == [("2.25.1.1", family.known(FIRST).key)]
    assert family.reported() == []


def test_other_devices_may_image_the_mother(family: Registers) -> None:
    """Also what is imaged of a child before it is born: fetal ultrasound is the mother's."""
    folded = arrived(family, MOTHER, neonatal=False)

    assert folded.view is not None
    assert filed(family) == [("2.25.1.1", family.known(*MOTHER.identifiers).key)]


def test_before_the_child_is_registered_all_is_the_mothers(registers: Registers) -> None:
    registers.said("patient.registered", patient=MOTHER)
    before = arrived(registers, MOTHER)
    registers.said("patient.registered", patient=child(FIRST))

    assert before.view is not None
    assert filed(registers) == [("2.25.1.1", registers.known(*MOTHER.identifiers).key)]


@pytest.mark.parametrize(
    ("born", "held"),
    [
        ("20260309", True),
        ("20250310", True),
        ("20250308", False),
        ("2025", True),
        ("2024", False),
        ("202603", True),
        ("", True),
        (None, True),
    ],
)
def test_a_child_is_a_newborn_for_a_year(registers: Registers, born: str | None, held: bool) -> None:
    registers.said("patient.registered", patient=MOTHER)
    registers.said("patient.registered", patient=child(FIRST, birth_date=born))

    assert (arrived(registers, MOTHER).view is None) is held


def test_after_a_child_died_nothing_is_held(family: Registers) -> None:
    family.said("patient.updated", patient=child(FIRST, deceased="Y"))

    assert arrived(family, MOTHER).view is not None


def test_an_object_of_nobody_is_nobodys_child(family: Registers) -> None:
    assert arrived(family, patient(local("1"))).view is not None
