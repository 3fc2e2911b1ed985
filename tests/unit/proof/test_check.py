"""The proof's own judgement: it must see what is wrong, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.proof import check
from tests.support.images import dataset_bytes, write_image
from tests.support.messages import Person, adt, merge, orm

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


def test_a_sender_is_ahead_by_what_is_under_way_and_not_by_what_is_lost() -> None:
    sent = [(adt("A08", f"1-{n}", PERSON), b"") for n in range(10)]
    arrived = {check.control_of(message) for message, _ in sent}

    def ahead(*missing: int) -> bool:
        return check.ahead(sent, arrived - {check.control_of(sent[n][0]) for n in missing}, 4)

    assert ahead(6, 7, 8, 9)
    assert not ahead(7, 8, 9)
    assert not ahead(6), "one that never comes holds nobody up"
    assert not check.ahead(sent[:4], set(), 4), "at the beginning nothing can have come"


def test_each_order_has_one_row() -> None:
    assert not check.worklist([*ADTS, ORDER], ["A1-3"]).any
    assert check.worklist([ORDER], []).lost == ["A1-3"]
    assert check.worklist([ORDER], ["A1-3", "A1-3"]).doubled == ["A1-3"]


def test_images_are_all_there_and_in_order() -> None:
    first, second = "2.25.110000000001", "2.25.110000000002"
    assert not check.images([first, second], [first, first, second]).any
    assert check.images([first, second], [first]).lost == [second]
    assert check.images([first, second], [second, first]).out_of_order == [first]


# merges


MERGE = merge("A40", "1-4", PERSON.named("N2"), "10")
SECOND = adt("A04", "10-0", Person(number="10"))


def test_what_came_under_the_second_number_comes_before_the_merge() -> None:
    assert not check.hl7([*ADTS, SECOND, MERGE], [*ADTS, SECOND, MERGE, MERGE]).any
    assert check.hl7([*ADTS, SECOND, MERGE], [*ADTS, MERGE, SECOND]).out_of_order == ["10-0"]


def test_a_row_shows_its_patient_as_he_is_at_the_end() -> None:
    taken = [*ADTS, orm("10-1", Person(number="10"), "10-1"), MERGE]
    assert not check.rows(taken, [], [("A10-1", "1", PERSON.named("N2").name)]).any
    assert check.rows(taken, [], [("A10-1", "10", PERSON.named("N2").name)]).lost
    assert check.rows(taken, [], [("A10-1", "1", PERSON.named("N1").name)]).lost


def test_what_was_not_answered_may_have_been_taken_or_not() -> None:
    maybe = [adt("A08", "1-5", PERSON.named("N5"))]
    for name in ("N2", "N5"):
        assert not check.rows([*ADTS, ORDER], maybe, [("A1-3", "1", PERSON.named(name).name)]).any
    assert check.rows([*ADTS, ORDER], maybe, [("A1-3", "1", PERSON.named("N1").name)]).lost


# images, byte for byte


def test_only_what_pas_knows_may_change_in_an_object_and_only_of_its_patient(tmp_path: Path) -> None:
    def content(**attributes: str) -> bytes:
        path = tmp_path / "image.dcm"
        write_image(
            path,
            SOPInstanceUID=uid,
            StudyInstanceUID="2.25.2",
            SeriesInstanceUID="2.25.3",
            **attributes,
        )
        return dataset_bytes(path.read_bytes())

    uid = "2.25.100000000001"
    sent, renamed, other = content(), content(PatientName="PAS"), content(StudyID="2")
    known, unknown = "2.25.10", "2.25.11"
    assert not check.objects({uid: sent}, [(uid, sent), (uid, renamed)], known).any
    assert check.objects({uid: sent}, [(uid, renamed)], unknown).changed
    assert check.objects({uid: sent}, [(uid, sent), (uid, other)], known).changed
