"""The bus's place in the event log: what lies behind it, moving on after a confirmation, going back to publish again.

Not here: publishing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import datetime

from broker.event import Event
from broker.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A place in the event log."""

    name: str
    """The journal's own name on the bus."""
    event: int | None
    """Place of the last event that the bus confirmed (the order of routing); None: none yet."""
    at: str
    """When that was written down, ISO 8601; empty: never."""
    rewinds: int


def ensure(tx: Transaction) -> Cursor:
    """The cursor, made on first use."""
    tx.execute(
        "INSERT INTO bus_cursor (id, name, rewinds) VALUES (1, ?, 0) ON CONFLICT (id) DO NOTHING",
        (secrets.token_hex(8),),
    )
    found = get(tx)
    assert found is not None, "it was just made"
    return found


def get(tx: Transaction) -> Cursor | None:
    """The cursor; None where nothing was ever published."""
    row = tx.one("SELECT name, event, at, rewinds FROM bus_cursor")
    return None if row is None else Cursor(name=row[0], event=row[1], at=row[2] or "", rewinds=row[3])


def advance(tx: Transaction, cursor: Cursor, event: int, at: datetime) -> Cursor | None:
    """Everything up to `event` was confirmed. None, and nothing is written, where a person rewound meanwhile."""
    moved = tx.change(
        "UPDATE bus_cursor SET event=?, at=? WHERE rewinds=?", (event, at.isoformat(), cursor.rewinds)
    )
    return replace(cursor, event=event, at=at.isoformat()) if moved else None


def rewind(tx: Transaction, event: int) -> Cursor:
    """What lies behind `event` is published again. Never forward: what was not published is not passed over."""
    ensure(tx)
    tx.execute(  # one statement: of two that go back at once, the one that goes further counts
        "UPDATE bus_cursor SET event=CASE WHEN event<? THEN event ELSE ? END, rewinds=rewinds+1",
        (event, event),
    )
    return ensure(tx)


def behind(tx: Transaction, event: int, limit: int) -> list[tuple[int, Event]]:
    """(place, event) of what was routed after place `event`, in that order; what retention took is passed over.

    Not by number: of two nodes that write at once the higher number may be there first.
    """
    rows = tx.rows("SELECT place, body FROM event WHERE place>? ORDER BY place LIMIT ?", (event, limit))
    return [(place, Event.model_validate_json(body)) for place, body in rows]


def lag(tx: Transaction, cursor: Cursor | None) -> int:
    """How many events lie behind the cursor, routed or not; without one, all of them."""
    row = tx.one(  # each part has an index of its own; OR would read every event
        "SELECT (SELECT count(*) FROM event WHERE place>?) + (SELECT count(*) FROM event WHERE routed IS NULL)",
        (cursor.event or 0 if cursor is not None else 0,),
    )
    return int(row[0]) if row else 0


def before(tx: Transaction, time: datetime) -> int:
    """Place of the last event before everything that was received from `time` on; 0: all of it came later.

    Messages are numbered when they are written and dated when they came: the lowest number decides. What is not
    routed yet needs no place: it comes behind all that were given.
    """
    row = tx.one(  # one statement: what is routed between two would be passed over
        "SELECT coalesce("
        "(SELECT min(place) FROM event WHERE message>=(SELECT min(seq) FROM message WHERE received>=?)),"
        " (SELECT coalesce(max(place), 0) + 1 FROM event)) - 1",
        (time.isoformat(),),
    )
    return int(row[0]) if row else 0


def number(tx: Transaction, event_id: str) -> int | None:
    """The place of the event with this id (a CloudEvent's `id`); None where the journal has none, or not routed it."""
    row = tx.one("SELECT place FROM event WHERE id=?", (event_id,))
    return None if row is None or row[0] is None else int(row[0])
