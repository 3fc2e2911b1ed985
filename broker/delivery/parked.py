"""What people do with deliveries that wait for them: find, edit, release, drop; each with a reason, audited.

Written to the journal only; a running broker reads the new interventions and moves its lanes (`interventions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from broker.delivery import endings, ledger, stored
from broker.delivery.ledger import Queued
from broker.errors import BrokerError
from broker.store import days
from broker.store.transaction import Transaction, Value

_LISTED: Final = (
    *(
        "id",
        "state",
        "kind",
        "destination",
        "route",
        "place",
        "lane",
        "attempts",
        "detail",
        "summary",
        "since",
    ),
    *("created", "message", "control_id", "source", "waiting"),
)

Action = Literal["edit", "release", "drop", "replay"]


class NotParkedError(BrokerError):
    """What was asked for can be done only to a delivery that waits for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which of the waiting deliveries: every field that is given must fit."""

    ids: tuple[int, ...] = ()
    destination: str = ""
    route: str = ""
    lane: str = ""
    detail: str = ""
    """A part of why it waits: `MSA-1 AE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who does it, when and why."""

    who: str
    at: str
    reason: str


def listed(tx: Transaction, query: Query = Query(), *, limit: int = 1000) -> list[dict[str, Any]]:
    """Deliveries that wait for a person, the oldest first, with how many wait behind each; no patient's values."""
    where, values = ["state IN ('parked', 'held')"], list[Value]()
    if query.ids:
        where.append(f"delivery.id IN ({','.join('?' * len(query.ids))})")
        values += query.ids
    for column, value in (("destination", query.destination), ("route", query.route), ("lane", query.lane)):
        if value:
            where.append(f"{column}=?")
            values.append(value)
    if query.detail:
        where.append("replace(detail, ?, '')<>detail")
        values.append(query.detail)
    rows = tx.rows(
        "SELECT delivery.id, state, kind, destination, route, delivery.place, lane, attempt, detail, summary,"
        " failing_since, created, message.id, message.control_id, message.source,"
        " (SELECT count(*) FROM delivery AS later"
        " WHERE later.lane=delivery.lane AND later.destination=delivery.destination"
        " AND later.state IN ('queued', 'parked') AND later.id>delivery.id AND delivery.state='parked')"
        " FROM delivery JOIN event ON event.seq=delivery.event JOIN message ON message.seq=event.message"
        f" WHERE {' AND '.join(where)} ORDER BY delivery.id LIMIT ?",
        (*values, limit),
    )
    return [dict(zip(_LISTED, row, strict=True)) for row in rows]


def behind(tx: Transaction, number: int) -> list[dict[str, Any]]:
    """What waits behind a parked delivery, in the order in which it will leave."""
    rows = tx.rows(
        "SELECT later.id, later.state, later.route, later.summary, later.created, message.id, message.control_id"
        " FROM delivery JOIN delivery AS later ON later.lane=delivery.lane AND later.destination=delivery.destination"
        " AND later.state IN ('queued', 'parked') AND later.id>delivery.id"
        " JOIN event ON event.seq=later.event JOIN message ON message.seq=event.message"
        " WHERE delivery.id=? AND delivery.state='parked' ORDER BY later.id",
        (number,),
    )
    names = ("id", "state", "route", "summary", "created", "message", "control_id")
    return [dict(zip(names, row, strict=True)) for row in rows]


def release(tx: Transaction, number: int, by: By) -> None:
    """It is tried again, as if for the first time. Raises `NotParkedError`."""
    changes = "refusals=0, failing_since=NULL, due=0, detail='released'"
    if not endings.move(tx, number, "parked", "queued", changes, ()):
        raise _not_parked(tx, number, "released")
    note(tx, "release", number, by)


def drop(tx: Transaction, number: int, by: By) -> None:
    """It will never leave; its bytes stay as long as others do. Raises `NotParkedError`."""
    waiting: tuple[ledger.State, ...] = ("parked", "held")
    for state in waiting:
        if endings.move(tx, number, state, "dropped", "finished=?, detail='dropped'", (by.at,)):
            note(tx, "drop", number, by)
            return
    raise _not_parked(tx, number, "dropped")


def edit(tx: Transaction, number: int, payload: bytes, by: By, *, seen: bytes | None = None) -> None:
    """Other bytes will leave; the ones before are kept with the intervention.

    `seen`: what they were made of. Raises `NotParkedError`, also where somebody else has edited it since.
    """
    # Written, though nothing changes: nobody else can release it before this is committed.
    row = tx.one("UPDATE delivery SET state=state WHERE id=? AND state='parked' RETURNING day", (number,))
    if row is None:
        raise _not_parked(tx, number, "edited")
    before = stored.payload(tx, number, row[0])
    if seen is not None and seen != (before or b""):
        raise NotParkedError(f"delivery {number} was edited by somebody else meanwhile; look at it again")
    tx.execute(
        f"UPDATE {days.table('delivery_body', row[0])} SET payload=? WHERE delivery=?", (payload, number)
    )
    note(tx, "edit", number, by, before=before)


def note(
    tx: Transaction,
    action: Action,
    delivery: int | None,
    by: By,
    *,
    message: int | None = None,
    before: bytes | None = None,
) -> None:
    """The audit trail of one action."""
    tx.alone("broker: interventions")  # their numbers are seen in order: who reads what is new misses none
    tx.execute(
        "INSERT INTO intervention (at, who, action, reason, delivery, message, before) VALUES (?,?,?,?,?,?,?)",
        (by.at, by.who, action, by.reason, delivery, message, before),
    )


def last_intervention(tx: Transaction) -> int:
    """Number of the newest one; 0 where there is none."""
    row = tx.one("SELECT coalesce(max(id), 0) FROM intervention")
    return int(row[0]) if row else 0


def interventions(tx: Transaction, after: int) -> Sequence[tuple[int, Action, ledger.State, Queued]]:
    """(number, action, the delivery's state now, the delivery) of those since that move one, in order."""
    return [
        (number, action, state, Queued(id=delivery, destination=destination, lane=lane, due=due))
        for number, action, delivery, destination, lane, state, due in tx.rows(
            "SELECT intervention.id, action, delivery.id, destination, lane, state, due FROM intervention"
            " JOIN delivery ON delivery.id=intervention.delivery WHERE intervention.id>? AND action<>'edit'"
            " ORDER BY intervention.id",
            (after,),
        )
    ]


def _not_parked(tx: Transaction, number: int, what: str) -> NotParkedError:
    row = tx.one("SELECT state FROM delivery WHERE id=?", (number,))
    if row is None:
        return NotParkedError(f"there is no delivery {number}; `broker parked list` shows those that wait")
    return NotParkedError(f"delivery {number} is {row[0]}; only what is parked can be {what}")
