"""How much of a study is here, and whether it goes on: whatever comes, in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.event import Event, PerformedSeries, PerformedStep, StepReference, Study
from broker.registers import studies, study_list
from broker.registers.studies import Counted
from tests.support import events
from tests.support.events import event, instance, local, patient
from tests.support.registers import Registers

STUDY = "2.25.1"
WHO = patient(local("700123"))


def image(number: int, at: int, **fields: Any) -> Event:
    said = instance(f"{STUDY}.{number}", content=str(number), **fields)
    return event("instance.received", at, patient=WHO, instance=said)


def mpps(*numbers: int, at: int, status: Any = "COMPLETED", uid: str = "2.25.5") -> Event:
    series = PerformedSeries(series_uid="2.25.8", instances=tuple(f"{STUDY}.{n}" for n in numbers))
    said = PerformedStep(
        uid=uid,
        status=status,
        calling_aet="CT1_STO",
        steps=(StepReference(study_uid=STUDY, accession_number="A1"),),
        series=(series,) if numbers else (),
    )
    kind = {"IN PROGRESS": "step.started", "COMPLETED": "step.completed"}[status]
    return event(kind, at, patient=WHO, performed=said)


def complete(number: int, expected: int, at: int, basis: Any = "quiet") -> Event:
    said = Study(study_uid=STUDY, basis=basis, number=number, expected=expected)
    return event("study.completed", at, source="clock", study=said)


def state(registers: Registers) -> str:
    ((found,),) = registers.tx.rows("SELECT state FROM study")
    return str(found)


def test_a_study_goes_on_until_it_is_told_to_be_complete_and_when_more_comes(registers: Registers) -> None:
    registers.fold(image(1, 1))
    assert state(registers) == studies.RECEIVING
    registers.fold(complete(1, 0, 2))
    assert state(registers) == studies.COMPLETE
    registers.fold(image(1, 3))
    assert state(registers) == studies.RECEIVING, "a repeat too: it will leave again"


def test_objects_that_name_no_study_are_none_together(registers: Registers) -> None:
    registers.said(
        "instance.received", patient=WHO, instance=instance("2.25.40").model_copy(update={"study_uid": ""})
    )
    assert registers.tx.rows("SELECT study_uid FROM instance") == [("",)]
    assert registers.tx.rows("SELECT * FROM study") == []


@pytest.mark.parametrize("stale", [complete(1, 0, 9), complete(2, 1, 9)])
def test_what_was_decided_before_something_came_does_not_hold(registers: Registers, stale: Event) -> None:
    registers.fold(image(1, 1))
    registers.fold(image(2, 2))
    assert registers.fold(stale).view is not None, "it is routed all the same"
    assert state(registers) == studies.RECEIVING


def test_an_mpps_in_progress_of_the_step_counts(registers: Registers) -> None:
    scheduled = events.step(study_uid=STUDY, step_id="")
    registers.said("order.placed", patient=WHO, order=events.order(), step=scheduled)
    registers.fold(mpps(at=2, status="IN PROGRESS"))
    registers.fold(image(1, 3))
    assert studies.counted(registers.tx, STUDY) == Counted(
        instances=1, expected=0, missing=0, performing=True
    )
    registers.fold(mpps(1, 2, at=4))
    assert studies.counted(registers.tx, STUDY) == Counted(
        instances=1, expected=2, missing=1, performing=False
    )


def test_what_a_later_list_of_the_same_mpps_leaves_out_is_not_missing(registers: Registers) -> None:
    registers.fold(mpps(1, 2, at=1, status="IN PROGRESS"))
    registers.fold(mpps(3, at=2, uid="2.25.6"))
    registers.fold(mpps(1, at=3))
    registers.fold(image(1, 4))
    assert studies.counted(registers.tx, STUDY) == Counted(
        instances=1, expected=2, missing=1, performing=False
    )


def test_what_two_mpps_list_is_expected_until_neither_does(registers: Registers) -> None:
    """The second one, of an appended series, repeats a reference image of the first."""
    registers.fold(mpps(1, 2, at=1, status="IN PROGRESS"))
    registers.fold(mpps(2, 3, at=2, status="IN PROGRESS", uid="2.25.6"))
    assert studies.counted(registers.tx, STUDY).expected == 3, "one object counts once"
    registers.fold(mpps(1, at=3))
    assert studies.counted(registers.tx, STUDY).expected == 3
    registers.fold(image(2, 4))
    assert studies.counted(registers.tx, STUDY).missing == 2
    registers.fold(mpps(3, at=5, uid="2.25.6"))
    assert studies.counted(registers.tx, STUDY) == Counted(
        instances=1, expected=2, missing=2, performing=False
    )


def test_many_instances_of_a_second_write_the_study_once(registers: Registers) -> None:
    first = image(1, 1)
    for number in range(1, 6):
        registers.fold(image(number, 1).model_copy(update={"id": f"M1.{number}"}))
    assert registers.tx.rows("SELECT event FROM study") == [("M1.1",)]
    registers.fold(image(6, 2))
    assert registers.tx.rows("SELECT since, event FROM study") == [(first.time.isoformat(), "M00002.0")]


def test_an_accession_number_that_came_later_stands(registers: Registers) -> None:
    registers.fold(image(1, 1))
    registers.fold(image(2, 1, accession_number="A7"))
    registers.fold(image(3, 2, accession_number="A8"))
    assert registers.tx.rows("SELECT accession FROM study") == [("A7",)]


def test_the_view_of_a_study_is_its_patients(registers: Registers) -> None:
    registers.said("patient.registered", patient=WHO)
    registers.fold(image(1, 2))
    view = registers.fold(complete(1, 0, 3)).view
    assert view is not None
    assert (view.verified, view.patient_key) == (True, registers.known(*WHO.identifiers).key)
    assert view.facts()["study.number"] == 1
    assert study_list.of_patient(registers.tx, view.patient_key) == [{"study": STUDY, "instances": 1}]
    nobody = registers.fold(event("study.completed", 4, study=Study(study_uid="2.25.404"))).view
    assert nobody is not None
    assert (nobody.verified, nobody.patient_key) == (False, "unverified|2.25.404")


def test_what_an_archive_notifies_of_is_what_it_said_last(registers: Registers) -> None:
    for at, availability in ((1, "ONLINE"), (2, "NEARLINE")):
        study = Study(study_uid=STUDY, retrieve_aet="PACS", availability=availability)  # type: ignore[arg-type]
        registers.fold(event("study.available", at, study=study))
    assert registers.tx.rows("SELECT retrieve_aet, availability, instances FROM availability") == [
        ("PACS", "NEARLINE", 0)
    ]


NUMBERS = st.integers(1, 5)
WORDS = st.one_of(
    st.tuples(st.just("image"), NUMBERS),
    st.tuples(st.just("mpps"), st.tuples(st.sampled_from(["2.25.5", "2.25.6"]), st.sets(NUMBERS))),
    st.tuples(st.just("complete"), st.just(0)),
    st.tuples(st.just("stale"), st.just(0)),
)


@given(st.lists(WORDS, max_size=25))
@settings(max_examples=25)  # each opens two databases
def test_any_order_of_images_mpps_and_decisions(story: list[tuple[str, Any]]) -> None:
    registers, again = Registers(), Registers()
    here, lists, wanted = set[int](), dict[str, set[int]](), ""
    for at, (word, said) in enumerate(story, 1):
        if word == "image":
            told, wanted = image(said, at), studies.RECEIVING
            here.add(said)
        elif word == "mpps":
            uid, numbers = said
            told = mpps(*sorted(numbers), at=at, uid=uid, status="IN PROGRESS")
            lists[uid] = numbers or lists.get(uid, set())  # empty keeps
            wanted = studies.RECEIVING if lists[uid] else wanted
        else:
            expected = set[int]().union(*lists.values())
            told = complete(len(here) - (word == "stale"), len(expected), at)
            wanted = studies.COMPLETE if word == "complete" and wanted else wanted
        registers.fold(told)
        again.fold(Event.model_validate_json(told.model_dump_json()))

    expected = set[int]().union(*lists.values())
    assert studies.counted(registers.tx, STUDY) == Counted(
        instances=len(here), expected=len(expected), missing=len(expected - here), performing=False
    )
    assert registers.tx.rows("SELECT state FROM study") == ([(wanted,)] if wanted else [])
    assert registers.tables() == again.tables()
