"""Steps that visits make without an order: when they stand, and what happens when an order comes."""

from __future__ import annotations

from typing import Any

import pytest

from broker.event import Encounter, Identifier
from broker.registers import orderless, steps
from broker.registers.fold import Folded
from tests.support.events import event, instance, local, order, patient, step
from tests.support.registers import Registers

WHO = patient(local("700123"))
V1 = local("V1")
PHOTO, ORDERED = "visit|2.999.7001|V1|FOTO|XC", "RIS|F1|S1"
MINTED = "2.25.4711"


def at(
    registers: Registers, kind: str = "started", place: str | None = "FOTO^ROM1", **fields: Any
) -> list[str]:
    """A visit's event. Returns the steps that came or went."""
    given: dict[str, Any] = {
        "visit_number": V1,
        "status": "ACTIVE" if kind == "started" else None,
        "location": place,
    }
    registers.said("patient.updated", patient=WHO)
    encounter = Encounter(**{**given, **fields})
    return list(registers.said(f"encounter.{kind}", patient=WHO, encounter=encounter).touched)


def shown(
    registers: Registers, key: str = PHOTO, *, clinic: str = "FOTO", place: str = "FOTO^ROM1", **fields: Any
) -> Folded:
    """The step that a visit at a clinic makes."""
    said = step(key, clinic=clinic, status=None, accession_number="", study_uid=MINTED, study_uid_derived=True,
                modality="XC", station_aets=("FOTO1",), **fields)  # fmt: skip
    encounter = Encounter(visit_number=V1, location=place)
    return registers.said("step.scheduled", patient=WHO, step=said, encounter=encounter)


def ordered(
    registers: Registers,
    key: str = ORDERED,
    *,
    visit: Identifier | None = V1,
    filler: str = "F1",
    **fields: Any,
) -> Folded:
    said = step(key, **{"modality": "XC", "study_uid_derived": True, **fields})
    encounter = Encounter(visit_number=visit) if visit else None
    return registers.said("step.scheduled", patient=WHO, order=order(filler), step=said, encounter=encounter)


def study(registers: Registers, key: str) -> str:
    held = steps.get(registers.tx, key)
    assert held is not None
    return held.step.study_uid


def test_a_visit_at_the_clinic_is_shown(registers: Registers) -> None:
    at(registers)
    view = shown(registers).view

    assert view is not None
    assert view.step is not None
    assert (view.step.status, view.step.clinic, view.order) == ("SCHEDULED", "FOTO", None)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("ended", {"status": "ENDED"}),
        ("cancelled", {"status": "CANCELED"}),
        ("missed", {"status": "CANCELED"}),
        ("moved", {"place": "KIR1^12^2"}),
        ("changed", {"on_leave": "Y"}),
        ("moved", {"facility": "LEV"}),
    ],
)
def test_it_goes_when_the_visit_is_not_there_any_more(
    registers: Registers, kind: str, change: dict[str, Any]
) -> None:
    at(registers, facility="STO")
    said = Encounter(visit_number=V1, location="FOTO^ROM1", facility="STO")
    one = step(PHOTO, clinic="FOTO", status=None, modality="XC")
    registers.said("step.scheduled", patient=WHO, step=one, encounter=said)

    assert at(registers, kind, **{"facility": None, **change}) == [PHOTO]
    assert registers.status(PHOTO) == "CANCELED"


@pytest.mark.parametrize(
    ("away", "back"),
    [
        (("ended", {"status": "ENDED"}), ("started", {"restores": ("discharged",)})),
        (("moved", {"place": "KIR1^12^2"}), ("moved", {"place": None, "restores": ("location",)})),
        (("changed", {"on_leave": "Y"}), ("changed", {"on_leave": "N"})),
    ],
)
def test_it_comes_back_with_what_is_taken_back(registers: Registers, away: Any, back: Any) -> None:
    at(registers)
    shown(registers)
    at(registers, away[0], **away[1])

    assert at(registers, back[0], **back[1]) == [PHOTO]
    assert registers.status(PHOTO) == "SCHEDULED"


