"""Deliveries on disk: enqueued in commit 2, finished or tried again afterwards. SQL only; no thread, no sending."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from broker.adapter import Delivery, Receipt, Rendered, Target
from broker.store.sqlite import Transaction

Outcome = Literal["delivered", "again"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A delivery that is now open."""

    id: int
    destination: str
    lane: str
    due: float = 0.0


def enqueue(tx: Transaction, event: int, lane: str, target: Target, rendered: Rendered, at: str) -> Queued:
    """Adds a rendered output to its lane (commit 2)."""
    number = _insert(tx, event, lane, target, rendered, at, state="queued")
    return Queued(id=number, destination=target.destination, lane=lane)


def record(
    tx: Transaction, event: int, lane: str, target: Target, rendered: Rendered, at: str, detail: str
) -> None:
    """Records an output that was done within commit 2: a worklist row."""
    number = _insert(tx, event, lane, target, rendered, at, state="delivered")
    tx.execute("UPDATE delivery SET detail=?, finished=? WHERE id=?", (detail, at, number))


def hold(tx: Transaction, event: int, lane: str, target: Target, reason: str, at: str) -> int:
    """Records an output that could not be rendered: visible, never dropped, for a person to decide."""
    number = _insert(tx, event, lane, target, Rendered(payload=b""), at, state="held")
    tx.execute("UPDATE delivery SET detail=? WHERE id=?", (reason, number))
    return number


def _insert(
    tx: Transaction, event: int, lane: str, target: Target, rendered: Rendered, at: str, *, state: str
) -> int:
    return tx.insert(
        "INSERT INTO delivery (event, destination, kind, lane, route, place, version, state, due, payload, summary,"
        " created) VALUES (?,?,?,?,?,?,?,?,0,?,?,?)",
        (
            event,
            target.destination,
            target.kind,
            lane,
            target.route,
            target.place,
            target.version,
            state,
            rendered.payload,
            rendered.summary,
            at,
        ),
    )


def join(tx: Transaction, absorbed: str, survivor: str) -> None:
    """A merge: what is still open for the absorbed patient goes on in the survivor's lane."""
    tx.execute("UPDATE delivery SET lane=? WHERE lane=? AND state='queued'", (survivor, absorbed))


def open_deliveries(tx: Transaction) -> Iterable[Queued]:
    """Everything that still has to leave, in lane order: what a start finds."""
    for number, destination, lane, due in tx.rows(
        "SELECT id, destination, lane, due FROM delivery WHERE state='queued' ORDER BY id"
    ):
        yield Queued(id=number, destination=destination, lane=lane, due=due)


def load(tx: Transaction, number: int) -> Delivery:
    """An open delivery with its bytes."""
    row = tx.one("SELECT destination, lane, route, attempt, payload FROM delivery WHERE id=?", (number,))
    if row is None:
        raise KeyError(number)
    destination, lane, route, attempt, payload = row
    return Delivery(
        id=number, destination=destination, lane=lane, route=route, attempt=attempt + 1, payload=payload
    )


def finish(tx: Transaction, delivery: Delivery, receipt: Receipt, at: str) -> None:
    """The destination took it."""
    tx.execute(
        "UPDATE delivery SET state='delivered', attempt=?, detail=?, answer=?, finished=? WHERE id=?",
        (delivery.attempt, receipt.detail, receipt.answer, at, delivery.id),
    )
    _attempt(tx, delivery, at, "delivered", receipt.detail)


def retry(tx: Transaction, delivery: Delivery, outcome: str, detail: str, due: float, at: str) -> None:
    """The destination did not take it; it stays the head of its lane until `due`."""
    tx.execute(
        "UPDATE delivery SET attempt=?, due=?, detail=? WHERE id=?",
        (delivery.attempt, due, detail, delivery.id),
    )
    _attempt(tx, delivery, at, outcome, detail)


def _attempt(tx: Transaction, delivery: Delivery, at: str, outcome: str, detail: str) -> None:
    tx.execute(
        "INSERT INTO delivery_attempt (delivery, attempt, at, outcome, detail) VALUES (?,?,?,?,?)",
        (delivery.id, delivery.attempt, at, outcome, detail),
    )


def summary(tx: Transaction) -> list[dict[str, Any]]:
    """Per destination: how many are queued, delivered and held, since when the oldest waits, and why."""
    rows = tx.rows(
        "SELECT destination, count(*) FILTER (WHERE state='queued'), count(*) FILTER (WHERE state='delivered'),"
        " count(*) FILTER (WHERE state='held'), min(created) FILTER (WHERE state='queued') FROM delivery"
        " GROUP BY destination ORDER BY destination"
    )
    found = []
    for destination, queued, delivered, held, oldest in rows:
        failing = tx.one(
            "SELECT id, attempt, detail FROM delivery WHERE destination=? AND state='queued' AND attempt>0"
            " ORDER BY id LIMIT 1",
            (destination,),
        )
        found.append(
            {
                "destination": destination,
                "queued": queued,
                "delivered": delivered,
                "held": held,
                "oldest": oldest,
                "failing": None
                if failing is None
                else {"delivery": failing[0], "attempts": failing[1], "detail": failing[2]},
            }
        )
    return found
