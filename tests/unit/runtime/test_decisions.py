from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.event import Decision, Identifier, Patient
from broker.journal import audit
from broker.registers import changes, exceptions, ledger, patients
from broker.runtime import decisions, rebuild, splitplan
from broker.runtime.configured import Configured
from broker.runtime.decisions import DecisionError
from broker.store.database import Database
from broker.store.transaction import Transaction
from tests.support.crossing import between
from tests.support.events import event, instance, local, national, order, patient, reception, step
from tests.unit.runtime.conftest import House

OLD, NEW = local("700999"), local("700123")
FNR, OTHER = national("30908299902"), national("03851598730")
LATER = datetime(2026, 3, 16, 8, tzinfo=UTC)
WHO: dict[str, Any] = {
    "by": "Kari Lie",
    "approved_by": "Ola Moe",
    "reason": "two persons",
    "now": LATER,
    "who": "klie",
}
RAW = (Path(__file__).parents[2] / "golden" / "pas" / "a40_merge.hl7").read_bytes().replace(b"\n", b"\r")


class Story:
    """Events that come one after another, each folded and routed at once."""

    def __init__(self, house: House) -> None:
        self.house = house
        self._number = 0

    def said(self, kind: str, *, source: str = "", **data: Any) -> None:
        self._number += 1
        one = event(kind, self._number, source=source, **data)
        self.house.intake.accept_blocking(reception(self._number, one, source=one.source, raw=RAW))
        self.house.route()

    def merge(self, survivor: Patient, prior: Identifier) -> changes.Change:
        self.said("patient.merged", patient=survivor, prior=(prior,))
        (change,) = splitplan.find(self.house.database.read(), f"M{self._number:05}")
        return change

    def owner(self, identifier: Identifier) -> str:
        (key,) = patients.find(self.house.database.read(), [identifier])
        return key

    def plan(self, change: changes.Change) -> splitplan.Plan:
        tx = self.house.database.read()
        current = ledger.get(tx, change.id)
        assert current is not None
        return splitplan.plan(tx, current)

    def decide(self, verb: decisions.Verb, change: changes.Change, **more: Any) -> str:
        return decisions.decide(self.house.database, verb, change.id, **{**WHO, **more})

    def rebuilt(self) -> list[str]:
        configured, database = self.house.configured, self.house.database
        with (
            database.snapshot() as tx,
            rebuild.rebuilt(tx, database.beside(rebuild.BASELINE), configured, lambda _: None) as again,
        ):
            return rebuild.compare(tx, again, configured.routes.version)


@pytest.fixture
def story(house: House) -> Story:
    return Story(house)


def wrong_merge(story: Story) -> changes.Change:
    for one in (OLD, NEW):
        story.said("patient.registered", patient=patient(one))
    story.said("step.scheduled", patient=patient(OLD), order=order("F1"), step=step("RIS|F1|S1"))
    story.said(
        "instance.received", source="images", patient=patient(OLD), instance=instance(study_uid="2.25.7")
    )
    change = story.merge(patient(NEW), OLD)
    story.said("step.scheduled", patient=patient(OLD), order=order("F2"), step=step("RIS|F2|S1"))
    story.said("step.scheduled", patient=patient(NEW), order=order("F3"), step=step("RIS|F3|S1"))
    return change


def test_a_plan_says_what_goes_back_and_what_only_a_person_can_tell(story: Story) -> None:
    change = wrong_merge(story)
    plan = story.plan(change)

    assert [(i.what, i.key) for i in plan.returns] == [
        ("step", "RIS|F1|S1"),
        ("step", "RIS|F2|S1"),
        ("study", "2.25.7"),
    ]
    assert [(i.what, i.key) for i in plan.ambiguous] == [("step", "RIS|F3|S1")]
    assert plan.obstacle == ""
    assert plan.told
    assert {one.state for one in plan.told} == {"queued"}


def test_a_study_that_a_pacs_has_is_work_for_people(story: Story) -> None:
    change = wrong_merge(story)
    database = story.house.database
    database.write(lambda tx: tx.execute("UPDATE delivery SET state='delivered' WHERE kind='dicom'")).result()

    (work,) = story.plan(change).work
    assert (work.destination, work.study_uid, work.sent, work.objects) == ("pacs", "2.25.7", 1, 1)


def test_a_split_is_a_message_that_a_rebuild_keeps(story: Story) -> None:
    change = wrong_merge(story)
    survivor = story.owner(NEW)
    identity = story.decide("split", change, plan_id=story.plan(change).id)
    assert identity
    assert story.decide("split", change, plan_id="whatever") == "", "typed twice, before it is folded"
    story.house.route()

    tx = story.house.database.read()
    assert (story.owner(OLD), story.owner(NEW)) == (change.absorbed, survivor)
    assert dict(tx.rows("SELECT key, patient FROM step")) == {
        "RIS|F1|S1": change.absorbed,
        "RIS|F2|S1": change.absorbed,
        "RIS|F3|S1": survivor,
    }
    assert story.decide("split", change) == "", "and after"
    assert tx.rows("SELECT count(*) FROM message WHERE source='operator'") == [(1,)]
    assert "event-failed" not in story.house.reported()
    (line,) = [one for one in audit.listed(tx) if one.action == "patients split"]
    assert (line.who, line.detail["by"], line.detail["approved_by"]) == ("klie", "Kari Lie", "Ola Moe")
    assert story.rebuilt() == []


