"""Rounds over studies, in front of a real journal of either engine: what they tell, and what is told once only."""

from __future__ import annotations

import pytest

from broker.dicom import status
from broker.errors import UnwritableError
from broker.event import InstanceReference, Study
from broker.registers import exceptions, study_list
from broker.runtime import archives, asking
from broker.runtime.archives import Archive, archives_of
from broker.runtime.configured import Configured
from broker.runtime.figures import gauges
from broker.store import days
from broker.store.database import Database
from broker.store.lease import LostLeaseError
from tests.support.mpps import begun, ended, scheduled
from tests.support.ward import CT, HOUR, MINUTE, SECOND, STUDY, Ward, image


def test_archives_are_what_takes_objects_and_commit_where_they_are_asked(
    configured: Configured, committing: Configured
) -> None:
    assert archives_of(configured.settings) == (Archive(name="pacs"),)
    assert archives_of(committing.settings) == (Archive(name="pacs", asked_by=("pacs-commitment",)),)


def test_without_mpps_a_study_is_complete_when_nothing_came_for_a_while(ward: Ward) -> None:
    ward.images(1, 2)
    assert ward.round(MINUTE) == []
    assert ward.round(5 * MINUTE) == ["study.completed"]
    said = ward.last("study.completed")
    assert (said.study_uid, said.basis, said.number, said.accession_number) == (STUDY, "quiet", 2, "A7")
    assert ward.round(HOUR) == [], "once"


def test_what_is_told_of_a_study_leaves_the_rows_of_its_step_alone(ward: Ward) -> None:
    ward.house.receive("pas", "adt_a04_registered.hl7")
    ward.house.receive("orders", "orm_ct.hl7")
    ward.now = ward.house.receive("images", image(1, "2.25.3090829990200201")).received
    ward.house.route()
    (row,) = ward.house.rows()
    assert ward.round(6 * MINUTE) == ["study.completed"]
    ward.arrive("pacs")
    assert ward.round(SECOND) == ["study.stored"]
    assert ward.house.rows() == [row], "the examination may go on, and no MPPS says that it ended"


def test_what_comes_late_opens_it_again(ward: Ward) -> None:
    ward.images(1)
    ward.round(6 * MINUTE)
    ward.images(2)
    assert ward.round(5 * MINUTE) == ["study.completed"]
    assert ward.last("study.completed").number == 2


def test_with_all_that_its_mpps_list_a_study_is_complete_at_once(ward: Ward) -> None:
    ward.mpps(begun(scheduled(STUDY)))
    ward.images(1, 2)
    ward.mpps(ended(instances=("2.25.9.1", "2.25.9.2")))
    assert ward.round(SECOND) == [], "it may be that more comes"
    assert ward.round(3 * SECOND) == ["study.completed"]
    assert (ward.last("study.completed").basis, ward.last("study.completed").expected) == ("mpps", 2)


def test_what_one_mpps_leaves_out_is_expected_as_long_as_another_lists_it(ward: Ward) -> None:
    ward.mpps(begun(scheduled(STUDY)), uid="2.25.5")
    ward.mpps(ended("IN PROGRESS", instances=("2.25.9.1", "2.25.9.2")), uid="2.25.5")
    ward.mpps(begun(scheduled(STUDY)), uid="2.25.6")
    ward.mpps(ended("IN PROGRESS", instances=("2.25.9.2", "2.25.9.3")), uid="2.25.6")
    ward.mpps(ended(instances=("2.25.9.1",)), uid="2.25.5")
    ward.mpps(ended(instances=("2.25.9.2", "2.25.9.3")), uid="2.25.6")
    ward.images(1, 3)
    assert ward.round(MINUTE) == [], "the second one is not here"
    ward.images(2)
    assert "study.completed" in ward.round(MINUTE)
    assert (ward.last("study.completed").basis, ward.last("study.completed").expected) == ("mpps", 3)
    assert ward.rebuilt() == []
    sql = "INSERT INTO study_expected (study_uid, sop_instance_uid, mpps) VALUES (?, '2.25.9.2', '2.25.5')"
    ward.house.database.write(lambda tx: tx.execute(sql, (STUDY,))).result()
    assert [fault.partition(":")[0] for fault in ward.rebuilt()] == ["study_expected"]


