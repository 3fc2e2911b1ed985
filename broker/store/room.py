"""Whether the disk under the data folder has room for what comes in. It frees nothing, and no thread watches.

What must stay free is for what was acknowledged already: its deliveries, their outcomes, and the checkpoints of the
journal. SQLite on a full disk can record none of them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import structlog

from broker.errors import UnwritableError

log = structlog.get_logger("broker.store")

AGAIN: Final = 1.1
"""Room is there again above so many times `min_free`: a disk at the limit must not change its mind per message."""

TOO_LITTLE: Final = "the disk has less free than limits.min_free"
NO_ANSWER: Final = "the disk of data or spool does not answer"


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write there. Raises `OSError`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


class Room:
    """Asked before anything is written, per message and per fragment of an object, from any thread.

    It asks the file system each time: that reads no disk and takes a microsecond or two.
    """

    def __init__(self, folder: Path, min_free: int, free: Callable[[Path], int] = free_bytes) -> None:
        """`min_free` in bytes; 0 never refuses."""
        self.folder = folder
        self._min_free = min_free
        self._free = free
        self._lock = threading.Lock()
        self._why = ""

    def check(self) -> None:
        """Raises `UnwritableError` while there is too little room."""
        if why := self.why_not():
            raise UnwritableError(why)

    def why_not(self) -> str:
        """What keeps new messages out, empty while there is room. Each change is logged once."""
        with self._lock:
            before, self._why = self._why, self._look()
            if self._why and not before:
                log.error("new messages are refused", reason=self._why, folder=str(self.folder))
            elif before and not self._why:
                log.warning("new messages are taken again", folder=str(self.folder))
            return self._why

    def _look(self) -> str:
        needed = self._min_free * AGAIN if self._why else self._min_free
        try:
            return TOO_LITTLE if self._free(self.folder) < needed else ""
        except OSError:
            return NO_ANSWER
