from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.event import Decision, Encounter, Event, Identifier, Patient
from broker.registers import changes, exceptions, ledger, links, patients, split, steps
from broker.registers.fold import Folded
from tests.support.events import START, event, instance, local, national, order, patient, step
from tests.support.registers import Registers

OLD, NEW = local("700999"), local("700123")
FNR, OTHER_FNR = national("30908299902"), national("03851598730")
ELSEWHERE = Identifier(value="H1", namespace="NAM", oid="2.999.7002", oid_type="ISO")
DNR = Identifier(value="55102499947", namespace="DNNOR", oid="2.16.578.1.12.4.1.4.2", oid_type="ISO")


def merged(
    registers: Registers, survivor: Patient, *prior: Identifier, kind: str = "patient.merged"
) -> Folded:
    return registers.said(kind, patient=survivor, prior=prior)


def decided(registers: Registers, change: str) -> Folded:
    decision = Decision(change=change, by="kari", approved_by="ola", reason="two persons")
    return registers.said("patient.split", source="operator", decision=decision)


def last(registers: Registers) -> changes.Change:
    row = registers.tx.one("SELECT id FROM patient_change ORDER BY number DESC LIMIT 1")
    assert row is not None
    change = ledger.get(registers.tx, row[0])
    assert change is not None
    return change


# --- guards ---


