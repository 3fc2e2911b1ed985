"""Archives asked anew to commit to what they took: because a person wants it, as an event like the clock's.

For what was stored before anybody asked the archive to commit, and for what it refused and has by now. What it merely
owes is asked for by itself (`archives`). Nothing is sent again, and nothing asked of what is out of use.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from broker.event import OPERATOR, EventData, InstanceReference, Study
from broker.journal import intake
from broker.registers.commitments import COMMITTED
from broker.registers.studies import COMPLETE
from broker.runtime.archives import Stored
from broker.runtime.decided import decided
from broker.store.transaction import Transaction


def uncommitted(tx: Transaction, archive: str, since: str, studies: Sequence[str] = ()) -> list[Stored]:
    """What an archive took and has not committed to, of these studies, else of all that are complete and of which
    something came since (ISO 8601, UTC)."""
    among = f"study.study_uid IN ({','.join('?' * len(studies))})" if studies else "study.last>=?"
    rows = tx.rows(
        "SELECT study.study_uid, instance.sop_instance_uid, instance.sop_class_uid, instance.series_uid FROM study"
        " JOIN copy ON copy.study_uid=study.study_uid JOIN instance ON instance.sop_instance_uid=copy.sop_instance_uid"
        f" WHERE {among} AND study.state='{COMPLETE}' AND copy.archive=? AND copy.state<>'{COMMITTED}' AND NOT EXISTS"
        " (SELECT 1 FROM rejection WHERE rejection.sop_instance_uid=copy.sop_instance_uid) ORDER BY 1, 2",
        (*(studies or (since,)), archive),
    )
    return [
        Stored(
            archive=archive,
            study_uid=study_uid,
            instances=tuple(
                InstanceReference(sop_instance_uid=uid, sop_class_uid=sop_class, series_uid=series)
                for _, uid, sop_class, series in group
            ),
        )
        for study_uid, group in groupby(rows, key=lambda row: str(row[0]))
    ]


def ask(tx: Transaction, wanted: Sequence[Stored], *, site: str, now: datetime) -> None:
    """Has them asked for: routes make the requests."""
    for one in wanted:
        said = Study(study_uid=one.study_uid, archive=one.archive, instances=one.instances)
        reception = decided(
            "study.stored",
            EventData(study=said),
            source=OPERATOR,
            site=site,
            now=now,
            raw=json.dumps({"ask": one.study_uid}).encode(),
            message_type="study.stored",
        )
        intake.insert(tx, reception)