def test_rows_show_whose_they_are_again(story: Story) -> None:
    def rows() -> dict[str, str]:
        sql = "SELECT key, patient_id FROM worklist ORDER BY key"
        return dict(story.house.database.read().rows(sql))

    change = wrong_merge(story)
    assert set(rows().values()) == {NEW.value}
    story.decide("split", change, plan_id=story.plan(change).id)
    story.house.route()

    assert rows() == {"RIS|F1|S1": OLD.value, "RIS|F2|S1": OLD.value, "RIS|F3|S1": NEW.value}


def test_what_was_open_leaves_before_the_lanes_part(story: Story) -> None:
    change = wrong_merge(story)
    survivor = story.owner(NEW)
    story.decide("split", change, plan_id=story.plan(change).id)
    story.house.route()
    story.said("patient.updated", patient=patient(OLD))
    database = story.house.database

    def lanes() -> set[str]:
        row = database.read().one("SELECT max(event) FROM delivery") or (0,)
        return {
            lane
            for (lane,) in database.read().rows("SELECT lane FROM delivery WHERE event=? AND kind='hl7'", row)
        }

    assert lanes() == {survivor}
    story.said("patient.updated", patient=patient(OLD))
    assert lanes() == {survivor}, "behind what waits there of its own, too"
    delivered = "UPDATE delivery SET state='delivered' WHERE state='queued'"
    database.write(lambda tx: tx.execute(delivered)).result()
    story.said("patient.updated", patient=patient(OLD))
    assert lanes() == {change.absorbed}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"approved_by": " kari lie"}, "two different people"),
        ({"approved_by": "KARI  LIE"}, "two different people"),
        ({"approved_by": ""}, "two different people"),
        ({"reason": " "}, "--reason"),
        ({"plan_id": "000000000000"}, "out of date"),
    ],
)
def test_what_is_not_decided_by_two_about_what_stands_is_not_done(
    story: Story, more: dict[str, str], why: str
) -> None:
    change = wrong_merge(story)
    with pytest.raises(DecisionError, match=re.escape(why)):
        story.decide("split", change, **{"plan_id": story.plan(change).id, **more})

    assert story.house.waiting() == 0


def test_a_plan_is_out_of_date_once_something_came(story: Story) -> None:
    change = wrong_merge(story)
    shown = story.plan(change).id
    assert story.plan(change).id == shown
    story.said("step.scheduled", patient=patient(OLD), order=order("F4"), step=step("RIS|F4|S1"))

    with pytest.raises(DecisionError, match="out of date"):
        story.decide("split", change, plan_id=shown)


def test_a_held_merge_that_is_released_leaves_as_it_was_written(story: Story) -> None:
    for one in (FNR, OTHER):
        story.said("patient.registered", patient=patient(one))
    held = story.merge(patient(FNR, family="Ny"), OTHER)
    story.said("patient.updated", patient=patient(FNR, family="Nyere"))
    before = len(story.house.payloads("epj"))
    with pytest.raises(DecisionError, match="held, not applied"):
        story.decide("split", held)
    identity = story.decide("release", held)
    story.house.route()

    tx = story.house.database.read()
    assert story.owner(FNR) == story.owner(OTHER)
    assert len(story.house.payloads("epj")) == before + 1
    assert exceptions.listed(tx) == []
    name = patients.get(tx, story.owner(FNR)).patient.name
    assert name is not None
    assert name.family == "Nyere", "what the merge said of the name is no newer for having waited"
    (change,) = splitplan.find(tx, identity)
    assert change.state == "applied"
    assert story.rebuilt() == []


def test_a_release_that_is_typed_again_as_the_first_is_folded_is_still_one(
    configured: Configured, nodes: list[Database]
) -> None:
    """Else every destination would get the merge twice."""
    router, desk = nodes
    story = Story(House(configured, router))
    for one in (FNR, OTHER):
        story.said("patient.registered", patient=patient(one))
    held = story.merge(patient(FNR), OTHER)
    assert story.decide("release", held)
    decision = Decision(change=held.id, by=WHO["by"], approved_by=WHO["approved_by"], reason=WHO["reason"])

    def again(tx: Transaction) -> str:
        between(tx, " FROM ", story.house.route, behind=True)
        return decisions._decide(tx, "release", decision, LATER, "klie")

    assert desk.write(again).result(10) == ""
    assert router.read().rows("SELECT count(*) FROM event WHERE routed IS NULL") == [(0,)]


def test_a_held_merge_that_is_refused_is_over(story: Story) -> None:
    for one in (FNR, OTHER):
        story.said("patient.registered", patient=patient(one))
    held = story.merge(patient(FNR), OTHER)
    story.decide("refuse", held)
    story.house.route()

    assert story.owner(FNR) != story.owner(OTHER)
    assert exceptions.listed(story.house.database.read()) == []
    with pytest.raises(DecisionError, match="refused, not held"):
        story.decide("release", held)


def test_changes_are_found_by_number_message_and_id(story: Story) -> None:
    change = wrong_merge(story)
    tx = story.house.database.read()

    for text in (change.id, change.event.split(".")[0], OLD.value, NEW.value):
        assert [one.id for one in splitplan.find(tx, text)] == [change.id]
    assert splitplan.find(tx, "nobody") == []
    assert splitplan.lists_of(tx, change.survivor) == [("worklist", 3)]
