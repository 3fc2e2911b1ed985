"""Received objects on disk: moved out of the association layer's folder, durable, named by what they hold.

What `keep` has returned stands whole after a power cut: its bytes, its name and its folder were synced. The name is a
digest of transfer syntax and data set (`broker.dicom.part10.digest`), so that the same object received twice is one
file and no name tells of a patient. A name that no journal entry knows may stand over bytes that a power cut tore; the
next object of that name takes its place.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

FOLDER: Final = "instances"

FOLDERS: Final = 16
"""How many are synced at once, each in a thread that begins when it is needed."""


def path_of(sha256: str) -> Path:
    """Where an object stands, relative to the spool."""
    return Path(FOLDER, sha256[:2], f"{sha256}.dcm")


class Spool:
    """The received objects of one folder; used by many associations, and several nodes, at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._syncing = ThreadPoolExecutor(FOLDERS, "spool")
        self._prepared = False
        self._preparing = threading.Lock()

    def keep(self, received: Path, sha256: str) -> tuple[str, int]:
        """Takes a received file in: (path relative to the spool, size)."""
        relative = path_of(sha256)
        target = self._folder / relative
        if not self._prepared:
            self._prepare()
        handle = os.open(received, os.O_RDONLY)
        try:
            if self._named(received, target):
                # Side by side: the file system makes one step of both, and each by itself would wait for one.
                folder_synced = self._beside(target.parent)
                os.fsync(handle)
                folder_synced()
            else:
                os.fsync(handle)
                received.replace(target)
                sync_folder(target.parent)
            return relative.as_posix(), os.fstat(handle).st_size
        finally:
            os.close(handle)

    def _beside(self, folder: Path) -> Callable[[], None]:
        """Has a folder synced meanwhile; what waits for that, or does it where no thread can be had."""
        try:
            return self._syncing.submit(sync_folder, folder).result
        except (
            RuntimeError
        ):  # the system has no more threads, or the process ends: the sender need not hear of it
            return partial(sync_folder, folder)

    def _named(self, received: Path, target: Path) -> bool:
        """Gives the file its name before it is synced, unless that must not or cannot be.

        Where another has the name, it may be an acknowledged object's: that gives way only to what is synced.
        """
        try:
            os.link(received, target)
            received.unlink()  # now: while its folder is being synced it would have to wait
        except FileNotFoundError:  # somebody removed its folder
            self._prepare()
            return False
        except OSError:  # the name is taken, or the file system has no links
            return False
        return True

    def _prepare(self) -> None:
        """Every folder that an object may stand in, made and synced at once: so none costs an object a sync.

        That a folder is there does not say that its name was synced: another process may be about to.
        """
        with self._preparing:
            for number in range(256):
                (self._folder / FOLDER / f"{number:02x}").mkdir(parents=True, exist_ok=True)
            sync_folder(self._folder / FOLDER)
            sync_folder(self._folder)
            self._prepared = True


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