@pytest.mark.parametrize(
    ("survivor", "prior", "reason"),
    [
        (patient(NEW), (OLD,), ""),
        (patient(NEW, birth_date=None), (OLD,), ""),
        (patient(NEW, birth_date="1982"), (OLD,), ""),
        (patient(NEW, birth_date="19821031"), (OLD,), "birth dates"),
        (patient(FNR), (OLD,), ""),
        (patient(FNR), (ELSEWHERE,), ""),
        (patient(FNR), (DNR,), ""),
        (patient(NEW), (ELSEWHERE,), "different issuers"),
        (patient(NEW), (FNR,), "different issuers"),
        (patient(NEW, FNR), (ELSEWHERE,), ""),
        (patient(FNR), (OTHER_FNR,), "national number"),
        (patient(NEW), (Identifier(value="1"),), "no issuer"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["patient.merged", "patient.id-changed"])
def test_a_merge_that_could_join_two_persons_waits(
    registers: Registers, survivor: Patient, prior: tuple[Identifier, ...], reason: str, kind: str
) -> None:
    for one in (prior, survivor.identifiers):
        registers.said("patient.registered", patient=patient(*one))
    before = registers.tables()
    folded = merged(registers, survivor, *prior, kind=kind)

    if not reason:
        assert folded.view is not None
        assert registers.known(*survivor.identifiers) == registers.known(*prior)
        return
    (entry,) = [e for e in exceptions.listed(registers.tx) if e["kind"] == "merge-held"]
    assert reason in entry["reason"]
    assert (folded.view, folded.touched, folded.joined) == (None, (), ())
    kept = ("exception", "patient_change", "patient_change_identifier")
    assert {**registers.tables(), **dict.fromkeys(kept)} == {**before, **dict.fromkeys(kept)}
    assert (last(registers).state, last(registers).id) == ("held", entry["subject"])


def test_two_records_with_different_national_numbers_wait_though_only_local_ones_are_merged(
    registers: Registers,
) -> None:
    registers.said("patient.registered", patient=patient(OLD, FNR))
    registers.said("patient.registered", patient=patient(NEW, OTHER_FNR))

    assert merged(registers, patient(NEW), OLD).view is None


def test_two_national_numbers_are_two_persons_whether_they_are_known_here_or_not(
    registers: Registers,
) -> None:
    registers.said("patient.registered", patient=patient(FNR))

    assert merged(registers, patient(FNR), OTHER_FNR).view is None
    assert merged(registers, patient(OTHER_FNR), FNR).view is None
    renumbered = merged(registers, patient(OTHER_FNR), FNR, kind="patient.id-changed")
    assert renumbered.view is not None, "one record under another number: the authorities do that"


@pytest.mark.parametrize(
    ("first", "second", "waits"), [("1", "2", True), ("1", "1", False), ("1", None, False)]
)
def test_twins_are_two_though_name_day_and_mother_are_one(
    registers: Registers, first: str, second: str | None, waits: bool
) -> None:
    """PID-25; that of a child that two hospitals registered is the same."""
    for identifier, place in ((OLD, first), (NEW, second)):
        child = patient(identifier).model_copy(update={"multiple_birth": "Y", "birth_order": place})
        registers.said("patient.registered", patient=child)

    assert (merged(registers, patient(NEW), OLD).view is None) is waits
    assert ("merge-held" in {e["kind"] for e in exceptions.listed(registers.tx)}) is waits


def test_the_birth_date_of_an_unknown_is_a_guess(registers: Registers) -> None:
    unknown = patient(OLD, birth_date="19800101").model_copy(update={"unknown": "Y"})
    registers.said("patient.registered", patient=unknown)
    registers.said("patient.registered", patient=patient(NEW))

    assert merged(registers, patient(NEW), OLD).view is not None


def test_the_birth_date_that_counts_is_of_whom_pas_knows(registers: Registers) -> None:
    """PID-3 begins with a number that only an order has said."""
    registers.said("order.placed", patient=patient(ELSEWHERE), order=order())
    registers.said("patient.registered", patient=patient(NEW))
    registers.said("patient.registered", patient=patient(OLD, birth_date="19821031"))

    assert merged(registers, patient(ELSEWHERE, NEW, birth_date=None), OLD).view is None


def test_what_was_absorbed_is_the_survivors_and_guards_see_it(registers: Registers) -> None:
    third = local("700456")
    registers.said("patient.registered", patient=patient(OLD, FNR))
    registers.said("patient.registered", patient=patient(NEW))
    registers.said("patient.registered", patient=patient(third, OTHER_FNR))
    merged(registers, patient(NEW), OLD)

    assert registers.known(NEW).patient.identifiers == (NEW, FNR)
    assert merged(registers, patient(third), NEW).view is None


@pytest.mark.parametrize("kind", ["patient.moved", "patient.linked"])
def test_who_is_new_does_not_take_over_the_record_of_the_other(registers: Registers, kind: str) -> None:
    registers.said("patient.registered", patient=patient(OLD, FNR))
    registers.said(kind, patient=patient(NEW), prior=(OLD,))

    assert registers.known(NEW) != registers.known(FNR)
    assert registers.known(FNR).patient.identifiers == ((FNR,) if kind == "patient.moved" else (OLD, FNR))


def test_a_held_merge_blocks_nobody_and_is_one_question(registers: Registers) -> None:
    for one in (FNR, OTHER_FNR):
        registers.said("patient.registered", patient=patient(one))
    merged(registers, patient(FNR), OTHER_FNR)
    merged(registers, patient(FNR), OTHER_FNR)
    filed = registers.said("step.scheduled", patient=patient(OTHER_FNR), order=order(), step=step())

    assert len(registers.reported("merge-held")) == 1
    assert filed.view is not None
    assert filed.view.patient_key == registers.known(OTHER_FNR).key


def test_a_held_merge_is_released_by_a_decision(registers: Registers) -> None:
    for one in (FNR, OTHER_FNR):
        registers.said("patient.registered", patient=patient(one))
    merged(registers, patient(FNR), OTHER_FNR)
    held = last(registers)
    decision = Decision(change=held.id, by="kari", approved_by="ola", reason="the number was changed")
    folded = registers.said("patient.merged", patient=patient(FNR), prior=(OTHER_FNR,), decision=decision)

    assert folded.view is not None
    assert registers.known(FNR) == registers.known(OTHER_FNR)
    assert registers.reported("merge-held") == []
    after = ledger.get(registers.tx, held.id)
    assert after is not None
    assert (after.state, last(registers).state) == ("released", "applied")


def test_a_held_merge_is_refused_by_a_split(registers: Registers) -> None:
    for one in (FNR, OTHER_FNR):
        registers.said("patient.registered", patient=patient(one))
    merged(registers, patient(FNR), OTHER_FNR)
    decided(registers, last(registers).id)

    assert (last(registers).state, registers.reported()) == ("refused", [])
    assert registers.known(FNR).key != registers.known(OTHER_FNR).key


# --- splits ---


def everything(registers: Registers) -> dict[str, Any]:
    """The registers without who wrote a row last and what the ledger remembers."""
    tx = registers.tx
    return {
        "patient": tx.rows("SELECT key, body, verified, merged_into, provenance FROM patient ORDER BY key"),
        "identifier": registers.tables()["patient_identifier"],
        "step": tx.rows("SELECT key, patient, body, said_value, said_issuer FROM step ORDER BY key"),
        "instance": tx.rows("SELECT sop_instance_uid, patient FROM instance ORDER BY 1"),
        "links": registers.tables()["patient_link"],
    }


def test_a_split_gives_back_what_came_under_the_other_before_and_since(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(OLD, family="Berg", birth_date=None))
    registers.said("patient.registered", patient=patient(NEW))
    absorbed, survivor = registers.known(OLD).key, registers.known(NEW).key
    registers.said("step.scheduled", patient=patient(OLD), order=order("F1"), step=step("RIS|F1|S1"))
    registers.said("instance.received", patient=patient(OLD), instance=instance("2.25.1"))
    merged(registers, patient(NEW), OLD)
    registers.said("step.scheduled", patient=patient(OLD), order=order("F2"), step=step("RIS|F2|S1"))
    registers.said("step.scheduled", patient=patient(NEW), order=order("F3"), step=step("RIS|F3|S1"))
    registers.said("instance.received", patient=patient(OLD), instance=instance("2.25.2"))
    registers.said("patient.updated", patient=patient(OLD, family=None, sex="M", birth_date=None))
    assert registers.known(OLD).key == survivor
    folded = decided(registers, last(registers).id)

    owners = dict(registers.tx.rows("SELECT key, patient FROM step"))
    assert owners == {"RIS|F1|S1": absorbed, "RIS|F2|S1": absorbed, "RIS|F3|S1": survivor}
    assert set(registers.tx.rows("SELECT patient FROM instance")) == {(absorbed,)}
    assert registers.known(OLD).patient == patient(OLD, family="Berg", birth_date=None, sex="M")
    assert registers.known(NEW).patient == patient(NEW)
    assert (set(folded.touched), folded.view) == ({*owners}, None)
    assert folded.parted == ((absorbed, survivor),)
    assert decided(registers, last(registers).id) == Folded(view=None), "the same decision again does nothing"


def test_a_number_that_was_changed_to_another_persons_goes_with_what_came_under_it(
    registers: Registers,
) -> None:
    """An unknown was identified as somebody whom nobody had here: undone, both are there, each with their own."""
    registers.said("patient.registered", patient=patient(OLD, family="Ukjent"))
    unknown = registers.known(OLD).key
    registers.said("step.scheduled", patient=patient(OLD), order=order("F1"), step=step("RIS|F1|S1"))
    merged(registers, patient(FNR, family="Berg"), OLD, kind="patient.id-changed")
    change = last(registers)
    registers.said("step.scheduled", patient=patient(FNR), order=order("F2"), step=step("RIS|F2|S1"))
    assert registers.known(FNR).key == unknown
    decided(registers, change.id)

    person = registers.known(FNR).key
    assert registers.known(OLD).key == unknown != person
    assert dict(registers.tx.rows("SELECT key, patient FROM step")) == {
        "RIS|F1|S1": unknown,
        "RIS|F2|S1": person,
    }
    assert registers.known(OLD).patient == patient(OLD, family="Ukjent")
    assert registers.known(FNR).patient == patient(FNR, family="Berg")


def test_a_later_merge_of_the_same_numbers_is_undone_first(registers: Registers) -> None:
    third = local("700777")
    for one in (OLD, NEW, third):
        registers.said("patient.registered", patient=patient(one))
    merged(registers, patient(NEW), OLD)
    first = last(registers)
    merged(registers, patient(third), NEW)
    second = last(registers)
    refused = decided(registers, first.id)

    assert refused == Folded(view=None)
    assert second.id in split.obstacle(registers.tx, first)
    assert registers.reported("split-refused") == [first.id]
    decided(registers, second.id)
    decided(registers, first.id)
    assert registers.reported() == []
    assert len({registers.known(one).key for one in (OLD, NEW, third)}) == 3


NUMBERS = [local("1"), local("2"), local("3"), national("4")]
WHO = st.builds(
    lambda ids, family, sex: patient(*ids, family=family, sex=sex),
    st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=2, unique_by=lambda i: i.value),
    st.sampled_from(["Sørby", "Berg", "", None]),
    st.sampled_from(["F", "M", None]),
)
SAID = st.one_of(
    st.tuples(st.sampled_from(["patient.registered", "patient.updated"]), WHO),
    st.tuples(st.just("step.scheduled"), WHO),
    st.tuples(st.just("instance.received"), WHO),
)


def tell(registers: Registers, kind: str, who: Patient, number: int) -> None:
    data: dict[str, Any] = {"patient": who}
    if kind == "step.scheduled":
        data |= {"order": order(f"F{number}"), "step": step(f"RIS|F{number}|S1")}
    if kind == "instance.received":
        data |= {"instance": instance(f"2.25.{number + 1}")}
    registers.said(kind, **data)


@given(
    st.lists(SAID, max_size=10),
    WHO,
    st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=2, unique_by=lambda i: i.value),
    st.sampled_from(["patient.merged", "patient.id-changed", "patient.moved"]),
)
@settings(max_examples=150)
def test_what_is_undone_at_once_was_never_there(
    before: list[tuple[str, Patient]], who: Patient, prior: list[Identifier], kind: str
) -> None:
    registers = Registers()
    for number, (said, patient_) in enumerate(before):
        tell(registers, said, patient_, number)
    # A provisional record that PAS's own PID-3 joins is PAS's word, and not the merge's: none here.
    registers.said("patient.updated", patient=who)
    prior = [one for one in prior if one.key not in {i.key for i in who.identifiers}]
    if not prior:
        return
    stood = everything(registers)
    merged(registers, who, *prior, kind=kind)
    changes = registers.tx.rows("SELECT id FROM patient_change WHERE state='applied' ORDER BY number DESC")
    for (name,) in changes:
        decided(registers, name)

    now = everything(registers)
    assert registers.reported("split-refused") == []
    if changes or registers.reported("merge-held"):
        assert now == stood


