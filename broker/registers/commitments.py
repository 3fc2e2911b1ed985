"""Storage commitment (PS3.4 J): which archive keeps which instance, what was asked of it, what devices ask of us.

An instance is safe when enough archives have committed to it; how many that is, the settings say. Nothing is asked
or answered here: what the clock decides (`broker.runtime.studies`) comes as an event.
"""

from __future__ import annotations

from typing import Final

from broker.dicom import uid
from broker.event import Event, Study
from broker.registers import exceptions
from broker.store.database import Transaction

STORED: Final = "stored"
COMMITTED: Final = "committed"
FAILED: Final = "failed"


def transaction_of(event: Event) -> str:
    """The Transaction UID under which an archive is asked: the same for a repeat of the request."""
    return uid.derive(f"commitment|{event.id}")


def stored(tx: Transaction, event: Event, said: Study) -> None:
    """An archive has taken these instances; where the routes say so it is asked now to commit to them."""
    at = event.time.isoformat()
    tx.each(
        "INSERT INTO copy (archive, sop_instance_uid, study_uid, state, failure, since, event)"
        " VALUES (?,?,?,?,0,?,?) ON CONFLICT (archive, sop_instance_uid) DO UPDATE SET state=excluded.state,"
        " failure=0, since=excluded.since, event=excluded.event",
        [
            (said.archive, one.sop_instance_uid, said.study_uid, STORED, at, event.id)
            for one in said.instances
        ],
    )
    tx.execute(
        "INSERT INTO commitment (transaction_uid, archive, study_uid, asked, answered, event)"
        " VALUES (?,?,?,?,'',?)",
        (transaction_of(event), said.archive, said.study_uid, at, event.id),
    )


def answered(tx: Transaction, event: Event, said: Study) -> None:
    """An archive's N-EVENT-REPORT: what it commits to and what it does not. One that nobody asked for is reported."""
    asked = tx.one("SELECT archive FROM commitment WHERE transaction_uid=?", (said.transaction_uid,))
    if asked is None:
        reason = "an archive commits under a Transaction UID that was not given out"
        exceptions.report(tx, "commitment-unknown", said.transaction_uid, reason, event)
        return
    at = event.time.isoformat()
    tx.each(
        "UPDATE copy SET state=?, failure=?, since=?, event=? WHERE archive=? AND sop_instance_uid=?",
        [
            (
                FAILED if one.failure else COMMITTED,
                one.failure,
                at,
                event.id,
                asked[0],
                one.sop_instance_uid,
            )
            for one in said.instances
        ],
    )
    tx.execute(
        "UPDATE commitment SET answered=?, event=? WHERE transaction_uid=?",
        (at, event.id, said.transaction_uid),
    )
    exceptions.clear(tx, "commitment-overdue", said.transaction_uid)


def requested(tx: Transaction, event: Event, said: Study) -> None:
    """A device asks us. The same transaction again is the same request."""
    key = (said.requester, said.transaction_uid)
    if tx.one("SELECT 1 FROM commitment_request WHERE requester=? AND transaction_uid=?", key) is not None:
        return
    tx.execute(
        "INSERT INTO commitment_request (requester, transaction_uid, asked, reported, event) VALUES (?,?,?,'',?)",
        (*key, event.time.isoformat(), event.id),
    )
    tx.each(
        "INSERT INTO commitment_item (requester, transaction_uid, sop_instance_uid, sop_class_uid)"
        " VALUES (?,?,?,?) ON CONFLICT (requester, transaction_uid, sop_instance_uid) DO NOTHING",
        [(*key, one.sop_instance_uid, one.sop_class_uid) for one in said.instances],
    )


def reported(tx: Transaction, event: Event, said: Study) -> None:
    """What a device is told."""
    tx.execute(
        "UPDATE commitment_request SET reported=?, event=? WHERE requester=? AND transaction_uid=?",
        (event.time.isoformat(), event.id, said.requester, said.transaction_uid),
    )


def copies(tx: Transaction, sop_instance_uid: str) -> int:
    """How many archives have committed to an instance."""
    row = tx.one(
        "SELECT count(*) FROM copy WHERE sop_instance_uid=? AND state=?", (sop_instance_uid, COMMITTED)
    )
    return int(row[0]) if row else 0
