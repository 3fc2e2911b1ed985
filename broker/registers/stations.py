"""Under which stations a worklist row is found: the index that a device's question is answered from.

A step that has ended is under none, so that a question costs what waits, and not all that a station ever did. What a
device is shown is not decided here (`worklist.Reader`): a row that is held, or begun, is a matter of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from broker.store.transaction import Transaction


def index(tx: Transaction, row: int, sps: Mapping[str, Any]) -> None:
    """Has a row found by what its Scheduled Procedure Step Sequence item says."""
    aets = sps.get("ScheduledStationAETitle", "")
    for aet in {aets} if isinstance(aets, str) else set(aets):
        tx.execute(
            "INSERT INTO worklist_station (aet, start_date, row) VALUES (?,?,?)",
            (aet, sps.get("ScheduledProcedureStepStartDate", ""), row),
        )


def ended(tx: Transaction, key: str) -> None:
    """Has the rows of a step found no more."""
    tx.execute("DELETE FROM worklist_station WHERE row IN (SELECT id FROM worklist WHERE key=?)", (key,))


def reopened(tx: Transaction, key: str) -> None:
    """Has the rows of a step that had ended found again, but for those that are held."""
    for row, body in tx.rows("SELECT id, attributes FROM worklist WHERE key=? AND held=''", (key,)):
        index(tx, row, json.loads(body)["ScheduledProcedureStepSequence"][0])