def test_what_its_mpps_list_and_did_not_come_is_told_until_it_does(ward: Ward) -> None:
    ward.mpps(begun(scheduled(STUDY)))
    ward.mpps(ended(instances=("2.25.9.1", "2.25.9.2")))
    ward.images(1)
    assert ward.round(MINUTE) == []
    assert ward.round(5 * MINUTE) == ["study.completed"]
    assert ward.told("study-incomplete") == ["MPPS list 2 instances, of which 1 are not here"]
    tx = ward.house.database.read()
    assert [row["study"] for row in study_list.listed(tx, "incomplete", copies=1, archives=["pacs"])] == [
        STUDY
    ]
    ward.images(2)
    assert ward.round(5 * SECOND) == ["study.completed"]
    assert ward.last("study.completed").basis == "mpps"
    assert ward.told("study-incomplete") == []
    assert study_list.listed(tx, "incomplete", copies=1, archives=["pacs"]) == []


def test_while_routing_is_behind_nothing_is_quiet_and_nothing_said_twice(ward: Ward) -> None:
    ward.images(1)
    ward.now += 6 * MINUTE
    late = ward.house.receive("images", image(2))
    assert ward.studies.run() == 0, "what is not routed may be of this study"
    ward.house.route()
    ward.now = late.received + 6 * MINUTE
    assert ward.studies.run() == 1
    assert ward.studies.run() == 0, "its last word is not routed"
    ward.house.route()
    assert ward.last("study.completed").number == 2
    assert ward.round(MINUTE) == []


def test_an_archive_that_took_all_of_it_is_told_of_once(ward: Ward) -> None:
    ward.images(1, 2)
    ward.round(6 * MINUTE)
    assert ward.round(SECOND) == [], "it still has to leave"
    ward.arrive("pacs")
    assert ward.round(SECOND) == ["study.stored"]
    said = ward.last("study.stored")
    assert (said.archive, [one.sop_instance_uid for one in said.instances]) == (
        "pacs",
        ["2.25.9.1", "2.25.9.2"],
    )
    assert {(one.sop_class_uid, one.series_uid) for one in said.instances} == {(CT, "2.25.8")}
    assert ward.copies() == [("pacs", "stored")] * 2
    assert ward.round(SECOND) == []
    assert ward.round(by=ward.node()) == [], "another node, which knows nothing, finds the same"


def test_what_an_archive_takes_after_weeks_is_told_also_by_a_node_that_knows_nothing(ward: Ward) -> None:
    ward.images(1)
    ward.round(6 * MINUTE)
    ward.now += 20 * 24 * HOUR
    ward.arrive("pacs")
    assert ward.round(by=ward.node()) == ["study.stored"]


