"""A PACS's index: merges move what is there and what comes later; only people undo them."""

from __future__ import annotations

from broker.simulate.drills.archive import Archive
from broker.simulate.messages import Stamp, adt
from broker.simulate.people import Person
from broker.simulate.records import ImageArrival

STAMP = Stamp(time="20260302080000", control_id="P1")


def image(number: int, patient_id: str, study: str = "2.25.1") -> ImageArrival:
    return ImageArrival(sop_instance_uid=f"2.25.9.{number}", patient_id=patient_id, study_uid=study)


def person(number: str) -> Person:
    return Person(number=number, national="", family="Lund", given="Ola", middle="", birth_date="", sex="",
                  street="", phone="")  # fmt: skip


def merge(survivor: str, ended: str) -> bytes:
    return adt("A40", STAMP, person(survivor), prior=ended).raw


def test_a_merge_moves_what_is_filed_and_what_comes_later() -> None:
    archive = Archive()
    archive.stored(image(1, "A"))
    archive.heard(merge("B", "A"))
    archive.stored(image(2, "A"))
    archive.heard(merge("C", "B"))
    archive.stored(image(3, "A"))

    assert [archive.filed(f"2.25.9.{n}") for n in (1, 2, 3, 4)] == ["C", "C", "C", None]


def test_a_merge_back_ends() -> None:
    archive = Archive()
    archive.heard(merge("B", "A"))
    archive.heard(merge("A", "B"))
    archive.stored(image(1, "B"))

    assert archive.filed("2.25.9.1") == "A"


def test_people_move_studies_and_what_comes_later_stays_where_it_is_sent() -> None:
    archive = Archive()
    archive.stored(image(1, "A"))
    archive.stored(image(2, "B", study="2.25.2"))
    archive.heard(merge("B", "A"))
    archive.moved(["2.25.1", "2.25.404"], "A")
    archive.stored(image(3, "A"))

    assert [archive.filed(f"2.25.9.{n}") for n in (1, 2, 3)] == ["A", "B", "A"]


def test_what_is_no_merge_moves_nothing() -> None:
    archive = Archive()
    archive.stored(image(1, "A"))
    archive.heard(adt("A08", STAMP, person("A")).raw)

    assert archive.filed("2.25.9.1") == "A"
