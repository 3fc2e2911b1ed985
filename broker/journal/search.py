"""Finding messages by what people know of them. Read-only; newest first inside, because that is what is asked for.

Search keys stand in a table of each day, so a search touches one small index a day and stops when it has enough.
"""

from __future__ import annotations

from collections.abc import Iterator

from broker.store import days
from broker.store.transaction import Transaction, Value


def find(
    tx: Transaction,
    *,
    text: str = "",
    kind: str = "",
    type: str = "",
    since: str = "",
    until: str = "",
    limit: int = 20,
) -> list[int]:
    """The newest messages that fit, the oldest first.

    `text` is a message's own id or a search key (control id, accession number, Study UID, order number, patient id;
    `kind` names which). `type` is MSH-9 or the DICOM service; `since` and `until` are ISO 8601 in UTC, the latter
    excluded; each may be a beginning (`2026-03-09T08`).
    """
    if text:
        return sorted(set(_by_text(tx, text, kind, type, since, until, limit)))[-limit:]
    where, values = _when(type, since, until)
    # By time and not by number: then an index gives them in order, however many there are outside the limits.
    order = "received DESC, seq DESC"
    rows = tx.rows(f"SELECT seq FROM message WHERE {where} ORDER BY {order} LIMIT ?", (*values, limit))
    return sorted(seq for (seq,) in rows)


def _by_text(
    tx: Transaction, text: str, kind: str, type: str, since: str, until: str, limit: int
) -> Iterator[int]:
    """Looks day by day, from the newest back, until there are enough."""
    where, values = _when(type, since, until)
    if not kind and (own := tx.one(f"SELECT seq FROM message WHERE id=? AND {where}", (text, *values))):
        yield own[0]
    for day in reversed(days.known(tx, since=since[:10])):
        if limit <= 0:
            return
        rows = tx.rows(
            f"SELECT DISTINCT seq FROM {days.table('message_key', day)} AS known"
            f" JOIN message ON seq=known.message WHERE value=?{' AND kind=?' if kind else ''} AND {where}"
            " ORDER BY seq DESC LIMIT ?",
            (text[: days.KEY_LENGTH], *((kind,) if kind else ()), *values, limit),
        )
        yield from (seq for (seq,) in rows)
        limit -= len(rows)


def _when(type: str, since: str, until: str) -> tuple[str, list[Value]]:
    """Conditions that hold always where they were not asked for."""
    where, values = ["1=1"], list[Value]()
    for condition, value in (("type=?", type), ("received>=?", since), ("received<?", until)):
        if value:
            where.append(condition)
            values.append(value)
    return " AND ".join(where), values
