"""Files are where their names say, and stay there: what is synced, in which order, and what a name tells."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from adapters.pacs import spool

TS = "1.2.840.10008.1.2.1"
HEAD = b"\0" * 128 + b"DICM" + b"meta"


def received(folder: Path, content: bytes, name: str = "incoming") -> Path:
    path = folder / name
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


def digest(dataset: bytes, transfer_syntax_uid: str = TS) -> str:
    return hashlib.sha256(f"{transfer_syntax_uid}\n".encode() + dataset).hexdigest()


def test_the_name_is_the_data_sets_digest(tmp_path: Path) -> None:
    content = HEAD + "Sørby^Áile".encode()
    path, sha256, size = spool.Spool(tmp_path).keep(received(tmp_path, content), len(HEAD), TS)

    assert sha256 == digest(content[len(HEAD) :])
    assert path == f"instances/{sha256[:2]}/{sha256}.dcm"
    assert size == len(content)
    assert (tmp_path / path).read_bytes() == content
    assert not (tmp_path / "incoming").exists()


def test_the_same_object_twice_is_one_file(tmp_path: Path) -> None:
    """Also under another head: the file meta information names who sent it last."""
    first = spool.Spool(tmp_path).keep(received(tmp_path, HEAD + b"data"), len(HEAD), TS)
    second = spool.Spool(tmp_path).keep(received(tmp_path, b"other" + HEAD + b"data"), len(HEAD) + 5, TS)

    assert first[:2] == second[:2]
    assert len(list((tmp_path / "instances").rglob("*.dcm"))) == 1


def test_a_large_file_is_digested_in_pieces(tmp_path: Path) -> None:
    content = HEAD + bytes(range(256)) * 9000
    _, sha256, _ = spool.Spool(tmp_path).keep(received(tmp_path, content), len(HEAD), TS)

    assert sha256 == digest(content[len(HEAD) :])


def test_bytes_names_and_folders_are_synced_in_that_order(tmp_path: Path, synced: list[str]) -> None:
    path, sha256, _ = spool.Spool(tmp_path).keep(received(tmp_path, HEAD + b"data"), len(HEAD), TS)

    assert synced == ["incoming", "instances", tmp_path.name, sha256[:2]]
    assert (tmp_path / path).exists()


def test_a_folder_is_trusted_only_once_its_own_name_was_synced(tmp_path: Path, synced: list[str]) -> None:
    """That it exists does not say so: another thread may have made it a moment ago."""
    sha256 = digest(b"data")
    (tmp_path / "instances" / sha256[:2]).mkdir(parents=True)
    kept = spool.Spool(tmp_path)
    for _ in range(2):
        kept.keep(received(tmp_path, HEAD + b"data"), len(HEAD), TS)

    assert synced == ["incoming", "instances", tmp_path.name, sha256[:2], "incoming", sha256[:2]]


def test_a_folder_that_was_removed_is_made_again(tmp_path: Path) -> None:
    kept = spool.Spool(tmp_path)
    path, _, _ = kept.keep(received(tmp_path, HEAD + b"data"), len(HEAD), TS)
    (tmp_path / path).unlink()
    (tmp_path / path).parent.rmdir()

    assert kept.keep(received(tmp_path, HEAD + b"data"), len(HEAD), TS)[0] == path
    assert (tmp_path / path).exists()


def test_the_same_bytes_in_another_transfer_syntax_are_another_object(tmp_path: Path) -> None:
    kept = spool.Spool(tmp_path)
    first = kept.keep(received(tmp_path, HEAD + b"data"), len(HEAD), TS)
    second = kept.keep(received(tmp_path, HEAD + b"data"), len(HEAD), "1.2.840.10008.1.2.4.80")

    assert first[0] != second[0]
