"""Files of refused objects go with the bodies of their day, and never one that an object has which was taken."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from adapters.pacs.spool import Spool
from broker.adapter import Stored
from broker.journal import log as journal
from broker.runtime import refused, removal, replay, selection
from broker.runtime.offline import instance
from broker.runtime.replay import ReplayError
from broker.runtime.retention import Limits, Retention
from broker.runtime.selection import Selection
from broker.store import days
from broker.store.transaction import Transaction
from tests.support.ward import CT, STUDY
from tests.unit.runtime.conftest import House
from tests.unit.runtime.test_freeing import BY

FIRST = datetime(2026, 3, 9, 8, tzinfo=UTC)
BODIES, LEDGER = timedelta(days=2), timedelta(days=30)


def image(number: int, pixels: str) -> bytes:
    return instance(
        {
            "SOPClassUID": CT,
            "SOPInstanceUID": f"2.25.9.{number}",
            "StudyInstanceUID": STUDY,
            "PatientID": "30908299902",
            "ImageComments": pixels,
        }
    )


class Device:
    """Sends one SOP Instance UID again and again, with the same pixels or others, and retention goes on."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house, self.folder = house, folder
        self._spool = Spool(folder)
        self._number = 0

    def send(self, pixels: str, day: float, number: int = 1) -> Stored:
        """A C-STORE: the file is kept, then stands in the journal."""
        now = FIRST + timedelta(days=day)
        self._number += 1
        reader = self.house.configured.readers["images"]
        reception = reader.receive(
            image(number, pixels), message_id=f"M{self._number:05}", now=now, peer="CT"
        )
        received = self.folder / "incoming"
        received.write_text(pixels)
        os.utime(received, (now.timestamp(),) * 2)
        self._spool.keep(received, Path(reception.blob).stem)
        stored = self.house.intake.accept_blocking(reception)
        self.house.route()
        return stored

    def delivered(self) -> None:
        self.write("UPDATE delivery SET state='delivered'")

    def write(self, sql: str, *values: Any) -> None:
        self.house.database.write(partial(_execute, sql=sql, values=values)).result(10)

    def round(self, day: float, *, max_size: int | None = None) -> None:
        limits = Limits(bodies=BODIES, ledger=LEDGER, max_size=max_size)
        now = FIRST + timedelta(days=day)
        Retention(self.house.database, self.folder, lambda: self.house.configured, limits, lambda: now).run()

    def files(self) -> list[str]:
        """Pixels of what stands, wherever."""
        return sorted(file.read_text() for file in self.folder.rglob("*") if file.is_file())

    def kept(self) -> int:
        return refused.kept(self.house.database.read())

    def timeline(self, number: int) -> dict[str, Any]:
        return journal.timeline(self.house.database.read(), number)


def _execute(tx: Transaction, *, sql: str, values: tuple[Any, ...]) -> None:
    tx.execute(sql, values)


@pytest.fixture
def device(house: House, tmp_path: Path) -> Device:
    """One object of it was taken, another under its UID was refused, both on the first day."""
    (tmp_path / "spool").mkdir()
    device = Device(house, tmp_path / "spool")
    assert device.send("taken", 0).refused is None
    assert device.send("other", 0).answer_code == "0111"
    device.delivered()
    return device


def test_a_refused_file_goes_with_its_days_bodies_and_the_taken_one_stays(device: Device) -> None:
    device.round(2)
    assert device.files() == ["other", "taken"]
    assert device.timeline(2)["refused_file"].startswith("instances/")
    device.round(3)
    assert (device.files(), device.kept()) == (["taken"], 0)
    assert device.timeline(2)["refused_file"] == ""
    assert "refused_file" not in device.timeline(1)
    device.round(4)
    assert device.files() == ["taken"]


def test_one_that_comes_again_and_again_stays_as_long_as_the_last_time(device: Device) -> None:
    device.send("other", 1.5)
    device.send("other", 1)  # a node whose clock is behind
    assert device.kept() == 1, "one file"
    device.round(3)
    assert device.files() == ["other", "taken"]
    device.round(4)
    assert device.files() == ["taken"]


def test_it_goes_early_where_the_journal_is_too_large(device: Device) -> None:
    device.round(1, max_size=1)
    assert device.files() == ["taken"]


def test_one_that_has_just_come_waits_for_another_round(device: Device) -> None:
    """At midnight, where the journal is too large, a C-STORE may be in the midst of it."""
    device.send("latest", 0.65)  # 23:36
    device.round(0.67, max_size=1)  # 00:04
    assert device.files() == ["latest", "taken"]
    device.round(0.7, max_size=1)
    assert device.files() == ["taken"]


