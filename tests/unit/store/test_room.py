from __future__ import annotations

import errno
from pathlib import Path

import pytest

from broker.errors import StoreError, UnwritableError
from broker.store.room import NO_ANSWER, TOO_LITTLE, Room, free_bytes


class Disk:
    """A disk with as much room as the test says; None: it does not answer."""

    def __init__(self, free: int | None) -> None:
        self.free = free

    def __call__(self, folder: Path) -> int:
        if self.free is None:
            raise OSError(errno.EIO, "quoted from the system")
        return self.free


@pytest.mark.parametrize(("free", "why"), [(1000, ""), (999, TOO_LITTLE), (0, TOO_LITTLE), (None, NO_ANSWER)])
def test_there_is_room_down_to_the_limit(free: int | None, why: str) -> None:
    room = Room(Path("/data"), 1000, Disk(free))

    assert room.why_not() == why
    if not why:
        room.check()
    else:
        with pytest.raises(UnwritableError) as refusal:
            room.check()
        assert str(refusal.value) == why


def test_a_refusal_is_a_store_error_that_tells_no_place(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refusal:
        Room(tmp_path, 1 << 60).check()

    assert str(tmp_path) not in str(refusal.value)
    assert not any(sign.isdigit() for sign in str(refusal.value))


def test_it_takes_messages_again_only_a_tenth_above_the_limit() -> None:
    disk = Disk(1050)
    room = Room(Path("/data"), 1000, disk)

    said = []
    for free in (1050, 999, 1000, 1099, 1100, 1050, 1000, 999):
        disk.free = free
        said.append(bool(room.why_not()))

    assert said == [False, True, True, True, False, False, False, True]


def test_nothing_kept_free_is_never_too_little() -> None:
    assert Room(Path("/data"), 0, Disk(0)).why_not() == ""


def test_a_change_is_logged_once_and_not_per_message(capsys: pytest.CaptureFixture[str]) -> None:
    disk = Disk(5)
    room = Room(Path("/data"), 10, disk)
    for free in (20, 20, 5, 5, None, 5, 20, 20):
        disk.free = free
        room.why_not()

    logged = capsys.readouterr().out.splitlines()
    assert [line for line in logged if "new messages are refused" in line and "limits.min_free" in line]
    assert ["refused" in line for line in logged] == [True, False]
    assert "taken again" in logged[1]


def test_the_real_disk_is_asked(tmp_path: Path) -> None:
    assert free_bytes(tmp_path) > 0
    with pytest.raises(OSError, match="No such file"):
        free_bytes(tmp_path / "gone")
    assert Room(tmp_path / "gone", 1).why_not() == NO_ANSWER
