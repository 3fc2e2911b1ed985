"""The running count of messages by verdict and of deliveries by state, per day, listener, route, destination and node.

Written in the transaction of what it counts, and read by status and metrics, which must not count millions of rows.
`broker reconcile` counts the rows and holds them against it.
"""

from __future__ import annotations

from typing import Final

from broker.store.transaction import Transaction

LOSSY: Final = "lossy"
"""Counted beside the states: a delivery with other letters than the text has, or a name cut short. No row says it."""

_ADDED: Final = (
    "ON CONFLICT (day, source, route, destination, state, node)"
    " DO UPDATE SET number=tally.number+excluded.number"
)


def add(
    tx: Transaction,
    day: str,
    source: str,
    state: str,
    *,
    route: str = "",
    destination: str = "",
    number: int = 1,
) -> None:
    """Counts messages (no route and destination; `state` is the verdict) or deliveries; negative takes off."""
    tx.execute(
        "INSERT INTO tally (day, source, route, destination, state, node, number) VALUES (?,?,?,?,?,?,?)"
        f" {_ADDED}",
        (day, source, route, destination, state, tx.node, number),
    )


def moved(
    tx: Transaction, day: str, source: str, before: str, after: str, *, route: str, destination: str
) -> None:
    """Counts a delivery that went from one state to another, in one statement: every delivery does."""
    same = (day, source, route, destination)
    tx.execute(
        "INSERT INTO tally (day, source, route, destination, state, node, number) VALUES (?,?,?,?,?,?,-1),"
        f"(?,?,?,?,?,?,1) {_ADDED}",
        (*same, before, tx.node, *same, after, tx.node),
    )


def messages(tx: Transaction) -> list[tuple[str, str, int]]:
    """(source, verdict, messages) over all days."""
    rows = tx.rows(
        "SELECT source, state, sum(number) FROM tally WHERE destination='' GROUP BY source, state"
        " HAVING sum(number)<>0 ORDER BY source, state"
    )
    return [(source, verdict, number) for source, verdict, number in rows]


def lossy(tx: Transaction, since: str) -> dict[str, int]:
    """Destination to lossy deliveries of messages of that day and later."""
    rows = tx.rows(
        "SELECT destination, sum(number) FROM tally WHERE state=? AND day>=? GROUP BY destination",
        (LOSSY, since),
    )
    return dict(rows)


def deliveries(tx: Transaction) -> dict[str, dict[str, int]]:
    """Destination to state to deliveries, over all days."""
    found: dict[str, dict[str, int]] = {}
    for destination, state, number in tx.rows(
        "SELECT destination, state, sum(number) FROM tally WHERE destination<>'' GROUP BY destination, state"
        " ORDER BY destination"
    ):
        found.setdefault(destination, {})[state] = number
    return found