def test_what_is_just_complete_is_told_before_what_is_looked_at_to_be_sure(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.images(1)
    ward.house.receive("images", image(2, "2.25.70"))
    ward.house.route()
    assert ward.round(6 * MINUTE) == ["study.completed"] * 2
    ward.arrive("pacs")
    assert ward.round(SECOND) == ["study.stored"] * 2
    monkeypatch.setattr("broker.runtime.studies.WATCHED", 1)
    node = ward.node()
    ward.now = ward.house.receive("images", image(3, "2.25.71")).received + HOUR
    ward.house.route()
    ward.arrive("pacs")
    assert ward.round(by=node) == ["study.completed"]
    assert ward.round(SECOND, by=node) == ["study.stored"]


def test_what_came_later_is_told_alone(ward: Ward) -> None:
    ward.images(1)
    ward.round(6 * MINUTE)
    ward.arrive("pacs")
    ward.round(SECOND)
    ward.images(2)
    ward.arrive("pacs")
    assert ward.round(6 * MINUTE) == ["study.completed"]
    assert ward.round(SECOND) == ["study.stored"]
    assert [one.sop_instance_uid for one in ward.last("study.stored").instances] == ["2.25.9.2"]


def test_an_archive_that_does_not_answer_is_asked_again_and_told_of(ward: Ward) -> None:
    ward.stored(1, 2)
    first = ward.last("study.stored")
    assert ward.round(59 * MINUTE) == []
    assert ward.round(2 * MINUTE) == ["study.stored"]
    assert ward.last("study.stored") == first
    transactions = ward.rows("SELECT transaction_uid FROM commitment")
    assert len(set(transactions)) == 2, "under another Transaction UID"
    assert ward.round(2 * HOUR) == [], "not while the request waits to leave"
    assert ward.told("commitment-overdue") == []
    assert ward.round(24 * HOUR) == []
    assert ward.told("commitment-overdue") == [
        "pacs owes its commitment for 2 instances since 2026-03-09 08:08 UTC"
    ]
    ward.answer()
    assert ward.copies() == [("pacs", "committed")] * 2
    ward.round(2 * MINUTE)
    assert ward.told("commitment-overdue") == []


def test_after_an_outage_only_so_many_are_asked_for_in_one_round(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, study in enumerate(("2.25.70", "2.25.71", "2.25.72")):
        ward.house.receive("images", image(number, study))
    ward.house.route()
    ward.now += HOUR
    assert ward.round() == ["study.completed"] * 3
    ward.arrive("pacs")
    assert ward.round(SECOND) == ["study.stored"] * 3
    ward.arrive("pacs-commitment")
    monkeypatch.setattr(archives, "NAMED", 2)
    assert ward.round(2 * HOUR) == ["study.stored"] * 2
    assert ward.round(MINUTE) == ["study.stored"], "the rest has its turn"
    ward.arrive("pacs-commitment")

    monkeypatch.setattr(archives, "SENT", 1)
    lost = "UPDATE copy SET state='failed', failure=?"
    ward.house.database.write(lambda tx: tx.execute(lost, (status.NO_SUCH_SOP_INSTANCE,))).result()
    for replays in (1, 2, 3, 3):
        ward.round(MINUTE)
        assert ward.rows("SELECT count(*) FROM delivery WHERE replay_of IS NOT NULL") == [(replays,)]


def test_of_what_an_archive_did_not_speak_it_is_asked_again(ward: Ward) -> None:
    ward.stored(1, 2)
    ward.answer(only=1)
    assert ward.round(2 * HOUR) == ["study.stored"]
    assert [one.sop_instance_uid for one in ward.last("study.stored").instances] == ["2.25.9.2"]


def test_what_an_archive_says_it_does_not_have_is_sent_again_three_times(ward: Ward) -> None:
    ward.stored(1, 2)
    for again in (1, 2, 3):
        ward.answer([status.NO_SUCH_SOP_INSTANCE])
        assert ward.round(2 * MINUTE) == []
        replays = "SELECT count(*) FROM delivery WHERE replay_of IS NOT NULL"
        assert ward.rows(replays) == [(again,)]
        assert ward.round(2 * MINUTE) == [], "it is on its way"
        ward.now += MINUTE
        ward.arrive("pacs")
        assert ward.round(2 * MINUTE) == ["study.stored"]
        assert [one.sop_instance_uid for one in ward.last("study.stored").instances] == ["2.25.9.1"]
        ward.arrive("pacs-commitment")
    assert ward.told("commitment-failed") == []
    ward.answer([status.NO_SUCH_SOP_INSTANCE])
    assert ward.round(2 * MINUTE) == []
    (told,) = ward.told("commitment-failed")
    assert told.startswith("pacs does not commit to instances that it took: 1 with failure 0112")


def test_what_is_out_of_use_is_not_sent_again_until_it_is_given_back(ward: Ward) -> None:
    ward.stored(1, 2)
    ward.answer([status.NO_SUCH_SOP_INSTANCE, status.PROCESSING_FAILURE])
    named = tuple(InstanceReference(sop_class_uid=CT, sop_instance_uid=f"2.25.9.{n}") for n in (1, 2))
    note = Study(study_uid=STUDY, note="2.25.10", instances=named)
    ward.say("study.rejected", note)
    assert ward.round(2 * MINUTE) == []
    replays = "SELECT count(*) FROM delivery WHERE replay_of IS NOT NULL"
    assert (ward.rows(replays), ward.told("commitment-failed")) == ([(0,)], [])
    ward.say("study.restored", note)
    ward.round(2 * MINUTE)
    assert ward.rows(replays) == [(1,)]
    assert "1 with failure 0110" in ward.told("commitment-failed")[0]


def test_another_failure_is_a_persons_and_sending_again_mends_it(ward: Ward) -> None:
    ward.stored(1, 2)
    ward.answer([0, status.PROCESSING_FAILURE])
    assert ward.round(2 * MINUTE) == []
    assert "1 with failure 0110" in ward.told("commitment-failed")[0]
    assert ward.rows("SELECT subject FROM exception WHERE kind='commitment-failed'") == [(STUDY,)]
    ward.now += MINUTE
    at = ward.now.isoformat()
    ward.house.database.write(
        lambda tx: tx.execute("UPDATE delivery SET finished=? WHERE destination='pacs'", (at,))
    ).result()
    assert ward.round(2 * MINUTE) == ["study.stored"], "as after a replay"
    ward.arrive("pacs-commitment")
    ward.answer()
    ward.round(2 * MINUTE)
    assert ward.told("commitment-failed") == []
    assert ward.copies() == [("pacs", "committed")] * 2


def test_what_nobody_was_asked_is_not_shown_as_asked(ward: Ward) -> None:
    ward.stored(1)
    tx = ward.house.database.read()
    shown = study_list.shown(tx, STUDY)
    assert shown is not None
    assert [(bool(one["asked"]), one["answered"]) for one in shown["commitments"]] == [(True, "")]
    nobody = "DELETE FROM delivery WHERE destination='pacs-commitment'"
    ward.house.database.write(lambda tx: tx.execute(nobody)).result()
    shown = study_list.shown(ward.house.database.read(), STUDY)
    assert shown is not None
    assert [(one["asked"], one["answered"]) for one in shown["commitments"]] == [("", "")]


def test_what_an_archive_owes_is_asked_for_because_a_person_wants_it(ward: Ward) -> None:
    ward.stored(1, 2, 3, 4)
    ward.answer([0, status.PROCESSING_FAILURE], only=3)
    out = InstanceReference(sop_class_uid=CT, sop_instance_uid="2.25.9.3")
    ward.say("study.rejected", Study(study_uid=STUDY, note="2.25.10", instances=(out,)))
    tx = ward.house.database.read()
    since = ward.now.isoformat()
    assert asking.uncommitted(tx, "another", "") == asking.uncommitted(tx, "pacs", since) == []
    wanted = asking.uncommitted(tx, "pacs", "")
    assert wanted == asking.uncommitted(tx, "pacs", since, [STUDY])
    assert [one.sop_instance_uid for one in wanted[0].instances] == ["2.25.9.2", "2.25.9.4"]

    ward.house.database.write(lambda tx: asking.ask(tx, wanted, site="STO", now=ward.now)).result()
    ward.house.route()
    requests = "SELECT count(*) FROM delivery WHERE destination='pacs-commitment' AND state='queued'"
    assert ward.rows(requests) == [(1,)]
    ward.arrive("pacs-commitment")
    ward.answer()
    assert ward.copies() == [("pacs", "committed")] * 4
    assert asking.uncommitted(tx, "pacs", "", [STUDY]) == []


def test_what_cannot_be_sent_again_is_told(ward: Ward) -> None:
    ward.stored(1)
    day = ward.now.date().isoformat()
    ward.house.database.write(lambda tx: days.drop_bodies(tx, day)).result()
    ward.now += 24 * HOUR
    ward.answer([status.NO_SUCH_SOP_INSTANCE])
    for _ in range(2):
        ward.round(2 * MINUTE)
        (told,) = ward.told("commitment-failed")
        assert "cannot be sent again" in told
        assert "--mode rendered" in told


def test_what_takes_long_is_looked_at_more_seldom(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def due(*_: object) -> archives.Due:
        looks.append(0)
        return archives.Due()

    monkeypatch.setattr(archives, "due", due)
    monkeypatch.setattr("broker.runtime.studies.time.monotonic", lambda: 30.0 * len(looks))
    for _ in range(11):
        ward.round(MINUTE)
    assert len(looks) == 2, "half a minute's work every ten minutes"


def test_what_came_while_a_clock_was_ahead_is_completed_all_the_same(ward: Ward) -> None:
    ward.images(1)
    ward.now -= 365 * 24 * HOUR
    assert ward.round() == ["study.completed"]


def test_a_clock_that_was_set_back_stops_nothing(ward: Ward) -> None:
    ward.round(365 * 24 * HOUR)
    ward.now -= 365 * 24 * HOUR
    ward.stored(1)
    ward.answer([status.PROCESSING_FAILURE])
    ward.round(2 * MINUTE)
    assert len(ward.told("commitment-failed")) == 1


def asked(ward: Ward, *uids: str, sop_class: str = CT) -> None:
    items = tuple(InstanceReference(sop_class_uid=sop_class, sop_instance_uid=uid) for uid in uids)
    said = Study(requester="CT1_STO", transaction_uid="2.25.77", instances=items)
    ward.say("commitment.requested", said)


def test_a_device_is_told_once_everything_is_safe(ward: Ward) -> None:
    ward.stored(1, 2)
    asked(ward, "2.25.9.1", "2.25.9.2")
    assert ward.round(SECOND) == []
    ward.answer()
    assert ward.round(SECOND) == ["commitment.reported"]
    said = ward.last("commitment.reported")
    assert (said.requester, said.transaction_uid) == ("CT1_STO", "2.25.77")
    assert [(one.sop_instance_uid, one.failure) for one in said.instances] == [
        ("2.25.9.1", 0),
        ("2.25.9.2", 0),
    ]
    assert ward.round(SECOND) == [], "once"


def test_a_device_is_told_what_is_not_safe_when_the_wait_is_over(ward: Ward) -> None:
    ward.stored(1)
    asked(ward, "2.25.9.1", "2.25.9.404")
    assert ward.round(6 * MINUTE) == [], "the archive still may commit to the one"
    ward.answer()
    assert ward.round(SECOND) == ["commitment.reported"]
    assert [one.failure for one in ward.last("commitment.reported").instances] == [
        0,
        status.NO_SUCH_SOP_INSTANCE,
    ]


def test_a_node_that_was_stalled_and_leads_no_more_tells_nothing_a_second_time(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    asked(ward, "2.25.9.1")

    def lost(_tx: object) -> None:
        raise LostLeaseError("leader: another node has it")

    with pytest.raises(LostLeaseError):
        ward.node(fence=lost).run()
    assert ward.round(SECOND) == ["commitment.reported"]


def test_what_a_removed_archive_committed_to_is_not_safe(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    asked(ward, "2.25.9.1")
    assert ward.round(SECOND, by=ward.node(["another"])) == []
    tx = ward.house.database.read()
    for archive, unsafe in (("pacs", []), ("another", [STUDY])):
        found = study_list.listed(tx, "unsafe", copies=1, archives=[archive])
        assert [row["study"] for row in found] == unsafe


def test_a_device_whose_object_was_refused_is_not_told_that_it_is_safe(ward: Ward) -> None:
    """Another object came first under its UID: that one is safe, its own is nowhere."""
    ward.stored(1)
    ward.answer()
    at = ward.now.isoformat()
    ward.house.database.write(
        lambda tx: exceptions.note(tx, "instance-differs", "2.25.9.1", "refused", at=at)
    ).result()
    asked(ward, "2.25.9.1")
    assert ward.round(SECOND) == ["commitment.reported"]
    assert [one.failure for one in ward.last("commitment.reported").instances] == [status.PROCESSING_FAILURE]


def test_a_device_waits_no_longer_than_the_settings_say(ward: Ward) -> None:
    ward.stored(1)
    asked(ward, "2.25.9.1")
    assert "commitment.reported" in ward.round(25 * HOUR)
    assert [one.failure for one in ward.last("commitment.reported").instances] == [status.PROCESSING_FAILURE]


def test_everything_is_in_the_log_and_a_rebuild_keeps_it(ward: Ward) -> None:
    ward.mpps(begun(scheduled(STUDY)))
    ward.stored(1, 2)
    asked(ward, "2.25.9.1")
    ward.answer([0, status.NO_SUCH_SOP_INSTANCE])
    ward.round(MINUTE)
    ward.images(3)

    assert ward.rebuilt() == []
    kinds = {kind for (kind,) in ward.rows("SELECT DISTINCT type FROM message WHERE source='clock'")}
    assert kinds == {"study.completed", "study.stored", "commitment.reported"}


def test_what_could_not_be_written_is_said_by_a_later_round(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.images(1)
    ward.round(6 * MINUTE)
    ward.arrive("pacs")

    def full(*_: object, **__: object) -> None:
        raise UnwritableError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(Database, "write", full)
        with pytest.raises(UnwritableError):
            ward.studies.run()
    assert ward.round(SECOND) == ["study.stored"]


def test_the_figures(ward: Ward) -> None:
    def figures() -> dict[str, float]:
        tx = ward.house.database.read()
        found = {name: value for name, _, value in (*gauges(tx, ward.now), *ward.studies.gauges(tx))}
        names = ("studies_receiving", "commitment_requests_waiting", "objects_uncommitted")
        return {name: found[f"broker_{name}"] for name in names}

    ward.images(1, 2)
    assert figures() == {"studies_receiving": 1, "commitment_requests_waiting": 0, "objects_uncommitted": 0}
    ward.round(6 * MINUTE)
    ward.arrive("pacs")
    ward.round(SECOND)
    asked(ward, "2.25.9.1")
    assert list(figures().values()) == [0, 1, 2]
    ward.arrive("pacs-commitment")
    ward.answer()
    ward.round(SECOND)
    assert list(figures().values()) == [0, 0, 0]