# --- moves ---


def test_a_move_takes_an_identifier_and_what_came_under_it(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(OLD, FNR, family="Berg"))
    registers.said("patient.registered", patient=patient(NEW))
    source, target = registers.known(OLD).key, registers.known(NEW).key
    registers.said("step.scheduled", patient=patient(OLD), order=order("F1"), step=step("RIS|F1|S1"))
    registers.said("step.scheduled", patient=patient(FNR), order=order("F2"), step=step("RIS|F2|S1"))
    folded = merged(registers, patient(NEW), OLD, kind="patient.moved")

    assert dict(registers.tx.rows("SELECT key, patient FROM step")) == {
        "RIS|F1|S1": target,
        "RIS|F2|S1": source,
    }
    assert registers.known(OLD).key == target
    assert registers.known(FNR).patient == patient(FNR, family="Berg")
    assert registers.known(NEW).patient.identifiers == (NEW, OLD)
    assert (folded.joined, folded.parted) == (((source, target),), ((source, target),))
    assert set(folded.touched) == {"RIS|F1|S1", "RIS|F2|S1"}


def test_a_move_of_all_that_there_is_leaves_nobody_without_a_number(registers: Registers) -> None:
    registers.said("patient.registered", patient=patient(OLD))
    registers.said("patient.registered", patient=patient(NEW))
    source = registers.known(OLD).key
    folded = merged(registers, patient(NEW), OLD, kind="patient.moved")

    assert patients.get(registers.tx, source) == registers.known(NEW)
    assert folded.parted == ()


