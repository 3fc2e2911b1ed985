"""Deliveries as they stand on disk: which are open, their bytes, how it went so far, how many there are. Read only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, get_args

from broker.adapter import Delivery
from broker.delivery.ledger import Queued, State
from broker.store import days, tally
from broker.store.tally import LOSSY
from broker.store.transaction import Transaction

PIECE: Final = 5000
"""Open deliveries that a start reads at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """An open delivery with its bytes, and how it went so far."""

    delivery: Delivery
    day: str
    created: datetime
    by_hand: bool
    """A person released it, or had it sent again."""
    refusals: int
    failing_since: datetime | None
    claim: int | None = None
    """The term under which a node has it in hand: an ending under another one is none."""


def open_deliveries(tx: Transaction) -> Iterator[Queued]:
    """Everything that still has to leave, by destination, in lane order: what a start finds.

    Piece by piece: there may be a million. Within one transaction it is one moment.
    """
    still_open = "FROM delivery WHERE state IN ('queued', 'parked')"
    for (destination,) in tx.rows(f"SELECT DISTINCT destination {still_open} ORDER BY destination"):
        last = 0
        while piece := tx.rows(
            f"SELECT id, lane, due, state='parked' {still_open} AND destination=? AND id>? ORDER BY id LIMIT ?",
            (destination, last, PIECE),
        ):
            last = piece[-1][0]
            for number, lane, due, parked in piece:
                yield Queued(number, destination, lane, due, bool(parked))


def load(tx: Transaction, number: int) -> Open | None:
    """A queued delivery with its bytes; None where it is not queued any more."""
    return next(iter(load_all(tx, [number])), None)


def load_all(tx: Transaction, numbers: Sequence[int]) -> list[Open]:
    """Those of them that are queued, with their bytes, in the order of their numbers."""
    marks = ",".join("?" * len(numbers))
    rows = tx.rows(
        "SELECT id, day, destination, lane, route, attempt, refusals, failing_since, created, claim,"
        " replay_of IS NOT NULL"
        " OR EXISTS (SELECT 1 FROM intervention WHERE intervention.delivery=delivery.id AND action='release')"
        f" FROM delivery WHERE id IN ({marks}) AND state='queued' ORDER BY id",
        numbers,
    )
    payloads: dict[int, bytes] = {}
    for day in {row[1] for row in rows}:
        of_day = [row[0] for row in rows if row[1] == day]
        payloads |= _payloads(tx, of_day, day)
    return [
        Open(
            delivery=Delivery(
                id=number,
                destination=destination,
                lane=lane,
                route=route,
                attempt=attempt + 1,
                payload=payloads.get(number, b""),
            ),
            day=day,
            created=datetime.fromisoformat(created),
            by_hand=bool(by_hand),
            refusals=refusals,
            failing_since=datetime.fromisoformat(failing_since) if failing_since else None,
            claim=claim,
        )
        for number, day, destination, lane, route, attempt, refusals, failing_since, created, claim, by_hand in rows
    ]


def payload(tx: Transaction, number: int, day: str) -> bytes | None:
    """What left or will leave; None where retention dropped it."""
    return _payloads(tx, [number], day).get(number)


def _payloads(tx: Transaction, numbers: Sequence[int], day: str) -> dict[int, bytes]:
    """By number; those that retention dropped are missing."""
    if day not in days.known(tx, since=day, bodies=True):
        return {}
    marks = ",".join("?" * len(numbers))
    return dict(
        tx.rows(
            f"SELECT delivery, payload FROM {days.table('delivery_body', day)} WHERE delivery IN ({marks})",
            numbers,
        )
    )


def payload_of(tx: Transaction, number: int) -> bytes | None:
    """As `payload`, for a caller that knows only the number."""
    row = tx.one("SELECT day FROM delivery WHERE id=?", (number,))
    return None if row is None else payload(tx, number, row[0])


def attempts(tx: Transaction, number: int) -> list[tuple[int, str, str, str]]:
    """(attempt, at, outcome, detail) of each attempt that failed."""
    sql = "SELECT attempt, at, outcome, detail FROM delivery_attempt WHERE delivery=? ORDER BY attempt"
    return [(n, at, outcome, detail) for n, at, outcome, detail in tx.rows(sql, (number,))]


def summary(tx: Transaction) -> list[dict[str, Any]]:
    """Per destination: how many are in which state, since when the oldest waits, and why."""
    found = []
    for destination, states in tally.deliveries(tx).items():
        oldest = tx.one(
            "SELECT created FROM delivery WHERE destination=? AND state IN ('queued', 'parked') AND state<>'parked'"
            " ORDER BY id LIMIT 1",
            (destination,),
        )
        failing = tx.one(
            "SELECT id, attempt, detail FROM delivery WHERE destination=? AND state IN ('queued', 'parked')"
            " AND state<>'parked' AND attempt>0 ORDER BY id LIMIT 1",
            (destination,),
        )
        row: dict[str, Any] = {"destination": destination}
        row |= {s: states.get(s, 0) for s in (*get_args(State), LOSSY)}
        row["oldest"] = oldest[0] if oldest else None
        row["failing"] = (
            {"delivery": failing[0], "attempts": failing[1], "detail": failing[2]} if failing else None
        )
        found.append(row)
    return found
