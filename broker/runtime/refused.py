"""Files of objects that commit 1 refused: evidence, which goes with the bodies of the last day on which it came.

Never a file that an object which was taken has as well: the same bytes may have been taken later. Not here: which day's
bodies go (`retention`), and files of objects that were taken (`freeing`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from broker.runtime import removal
from broker.store.database import Database
from broker.store.transaction import Transaction

log = structlog.get_logger("broker.retention")

CHUNK: Final = 200
"""Files that are looked at together."""

_DUE: Final = """
SELECT path, day,
  EXISTS (SELECT 1 FROM object_state WHERE uid=refused_file.sop_instance_uid AND state=refused_file.state)
  OR EXISTS (SELECT 1 FROM instance WHERE instance.sop_instance_uid=refused_file.sop_instance_uid
             AND instance.path=refused_file.path)
FROM refused_file
WHERE (day>? OR (day=? AND path>?)) AND NOT EXISTS (SELECT 1 FROM day WHERE day.day=refused_file.day AND bodies=1)
ORDER BY day, path LIMIT ?"""
"""Path, day, and whether an object that was taken has the file: as commit 1 knows, or as the registers do, which know
longer."""


def kept(tx: Transaction) -> int:
    """How many such files stand."""
    row = tx.one("SELECT count(*) FROM refused_file")
    return int(row[0]) if row else 0


def remove(database: Database, spool: Path, now: datetime, stopping: threading.Event) -> int:
    """Removes those whose day's bodies are gone, and returns how many.

    A file is forgotten only once it is gone: where a node dies in between, the next round finds no file and forgets it.
    One that has just come stays for another round, as it may be about to be taken.
    """
    removed, after = 0, ("", "")
    before = now - removal.SETTLES
    while not stopping.is_set():
        found = database.read().rows(_DUE, (after[0], *after, CHUNK))
        refused = {path: before for path, _, taken in found if not taken}
        gone = removal.remove(spool, refused)
        over = [(path, day) for path, day, taken in found if taken or path in gone]
        if over:
            database.write(partial(_forget, files=over)).result()
        removed += len(gone)
        if len(found) < CHUNK:
            break
        after = (found[-1][1], found[-1][0])
    if removed:
        log.info("files of refused objects removed", files=removed)
    return removed


def _forget(tx: Transaction, *, files: Sequence[tuple[str, str]]) -> None:
    """Unless one was refused again meanwhile, on another day."""
    tx.each("DELETE FROM refused_file WHERE path=? AND day=?", files)
