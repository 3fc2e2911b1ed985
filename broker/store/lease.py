"""Leases: what only one node at a time may do, and a fence that keeps who stalled meanwhile from writing.

Whoever takes one gets a term of its own. Every transaction that needs the lease begins with `hold`: one of an older
term raises, so that a node that wakes up late changes nothing. All times are the store's, so that clocks of nodes need
not agree. Not here: renewing in time, which its owner's threads do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from broker.errors import BrokerError
from broker.store.transaction import Transaction

SECONDS: Final = 10.0
"""How long a lease stands without being renewed: what a death costs before another node goes on."""

RENEW_SECONDS: Final = SECONDS / 4
"""How often its owner renews it."""

MARGIN_SECONDS: Final = 2.0
"""So long before the end its owner stops beginning anything."""


class LostLeaseError(BrokerError):
    """Another node has the lease, or may take it at any moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What `take` gave."""

    name: str
    owner: str
    term: int


def may_take(tx: Transaction, name: str, owner: str) -> bool:
    """Whether nobody has it, its time is over, or this owner had it: what ran under its name before is dead."""
    row = tx.one("SELECT owner, until FROM lease WHERE name=?", (name,))
    return row is None or row[0] in ("", owner) or row[1] <= tx.now()


def take(tx: Transaction, name: str, owner: str, seconds: float = SECONDS) -> Lease | None:
    """Takes the lease under a new term; None where another owner has it (`may_take`)."""
    if not may_take(tx, name, owner):
        return None
    tx.alone("broker: leases")  # terms are given in turn, and of two that take it one comes second
    now = tx.now()
    taken = tx.one(  # looked at again by the same statement: its owner may renew it at this very moment
        "INSERT INTO lease (name, owner, term, until) VALUES (?,?,(SELECT coalesce(max(term), 0) + 1 FROM lease),?)"
        " ON CONFLICT (name) DO UPDATE SET owner=excluded.owner, term=excluded.term, until=excluded.until"
        " WHERE lease.owner IN ('', excluded.owner) OR lease.until<=? RETURNING term",
        (name, owner, now + seconds, now),
    )
    return None if taken is None else Lease(name=name, owner=owner, term=taken[0])


def hold(tx: Transaction, lease: Lease, seconds: float = SECONDS) -> float:
    """Renews it; until this transaction ends nobody else can take it. Returns the store's time, which it asks for.

    Raises `LostLeaseError`.
    """
    now = tx.now()
    if not tx.change(
        "UPDATE lease SET until=? WHERE name=? AND term=? AND owner<>''",
        (now + seconds, lease.name, lease.term),
    ):
        raise LostLeaseError(f"{lease.name}: another node has taken over")
    return now


def give_back(tx: Transaction, lease: Lease) -> None:
    """Others may take it at once. Nothing happens where it is lost already."""
    tx.execute("UPDATE lease SET owner='', until=0 WHERE name=? AND term=?", (lease.name, lease.term))


class Held:
    """How long a lease may be relied on, by this machine's own clock: counted from before it was asked for."""

    def __init__(self, lease: Lease, clock: Callable[[], float] = time.monotonic) -> None:
        self.lease = lease
        self._clock = clock
        self._until = float("-inf")
        self.is_lost = False
        """Another node has it, or it was given back."""

    def renewed(self, asked: float, seconds: float = SECONDS) -> None:
        """`asked`: what the clock said before the transaction that took or renewed it began."""
        self._until = max(self._until, asked + seconds - MARGIN_SECONDS)

    def lost(self) -> None:
        """Nothing is to be relied on any more."""
        self.is_lost = True

    @property
    def sure(self) -> bool:
        """Whether something may begin that only its owner may do."""
        return not self.is_lost and self._clock() < self._until

    def confirm(self) -> None:
        """Raises `LostLeaseError` where it is not `sure`, as in a process that was stopped and has just woken up."""
        if not self.sure:
            raise LostLeaseError(f"{self.lease.name}: it was not renewed in time")
