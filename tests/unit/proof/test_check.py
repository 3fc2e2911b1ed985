"""The proof's own judgement: it must see what is wrong, and nothing else."""

from __future__ import annotations

from tests.proof import check
from tests.support.messages import Person, adt, orm

PERSON = Person(number="1")
ADTS = [adt("A08", f"1-{n}", PERSON.named(f"N{n}")) for n in range(3)]
ORDER = orm("1-3", PERSON, "1-3")


def told(control_id: str) -> bytes:
    """A status of the order as the EPJ gets it."""
    return orm(control_id, PERSON, "1-3")


def test_a_repeat_directly_after_itself_is_no_fault() -> None:
    assert not check.hl7([*ADTS, ORDER], [ADTS[0], ADTS[0], ADTS[1], ADTS[2], told("X"), told("X")]).any


def test_what_did_not_arrive_is_lost() -> None:
    found = check.hl7([*ADTS, ORDER], [ADTS[0], ADTS[2]])
    assert found.lost == ["1-1", "1-3"]


def test_an_older_message_after_a_newer_one_is_out_of_order() -> None:
    found = check.hl7(ADTS, [ADTS[0], ADTS[1], ADTS[0], ADTS[2]])
    assert (found.out_of_order, found.lost) == (["1-0"], [])


def test_other_patients_have_an_order_of_their_own() -> None:
    other = adt("A08", "2-0", Person(number="2"))
    assert not check.hl7(ADTS, [ADTS[0], ADTS[1], other, ADTS[2]]).any


def test_a_repeat_with_other_bytes_is_changed() -> None:
    found = check.hl7(ADTS[:1], [ADTS[0], adt("A08", "1-0", PERSON.named("Other"))])
    assert found.changed == ["1-0"]


def test_a_control_id_that_nobody_sent_is_changed() -> None:
    assert check.hl7([], [adt("A08", "made up", PERSON)]).changed == ["made up"]


def test_an_order_told_under_two_control_ids_is_doubled() -> None:
    assert check.hl7([ORDER], [told("X"), told("Y")]).doubled == ["1-3"]


def test_each_order_has_one_row() -> None:
    assert not check.worklist([*ADTS, ORDER], ["A1-3"]).any
    assert check.worklist([ORDER], []).lost == ["A1-3"]
    assert check.worklist([ORDER], ["A1-3", "A1-3"]).doubled == ["A1-3"]


def test_images_are_all_there_and_in_order() -> None:
    first, second = "2.25.110000000001", "2.25.110000000002"
    assert not check.images([first, second], [first, first, second]).any
    assert check.images([first, second], [first]).lost == [second]
    assert check.images([first, second], [second, first]).out_of_order == [first]
