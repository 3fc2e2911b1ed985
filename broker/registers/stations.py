"""Under which stations and names a worklist row is found: the indexes that a device's question is answered from.

A step that has ended is under none, so that a question costs what waits, and not all that a station ever did. What a
device is shown is not decided here (`worklist.Reader`): a row that is held, or begun, is a matter of its own. Nor is
whom a name means: under it stands whatever `broker.dicom.names` could match.
"""

from __future__ import annotations

from typing import Final, cast

from broker.dicom.attributes import Attributes, from_json, texts_of
from broker.dicom.names import readings
from broker.store.database import Database
from broker.store.transaction import Transaction

UNREAD: Final = ""
"""Stands in the place of the names of a row from before they were kept, until they are read (migration 19): any name
finds it."""

_INDEXES: Final = ("worklist_station", "worklist_name")
_BATCH: Final = 1000


def index(tx: Transaction, row: int, attributes: Attributes) -> None:
    """Has a row found by what it says."""
    (sps, *_) = cast(tuple[Attributes, ...], attributes["ScheduledProcedureStepSequence"])
    start = str(sps.get("ScheduledProcedureStepStartDate", ""))
    aets = {*texts_of(sps.get("ScheduledStationAETitle", ""))}
    tx.each(
        "INSERT INTO worklist_station (aet, start_date, row) VALUES (?,?,?)",
        [(aet, start, row) for aet in sorted(aets)],
    )
    _name(tx, row, start, attributes)


def forget(tx: Transaction, name: str, key: str) -> None:
    """Has the row of a step on a list found no more: another wording, under another number, is to take its place."""
    for table in _INDEXES:
        tx.execute(
            f"DELETE FROM {table} WHERE row=(SELECT id FROM worklist WHERE list=? AND key=?)", (name, key)
        )


def ended(tx: Transaction, key: str) -> None:
    """Has the rows of a step found no more."""
    for table in _INDEXES:
        tx.execute(f"DELETE FROM {table} WHERE row IN (SELECT id FROM worklist WHERE key=?)", (key,))


def reopened(tx: Transaction, key: str) -> None:
    """Has the rows of a step that had ended found again, but for those that are held."""
    for row, body in tx.rows("SELECT id, attributes FROM worklist WHERE key=? AND held=''", (key,)):
        index(tx, row, from_json(body))


def complete(database: Database) -> None:
    """Reads the names of rows from before they were kept, once, in small transactions."""
    if database.read().one("SELECT 1 FROM worklist_name WHERE name=?", (UNREAD,)) is not None:
        while database.write(_name_some).result():
            pass


def _name_some(tx: Transaction) -> bool:
    """Whether there were any left."""
    tx.alone("broker: worklist names")  # nodes that start together would write the same
    rows = tx.rows(
        "SELECT row, worklist_name.start_date, attributes FROM worklist_name JOIN worklist ON id=row"
        " WHERE name=? LIMIT ?",
        (UNREAD, _BATCH),
    )
    for row, start, body in rows:
        tx.execute("DELETE FROM worklist_name WHERE row=?", (row,))
        _name(tx, row, start, from_json(body))
    return bool(rows)


def _name(tx: Transaction, row: int, start: str, attributes: Attributes) -> None:
    names = {text for name in texts_of(attributes.get("PatientName", "")) for text in readings(name)}
    tx.each(
        "INSERT INTO worklist_name (name, start_date, row) VALUES (?,?,?)",
        [(name, start, row) for name in sorted(names - {UNREAD})],
    )
