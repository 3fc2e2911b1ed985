"""The newest part of the journal as a stretch of the order of routing. Read-only; reads no clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from broker.store.transaction import Transaction, Value

MESSAGES: Final = 1000
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Events behind place `start`, up to and with `end`. Equal: none."""

    messages: int
    """Received in it; some may have made no event."""
    since: str
    """When the first of them was received, ISO 8601, UTC; empty: there is none."""
    start: int
    end: int
    events: int


def window(tx: Transaction, *, last: int | None = None, since: str = "") -> Window:
    """The last `last` messages, or what was received from `since` on (ISO 8601, UTC); of both, the shorter stretch.

    Neither: the last `MESSAGES`, or what came within the `DAY` before the newest one where that is less.
    """
    if last is None and not since:
        last, since = MESSAGES, _day_before_the_newest(tx)
    firsts = []
    if since:
        firsts.append(_number(tx, "SELECT min(seq) FROM message WHERE received>=?", (since,)))
    if last is not None:
        newest = "SELECT min(seq) FROM (SELECT seq FROM message ORDER BY seq DESC LIMIT ?) AS newest"
        firsts.append(_number(tx, newest, (last,)))
    if not all(firsts):
        return Window(messages=0, since="", start=0, end=0, events=0)
    first = max(firsts)
    (messages, begun) = tx.rows("SELECT count(*), min(received) FROM message WHERE seq>=?", (first,))[0]
    end = _number(tx, "SELECT max(place) FROM event WHERE place IS NOT NULL", ())
    at = _number(tx, "SELECT min(place) FROM event WHERE message>=? AND place IS NOT NULL", (first,))
    start = at - 1 if at else end
    return Window(messages=messages, since=begun, start=start, end=end, events=between(tx, start, end))


def between(tx: Transaction, start: int, end: int) -> int:
    """How many events were routed behind place `start`, up to and with `end`."""
    return _number(tx, "SELECT count(*) FROM event WHERE place>? AND place<=?", (start, end))


def _day_before_the_newest(tx: Transaction) -> str:
    row = tx.one("SELECT received FROM message ORDER BY seq DESC LIMIT 1")
    return (datetime.fromisoformat(row[0]) - DAY).isoformat() if row else ""


def _number(tx: Transaction, sql: str, values: tuple[Value, ...]) -> int:
    row = tx.one(sql, values)
    return int(row[0]) if row and row[0] is not None else 0
