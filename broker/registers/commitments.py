"""Storage commitment (PS3.4 J): which archive keeps which instance, what was asked of it, what devices ask of us.

An instance is safe when enough archives have committed to it; how many that is, the settings say. Nothing is asked
or answered here: what the clock decides (`broker.runtime.studies`) comes as an event.
"""

from __future__ import annotations

from typing import Final

from broker.dicom import commitment
from broker.event import Event, Study
from broker.registers import exceptions
from broker.store.transaction import Transaction

STORED: Final = "stored"
COMMITTED: Final = "committed"
FAILED: Final = "failed"


def transaction_of(event: Event) -> str:
    """The Transaction UID under which an archive is asked: the same for a repeat of the request."""
    return commitment.transaction_of(event.id)


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


def answered(tx: Transaction, event: Event, said: Study) -> Study | None:
    """An archive's N-EVENT-REPORT: what it commits to and what not. With the archive and the study that were asked for.

    None, and nothing is believed, where nobody asked: that is reported. A transaction is over once it is answered whole
    (PS3.4 J.3.3.1.2), so that a report that comes again changes nothing.
    """
    asked = tx.one(
        "SELECT archive, study_uid, event, answered FROM commitment WHERE transaction_uid=?",
        (said.transaction_uid,),
    )
    if asked is None:
        reason = "an archive commits under a Transaction UID that was not given out"
        exceptions.report(tx, "commitment-unknown", said.transaction_uid, reason, event)
        return None
    archive, study_uid, request, before = asked
    if before:
        return None
    at = event.time.isoformat()
    tx.each(
        # What it said it has not is asked for anew before it counts as kept: this report may be the older word.
        "UPDATE copy SET state=?, failure=?, since=?, event=? WHERE archive=? AND sop_instance_uid=? AND study_uid=?"
        " AND (state<>? OR ?<>0)",
        [
            (
                *(FAILED if one.failure else COMMITTED, one.failure, at, event.id),
                *(archive, one.sop_instance_uid, study_uid, FAILED, one.failure),
            )
            for one in said.instances
        ],
    )
    owed = tx.one(
        "SELECT 1 FROM copy WHERE archive=? AND study_uid=? AND event=? AND state=? LIMIT 1",
        (archive, study_uid, request, STORED),
    )
    if owed is None:  # else it said nothing of some, and still owes that
        tx.execute(
            "UPDATE commitment SET answered=?, event=? WHERE transaction_uid=?",
            (at, event.id, said.transaction_uid),
        )
    return said.model_copy(update={"archive": archive, "study_uid": study_uid})


def requested(tx: Transaction, event: Event, said: Study) -> None:
    """A device asks us. Under the same Transaction UID again it asks anew, and the newer list is the one that counts:
    the answer to the first, or our report, may have been lost."""
    key = (said.requester, said.transaction_uid)
    tx.execute(
        "INSERT INTO commitment_request (requester, transaction_uid, asked, reported, event) VALUES (?,?,?,'',?)"
        " ON CONFLICT (requester, transaction_uid) DO UPDATE SET asked=excluded.asked, reported='',"
        " event=excluded.event",
        (*key, event.time.isoformat(), event.id),
    )
    tx.execute("DELETE FROM commitment_item WHERE requester=? AND transaction_uid=?", key)
    tx.each(
        "INSERT INTO commitment_item (requester, transaction_uid, sop_instance_uid, sop_class_uid)"
        " VALUES (?,?,?,?) ON CONFLICT (requester, transaction_uid, sop_instance_uid) DO NOTHING",
        [(*key, one.sop_instance_uid, one.sop_class_uid) for one in said.instances],
    )


def reported(tx: Transaction, event: Event, said: Study) -> None:
    """What a device is told. It waits on where it asked for something else while that was decided."""
    key = (said.requester, said.transaction_uid)
    asked = tx.rows(
        "SELECT sop_instance_uid FROM commitment_item WHERE requester=? AND transaction_uid=?", key
    )
    if {uid for (uid,) in asked} == {one.sop_instance_uid for one in said.instances}:
        tx.execute(
            "UPDATE commitment_request SET reported=?, event=? WHERE requester=? AND transaction_uid=?",
            (event.time.isoformat(), event.id, *key),
        )


def came_again(tx: Transaction, sop_instance_uid: str) -> None:
    """Its file is here, whether it was given up before or not."""
    tx.execute("DELETE FROM freed WHERE sop_instance_uid=?", (sop_instance_uid,))
    tx.execute("UPDATE copy SET freed=0 WHERE sop_instance_uid=? AND freed=1", (sop_instance_uid,))


def copies(tx: Transaction, sop_instance_uid: str) -> int:
    """How many archives have committed to an instance."""
    row = tx.one(
        "SELECT count(*) FROM copy WHERE sop_instance_uid=? AND state=?", (sop_instance_uid, COMMITTED)
    )
    return int(row[0]) if row else 0
