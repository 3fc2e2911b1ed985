"""Visits by number: state, place, bed, history, and whose they are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.event import Encounter, Event, EventType, Identifier
from broker.registers import steps, visits
from broker.registers.fold import Folded
from broker.registers.visits import Visit
from tests.support.events import START, event, instance, local, order, patient, step
from tests.support.registers import Registers

WHO, OTHER = patient(local("700123")), patient(local("700456"), family="Nordgård")
V1, V2 = local("V1"), local("V2")
BED, OTHER_BED = "KIR1^12^2", "KIR1^12^1"


def said(
    registers: Registers,
    kind: str,
    *,
    time: str = "",
    number: Identifier | None = V1,
    who: Any = WHO,
    prior_visits: tuple[Identifier, ...] = (),
    prior: tuple[Identifier, ...] = (),
    **fields: Any,
) -> Folded:
    """An event of a visit; `time` is when it happened as PAS says."""
    registers.said("patient.updated", patient=who)
    encounter = Encounter(visit_number=number, **fields)
    made = event(f"encounter.{kind}", registers.next(), patient=who, encounter=encounter,
                 prior_visits=prior_visits, prior=prior)  # fmt: skip
    return registers.fold(made.model_copy(update={"event_time": time}))


def visit(registers: Registers, number: Identifier = V1) -> Visit:
    found = visits.get(registers.tx, "|".join(number.key))
    assert found is not None
    return found


def in_bed(registers: Registers, place: str = BED, **when: str) -> str:
    found = visits.in_bed(registers.tx, "STO", place, **when)
    return found.key if found else ""


def state(registers: Registers) -> tuple[str | None, str | None]:
    known = visit(registers).state
    return known.status, known.location


def test_a_visit_is_kept_under_its_number(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED, service="KIR")

    found = visit(registers)
    assert found.patient_key == registers.known(local("700123")).key
    assert (found.state.location, found.state.service, found.ended) == (BED, "KIR", "")
    assert visits.of_patient(registers.tx, found.patient_key) == [found]
    assert registers.tx.rows("SELECT said_value, said_issuer FROM visit") == [("700123", "2.999.7001")]


def test_a_visit_without_a_number_is_not_kept(registers: Registers) -> None:
    said(registers, "started", number=None, status="ACTIVE", location=BED)

    assert registers.tables()["visit"] == registers.tables()["bed"] == []


def test_a_visit_that_nobody_announced_is_active(registers: Registers) -> None:
    said(registers, "moved", location=BED)

    assert state(registers) == ("ACTIVE", BED)


def test_the_bed_follows_and_is_free_when_the_visit_ends(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    assert in_bed(registers) == visit(registers).key
    said(registers, "moved", location=OTHER_BED)
    assert (in_bed(registers), in_bed(registers, OTHER_BED)) == ("", visit(registers).key)
    assert visit(registers).state.prior_location == BED
    folded = said(registers, "ended", status="ENDED", time="20260309090000")
    assert folded.view is not None

    found = visit(registers)
    assert (in_bed(registers), in_bed(registers, OTHER_BED)) == ("", "")
    assert found.ended == folded.view.event.time.isoformat(), "late images are judged by it"
    assert found.state.discharged == "20260309090000"


def test_who_was_in_a_bed_is_known_afterwards(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "moved", location=OTHER_BED)

    (first,) = registers.tx.rows("SELECT since, until FROM bed WHERE place=?", (BED,))
    assert in_bed(registers, at=first[0]) == visit(registers).key
    assert in_bed(registers, at=first[1]) == "", "the moment it was left belongs to the next one"
    assert in_bed(registers, at=(START - timedelta(days=1)).isoformat()) == ""


def test_who_is_put_into_a_bed_has_it(registers: Registers) -> None:
    """PAS forgot the discharge."""
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "started", number=V2, who=OTHER, status="ACTIVE", location=BED)

    assert in_bed(registers) == visit(registers, V2).key
    assert len(registers.tx.rows("SELECT 1 FROM bed WHERE until=''")) == 1


def test_two_patients_change_beds(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "started", number=V2, who=OTHER, status="ACTIVE", location=OTHER_BED)
    said(registers, "moved", location=OTHER_BED)
    said(registers, "moved", number=V2, who=OTHER, location=BED)

    assert in_bed(registers) == visit(registers, V2).key
    assert in_bed(registers, OTHER_BED) == visit(registers).key


def test_a_place_without_a_bed_is_nobodys_bed(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location="OYE^ROM2")

    assert registers.tables()["bed"] == []


def test_a_bed_of_another_site_is_another_bed(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED, facility="LEV")

    assert in_bed(registers) == ""
    assert visits.in_bed(registers.tx, "LEV", BED) == visit(registers)


def test_on_leave_nobody_is_in_the_bed(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "changed", on_leave="Y")
    assert (in_bed(registers), state(registers)) == ("", ("ACTIVE", BED))
    said(registers, "changed", restores=("on_leave",))
    assert in_bed(registers) == visit(registers).key


# --- what is taken back ---


def test_a_transfer_that_is_taken_back_restores_the_bed(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED, facility="STO")
    said(registers, "moved", location=OTHER_BED, facility="STO")
    said(registers, "changed", service="MED")
    said(registers, "moved", restores=("location",))

    found = visit(registers)
    assert (found.state.location, found.state.service) == (BED, "MED"), "only what the transfer changed"
    assert in_bed(registers) == found.key


def test_two_transfers_are_taken_back_one_after_the_other(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "moved", location=OTHER_BED)
    said(registers, "moved", location="MED^1^1")
    places = []
    for _ in range(3):
        said(registers, "moved", restores=("location",))
        places.append(visit(registers).state.location)

    assert places == [OTHER_BED, BED, BED]


def test_a_place_that_became_known_late_is_no_transfer(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", time="20260309090000")
    said(registers, "changed", location=BED, time="20260309080000")
    said(registers, "moved", restores=("location",), time="20260309100000")

    assert state(registers) == ("ACTIVE", BED)


def test_a_late_word_does_not_take_the_bed_from_who_was_put_there(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED, time="20260309090000")
    said(registers, "started", number=V2, who=OTHER, status="ACTIVE", location=BED, time="20260309100000")
    said(registers, "moved", location=BED, time="20260309080000")

    assert in_bed(registers) == "|".join(V2.key)


def test_what_a_cancel_states_itself_counts_more(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "moved", location=OTHER_BED)
    said(registers, "moved", location="KIR2^1^1", restores=("location",))

    assert state(registers) == ("ACTIVE", "KIR2^1^1")


def test_a_discharge_that_is_taken_back(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "ended", status="ENDED", time="20260309090000")
    said(registers, "started", status="ACTIVE", restores=("discharged",))

    found = visit(registers)
    assert (found.state.status, found.state.discharged, found.ended) == ("ACTIVE", None, "")
    assert in_bed(registers) == found.key


def test_an_admission_that_is_taken_back(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "cancelled", status="CANCELED", restores=("status",))

    assert state(registers) == ("CANCELED", BED)
    assert in_bed(registers) == ""
    assert len(registers.tables()["visit_history"]) == 1, "nothing is deleted"


def test_an_admission_that_was_planned_is_planned_again(registers: Registers) -> None:
    said(registers, "planned", status="PLANNED", location=BED)
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "cancelled", status="CANCELED", restores=("status",))

    assert state(registers) == ("PLANNED", BED)


def test_an_admission_that_is_taken_back_twice_stays_planned(registers: Registers) -> None:
    said(registers, "planned", status="PLANNED", location=BED)
    said(registers, "started", status="ACTIVE")
    for _ in range(2):
        said(registers, "cancelled", status="CANCELED", restores=("status",))

    assert state(registers)[0] == "PLANNED"


def test_a_plan_is_taken_back_whatever_was_said_of_its_place(registers: Registers) -> None:
    said(registers, "planned", status="PLANNED", location=BED)
    said(registers, "moved", location=OTHER_BED)
    said(registers, "cancelled", status="CANCELED", restores=("status",))

    assert state(registers)[0] == "CANCELED"


def test_a_cancel_of_what_never_was_changes_nothing_else(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "moved", restores=("location", "temporary_location"))

    assert state(registers) == ("ACTIVE", BED)


# --- the order of time ---


def test_what_happened_earlier_does_not_overwrite(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED, time="20260309080000")
    said(registers, "moved", location="KIR2^1^1", time="20260309110000")
    said(registers, "moved", location=OTHER_BED, service="KIR", time="20260309100000")

    assert state(registers) == ("ACTIVE", "KIR2^1^1")
    assert visit(registers).state.service == "KIR", "what nobody knew is taken"
    assert visit(registers).at == "20260309110000"


def test_a_wrong_clock_does_not_stop_later_moves(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED, time="20310101")
    said(registers, "moved", location=OTHER_BED, time="20260310080000")

    assert state(registers) == ("ACTIVE", OTHER_BED)


def test_what_is_planned_does_not_end_what_began(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "planned", status="PLANNED", start="20260401")

    assert state(registers)[0] == "ACTIVE"


# --- appointments ---

APPOINTMENT = Identifier(value="F55", namespace="STO", oid="2.999.7001")


def appointed(registers: Registers, kind: str = "planned", **fields: Any) -> Folded:
    given: dict[str, Any] = {"appointment": APPOINTMENT, "status": "PLANNED", "location": "FOTO^ROM1",
                             "start": "20260309103000"}  # fmt: skip
    return said(registers, kind, **{**given, **fields})


def appointment(registers: Registers) -> Visit:
    found = visits.get(registers.tx, "appointment|2.999.7001|F55")
    assert found is not None
    return found


def test_an_appointment_does_not_move_its_visit(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    appointed(registers)

    assert state(registers) == ("ACTIVE", BED)
    assert (appointment(registers).visit, appointment(registers).state.status) == (
        visit(registers).key,
        "PLANNED",
    )


def test_an_appointment_is_over_when_the_patient_is_there(registers: Registers) -> None:
    appointed(registers, number=None)
    said(registers, "started", status="ACTIVE", location="FOTO^ROM2", time="20260309102500")

    assert appointment(registers).state.status == "ENDED"


def test_an_appointment_of_another_day_or_place_stays(registers: Registers) -> None:
    appointed(registers, start="20260312")
    said(registers, "started", status="ACTIVE", location="FOTO^ROM1", time="20260309102500")
    said(registers, "moved", location="SKOPI", time="20260313")

    assert appointment(registers).state.status == "PLANNED"


# --- whose it is ---


def test_a_visit_of_somebody_else_is_not_touched(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "ended", status="ENDED", who=OTHER)

    assert state(registers) == ("ACTIVE", BED)
    assert len(registers.reported("visit-patient-differs")) == 1


def test_a_merge_brings_the_visits_along(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    registers.said("patient.updated", patient=OTHER)
    registers.said("patient.merged", patient=OTHER, prior=(local("700123"),))

    assert visit(registers).patient_key == registers.known(local("700456")).key


def moved_visit(registers: Registers, number: Identifier | None = V1, **more: Any) -> Folded:
    return said(registers, "reassigned", who=OTHER, number=number, prior_visits=(V1,), **more)


def a_visit_with_an_order(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    registers.said(
        "step.scheduled", patient=WHO, order=order(), step=step(), encounter=Encounter(visit_number=V1)
    )
    registers.said("step.scheduled", patient=WHO, order=order("F2", "P2"), step=step("RIS|F2|S1"))
    of_the_visit = instance("2.25.7", study_uid=step().study_uid, issuer_stated=True)
    registers.said("instance.received", patient=WHO, instance=of_the_visit)
    registers.said("instance.received", patient=WHO, instance=instance("2.25.8", study_uid="2.25.99"))


def test_a_visit_moves_with_its_steps_and_images_only(registers: Registers) -> None:
    a_visit_with_an_order(registers)
    folded = moved_visit(registers, prior=(local("700123"),))

    new, old = (registers.known(local(n)).key for n in ("700456", "700123"))
    assert visit(registers).patient_key == new
    assert folded.touched[0] == "RIS|F1|S1"
    owners = dict(registers.tx.rows("SELECT key, patient FROM step"))
    assert owners == {"RIS|F1|S1": new, "RIS|F2|S1": old}
    assert dict(registers.tx.rows("SELECT sop_instance_uid, patient FROM instance")) == {
        "2.25.7": new,
        "2.25.8": old,
    }
    assert in_bed(registers) == visit(registers).key


def test_a_visit_is_moved_only_from_whom_it_was(registers: Registers) -> None:
    a_visit_with_an_order(registers)
    registers.said("patient.updated", patient=patient(local("700789")))

    assert moved_visit(registers, prior=(local("700789"),)).touched == ()
    assert visit(registers).patient_key == registers.known(local("700123")).key
    assert len(registers.reported("visit-patient-differs")) == 1


def test_a_visit_that_nobody_knows_cannot_be_moved(registers: Registers) -> None:
    assert moved_visit(registers).touched == ()
    assert registers.tables()["visit"] == []


def renumbered(registers: Registers) -> Folded:
    return said(registers, "reassigned", number=V2, prior_visits=(V1,))


def test_a_new_number_leads_to_the_same_visit_for_ever(registers: Registers) -> None:
    a_visit_with_an_order(registers)
    renumbered(registers)
    assert visit(registers, V1) == visit(registers, V2)
    assert in_bed(registers) == "2.999.7001|V2"
    said(registers, "ended", status="ENDED")

    assert visit(registers, V2).state.status == "ENDED", "the old number is still understood"
    held = steps.get(registers.tx, "RIS|F1|S1")
    assert held is not None
    assert held.encounter is not None
    assert held.encounter.visit_number == V2
    assert [one.step.key for one in steps.of_visit(registers.tx, "2.999.7001|V2")] == ["RIS|F1|S1"]


def test_a_number_that_it_had_may_be_given_back(registers: Registers) -> None:
    a_visit_with_an_order(registers)
    renumbered(registers)
    for number, prior in ((V1, V2), (V2, V1), (V1, V2)):
        said(registers, "reassigned", number=number, prior_visits=(prior,))

        assert visit(registers, V1) == visit(registers, V2), "both lead to it, and none to itself"
        assert visit(registers, V1).state.visit_number == number
        held = steps.get(registers.tx, "RIS|F1|S1")
        assert held is not None
        assert held.encounter is not None
        assert held.encounter.visit_number == number


def test_a_number_that_is_another_patients_is_not_taken(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "started", number=V2, who=OTHER, status="ACTIVE", location=OTHER_BED)
    renumbered(registers)

    assert (visit(registers, V1).key, visit(registers, V2).state.location) == ("2.999.7001|V1", OTHER_BED)
    assert len(registers.reported("visit-patient-differs")) == 1


def test_two_visits_become_the_second(registers: Registers) -> None:
    said(registers, "started", status="ACTIVE", location=BED)
    said(registers, "started", number=V2, status="ACTIVE", location=OTHER_BED)
    renumbered(registers)

    assert visit(registers, V1).key == "2.999.7001|V2"
    assert visit(registers, V2).state.location == OTHER_BED, "it is where it was"
    assert in_bed(registers) == ""


# --- any sequence of events ---

KINDS: tuple[EventType, ...] = (
    "encounter.planned",
    "encounter.started",
    "encounter.moved",
    "encounter.changed",
    "encounter.ended",
    "encounter.cancelled",
    "encounter.reassigned",
    "patient.merged",
)


@st.composite
def happenings(draw: st.DrawFn) -> tuple[EventType, str, dict[str, Any]]:
    kind = draw(st.sampled_from(KINDS))
    who = draw(st.sampled_from([WHO, OTHER]))
    data: dict[str, Any] = {"patient": who}
    if kind == "patient.merged":
        data["prior"] = (
            draw(
                st.sampled_from([i for i in (local("700123"), local("700456")) if i not in who.identifiers])
            ),
        )
    else:
        restores: Any = draw(
            st.sampled_from([(), ("location", "temporary_location"), ("status",), ("on_leave",)])
        )
        data["encounter"] = Encounter(
            visit_number=draw(st.sampled_from([V1, V2, None])),
            appointment=draw(st.sampled_from([None, None, APPOINTMENT])),
            status=draw(st.sampled_from([None, "PLANNED", "ACTIVE", "ENDED", "CANCELED"])),
            location=draw(st.sampled_from([None, BED, OTHER_BED, "FOTO"])),
            on_leave=draw(st.sampled_from([None, "Y", "N"])),
            start=draw(st.sampled_from([None, "20260309"])),
            restores=restores,
        )
        if kind == "encounter.reassigned":
            data["prior_visits"] = (draw(st.sampled_from([V1, V2])),)
    return kind, draw(st.sampled_from(["", "20260309080000", "20260309090000"])), data


@given(st.lists(happenings(), min_size=1, max_size=20))
@settings(max_examples=60)
def test_a_rebuild_gives_the_same_and_a_bed_has_one_visit(
    happened: list[tuple[EventType, str, dict[str, Any]]],
) -> None:
    lived, rebuilt = Registers(), Registers()
    for number, (kind, time, data) in enumerate(happened, 1):
        made = event(kind, number, **data).model_copy(update={"event_time": time})
        lived.fold(made)
        rebuilt.fold(Event.model_validate_json(made.model_dump_json(exclude_defaults=True)))

        beds = lived.tx.rows("SELECT site, place, visit FROM bed WHERE until=''")
        assert len({row[:2] for row in beds}) == len({row[2] for row in beds}) == len(beds)
        for site, place, key in beds:
            owner = visits.get(lived.tx, key)
            assert owner is not None
            assert (owner.key, owner.place) == (key, (site, place))

    assert rebuilt.tables() == lived.tables()
