"""Received objects on disk: moved out of the association layer's folder, durable, named by what they hold.

A file is where its name says only after it, its name and its folder are synced. The name is the SHA-256 of the
data set, so that the same object received twice is one file and no name tells of a patient.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

FOLDER: Final = "instances"
_CHUNK: Final = 1 << 20
_durable: set[Path] = set()
"""Folders whose names this process has synced: at most 256 for a data folder."""


def path_of(sha256: str) -> Path:
    """Where an object stands, relative to the data folder."""
    return Path(FOLDER, sha256[:2], f"{sha256}.dcm")


def keep(received: Path, data_folder: Path, dataset_offset: int) -> tuple[str, str, int]:
    """Takes a received file into the spool: (path relative to the data folder, SHA-256 of the data set, size)."""
    digest = hashlib.sha256()
    with received.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(dataset_offset)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        os.fsync(file.fileno())
    name = digest.hexdigest()
    relative = path_of(name)
    target = data_folder / relative
    if (
        target.parent not in _durable or not target.parent.is_dir()
    ):  # that it is there does not say that its name was synced
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_folder(target.parent.parent)
        sync_folder(target.parent.parent.parent)
        _durable.add(target.parent)
    received.replace(target)
    sync_folder(target.parent)
    return relative.as_posix(), name, size


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
