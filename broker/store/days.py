"""Tables that hold one day each, made on first use and dropped whole: bodies, payloads and search keys.

A day's bytes leave by DROP TABLE, which costs milliseconds however many rows there were; deleting rows one by one
would compete with the traffic. Which day something belongs to is its message's UTC date of reception.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from broker.store.transaction import Transaction

Name = Literal["message_body", "message_key", "delivery_body"]

BODIES: Final[tuple[Name, ...]] = ("message_body", "delivery_body")
"""What retention may drop while the ledger stands."""

KEY_LENGTH: Final = 500
"""Characters of a search key that are kept, and looked for: an index of PostgreSQL takes 2,700 bytes."""

_COLUMNS: Final[dict[Name, str]] = {
    "message_body": "message INTEGER PRIMARY KEY, body BLOB NOT NULL",
    "message_key": "value TEXT NOT NULL, kind TEXT NOT NULL, message INTEGER NOT NULL,"
    " PRIMARY KEY (value, kind, message)",
    "delivery_body": "delivery INTEGER PRIMARY KEY, payload BLOB NOT NULL, answer BLOB",
}

_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


@lru_cache(maxsize=256)
def table(name: Name, day: str) -> str:
    """The table of a day (`2026-03-09`): `message_body_20260309`. `ValueError` for what is no day."""
    if _DAY.fullmatch(day) is None:
        raise ValueError("a day is written YYYY-MM-DD")
    return f"{name}_{day.replace('-', '')}"


def within(day: str) -> tuple[str, str]:
    """Limits of a day for ISO 8601 texts: from the first, up to but not including the second."""
    return day, f"{day}U"  # what follows the day's own text is a T


def ensure(tx: Transaction, day: str) -> None:
    """Sees to it that the day's tables stand."""
    if day in tx.standing:
        return
    if _lacking(tx, day):
        tx.alone("broker: days")  # at midnight every node wants the same tables
        for name in _lacking(tx, day):
            tx.create(table(name, day), _COLUMNS[name], clustered=name == "message_key")
        tx.execute("INSERT INTO day (day) VALUES (?) ON CONFLICT (day) DO UPDATE SET bodies=1", (day,))
    tx.standing.add(day)


def _lacking(tx: Transaction, day: str) -> tuple[Name, ...]:
    """Tables that are to be made. A day whose bodies are gone comes again where a clock was ahead and is set back:
    what is received then must not be refused."""
    row = tx.one("SELECT bodies, leaving FROM day WHERE day=?", (day,))
    if row is None:
        return tuple(_COLUMNS)
    bodies, leaving = row
    return () if bodies or leaving else BODIES


def known(tx: Transaction, *, since: str = "", bodies: bool = False) -> list[str]:
    """Days whose tables stand, the oldest first; with `bodies` only those that still have them."""
    sql = (
        "SELECT day FROM day WHERE day>=? AND leaving=0"
        + (" AND bodies=1" if bodies else "")
        + " ORDER BY day"
    )
    return [day for (day,) in tx.rows(sql, (since,))]


def leaving(tx: Transaction) -> list[str]:
    """Days whose ledger is being deleted, the oldest first."""
    return [day for (day,) in tx.rows("SELECT day FROM day WHERE leaving=1 ORDER BY day")]


def drop_bodies(tx: Transaction, day: str) -> None:
    """Bodies and payloads of a day are gone; what happened that day can still be read. Raises `BusyError`."""
    tx.standing.discard(day)
    for name in BODIES:
        tx.drop(table(name, day))
    tx.execute("UPDATE day SET bodies=0 WHERE day=?", (day,))


def leave(tx: Transaction, day: str) -> None:
    """Every table of a day is gone, and its ledger may be deleted piece by piece; `forget` ends that.

    Another node may still think that it stands, but nothing is written any more to a day that is as old as that.
    Raises `BusyError`.
    """
    tx.standing.discard(day)
    for name in _COLUMNS:
        tx.drop(table(name, day))
    tx.execute("UPDATE day SET bodies=0, leaving=1 WHERE day=?", (day,))


def forget(tx: Transaction, day: str) -> None:
    """Nothing of the day is left but its tally."""
    tx.execute("DELETE FROM day WHERE day=?", (day,))


def list_refused(tx: Transaction) -> None:
    """Migration 17: the files of objects that were refused before it."""
    with_files = "verdict='rejected' AND blob<>''"
    found = {day for (day,) in tx.rows(f"SELECT DISTINCT day FROM message WHERE {with_files}")}
    for day in known(tx):
        if day in found:
            tx.execute(
                "INSERT INTO refused_file (path, sop_instance_uid, state, day)"
                " SELECT blob, min(value), substr(blob, length(blob)-67, 64), day"  # <SHA-256>.dcm
                f" FROM message JOIN {table('message_key', day)} AS of_day ON of_day.message=message.seq"
                f" WHERE day=? AND kind='instance' AND {with_files} GROUP BY blob, day"
                " ON CONFLICT (path) DO UPDATE SET day=excluded.day",
                (day,),
            )


def distribute(tx: Transaction) -> None:
    """SQLite's migration 2: what schema 1 kept in one table each goes to the days."""
    for (day,) in tx.rows("SELECT DISTINCT day FROM message ORDER BY day"):
        ensure(tx, day)
        of_day = "JOIN message ON message.seq = old.message WHERE message.day=?"
        tx.execute(
            f"INSERT INTO {table('message_body', day)} SELECT old.seq, coalesce(old.body, x'') FROM message_v1 AS old"
            " WHERE substr(old.received, 1, 10)=?",
            (day,),
        )
        tx.execute(
            f"INSERT INTO {table('message_key', day)} SELECT old.value, old.kind, old.message"
            f" FROM message_key_v1 AS old {of_day}",
            (day,),
        )
        tx.execute(
            f"INSERT INTO {table('message_key', day)} SELECT control_id, 'control', seq FROM message"
            " WHERE day=? AND control_id<>''",
            (day,),
        )
        tx.execute(
            f"INSERT INTO {table('delivery_body', day)} SELECT old.id, old.payload, old.answer"
            " FROM delivery_v1 AS old JOIN delivery ON delivery.id = old.id WHERE delivery.day=?",
            (day,),
        )
    for name in ("delivery_attempt", "delivery", "event", "message_key", "message"):
        tx.execute(f"DROP TABLE {name}_v1")
