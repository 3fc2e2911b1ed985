"""Lanes in SQL: ways to a destination as leases, heads of lanes claimed by whoever holds one. No thread, no sending.

A destination has as many ways as it has connections. Who holds one claims deliveries under its term; what a way of
an older term does afterwards finds nothing of its own. The rules are those of `lanes.LaneBook`: the head of a lane
leaves, and a lane has nothing else in flight. Lanes that a merge joined may have two at that moment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from broker.delivery.breaker import Breaker
from broker.delivery.stored import Open, load_all
from broker.store import lease
from broker.store.lease import Lease
from broker.store.transaction import Transaction

DEPTH: Final = 16
"""Deliveries of one lane that are claimed together, at most."""

LAST: Final = "\U0010ffff"
"""Behind every lane."""

_OPEN: Final = "state IN ('queued', 'parked')"

# From lane to lane over the index, so that what waits behind a head costs nothing, however much it is.
_HEADS: Final = (
    "WITH RECURSIVE head (id, lane, state, due, attempt, claim) AS ("
    " SELECT id, lane, state, due, attempt, claim FROM delivery WHERE id=("
    f"SELECT id FROM delivery WHERE destination=? AND {_OPEN} AND lane>? AND lane<=? ORDER BY lane, id LIMIT 1)"
    " UNION ALL"
    " SELECT d.id, d.lane, d.state, d.due, d.attempt, d.claim FROM head JOIN delivery AS d ON d.id=("
    f"SELECT id FROM delivery WHERE destination=? AND {_OPEN} AND lane>head.lane AND lane<=?"
    " ORDER BY lane, id LIMIT 1))"
    " SELECT id, lane FROM head WHERE state='queued' AND due<=? AND claim IS NULL"
    # Not NOT EXISTS: that becomes a join, which reads all that is claimed for each lane.
    " AND (SELECT e.id FROM delivery AS e WHERE e.destination=? AND e.lane=head.lane AND e.claim IS NOT NULL"
    " LIMIT 1) IS NULL"
)
"""(number, lane) of heads that may leave, by lane: see `_heads`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a way may send now, in the order of the journal."""

    deliveries: Sequence[Open]
    probe: bool
    """The destination is ill: one delivery only, to see whether it answers again."""
    last: str
    """The lane at which the next claim goes on."""


def name(destination: str, number: int) -> str:
    """The lease of a way."""
    return f"way {destination} {number}"


def take(tx: Transaction, destination: str, number: int, owner: str) -> Lease | None:
    """Takes a way; None where another has it. What was claimed by ways whose time is over is free again.

    Those ways end with it: whoever had one would find it lost, were it only stalled.
    """
    taken = lease.take(tx, name(destination, number), owner)
    if taken is not None:
        claimed = "FROM delivery WHERE destination=? AND claim IS NOT NULL"
        tx.execute(
            f"UPDATE lease SET owner='', until=0 WHERE owner<>'' AND until<=? AND term IN (SELECT claim {claimed})",
            (tx.now(), destination),
        )
        tx.execute(
            "UPDATE delivery SET claim=NULL WHERE claim IS NOT NULL AND destination=?"
            " AND claim NOT IN (SELECT term FROM lease WHERE owner<>'')",
            (destination,),
        )
    return taken


def give_back(tx: Transaction, way: Lease, destination: str) -> None:
    """Others may take the way, and what it had claimed."""
    tx.execute("UPDATE delivery SET claim=NULL WHERE destination=? AND claim=?", (destination, way.term))
    lease.give_back(tx, way)


def claim(tx: Transaction, way: Lease, destination: str, limit: int, after: str = "") -> Claimed:
    """Claims up to `limit` deliveries: heads of lanes, and what follows them. Raises `LostLeaseError`.

    Lanes come in turn, from the one behind `after`, so that each has its share however long the others are. While
    the destination is ill that is one delivery at most, by way 0, once its pause is over.
    """
    now, breaker = lease.hold(tx, way), breaker_of(tx, destination)
    ill = breaker.state != "closed"
    if not ill:
        heads = _heads(tx, destination, now, limit, after)
    elif way.name == name(destination, 0) and breaker.may_send(now):
        # A probe is one that did not fail yet, else the one whose failure is longest ago: see `LaneBook.take`.
        heads = _heads(tx, destination, now, 1, after, "AND attempt=0") or _heads(
            tx, destination, now, 1, "", "ORDER BY due, id"
        )
    else:
        heads = []
    wanted = heads if ill or len(heads) >= limit else _fronts(tx, heads, now, limit)
    numbers = _lock(tx, wanted, now)
    if numbers:
        marks = ",".join("?" * len(numbers))
        tx.execute(f"UPDATE delivery SET claim=? WHERE id IN ({marks})", (way.term, *numbers))
    return Claimed(
        deliveries=load_all(tx, numbers) if numbers else (), probe=ill, last=heads[-1][1] if heads else after
    )


def _heads(
    tx: Transaction, destination: str, now: float, limit: int, after: str, which: str = ""
) -> list[tuple[int, str]]:
    """(number, lane) of up to `limit` heads that may leave: the lanes behind `after` first, then the others."""
    found: list[tuple[int, str]] = []
    for first, last in ((after, LAST), ("", after)):
        if last and len(found) < limit:
            between = (destination, first, last, destination, last, now, destination)
            found += [
                (n, lane) for n, lane in tx.rows(f"{_HEADS} {which} LIMIT ?", (*between, limit - len(found)))
            ]
    return found


def _fronts(
    tx: Transaction, heads: Sequence[tuple[int, str]], now: float, limit: int
) -> list[tuple[int, str]]:
    """These heads and what follows them in their lanes, up to the first one that may not leave."""
    if not heads:
        return []
    marks = ",".join("?" * len(heads))
    rows = tx.rows(
        "SELECT DISTINCT d.id, d.lane, d.state='queued' AND d.due<=? AND d.claim IS NULL FROM delivery AS h"
        f" JOIN delivery AS d ON d.destination=h.destination AND d.lane=h.lane AND d.{_OPEN} AND d.id<=coalesce(("
        f"SELECT id FROM delivery AS e WHERE e.destination=h.destination AND e.lane=h.lane AND e.{_OPEN}"
        f" ORDER BY id LIMIT 1 OFFSET {DEPTH - 1}), {2**63 - 1}) WHERE h.id IN ({marks}) ORDER BY d.id",
        (now, *(number for number, _ in heads)),
    )
    ranks, waiting, found = Counter[str](), set[str](), []
    for number, lane, may_leave in rows:
        if may_leave and lane not in waiting:
            found.append((ranks[lane], number, lane))
            ranks[lane] += 1
        else:
            waiting.add(lane)
    return [(number, lane) for _, number, lane in sorted(found)[:limit]]


def _lock(tx: Transaction, wanted: Sequence[tuple[int, str]], now: float) -> list[int]:
    """Numbers of those that nobody else has got meanwhile, and that do not stand behind one that somebody has.

    What a merge moved between the statements is left alone too; one that comes after them finds these claimed.
    """
    if not wanted:
        return []
    marks = ",".join("?" * len(wanted))
    locked = dict(
        tx.rows(
            f"SELECT d.id, d.lane FROM delivery AS d WHERE d.id IN ({marks}) AND d.state='queued' AND d.due<=?"
            f" AND d.claim IS NULL {tx.locking}",
            (*(number for number, _ in wanted), now),
        )
    )
    numbers, passed = list[int](), set[str]()
    for number, lane in sorted(wanted):
        if lane in passed or locked.get(number) != lane:
            passed.add(lane)
        else:
            numbers.append(number)
    return numbers


def release(tx: Transaction, way: Lease, numbers: Sequence[int]) -> None:
    """What was claimed behind a delivery that failed: it waits for its turn."""
    marks = ",".join("?" * len(numbers))
    tx.execute(f"UPDATE delivery SET claim=NULL WHERE claim=? AND id IN ({marks})", (way.term, *numbers))


def anything(tx: Transaction, destination: str, number: int = 0) -> bool:
    """Whether this way of it could do something now: something may leave, or a way that is over has it claimed."""
    now, breaker = tx.now(), breaker_of(tx, destination)
    if breaker.state != "closed" and (number or not breaker.may_send(now)):
        return False
    if _heads(tx, destination, now, 1, ""):
        return True
    over = "claim NOT IN (SELECT term FROM lease WHERE owner<>'' AND until>?)"
    sql = f"SELECT 1 FROM delivery WHERE destination=? AND claim IS NOT NULL AND {over} LIMIT 1"
    return tx.one(sql, (destination, now)) is not None


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