def test_another_room_of_the_clinic_makes_no_difference(registers: Registers) -> None:
    at(registers)
    shown(registers)

    assert at(registers, "moved", "FOTO^ROM2") == []
    assert registers.status(PHOTO) == "SCHEDULED"


def test_a_place_whose_name_only_begins_so_is_another(registers: Registers) -> None:
    at(registers)
    shown(registers)

    assert at(registers, "moved", "FOTOLAB^1") == [PHOTO]


def test_a_service_is_a_clinic_too(registers: Registers) -> None:
    at(registers, place="OYE", service="HUD")
    shown(registers, clinic="service:HUD", place="OYE")
    assert registers.status(PHOTO) == "SCHEDULED"

    assert at(registers, "changed", None, service="MED") == [PHOTO]


def test_an_inpatient_is_shown_where_they_are_for_now(registers: Registers) -> None:
    at(registers, place="KIR1^12^2")
    at(registers, "changed", None, temporary_location="FOTO^ROM1")
    shown(registers, place="KIR1^12^2")
    assert registers.status(PHOTO) == "SCHEDULED"

    assert at(registers, "changed", None, temporary_location="") == [PHOTO]


def test_what_the_device_has_begun_or_done_is_left_alone(registers: Registers) -> None:
    at(registers)
    shown(registers)
    registers.said("step.started", patient=WHO, step=step(PHOTO, status="STARTED", study_uid=MINTED))

    assert at(registers, "ended", status="ENDED") == []
    assert registers.status(PHOTO) == "STARTED"
    registers.said("step.completed", patient=WHO, step=step(PHOTO, status="COMPLETED", study_uid=MINTED))
    at(registers, "started")
    shown(registers)
    assert registers.status(PHOTO) == "COMPLETED", "the same visit is not photographed anew by itself"
    assert registers.reported() == []


def test_what_nobody_came_to_is_shown_again_when_pas_says_so(registers: Registers) -> None:
    at(registers)
    shown(registers)
    held = steps.get(registers.tx, PHOTO)
    assert held is not None
    gone = held.step.model_copy(update={"status": "EXPIRED"})
    registers.said("step.expired", patient=WHO, step=gone)
    assert registers.status(PHOTO) == "EXPIRED"
    assert at(registers, "changed", service="HUD") == []
    assert registers.status(PHOTO) == "EXPIRED", "not by what says nothing of the clinic"
    shown(registers, start_date="20260311")

    assert registers.status(PHOTO) == "SCHEDULED"


def test_a_late_message_shows_nobody_where_they_were(registers: Registers) -> None:
    """The transfer is known; then an older message about the clinic arrives."""
    at(registers, place="KIR1^12^2")
    view = shown(registers).view

    assert view is not None
    assert view.step is not None
    assert view.step.status == "CANCELED"


def test_an_order_takes_over_with_the_study_of_the_visit(registers: Registers) -> None:
    at(registers)
    shown(registers)
    folded = ordered(registers)

    assert folded.touched == (PHOTO,)
    assert (registers.status(PHOTO), registers.status(ORDERED)) == ("CANCELED", "SCHEDULED")
    assert study(registers, ORDERED) == MINTED
    assert orderless.adopted_by(registers.tx, PHOTO) == ORDERED
    assert orderless.adopted(registers.tx, ORDERED) == [PHOTO]
    assert at(registers, "moved", "FOTO^ROM1") == [], "it does not come back with the next message"


def test_an_order_that_was_there_first_is_not_doubled(registers: Registers) -> None:
    at(registers)
    ordered(registers)
    view = shown(registers).view

    assert view is not None
    assert view.step is not None
    assert view.step.status == "CANCELED"
    assert study(registers, ORDERED) != MINTED, "a study, once given, never changes"