def test_the_ledger_may_leave_before_its_file(device: Device) -> None:
    """Its spool was not mounted for as long."""
    (device.folder / "instances").rename(device.folder / "unmounted")
    device.round(40)
    assert device.house.database.read().rows("SELECT seq FROM message") == []
    (device.folder / "unmounted").rename(device.folder / "instances")
    device.round(40)
    assert (device.files(), device.kept()) == (["taken"], 0)


@pytest.mark.parametrize("known", ["commit 1", "registers"])
def test_what_was_taken_after_all_is_not_evidence_any_more(device: Device, known: str) -> None:
    """Once the ledger has forgotten the first object, the other one is taken."""
    ((path, state),) = device.house.database.read().rows("SELECT path, state FROM refused_file")
    if known == "commit 1":
        device.write("UPDATE object_state SET state=?", state)
    else:
        device.write("DELETE FROM object_state")
        device.write("UPDATE instance SET path=?", path)
    device.round(3)
    assert (device.files(), device.kept()) == (["other", "taken"], 0)


def test_neither_goes_of_two_that_were_both_taken_at_some_time(device: Device) -> None:
    """Commit 1 forgets the first object with the ledger, and takes the other one; the registers never forget it."""
    device.round(40)
    assert device.files() == ["taken"]
    assert device.send("other", 40).refused is None
    assert device.send("taken", 41).answer_code == "0111"
    device.delivered()
    device.round(60)
    assert (device.files(), device.kept()) == (["other", "taken"], 0)


class KilledError(Exception):
    """The process dies there."""


@pytest.mark.parametrize(
    "step", [(removal, "remove"), (removal, "sync"), (refused, "_forget")], ids=lambda step: step[1]
)
def test_the_next_round_goes_on_where_one_died(
    device: Device, monkeypatch: pytest.MonkeyPatch, step: tuple[Any, str]
) -> None:
    def dies(*_arguments: Any, **_options: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(*step, dies)
        with pytest.raises(KilledError):
            device.round(3)
    assert device.kept() == 1, "it is not forgotten before it is gone"
    device.round(3)
    assert (device.files(), device.kept()) == (["taken"], 0)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something happen once, between the look at a file and its removal."""

    def set_(what: Callable[[], object]) -> None:
        rename = Path.rename

        def first(path: Path, target: Path) -> Path:
            monkeypatch.setattr(Path, "rename", rename)
            what()
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", first)

    return set_


def test_one_that_is_refused_again_in_the_midst_of_it_stays_for_another_day(
    device: Device, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    meanwhile(lambda: device.send("other", 3))
    device.round(3)
    assert (device.files(), device.kept()) == (["other", "taken"], 1)
    device.round(6)
    assert device.files() == ["taken"]


def test_one_that_is_taken_in_the_midst_of_it_stays(
    device: Device, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    device.write("DELETE FROM object_state")  # as once the ledger is gone
    meanwhile(lambda: device.send("other", 3))
    device.round(3)
    assert device.files() == ["other", "taken"]
    device.delivered()
    device.round(6)
    assert (device.files(), device.kept()) == (["other", "taken"], 0)


def test_many_go_some_at_a_time_and_what_must_stay_hides_none(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused, "CHUNK", 2)
    for number in range(5):
        device.send(f"other {number}", 0)
    young = device.folder / device.timeline(4)["refused_file"]
    os.utime(young, ((FIRST + timedelta(days=3)).timestamp(),) * 2)
    device.round(3)
    assert (len(device.files()), device.kept()) == (2, 1)


def test_a_replay_says_that_only_its_device_can_send_it_again(device: Device) -> None:
    chosen, now = Selection(messages=(2,)), FIRST + timedelta(days=1)
    with pytest.raises(ReplayError, match="refused its device must send again"):
        replay.run(device.house.database, device.house.configured, chosen, "received", BY, now)
    assert selection.count(device.house.database.read(), chosen, "sent") == 0, "nothing of it left"


def test_objects_that_were_refused_before_this_schema_are_listed(device: Device) -> None:
    device.send("other", 1)
    device.send("third", 1)
    rows = "SELECT path, sop_instance_uid, state, day FROM refused_file ORDER BY 1"
    before = device.house.database.read().rows(rows)
    assert [day for *_, day in before] == ["2026-03-10"] * 2
    device.write("DELETE FROM refused_file")
    device.house.database.write(days.list_refused).result(10)
    assert device.house.database.read().rows(rows) == before