VISIT = Encounter(visit_number=Identifier(value="V1", namespace="STO"))


def test_a_visit_that_is_anothers_takes_its_steps_and_their_objects_alone(registers: Registers) -> None:
    for one in (OLD, NEW):
        registers.said("patient.registered", patient=patient(one))
    source, target = registers.known(OLD).key, registers.known(NEW).key
    of_visit = step("RIS|F1|S1", study_uid="2.25.7")
    registers.said("step.scheduled", patient=patient(OLD), order=order("F1"), step=of_visit, encounter=VISIT)
    registers.said("step.scheduled", patient=patient(OLD), order=order("F2"), step=step("RIS|F2|S1"))
    registers.said("instance.received", patient=patient(OLD), instance=instance("2.25.1", study_uid="2.25.7"))
    registers.said("instance.received", patient=patient(OLD), instance=instance("2.25.2"))
    stood = everything(registers)
    visits = (Identifier(value="V1", namespace="STO"),)
    folded = registers.said("encounter.reassigned", patient=patient(NEW), prior=(OLD,), prior_visits=visits)

    assert dict(registers.tx.rows("SELECT key, patient FROM step")) == {
        "RIS|F1|S1": target,
        "RIS|F2|S1": source,
    }
    assert dict(registers.tx.rows("SELECT sop_instance_uid, patient FROM instance")) == {
        "2.25.1": target,
        "2.25.2": source,
    }
    assert set(folded.touched) == {"RIS|F1|S1", "RIS|F2|S1"}
    held = steps.get(registers.tx, "RIS|F1|S1")
    assert held is not None
    assert held.patient_key == target
    decided(registers, last(registers).id)
    assert everything(registers) == stood


