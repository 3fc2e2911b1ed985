"""Files of objects that enough archives have committed to: given up first, then removed (`removal`).

That one is given up stands in `freed` before it is removed, so that whoever misses it knows why, and a node that dies
between leaves it to the next round. An object that comes again is here again (`commitments.came_again`).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from broker.registers.commitments import COMMITTED, FAILED
from broker.runtime import removal
from broker.store.database import Database
from broker.store.transaction import Transaction

CHUNK: Final = 200
"""Files that are given up in one transaction."""
ROUND: Final = 2000
"""And so many are looked at in one round: the others wait for the next, as other rounds wait for this one."""

ALONE: Final = "broker: files"
"""Held by whoever gives files up, and by whoever queues what needs one."""

Safe = tuple[str, str, str]
"""Since when an archive has committed, SOP Instance UID, archive: the key by which they are gone through."""
_START: Final[Safe] = ("", "", "")


def given_up(tx: Transaction, sop_instance_uid: str) -> str:
    """When the file of an object was given up, ISO 8601, UTC; empty: it was not."""
    row = tx.one("SELECT at FROM freed WHERE sop_instance_uid=?", (sop_instance_uid,))
    return str(row[0]) if row is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a file may go."""

    archives: Collection[str]
    """Whose word counts: one that the settings do not have any more keeps nothing."""
    copies: int
    keep: timedelta


class Freeing:
    """Gives up and removes every file whose object is safe for long enough, some a round.

    It goes on where the last round ended, and at the end from the start: what is not safe yet, though an archive has
    committed to it, costs no round more than `ROUND` looks. A file that came later than it had to stays: somebody has
    just sent the object again.
    """

    def __init__(self, database: Database, spool: Path, limits: Limits) -> None:
        self._database = database
        self._spool = spool
        self._limits = limits
        self._aged = max(limits.keep, removal.SETTLES)
        """How old a file must be."""
        self._after = _START

    def run(self, now: datetime, stopping: threading.Event) -> int:
        """One round; how many files it gave up."""
        self._remove()  # what a node that died left
        before, freed = now - self._limits.keep, 0
        for _ in range(0, ROUND, CHUNK):
            if stopping.is_set():
                break
            tx = self._database.read()
            found = _safe(tx, before, self._after)
            self._after = found[-1] if len(found) == CHUNK else _START
            old = [uid for _, uid, _ in found if self._is_old(tx, uid, now)]
            if old:
                give = partial(_give_up, uids=old, limits=self._limits, before=before.isoformat(), now=now)
                freed += self._database.write(give).result()
                self._remove()
            if self._after == _START:
                break
        return freed

    def _is_old(self, tx: Transaction, sop_instance_uid: str, now: datetime) -> bool:
        """Not where its file is not known, or the spool is not there."""
        name = _name(tx, sop_instance_uid)
        path = removal.place(self._spool, name) if name else None
        return path is not None and removal.came_before(path, now - self._aged)

    def _remove(self) -> None:
        """Removes what was given up and still stands. What was younger than any that is given up came again."""
        tx = self._database.read()
        given = {
            uid: (name, datetime.fromisoformat(at) - removal.SETTLES)
            for uid, at in tx.rows(
                "SELECT sop_instance_uid, at FROM freed WHERE gone=0 ORDER BY at, sop_instance_uid"
            )
            if (name := _name(tx, uid))
        }
        gone = removal.remove(self._spool, dict(given.values()))
        done = [(uid,) for uid, (name, _) in given.items() if name in gone]
        if done:
            sql = "UPDATE freed SET gone=1 WHERE sop_instance_uid=?"
            self._database.write(lambda tx: tx.each(sql, done)).result()


def _safe(tx: Transaction, before: datetime, after: Safe) -> list[Safe]:
    since, uid, archive = after
    rows = tx.rows(
        f"SELECT since, sop_instance_uid, archive FROM copy WHERE state='{COMMITTED}' AND freed=0 AND since<=?"
        " AND since>=? AND (since>? OR (since=? AND (sop_instance_uid>? OR (sop_instance_uid=? AND archive>?))))"
        " ORDER BY since, sop_instance_uid, archive LIMIT ?",
        (before.isoformat(), since, since, since, uid, uid, archive, CHUNK),
    )
    return [(one, two, three) for one, two, three in rows]


def _name(tx: Transaction, sop_instance_uid: str) -> str:
    """Of its file, relative to the spool; empty: it is not known."""
    row = tx.one("SELECT path FROM instance WHERE sop_instance_uid=?", (sop_instance_uid,))
    return str(row[0]) if row is not None else ""


def _give_up(tx: Transaction, *, uids: Sequence[str], limits: Limits, before: str, now: datetime) -> int:
    """Those that nothing waits for. What is looked at here cannot change until this stands.

    Where an archive says that it does not have an object, its file is what can be sent there again.
    """
    tx.alone(ALONE)
    freed = 0
    for uid in dict.fromkeys(uids):
        said = [
            (state, since)
            for archive, state, since in tx.rows(
                "SELECT archive, state, since FROM copy WHERE sop_instance_uid=?", (uid,)
            )
            if archive in limits.archives
        ]
        kept = sum(state == COMMITTED and since <= before for state, since in said)
        waits = tx.one(
            "SELECT 1 FROM instance JOIN event ON event.id=instance.event JOIN delivery ON delivery.event=event.seq"
            " WHERE sop_instance_uid=? AND delivery.state IN ('queued', 'parked', 'held') LIMIT 1",
            (uid,),
        )
        if kept < limits.copies or any(state == FAILED for state, _ in said) or waits is not None:
            continue
        freed += tx.change(
            "INSERT INTO freed (sop_instance_uid, at) VALUES (?,?) ON CONFLICT (sop_instance_uid) DO NOTHING",
            (uid, now.isoformat()),
        )
        tx.execute("UPDATE copy SET freed=1 WHERE sop_instance_uid=?", (uid,))
    return freed
