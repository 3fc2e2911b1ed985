"""Received objects on disk: moved out of the association layer's folder, durable, named by what they hold.

A file is where its name says only after it, its name and its folder are synced. The name is a digest of transfer
syntax and data set, so that the same object received twice is one file and no name tells of a patient.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

FOLDER: Final = "instances"
_CHUNK: Final = 1 << 20


def path_of(sha256: str) -> Path:
    """Where an object stands, relative to the spool."""
    return Path(FOLDER, sha256[:2], f"{sha256}.dcm")


def digest_of(transfer_syntax_uid: str) -> hashlib._Hash:
    """What names an object: SHA-256 over its transfer syntax, then (to be updated with) its data set.

    The same bytes mean other pixels under another transfer syntax.
    """
    return hashlib.sha256(f"{transfer_syntax_uid}\n".encode())


class Spool:
    """The received objects of one folder; used by many associations, and several nodes, at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._synced: set[Path] = set()  # folders whose names this process has synced: at most 256

    def keep(self, received: Path, dataset_offset: int, transfer_syntax_uid: str) -> tuple[str, str, int]:
        """Takes a received file in: (path relative to the spool, digest, size)."""
        digest = digest_of(transfer_syntax_uid)
        with received.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(dataset_offset)
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            os.fsync(file.fileno())
        name = digest.hexdigest()
        relative = path_of(name)
        target = self._folder / relative
        self._make_durable(target.parent)
        received.replace(target)
        sync_folder(target.parent)
        return relative.as_posix(), name, size

    def _make_durable(self, folder: Path) -> None:
        """That a folder is there does not say that its name was synced: another thread may be about to."""
        if folder in self._synced and folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
        sync_folder(folder.parent.parent)
        self._synced.add(folder)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