def test_a_late_object_of_a_moved_visit_is_its_patients(registers: Registers) -> None:
    """The device goes on with the id that its worklist had; a new study of that id is still the other's."""
    for one in (OLD, NEW):
        registers.said("patient.registered", patient=patient(one))
    source, target = registers.known(OLD).key, registers.known(NEW).key
    of_visit = step("RIS|F1|S1", study_uid="2.25.7")
    registers.said("step.scheduled", patient=patient(OLD), order=order("F1"), step=of_visit, encounter=VISIT)
    visits = (Identifier(value="V1", namespace="STO"),)
    registers.said("encounter.reassigned", patient=patient(NEW), prior=(OLD,), prior_visits=visits)
    for uid, study in (("2.25.1", "2.25.7"), ("2.25.2", "2.25.8")):
        said = instance(uid, study_uid=study, issuer_stated=True)
        registers.said("instance.received", patient=patient(OLD), instance=said)

    owners = "SELECT sop_instance_uid, patient FROM instance"
    assert dict(registers.tx.rows(owners)) == {"2.25.1": target, "2.25.2": source}
    decided(registers, last(registers).id)
    registers.said("instance.received", patient=patient(OLD), instance=instance("2.25.3", study_uid="2.25.7"))
    assert dict(registers.tx.rows(owners))["2.25.3"] == source, "the move was undone"


# --- links ---


def test_a_link_relates_two_and_files_nothing(registers: Registers) -> None:
    for one in (OLD, NEW):
        registers.said("patient.registered", patient=patient(one))
    one, other = registers.known(OLD).key, registers.known(NEW).key
    registers.said("patient.linked", patient=patient(NEW), prior=(OLD,))

    assert (links.related(registers.tx, one), links.related(registers.tx, other)) == ([other], [one])
    assert one != registers.known(NEW).key
    merged(registers, patient(NEW), OLD)
    assert links.related(registers.tx, other) == []
    decided(registers, last(registers).id)
    assert links.related(registers.tx, other) == [one]
    registers.said("patient.unlinked", patient=patient(OLD), prior=(NEW,))
    assert links.related(registers.tx, other) == []


# --- versions ---


def said_at(number: int, minutes: int | None, **said: Any) -> Event:
    told = event("patient.updated", number, patient=patient(NEW, **said))
    holds = None if minutes is None else START + timedelta(minutes=minutes)
    return told.model_copy(update={"as_of": holds})


@given(st.permutations([(-50, "Aa"), (-40, "Bø"), (-30, ""), (-20, "Dø")]))
def test_versions_converge_in_whatever_order_they_come(order_: list[tuple[int, str]]) -> None:
    registers = Registers()
    for number, (minutes, family) in enumerate(order_, 1):
        registers.fold(said_at(number, minutes, family=family, sex=None if minutes > -40 else "F"))

    known = registers.known(NEW)
    assert known.patient == patient(NEW, family="Dø")
    assert known.origins["name"].at == (START - timedelta(minutes=20)).isoformat()
    assert known.origins["sex"].at == (START - timedelta(minutes=40)).isoformat()


def test_a_clock_that_is_ahead_is_reported_once_and_its_time_does_not_count(registers: Registers) -> None:
    registers.fold(said_at(1, 1 + 6, family="Aa"))
    registers.fold(said_at(2, 2 + 6, family="Bø"))
    assert registers.reported("clock-skew") == ["pas"]
    assert registers.known(NEW).origins["name"].at == (START + timedelta(minutes=2)).isoformat()
    registers.fold(said_at(3, 3 + 5, family="Cø"))

    assert registers.reported() == [], "five minutes are allowed"
    assert registers.known(NEW).patient == patient(NEW, family="Cø")


def test_where_nobody_says_a_time_the_order_of_receiving_counts(registers: Registers) -> None:
    """Of two nodes the one with the slower clock may be the later one."""
    registers.fold(said_at(5, None, family="Aa"))
    registers.fold(said_at(4, None, family="Bø"))

    assert registers.known(NEW).patient == patient(NEW, family="Bø")


def test_numbers_are_found_by_who_took_part(registers: Registers) -> None:
    for one in (OLD, NEW):
        registers.said("patient.registered", patient=patient(one))
    merged(registers, patient(NEW), OLD)
    change = last(registers)

    for key in (OLD.key, NEW.key):
        found = ledger.of_identifiers(registers.tx, [key])
        assert [one.id for one in found] == ([change.id] if key == OLD.key else [])
    assert ledger.of_patient(registers.tx, registers.known(NEW).key) == [change]
    assert ledger.of_event(registers.tx, change.event) == [change]
    assert list(itertools.chain(change.leaving)) == [OLD.key]
