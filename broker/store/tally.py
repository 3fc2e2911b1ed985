"""The running count of messages by verdict and of deliveries by state, per day, listener, route, destination and node.

Written in the transaction of what it counts, and read by status and metrics, which must not count millions of rows.
`broker reconcile` counts the rows and holds them against it.
"""

from __future__ import annotations

from broker.store.database import Transaction


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
        " ON CONFLICT (day, source, route, destination, state, node)"
        " DO UPDATE SET number=tally.number+excluded.number",
        (day, source, route, destination, state, tx.node, number),
    )


def messages(tx: Transaction) -> list[tuple[str, str, int]]:
    """(source, verdict, messages) over all days."""
    rows = tx.rows(
        "SELECT source, state, sum(number) FROM tally WHERE destination='' GROUP BY source, state"
        " HAVING sum(number)<>0 ORDER BY source, state"
    )
    return [(source, verdict, number) for source, verdict, number in rows]


def deliveries(tx: Transaction) -> dict[str, dict[str, int]]:
    """Destination to state to deliveries, over all days."""
    found: dict[str, dict[str, int]] = {}
    for destination, state, number in tx.rows(
        "SELECT destination, state, sum(number) FROM tally WHERE destination<>'' GROUP BY destination, state"
        " ORDER BY destination"
    ):
        found.setdefault(destination, {})[state] = number
    return found
