"""Files leave the spool while others write there: whatever comes between two steps, what is newer stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.pacs.spool import Spool, path_of
from broker.runtime import removal

SHA256 = "ab" + "0" * 62
NAME = path_of(SHA256).as_posix()
MOMENT = datetime(2026, 3, 9, 8, tzinfo=UTC)
OLD, NEW = MOMENT - timedelta(hours=1), MOMENT + timedelta(seconds=1)

Between = Callable[[str, Callable[[], None]], None]


class Place:
    """A spool, and an object that is received there as often as it comes."""

    def __init__(self, folder: Path) -> None:
        self.spool = folder
        self._kept = Spool(folder)

    def receive(self, content: bytes, at: datetime) -> None:
        """As the storage SCP takes it in; its last byte was written then."""
        received = self.spool / "incoming"
        received.write_bytes(content)
        os.utime(received, (at.timestamp(),) * 2)
        self._kept.keep(received, SHA256)

    def remove(self) -> bool:
        return NAME in removal.remove(self.spool, {NAME: MOMENT})

    def files(self) -> list[bytes]:
        """Contents of every object, wherever it stands."""
        return [file.read_bytes() for file in sorted(self.spool.rglob("*")) if file.is_file()]

    def stands(self) -> bytes:
        return (self.spool / NAME).read_bytes()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """With an object that came before."""
    place = Place(tmp_path)
    place.receive(b"old", OLD)
    return place


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> Between:
    """Has something happen once, directly before the next call of a method of paths, or a function of `os`."""

    def before(name: str, what: Callable[[], None]) -> None:
        owner: Any = os if name == "link" else Path
        real = getattr(owner, name)

        def first(*arguments: Any, **options: Any) -> Any:
            monkeypatch.setattr(owner, name, real)
            what()
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, first)

    return before


def test_what_came_before_goes_and_what_is_not_there_is_gone(place: Place) -> None:
    assert place.remove()
    assert place.files() == []
    assert place.remove()


def test_what_came_later_stays(place: Place) -> None:
    place.receive(b"new", NEW)
    assert not place.remove()
    assert place.files() == [b"new"]


def test_what_came_between_the_look_and_the_removal_stays(place: Place, before: Between) -> None:
    before("rename", lambda: place.receive(b"new", NEW))
    assert not place.remove()
    assert place.stands() == b"new"
    assert place.files() == [b"new"]


def test_so_it_does_where_the_file_system_has_no_links(
    place: Place, before: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_paths: Path) -> None:
        raise PermissionError(1, "operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    before("rename", lambda: place.receive(b"new", NEW))
    assert not place.remove()
    assert place.stands() == b"new"
    assert place.files() == [b"new"]


def test_of_two_that_came_meanwhile_the_later_one_stays(place: Place, before: Between) -> None:
    def meanwhile() -> None:
        place.receive(b"new", NEW)
        before("link", lambda: place.receive(b"newest", NEW))

    before("rename", meanwhile)
    assert not place.remove()
    assert place.stands() == b"newest"
    assert place.files() == [b"newest"]


def test_what_comes_while_the_old_one_is_away_stays(place: Place, before: Between) -> None:
    before("unlink", lambda: place.receive(b"new", NEW))
    assert not place.remove()
    assert place.stands() == b"new"
    assert place.files() == [b"new"]


class KilledError(Exception):
    """The process dies there."""


def _dies() -> None:
    raise KilledError


def test_the_next_goes_on_where_one_died_that_had_taken_an_old_one(place: Place, before: Between) -> None:
    before("unlink", _dies)
    with pytest.raises(KilledError):
        place.remove()
    assert not (place.spool / NAME).exists()
    assert place.remove()
    assert place.files() == []


def test_the_next_gives_back_what_one_had_taken_that_died(place: Place, before: Between) -> None:
    def meanwhile() -> None:
        place.receive(b"new", NEW)
        before("link", _dies)

    before("rename", meanwhile)
    with pytest.raises(KilledError):
        place.remove()
    assert not (place.spool / NAME).exists()
    removal.remove(place.spool, {})
    assert place.stands() == b"new"
    assert place.files() == [b"new"]


@pytest.mark.parametrize("step", ["stat", "unlink"])
def test_what_another_leader_gave_back_is_not_called_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A node that stalled in the midst of it, and the one that leads since."""
    real = getattr(Path, step)

    def meanwhile(path: Path, **options: Any) -> Any:
        if path.parent.name == removal.FOLDER:
            monkeypatch.setattr(Path, step, real)
            removal.remove(place.spool, {})
        return real(path, **options)

    monkeypatch.setattr(Path, step, meanwhile)
    assert not place.remove()
    assert place.files() == [b"old"]
    assert place.remove()
    assert place.files() == []


def test_two_at_once_remove_it_once(place: Place, before: Between) -> None:
    others: list[bool] = []
    before("rename", lambda: others.append(place.remove()))
    assert not place.remove(), "that is found out by the next look"
    assert others == [True]
    assert place.files() == []


def test_where_the_spool_is_not_mounted_nothing_is_called_gone(place: Place) -> None:
    (place.spool / "instances").rename(place.spool / "elsewhere")
    assert not place.remove()


def test_what_cannot_be_removed_is_told_and_the_others_go(place: Place, before: Between) -> None:
    other = place.spool / "instances" / "ab" / "other.dcm"
    other.write_bytes(b"old")
    os.utime(other, (OLD.timestamp(),) * 2)

    def refuses() -> None:
        raise PermissionError(13, "permission denied")

    before("rename", refuses)
    with capture_logs() as logs:
        gone = removal.remove(place.spool, {NAME: MOMENT, "instances/ab/other.dcm": MOMENT})
    assert gone == {"instances/ab/other.dcm"}
    assert [entry["event"] for entry in logs] == ["a file of the spool cannot be removed; whose is it?"]
    assert place.files() == [b"old"]


def test_that_it_is_gone_is_synced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = removal.sync

    def sync(path: Path) -> None:
        synced.append(path.name)
        real(path)

    monkeypatch.setattr(removal, "sync", sync)
    assert place.remove()
    assert synced == [removal.FOLDER]
