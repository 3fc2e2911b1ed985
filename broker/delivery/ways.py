"""Lanes in SQL: ways to a destination as leases, heads of lanes claimed by whoever holds one. No thread, no sending.

A destination has as many ways as it has connections. Who holds one claims deliveries under its term; what a way of
an older term does afterwards finds nothing of its own. The rules are those of `lanes.LaneBook`: the head of a lane
leaves, and a lane has nothing else in flight. Lanes that a merge joined may have two at that moment.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from broker.delivery.breaker import Breaker
from broker.delivery.ledger import Open, load_all
from broker.store import lease
from broker.store.database import Transaction
from broker.store.lease import Lease

DEPTH: Final = 16
"""Deliveries of one lane that are claimed together, at most."""

_HEADS: Final = (
    "FROM delivery AS d WHERE d.destination=? AND d.state='queued' AND d.due<=? AND d.claim IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM delivery AS e WHERE e.lane=d.lane AND e.destination=d.destination"
    " AND e.state IN ('queued', 'parked') AND (e.id<d.id OR e.claim IS NOT NULL))"
)
"""Heads of lanes that may leave: (destination, now)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a way may send now, in the order of the journal."""

    deliveries: Sequence[Open]
    probe: bool
    """The destination is ill: one delivery only, to see whether it answers again."""


def name(destination: str, number: int) -> str:
    """The lease of a way."""
    return f"way {destination} {number}"


def take(tx: Transaction, destination: str, number: int, owner: str) -> Lease | None:
    """Takes a way; None where another has it. What was claimed under terms that are over is free again."""
    taken = lease.take(tx, name(destination, number), owner)
    if taken is not None:
        tx.execute(
            "UPDATE delivery SET claim=NULL WHERE claim IS NOT NULL AND destination=?"
            " AND claim NOT IN (SELECT term FROM lease WHERE owner<>'')",
            (destination,),
        )
    return taken


def give_back(tx: Transaction, way: Lease) -> None:
    """Others may take the way, and what it had claimed."""
    tx.execute("UPDATE delivery SET claim=NULL WHERE claim=?", (way.term,))
    lease.give_back(tx, way)


def claim(tx: Transaction, way: Lease, destination: str, limit: int) -> Claimed:
    """Claims up to `limit` deliveries: heads of lanes, and what follows them. Raises `LostLeaseError`.

    While the destination is ill that is one at most, by way 0, once its pause is over.
    """
    lease.hold(tx, way)
    now, breaker = tx.now(), breaker_of(tx, destination)
    ill = breaker.state != "closed"
    if ill and (way.name != name(destination, 0) or not breaker.may_send(now)):
        return Claimed(deliveries=(), probe=True)
    # A probe is one that did not fail yet, else the one whose failure is longest ago: see `LaneBook.take`.
    order, many = ("d.attempt>0, d.due, d.id", 1) if ill else ("d.id", limit)
    heads = tx.rows(
        f"SELECT d.id, d.lane {_HEADS} ORDER BY {order} LIMIT ? {tx.locking}", (destination, now, many)
    )
    if not heads:
        return Claimed(deliveries=(), probe=ill)
    numbers = [number for number, _ in heads]
    if not ill and len(heads) < limit:
        numbers += _behind(tx, destination, dict(heads), now, limit - len(heads))
    marks = ",".join("?" * len(numbers))
    tx.execute(f"UPDATE delivery SET claim=? WHERE id IN ({marks})", (way.term, *numbers))
    return Claimed(deliveries=load_all(tx, numbers), probe=ill)


def _behind(tx: Transaction, destination: str, heads: dict[int, str], now: float, limit: int) -> list[int]:
    """What follows these heads (number to lane) in their lanes, up to the first one that may not leave.

    Nobody else can claim it: it is no head before ours has ended.
    """
    lanes = sorted(set(heads.values()))
    rows = tx.rows(
        "SELECT id, lane, state='queued' AND due<=? AND claim IS NULL FROM delivery WHERE destination=?"
        f" AND lane IN ({','.join('?' * len(lanes))}) AND state IN ('queued', 'parked') ORDER BY lane, id",
        (now, destination, *lanes),
    )
    found: list[int] = []
    for _lane, of_lane in groupby(rows, lambda row: row[1]):
        free = itertools.takewhile(lambda row: row[2], of_lane)
        found += [number for number, _, _ in itertools.islice(free, DEPTH) if number not in heads]
    return sorted(found)[:limit]


def release(tx: Transaction, way: Lease, numbers: Sequence[int]) -> None:
    """What was claimed behind a delivery that failed: it waits for its turn."""
    marks = ",".join("?" * len(numbers))
    tx.execute(f"UPDATE delivery SET claim=NULL WHERE claim=? AND id IN ({marks})", (way.term, *numbers))


def anything(tx: Transaction, destination: str) -> bool:
    """Whether something could leave for it now."""
    now, breaker = tx.now(), breaker_of(tx, destination)
    if not breaker.may_send(now):
        return False
    return tx.one(f"SELECT 1 {_HEADS} LIMIT 1", (destination, now)) is not None


def free(tx: Transaction, destination: str, number_of_ways: int) -> dict[int, int]:
    """The ways that nobody has, the lowest first, each with its last term: another one shows that it was taken."""
    names = [name(destination, number) for number in range(number_of_ways)]
    known = {
        way: (term, owner != "" and until > tx.now())
        for way, term, owner, until in tx.rows(
            f"SELECT name, term, owner, until FROM lease WHERE name IN ({','.join('?' * len(names))})", names
        )
    }
    found = {number: known.get(way, (0, False)) for number, way in enumerate(names)}
    return {number: term for number, (term, taken) in found.items() if not taken}


def breaker_of(tx: Transaction, destination: str) -> Breaker:
    """The destination's circuit breaker; closed where nothing is written of it."""
    row = tx.one("SELECT body FROM breaker WHERE destination=?", (destination,))
    return Breaker() if row is None else Breaker.load(row[0])


def change_breaker(tx: Transaction, destination: str) -> Breaker:
    """As `breaker_of`, and nobody else changes it before this transaction has ended."""
    tx.alone(f"breaker {destination}")
    return breaker_of(tx, destination)


def save_breaker(tx: Transaction, destination: str, breaker: Breaker) -> None:
    """Writes what became of it."""
    tx.execute(
        "INSERT INTO breaker (destination, body) VALUES (?,?)"
        " ON CONFLICT (destination) DO UPDATE SET body=excluded.body",
        (destination, breaker.dump()),
    )


def close_breaker(tx: Transaction, destination: str) -> None:
    """The destination took something."""
    tx.execute("DELETE FROM breaker WHERE destination=?", (destination,))
