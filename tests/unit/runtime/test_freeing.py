"""Files that are given up: what is safe, what nothing waits for, what nobody sent again; and who knows of it."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from adapters.pacs.spool import Spool
from broker.delivery.parked import By
from broker.dicom import status
from broker.event import Event
from broker.registers import commitments
from broker.runtime import rehearsal, replay
from broker.runtime.reconcile import reconcile
from broker.runtime.replay import ReplayError
from broker.runtime.selection import Selection
from tests.support.ward import HOUR, MINUTE, SECOND, Ward, image

DAY = timedelta(days=1)
BY = By(who="test", at="2026-03-20T08:00:00+00:00", reason="tested")


def freed(ward: Ward) -> list[str]:
    return [uid for (uid,) in ward.rows("SELECT sop_instance_uid FROM freed ORDER BY 1")]


def test_a_safe_object_is_kept_for_a_while_and_another_for_ever(ward: Ward) -> None:
    ward.stored(1, 2)
    ward.answer([0, status.PROCESSING_FAILURE])
    ward.round(6 * DAY)
    assert ward.files() == 2
    ward.round(DAY + HOUR)
    assert (ward.files(), ward.freed, freed(ward)) == (1, [1], ["2.25.9.1"])
    assert ward.rebuilt() == []
    ward.round(DAY)
    assert ward.freed == [1], "once"


def test_without_an_end_nothing_is_given_up(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    ward.round(365 * DAY, by=ward.node(keep=None))
    assert ward.files() == 1


def second(ward: Ward, state: str = "committed") -> None:
    """Another archive has it too."""
    sql = (
        "INSERT INTO copy (archive, sop_instance_uid, study_uid, state, failure, since, event)"
        " SELECT 'second', sop_instance_uid, study_uid, ?, failure, since, event FROM copy"
    )
    ward.house.database.write(lambda tx: tx.execute(sql, (state,))).result()


def test_as_many_archives_must_have_committed_as_the_settings_say(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    both = ("pacs", "second")
    ward.round(8 * DAY, by=ward.node(both, copies=2))
    assert ward.files() == 1
    second(ward)
    ward.round(by=ward.node(both, copies=2))
    assert ward.files() == 0


def test_an_archive_that_the_settings_do_not_have_any_more_keeps_nothing(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    ward.round(8 * DAY, by=ward.node(["another"]))
    assert (ward.files(), freed(ward)) == (1, [])


def test_what_another_archive_says_it_lacks_stays_so_that_it_can_be_sent(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    second(ward, "failed")
    ward.round(8 * DAY, by=ward.node(("pacs", "second")))
    assert (ward.files(), freed(ward)) == (1, [])


def test_what_is_not_safe_yet_neither_slows_a_round_nor_hides_the_rest(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    ward.stored(1, 2, 3)
    ward.answer()
    oldest = sorted(uid for (uid,) in ward.rows("SELECT sop_instance_uid FROM copy"))[:2]
    for uid in oldest:
        ward.house.database.write(
            lambda tx, uid=uid: tx.execute(
                "INSERT INTO copy (archive, sop_instance_uid, study_uid, state, failure, since, event)"
                " SELECT 'second', sop_instance_uid, study_uid, 'failed', 272, since, event FROM copy"
                " WHERE sop_instance_uid=?",
                (uid,),
            )
        ).result()
    monkeypatch.setattr("broker.runtime.freeing.CHUNK", 1)
    monkeypatch.setattr("broker.runtime.freeing.ROUND", 2)
    node = ward.node(("pacs", "second"))
    ward.round(8 * DAY, by=node)
    assert ward.files() == 3, "only so many are looked at"
    ward.round(HOUR, by=node)
    assert (ward.files(), freed(ward)) == (2, ["2.25.9.3"])
    ward.house.database.write(lambda tx: tx.execute("DELETE FROM copy WHERE archive='second'")).result()
    ward.round(HOUR, by=node)
    assert ward.files() == 0, "and from the start again"


@pytest.mark.parametrize("state", ["queued", "parked", "held"])
def test_what_something_waits_for_is_kept(ward: Ward, state: str) -> None:
    ward.stored(1)
    ward.answer()

    def be(state: str) -> None:
        sql = "UPDATE delivery SET state=? WHERE destination='pacs'"
        ward.house.database.write(lambda tx: tx.execute(sql, (state,))).result()

    be(state)
    ward.round(8 * DAY)
    assert ward.files() == 1
    be("delivered")
    ward.round(HOUR)
    assert ward.files() == 0


def test_what_was_sent_again_is_here_again_for_as_long(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    ward.round(8 * DAY)
    assert ward.files() == 0
    ward.images(1)
    for file in ward.spool.glob("instances/*/*.dcm"):
        os.utime(file, (ward.now.timestamp(),) * 2)  # the house's own clock says when a message came
    ward.arrive("pacs")
    assert freed(ward) == []
    ward.round(6 * DAY)
    assert ward.files() == 1
    ward.round(2 * DAY)
    assert ward.files() == 0


def test_what_came_again_before_anybody_knew_stays(ward: Ward) -> None:
    """Its file stands, and nothing of it is in the journal yet, when the one before is given up."""
    ward.stored(1)
    ward.answer()
    (file,) = ward.spool.glob("instances/*/*.dcm")
    later = (ward.now + 8 * DAY).timestamp()
    os.utime(file, (later, later))
    ward.round(8 * DAY)
    assert (ward.files(), freed(ward)) == (1, [])
    # It stood already, and was replaced before it was removed.
    at = (ward.now - HOUR).isoformat()
    sql = "INSERT INTO freed (sop_instance_uid, at) VALUES ('2.25.9.1', ?)"
    ward.house.database.write(lambda tx: tx.execute(sql, (at,))).result()
    ward.round(HOUR)
    assert ward.files() == 1


def test_what_a_node_left_that_died_is_removed_by_the_next(ward: Ward) -> None:
    ward.stored(1)
    at = (ward.now + HOUR).isoformat()
    sql = "INSERT INTO freed (sop_instance_uid, at) VALUES ('2.25.9.1', ?)"
    ward.house.database.write(lambda tx: tx.execute(sql, (at,))).result()
    ward.round(HOUR)
    assert ward.files() == 0
    assert ward.rows("SELECT gone FROM freed") == [(1,)]


def again(ward: Ward, written: datetime) -> None:
    """The same object, whole: kept, in the journal and routed. Its last byte was written then."""
    ((name,),) = ward.rows("SELECT path FROM instance WHERE sop_instance_uid='2.25.9.1'")
    received = ward.spool / "incoming"
    received.write_bytes(b"anew")
    os.utime(received, (written.timestamp(),) * 2)
    Spool(ward.spool).keep(received, Path(name).stem)
    ward.house.receive("images", image(1))
    ward.house.route()


@pytest.mark.parametrize(
    "early", [timedelta(), timedelta(minutes=59)], ids=["then", "before it was given up"]
)
def test_what_comes_again_in_the_midst_of_it_stays(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, early: timedelta
) -> None:
    """Between the look at the file and its removal; it may have been written long before it got its name."""
    ward.stored(1)
    ward.answer()
    rename = Path.rename

    def meanwhile(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        assert freed(ward) == ["2.25.9.1"], "or it is not the midst"
        again(ward, ward.now - early)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", meanwhile)
    ward.now += 8 * DAY
    ward.studies.run()
    (file,) = ward.spool.glob("instances/*/*.dcm")
    assert file.read_bytes() == b"anew"
    assert freed(ward) == []
    assert ("pacs", "queued") in ward.house.made()
    ward.round(HOUR)
    assert ward.files() == 1


def test_no_younger_file_goes_however_soon_files_may_go(ward: Ward) -> None:
    """A C-STORE may be about to name it in the journal."""
    ward.stored(1)
    ward.answer()
    soon = ward.node(keep=0.0)
    ward.round(MINUTE, by=soon)
    assert (ward.files(), freed(ward)) == (1, [])
    ward.round(HOUR, by=soon)
    assert (ward.files(), freed(ward)) == (0, ["2.25.9.1"])


def test_where_the_spool_is_not_there_nothing_is_given_up(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    (ward.spool / "instances").rename(ward.spool / "unmounted")
    ward.round(8 * DAY)
    assert freed(ward) == []


def test_a_replay_says_why_there_is_no_file(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    ward.round(8 * DAY)
    house, chosen = ward.house, Selection(destination="pacs")
    with pytest.raises(
        ReplayError, match="was given up on 2026-03-17, because archives have committed to it"
    ):
        replay.run(house.database, house.configured, chosen, "sent", BY, ward.now)
    (planned,) = rehearsal.plan(house.database, house.configured, chosen, "sent", ward.now)
    assert "was given up" in planned.problem


def test_an_accounting_says_why_there_is_no_file(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    ward.round(8 * DAY)
    ward.house.database.write(
        lambda tx: tx.execute("UPDATE delivery SET state='queued' WHERE destination='pacs'")
    ).result()
    with ward.house.database.snapshot() as tx:
        faults = reconcile(tx, Path(ward.spool)).faults
    (told,) = [fault for fault in faults if "its file" in fault]
    assert told.endswith("its file was given up on 2026-03-17, because archives keep it")


def test_an_archive_that_commits_later_changes_nothing(ward: Ward) -> None:
    ward.stored(1)
    ward.answer()
    ward.round(8 * DAY)
    ((body,),) = ward.rows("SELECT body FROM event WHERE type='study.stored'")
    said = Event.model_validate_json(body).data.study
    assert said is not None
    ward.say("study.stored", said.model_copy(update={"archive": "second"}), source="clock")
    ward.answer()
    ward.round(8 * DAY)
    assert ward.freed == [1]
    assert ward.rows("SELECT archive, freed FROM copy ORDER BY 1") == [("pacs", 1), ("second", 1)]
    assert commitments.copies(ward.house.database.read(), "2.25.9.1") == 2
    assert ward.round(SECOND) == []
