"""Which archive keeps which instance, and what was asked of it: whatever comes, in whatever order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.dicom import uid
from broker.event import Event, InstanceReference, Study
from broker.registers import commitments
from broker.registers.commitments import COMMITTED, FAILED, STORED, transaction_of
from tests.support.events import event, instance, local, patient
from tests.support.registers import Registers

STUDY = "2.25.1"
WHO = patient(local("700123"))
UNKNOWN = "2.25.404"


def references(numbers: Any, failure: int = 0) -> tuple[InstanceReference, ...]:
    return tuple(
        InstanceReference(sop_class_uid="1.2", sop_instance_uid=f"{STUDY}.{n}", failure=failure)
        for n in sorted(numbers)
    )


def stored(*numbers: int, at: int, archive: str = "pacs") -> Event:
    said = Study(study_uid=STUDY, archive=archive, instances=references(numbers))
    return event("study.stored", at, source="clock", study=said)


def answered(asked: Event, *numbers: int, at: int, failed: Any = (), failure: int = 0x0112) -> Event:
    said = Study(
        transaction_uid=transaction_of(asked),
        instances=(*references(numbers), *references(failed, failure)),
    )
    return event("study.committed", at, source="commitments", study=said)


def states(registers: Registers) -> dict[tuple[str, str], str]:
    rows = registers.tx.rows("SELECT archive, sop_instance_uid, state FROM copy")
    return {(archive, uid.rpartition(".")[2]): state for archive, uid, state in rows}


def test_a_repeat_of_the_request_has_the_same_transaction_uid() -> None:
    one = stored(1, at=1)
    assert transaction_of(one) == transaction_of(Event.model_validate_json(one.model_dump_json()))
    assert transaction_of(one) != transaction_of(stored(1, at=2))
    assert uid.valid(transaction_of(one))


def test_an_archive_answers_of_some_well_and_of_others_not(registers: Registers) -> None:
    asked = stored(1, 2, 3, at=1)
    registers.fold(asked)
    registers.fold(answered(asked, 1, at=2, failed=(2,)))
    assert states(registers) == {("pacs", "1"): COMMITTED, ("pacs", "2"): FAILED, ("pacs", "3"): STORED}
    assert registers.tx.rows("SELECT answered FROM commitment") == [("",)], "it owes its word of the third"
    registers.fold(answered(asked, 3, at=3))
    ((at,),) = registers.tx.rows("SELECT answered FROM commitment")
    assert at
    assert [commitments.copies(registers.tx, f"{STUDY}.{n}") for n in (1, 2, 3)] == [1, 0, 1]


def test_what_nobody_asked_is_reported_and_believed_of_nothing(registers: Registers) -> None:
    registers.fold(stored(1, at=1))
    registers.fold(answered(stored(1, at=9), 1, at=2))
    assert states(registers) == {("pacs", "1"): STORED}
    assert registers.reported("commitment-unknown") == [transaction_of(stored(1, at=9))]


def test_an_answer_counts_for_the_archive_that_was_asked_alone(registers: Registers) -> None:
    here, there = stored(1, at=1), stored(1, at=2, archive="second")
    registers.fold(here)
    registers.fold(there)
    registers.fold(answered(there, 1, at=3))
    assert states(registers) == {("pacs", "1"): STORED, ("second", "1"): COMMITTED}
    assert commitments.copies(registers.tx, f"{STUDY}.1") == 1


def test_a_report_that_comes_again_changes_nothing(registers: Registers) -> None:
    first, second = stored(1, at=1), stored(1, at=3)
    registers.fold(first)
    registers.fold(answered(first, at=2, failed=(1,)))
    registers.fold(second)
    registers.fold(answered(second, 1, at=4))

    assert registers.fold(answered(first, at=5, failed=(1,))).view is None
    assert states(registers) == {("pacs", "1"): COMMITTED}


def test_a_late_answer_to_a_request_that_was_made_anew_counts(registers: Registers) -> None:
    first = stored(1, at=1)
    registers.fold(first)
    registers.fold(stored(1, at=2))
    registers.fold(answered(first, 1, at=3))

    assert states(registers) == {("pacs", "1"): COMMITTED}


def test_a_report_speaks_of_the_study_that_was_asked_for_alone(registers: Registers) -> None:
    asked = stored(1, at=1)
    registers.fold(asked)
    other = Study(study_uid="2.25.2", archive="pacs", instances=references([2]))
    registers.fold(event("study.stored", 2, source="clock", study=other))
    registers.fold(answered(asked, 1, 2, at=3))
    assert states(registers) == {("pacs", "1"): COMMITTED, ("pacs", "2"): STORED}


def test_the_late_word_of_an_older_request_does_not_outweigh_a_failure(registers: Registers) -> None:
    older, newer = stored(1, at=1), stored(1, at=2)
    registers.fold(older)
    registers.fold(newer)
    registers.fold(answered(newer, at=3, failed=(1,)))
    registers.fold(answered(older, 1, at=4))
    assert states(registers) == {("pacs", "1"): FAILED}
    assert registers.tx.rows("SELECT answered='' FROM commitment") == [(0,), (0,)]


def test_routes_see_which_archive_committed_to_what_of_whom(registers: Registers) -> None:
    asked = stored(1, at=3)
    for one in (
        event("patient.registered", 1, patient=WHO),
        event("instance.received", 2, patient=WHO, instance=instance(f"{STUDY}.1")),
        asked,
    ):
        registers.fold(one)
    view = registers.fold(answered(asked, 1, at=4)).view

    assert view is not None
    assert view.patient == WHO
    facts = view.facts()
    assert (facts["study.archive"], facts["study.study_uid"]) == ("pacs", STUDY)


def test_what_a_device_asks_again_it_asks_anew_and_the_newer_list_counts(registers: Registers) -> None:
    def said(kind: str, at: int, *numbers: int, device: str = "CT1_STO") -> None:
        study = Study(requester=device, transaction_uid="2.25.77", instances=references(numbers))
        registers.fold(event(kind, at, study=study))

    said("commitment.requested", 1, 1, 2)
    said("commitment.requested", 2, 1, 2, device="MR1_STO")
    said("commitment.reported", 3, 1, 2)
    said("commitment.requested", 4, 3)

    rows = registers.tx.rows("SELECT requester, sop_instance_uid FROM commitment_item ORDER BY 1, 2")
    assert rows == [("CT1_STO", f"{STUDY}.3"), ("MR1_STO", f"{STUDY}.1"), ("MR1_STO", f"{STUDY}.2")]
    asked = registers.tx.rows("SELECT requester, reported, asked FROM commitment_request ORDER BY 1")
    assert [(device, reported) for device, reported, _ in asked] == [("CT1_STO", ""), ("MR1_STO", "")]
    assert asked[0][2] > asked[1][2], "and waits from then on"
    said("commitment.reported", 5, 1, 2)
    assert registers.tx.rows("SELECT reported FROM commitment_request") == [("",)] * 2, (
        "decided before it asked"
    )
    said("commitment.reported", 6, 3)
    assert registers.tx.rows("SELECT requester FROM commitment_request WHERE reported=''") == [("MR1_STO",)]


def test_a_device_asks_and_is_told(registers: Registers) -> None:
    def said(kind: str, at: int, *numbers: int) -> str:
        study = Study(requester="CT1_STO", transaction_uid="2.25.77", instances=references(numbers))
        view = registers.fold(event(kind, at, study=study)).view
        assert view is not None
        return view.patient_key

    assert said("commitment.requested", 1, 1, 2) == "device|CT1_STO", "in the order of the device"
    assert registers.tx.rows("SELECT sop_instance_uid FROM commitment_item ORDER BY 1") == [
        (f"{STUDY}.1",),
        (f"{STUDY}.2",),
    ]
    assert said("commitment.reported", 2, 1, 2) == "device|CT1_STO"
    ((reported,),) = registers.tx.rows("SELECT reported FROM commitment_request")
    assert reported


def test_a_file_that_was_given_up_is_here_again_when_its_object_comes_again(registers: Registers) -> None:
    image = event("instance.received", 1, patient=WHO, instance=instance(f"{STUDY}.1"))
    asked = stored(1, at=2)
    for one in (image, asked, answered(asked, 1, at=3)):
        registers.fold(one)
    registers.tx.execute("INSERT INTO freed (sop_instance_uid, at) VALUES (?, '2026')", (f"{STUDY}.1",))
    registers.tx.execute("UPDATE copy SET freed=1")
    registers.fold(event("instance.received", 4, patient=WHO, instance=instance(f"{STUDY}.1")))
    assert registers.tx.rows("SELECT * FROM freed") == []
    assert registers.tx.rows("SELECT state, freed FROM copy") == [(COMMITTED, 0)], "it is as safe as it was"


NUMBERS = st.sets(st.integers(1, 4), min_size=1)
ARCHIVES = st.sampled_from(["pacs", "second"])
WORDS = st.one_of(
    st.tuples(st.just("stored"), ARCHIVES, NUMBERS),
    st.tuples(st.just("answered"), st.integers(0, 5), NUMBERS),
    st.tuples(st.just("failed"), st.integers(0, 5), NUMBERS),
)


@given(st.lists(WORDS, max_size=25))
@settings(max_examples=25)  # each opens two databases
def test_any_order_of_requests_and_answers(story: list[tuple[str, Any, set[int]]]) -> None:
    """An answer changes only what its archive has; nothing is committed that no answer said so of last. A request that
    was answered whole is over."""
    registers, again = Registers(), Registers()
    requests: list[tuple[Event, str]] = []
    wanted: dict[tuple[str, str], tuple[str, str]] = {}
    over: set[str] = set()
    for at, (word, said, numbers) in enumerate(story, 1):
        if word == "stored":
            told, archive, state = stored(*numbers, at=at, archive=said), said, STORED
            asked = told
            requests.append((told, said))
        elif not requests:
            continue
        else:
            asked, archive = requests[said % len(requests)]
            failed, well = (numbers, ()) if word == "failed" else ((), numbers)
            told, state = answered(asked, *well, at=at, failed=failed), FAILED if failed else COMMITTED
        for number in numbers if asked.id not in over else ():
            before, _ = wanted.get((archive, str(number)), ("", ""))
            # What failed is asked for anew before it counts as kept.
            if word == "stored" or (before and (before, state) != (FAILED, COMMITTED)):
                wanted[archive, str(number)] = (state, told.id)
        if word != "stored" and (STORED, asked.id) not in wanted.values():
            over.add(asked.id)
        registers.fold(told)
        again.fold(Event.model_validate_json(told.model_dump_json()))

    assert states(registers) == {key: state for key, (state, _) in wanted.items()}
    for number in range(1, 5):
        kept = sum(state == COMMITTED for (_, n), (state, _) in wanted.items() if n == str(number))
        assert commitments.copies(registers.tx, f"{STUDY}.{number}") == kept
    assert registers.tables() == again.tables()
