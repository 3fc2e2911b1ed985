"""Deliveries of one event, queued and looked at in the journal as it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from broker.adapter import Rendered, Target
from broker.delivery import ledger, stored
from broker.delivery.ledger import Queued
from broker.delivery.stored import Open
from broker.store.transaction import Transaction
from tests.support.events import cause

TARGET: Final = Target(route="adt", version="v1", place="routes/adt.yaml:9", kind="hl7", destination="epj")

T0: Final = "2026-03-09T08:01:00+00:00"
"""When the event came that everything here is made of."""

T1, T2 = "2026-03-09T09:00:00+00:00", "2026-03-09T10:00:00+00:00"


def queue(tx: Transaction, payload: bytes = b"x", lane: str = "P1", destination: str = "epj") -> Queued:
    target = replace(TARGET, destination=destination)
    return ledger.enqueue(tx, cause(), lane, target, Rendered(payload=payload, summary="ADT^A04"))


def load(tx: Transaction, number: int) -> Open:
    opened = stored.load(tx, number)
    assert opened is not None
    return opened


def rows(tx: Transaction) -> list[tuple[Any, ...]]:
    return tx.rows("SELECT id, state, attempt, due, detail, finished FROM delivery ORDER BY id")


def attempts(tx: Transaction) -> list[tuple[Any, ...]]:
    return tx.rows("SELECT delivery, attempt, at, outcome, detail FROM delivery_attempt")


def tallied(tx: Transaction) -> dict[tuple[Any, ...], int]:
    """What was counted while it happened; states that nothing is in any more left out."""
    found = tx.rows(
        "SELECT day, source, route, destination, state, number FROM tally WHERE destination<>'' AND number<>0"
    )
    return {tuple(key): number for *key, number in found}


def counted(tx: Transaction) -> dict[tuple[Any, ...], int]:
    """The same, counted from the rows."""
    found = tx.rows(
        "SELECT day, source, route, destination, state, count(*) FROM delivery GROUP BY 1, 2, 3, 4, 5"
    )
    return {tuple(key): number for *key, number in found}