def test_an_order_with_a_study_of_its_own_keeps_it(registers: Registers) -> None:
    at(registers)
    shown(registers)
    ordered(registers, study_uid="2.25.5", study_uid_derived=False)

    assert (study(registers, ORDERED), registers.status(PHOTO)) == ("2.25.5", "CANCELED")
    assert registers.reported() == []


def test_images_that_were_there_before_such_an_order_are_told(registers: Registers) -> None:
    at(registers)
    shown(registers)
    registers.said("instance.received", patient=WHO, instance=instance(study_uid=MINTED, issuer_stated=True))
    ordered(registers, study_uid="2.25.5", study_uid_derived=False)

    assert registers.reported("study-adopted") == [ORDERED]


def test_all_steps_of_the_accession_have_the_study_and_those_of_another_do_not(registers: Registers) -> None:
    at(registers)
    shown(registers)
    ordered(registers)
    ordered(registers, "RIS|F1|S2")
    ordered(registers, "RIS|F2|S1", filler="F2", accession_number="A2")

    assert study(registers, "RIS|F1|S2") == MINTED
    assert study(registers, "RIS|F2|S1") != MINTED


@pytest.mark.parametrize(
    "other", [{"modality": "CT"}, {"visit": local("V2")}, {"visit": None}], ids=["device", "visit", "none"]
)
def test_an_order_for_something_else_leaves_it(registers: Registers, other: dict[str, Any]) -> None:
    at(registers)
    shown(registers)
    folded = ordered(registers, **other)

    assert folded.touched == ()
    assert registers.status(PHOTO) == "SCHEDULED"
    assert study(registers, ORDERED) != MINTED


def test_when_the_order_is_cancelled_the_visit_is_shown_again(registers: Registers) -> None:
    at(registers)
    shown(registers)
    ordered(registers)
    folded = registers.said("order.cancelled", patient=WHO, order=order(whole="CANCELED"))

    assert folded.touched == (ORDERED, PHOTO)
    assert registers.status(PHOTO) == "SCHEDULED"
    assert orderless.adopted_by(registers.tx, PHOTO) == ""
    ordered(registers, status="SCHEDULED")
    assert registers.status(PHOTO) == "CANCELED"


def test_when_its_step_is_cancelled_too(registers: Registers) -> None:
    at(registers)
    shown(registers)
    ordered(registers)
    assert ordered(registers, status="CANCELED").touched == (PHOTO,)


def test_the_step_keeps_its_key_when_the_visit_gets_another_number(registers: Registers) -> None:
    at(registers)
    shown(registers)
    renumbered = Encounter(visit_number=local("V2"))
    registers.said("encounter.reassigned", patient=WHO, encounter=renumbered, prior_visits=(V1,))
    again = step(
        "visit|2.999.7001|V2|FOTO|XC", clinic="FOTO", status=None, modality="XC", study_uid="2.25.4712"
    )
    encounter = Encounter(visit_number=local("V2"), location="FOTO^ROM1")
    registers.said("step.scheduled", patient=WHO, step=again, encounter=encounter)

    assert [row[0] for row in registers.tx.rows("SELECT key FROM step")] == [PHOTO]
    assert study(registers, PHOTO) == MINTED


def test_another_patients_order_is_not_this_visits(registers: Registers) -> None:
    at(registers)
    shown(registers)
    other = patient(local("700456"), family="Nordgård")
    said = event("step.scheduled", registers.next(), patient=other, order=order(), step=step(modality="XC"),
                 encounter=Encounter(visit_number=V1))  # fmt: skip
    registers.fold(said)

    assert registers.status(PHOTO) == "SCHEDULED"


def test_a_merge_brings_it_along(registers: Registers) -> None:
    at(registers)
    shown(registers)
    survivor = patient(local("700456"), family="Nordgård")
    folded = registers.said("patient.merged", patient=survivor, prior=(local("700123"),))

    assert folded.touched == (PHOTO,)
    assert registers.status(PHOTO) == "SCHEDULED"
