"""Files are where their names say, and stay there: what is synced, in which order, and what a name tells."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters.pacs import spool
from tests.support.processes import wait_until

SHA256 = "ab" + "0" * 62
OBJECT = "Sørby^Áile".encode()


def received(folder: Path, content: bytes = OBJECT) -> Path:
    path = folder / "incoming"
    path.write_bytes(content)
    return path


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was synced, in order."""
    found: list[str] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        found.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def contents(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in (folder / "instances").rglob("*.dcm")]


def test_an_object_is_named_by_its_digest(tmp_path: Path) -> None:
    path, size = spool.Spool(tmp_path).keep(received(tmp_path), SHA256)

    assert path == f"instances/ab/{SHA256}.dcm" == spool.path_of(SHA256).as_posix()
    assert size == len(OBJECT)
    assert (tmp_path / path).read_bytes() == OBJECT


def test_the_same_object_twice_is_one_file_the_newer_one(tmp_path: Path) -> None:
    """Also under another head: the file meta information names who sent it last."""
    kept = spool.Spool(tmp_path)
    first = kept.keep(received(tmp_path), SHA256)
    assert not (tmp_path / "incoming").exists()
    second = kept.keep(received(tmp_path, b"other" + OBJECT), SHA256)

    assert first[0] == second[0]
    assert contents(tmp_path) == [b"other" + OBJECT]


def test_file_and_name_are_synced_and_the_folders_only_once(tmp_path: Path, synced: list[str]) -> None:
    """That a folder exists does not say that its name was synced: another node may have made it a moment ago."""
    (tmp_path / "instances" / "ab").mkdir(parents=True)
    kept = spool.Spool(tmp_path)
    for sha256 in (SHA256, "cd" + SHA256[2:]):
        kept.keep(received(tmp_path), sha256)
        synced[-2:] = sorted(synced[-2:])  # side by side

    file = "incoming (deleted)"  # its first name is gone by then
    assert synced == ["instances", tmp_path.name, "ab", file, "cd", file]


def test_an_object_gives_way_only_to_one_that_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be acknowledged."""
    kept = spool.Spool(tmp_path)
    kept.keep(received(tmp_path), SHA256)

    def fails(handle: int) -> None:
        raise OSError(5, "input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="input/output error"):
        kept.keep(received(tmp_path, b"newer"), SHA256)
    assert contents(tmp_path) == [OBJECT]


def test_a_file_system_without_links_is_served_too(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(old: Path, new: Path) -> None:
        raise PermissionError(1, "operation not permitted")

    monkeypatch.setattr(os, "link", fails)
    spool.Spool(tmp_path).keep(received(tmp_path), SHA256)

    assert contents(tmp_path) == [OBJECT]
    assert synced == ["instances", tmp_path.name, "incoming", "ab"]


def test_objects_that_come_at_once_find_their_folders(tmp_path: Path) -> None:
    kept = spool.Spool(tmp_path)

    def keep(number: int) -> str:
        file = tmp_path / f"incoming-{number}"
        file.write_bytes(OBJECT)
        return kept.keep(file, f"{number:02x}" + SHA256[2:])[0]

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(keep, range(256)))

    assert all((tmp_path / path).read_bytes() == OBJECT for path in paths)


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    kept = spool.Spool(tmp_path)
    path, _ = kept.keep(received(tmp_path), SHA256)
    (tmp_path / path).unlink()
    (tmp_path / path).parent.rmdir()

    assert kept.keep(received(tmp_path), SHA256)[0] == path
    assert (tmp_path / path).read_bytes() == OBJECT


@pytest.mark.parametrize("broken", ["ab", "incoming (deleted)"], ids=["folder", "file"])
def test_an_object_of_which_a_sync_failed_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    kept, real = spool.Spool(tmp_path), os.fsync

    def fsync(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().name == broken:
            raise OSError(5, "input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="input/output error"):
        kept.keep(received(tmp_path), SHA256)


def test_it_is_not_taken_before_its_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, real = spool.Spool(tmp_path), spool.sync_folder
    go_on = threading.Event()

    def slow(folder: Path) -> None:
        if folder.name == "ab":
            assert go_on.wait(30)
        real(folder)

    monkeypatch.setattr(spool, "sync_folder", slow)
    thread = threading.Thread(target=kept.keep, args=(received(tmp_path), SHA256))
    thread.start()
    named = tmp_path / "instances" / "ab" / f"{SHA256}.dcm"
    wait_until(named.exists, "the object has its name")
    thread.join(0.1)
    assert thread.is_alive()

    go_on.set()
    thread.join(30)
    assert not thread.is_alive()


def test_where_no_thread_can_be_had_both_are_synced_all_the_same(
    tmp_path: Path, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A modality would be told that its object cannot be understood, and give it up."""

    def refuses(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuses)
    path, _ = spool.Spool(tmp_path).keep(received(tmp_path), SHA256)

    assert (tmp_path / path).read_bytes() == OBJECT
    assert synced == ["instances", tmp_path.name, "incoming (deleted)", "ab"]
