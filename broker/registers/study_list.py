"""What people are shown of studies: how much is here, who keeps it, what was rejected. Reads registers, writes nothing.

No patient's data: UIDs, accession numbers, AE titles and times only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal

from broker.registers import exceptions, studies
from broker.registers.commitments import COMMITTED, FAILED
from broker.store.transaction import Transaction, Value

Which = Literal["all", "open", "incomplete", "unsafe", "rejected"]

_WHERE: Final[Mapping[Which, str]] = {
    "all": "1=1",
    "open": f"state='{studies.RECEIVING}'",
    "incomplete": "EXISTS (SELECT 1 FROM study_expected AS e WHERE e.study_uid=study.study_uid AND NOT EXISTS"
    " (SELECT 1 FROM instance WHERE instance.sop_instance_uid=e.sop_instance_uid))",
    "unsafe": "EXISTS (SELECT 1 FROM instance WHERE instance.study_uid=study.study_uid AND (SELECT count(*) FROM copy"
    f" WHERE copy.sop_instance_uid=instance.sop_instance_uid AND copy.state='{COMMITTED}'"
    " AND copy.archive IN ({archives}))<?)",
    "rejected": "EXISTS (SELECT 1 FROM rejection WHERE rejection.study_uid=study.study_uid)",
}


def listed(
    tx: Transaction,
    which: Which,
    *,
    copies: int,
    archives: Collection[str],
    since: str = "",
    limit: int = 100,
) -> list[dict[str, Any]]:
    """The studies of which something came since (ISO 8601, UTC), the latest first.

    `copies`: archives that must have committed to an object before it is safe; of `archives`, those of the settings.
    """
    asked: tuple[Value, ...] = (*archives, copies) if which == "unsafe" else ()
    where = _WHERE[which].replace("{archives}", ",".join("?" * len(archives)) or "NULL")
    uids = tx.rows(
        f"SELECT study_uid FROM study WHERE last>=? AND {where} ORDER BY last DESC, study_uid LIMIT ?",
        (since, *asked, limit),
    )
    return [found for (uid,) in uids if (found := described(tx, uid)) is not None]


def described(tx: Transaction, study_uid: str) -> dict[str, Any] | None:
    """A study as it stands; None: nothing of it ever came."""
    row = tx.one("SELECT accession, state, since, last, completed FROM study WHERE study_uid=?", (study_uid,))
    if row is None:
        return None
    accession, state, since, last, completed = row
    counted = studies.counted(tx, study_uid)
    (freed,) = tx.one(
        "SELECT count(*) FROM freed JOIN instance ON instance.sop_instance_uid=freed.sop_instance_uid"
        " WHERE study_uid=?",
        (study_uid,),
    ) or (0,)
    return {
        "study": study_uid,
        "accession": accession,
        "state": state,
        "since": since,
        "last": last,
        "completed": completed,
        "instances": counted.instances,
        "expected": counted.expected,
        "missing": counted.missing,
        "performing": counted.performing,
        "archives": _archives(tx, study_uid),
        "rejected": _rejected(tx, study_uid),
        "freed": freed,
    }


def of_patient(tx: Transaction, key: str) -> list[dict[str, Any]]:
    """The studies of which a patient has instances here, and how many."""
    rows = tx.rows(
        "SELECT study_uid, count(*) FROM instance WHERE patient=? GROUP BY study_uid ORDER BY study_uid",
        (key,),
    )
    return [{"study": study_uid, "instances": number} for study_uid, number in rows]


def shown(tx: Transaction, study_uid: str) -> dict[str, Any] | None:
    """As `described`, with its series and MPPS, what archives were asked and notified of, what is open about it."""
    found = described(tx, study_uid)
    if found is None:
        return None
    return {
        **found,
        "series": _dicts(
            tx,
            "SELECT series_uid, count(*) FROM instance WHERE study_uid=? GROUP BY series_uid ORDER BY series_uid",
            study_uid,
            ("series", "instances"),
        ),
        "mpps": _dicts(
            tx,
            "SELECT uid, status, aet, created FROM mpps WHERE uid IN (SELECT mpps FROM study_expected WHERE"
            " study_uid=? UNION SELECT mpps FROM mpps_step JOIN step ON step.key=mpps_step.step WHERE"
            " step.study_uid=?) ORDER BY created, uid",
            study_uid,
            ("mpps", "status", "device", "created"),
        ),
        "commitments": _dicts(
            tx,
            # Where no route asks, there is a Transaction UID all the same, which nobody was told.
            "SELECT archive, transaction_uid, CASE WHEN answered<>'' OR EXISTS (SELECT 1 FROM event JOIN delivery ON"
            " delivery.event=event.seq WHERE event.id=commitment.event) THEN asked ELSE '' END, answered"
            " FROM commitment WHERE study_uid=? ORDER BY asked, archive",
            study_uid,
            ("archive", "transaction", "asked", "answered"),
        ),
        "available": _dicts(
            tx,
            "SELECT retrieve_aet, availability, instances, since FROM availability WHERE study_uid=?"
            " ORDER BY retrieve_aet",
            study_uid,
            ("retrieve_aet", "availability", "instances", "since"),
        ),
        "exceptions": [
            {"kind": entry.kind, "reason": entry.reason}
            for entry in exceptions.entries(tx)
            if entry.subject == study_uid
        ],
    }


def _archives(tx: Transaction, study_uid: str) -> list[dict[str, Any]]:
    """For each archive how many it has, and what it said of them."""
    found: dict[str, dict[str, Any]] = {}
    for archive, state, failure, number in tx.rows(
        "SELECT archive, state, failure, count(*) FROM copy WHERE study_uid=? GROUP BY archive, state, failure"
        " ORDER BY archive, state, failure",
        (study_uid,),
    ):
        row = found.setdefault(archive, {"archive": archive, "stored": 0, "committed": 0, "failed": {}})
        row["stored"] += number
        if state == COMMITTED:
            row["committed"] += number
        elif state == FAILED:
            row["failed"][f"{failure:04X}"] = number
    return list(found.values())


def _rejected(tx: Transaction, study_uid: str) -> list[dict[str, Any]]:
    return _dicts(
        tx,
        "SELECT code, note, min(since), count(*) FROM rejection WHERE study_uid=? GROUP BY code, note"
        " ORDER BY min(since), note",
        study_uid,
        ("reason", "note", "since", "instances"),
    )


def _dicts(tx: Transaction, sql: str, study_uid: str, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows as mappings; the study stands for every `?`."""
    return [dict(zip(names, row, strict=True)) for row in tx.rows(sql, (study_uid,) * sql.count("?"))]
