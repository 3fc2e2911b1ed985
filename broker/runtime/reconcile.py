"""Accounts for every message, counted from the rows and held against the tally; rebuilds the registers from the log.

Read-only: it says what does not add up and puts nothing right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from broker.store import days
from broker.store.transaction import Transaction

CLASSES: Final = (
    "delivered",
    "queued",
    "parked",
    "held",
    "dropped",
    "withheld",
    "filtered",
    "rejected",
    "junk",
    "failed",
)
"""What became of a message, each in exactly one: the first of these that is true of any of its deliveries, from
`queued` on downwards in urgency."""

_CLASSIFIED: Final = """
SELECT source, class, count(*) FROM (
  SELECT message.source AS source, CASE
    WHEN message.verdict <> 'accepted' THEN message.verdict
    WHEN count(event.seq) FILTER (WHERE event.routed IS NULL) > 0 THEN 'queued'
    WHEN count(event.seq) FILTER (WHERE event.routed = 'failed') > 0 THEN 'failed'
    WHEN count(delivery.id) FILTER (WHERE delivery.state = 'parked') > 0 THEN 'parked'
    WHEN count(delivery.id) FILTER (WHERE delivery.state = 'held') > 0 THEN 'held'
    WHEN count(delivery.id) FILTER (WHERE delivery.state = 'queued') > 0 THEN 'queued'
    WHEN count(delivery.id) FILTER (WHERE delivery.state = 'delivered') > 0 THEN 'delivered'
    WHEN count(delivery.id) FILTER (WHERE delivery.state = 'dropped') > 0 THEN 'dropped'
    WHEN count(delivery.id) > 0 THEN 'withheld'
    ELSE 'filtered' END AS class
  FROM message LEFT JOIN event ON event.message = message.seq
    LEFT JOIN delivery ON delivery.event = event.seq AND delivery.replay_of IS NULL
  WHERE received >= ? AND received < ? GROUP BY message.seq) AS classified
GROUP BY source, class"""


_COUNT: Final = "SELECT count(*) FROM message WHERE received >= ? AND received < ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One listener on one day: messages received, and what became of them."""

    day: str
    source: str
    received: int
    classes: dict[str, int]

    @property
    def difference(self) -> int:
        """Received and not accounted for: 0, or something disappeared."""
        return self.received - sum(self.classes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """What one route made for one destination of one listener's messages on one day."""

    day: str
    source: str
    route: str
    destination: str
    states: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`faults` name what does not add up; empty when everything does."""

    accounts: list[Account]
    lanes: list[Lane]
    faults: list[str]


def reconcile(
    tx: Transaction, spool: Path, *, only: str = "", progress: Callable[[str], None] = lambda _day: None
) -> Report:
    """Counts every day that the journal still has, or only one. `tx` is one moment (`Database.snapshot`).

    `spool`: where the objects stand that the journal names.
    """
    accounts: list[Account] = []
    lanes: list[Lane] = []
    faults: list[str] = list(_gaps(tx))
    for day in days.known(tx):
        if only and day != only:
            continue
        progress(day)
        accounts += _accounts(tx, day)
        lanes += _lanes(tx, day)
        faults += _day_faults(tx, spool, day)
    for account in accounts:
        if account.difference:
            faults.append(
                f"{account.day} {account.source}: {account.difference} messages are not accounted for"
            )
    return Report(accounts=accounts, lanes=lanes, faults=faults)


def _accounts(tx: Transaction, day: str) -> Iterable[Account]:
    classes: dict[str, dict[str, int]] = {}
    for source, kind, number in tx.rows(_CLASSIFIED, days.within(day)):
        classes.setdefault(source, {})[kind] = number
    received = dict(
        _pairs(tx, "SELECT source, sum(number) FROM tally WHERE day=? AND route='' GROUP BY source", day)
    )
    for source in sorted(received.keys() | classes.keys()):
        yield Account(
            day=day, source=source, received=received.get(source, 0), classes=classes.get(source, {})
        )


def _pairs(tx: Transaction, sql: str, day: str) -> Iterable[tuple[str, int]]:
    return ((name, number) for name, number in tx.rows(sql, (day,)))


def _lanes(tx: Transaction, day: str) -> Iterable[Lane]:
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for source, route, destination, state, number in tx.rows(
        "SELECT source, route, destination, state, count(*) FROM delivery WHERE day=?"
        " GROUP BY source, route, destination, state",
        (day,),
    ):
        found.setdefault((source, route, destination), {})[state] = number
    for (source, route, destination), states in sorted(found.items()):
        yield Lane(day=day, source=source, route=route, destination=destination, states=states)


def _gaps(tx: Transaction) -> Iterable[str]:
    """Journal numbers start at 1 and have no gaps: one that is missing is a message that disappeared.

    Not where numbers come from a sequence: what was rolled back leaves a gap there, and the tally alone must hold.
    """
    if not tx.gapless:
        return
    last = tx.one("SELECT coalesce(max(seq), 0) FROM message") or (0,)
    rows = sum((tx.one(_COUNT, days.within(day)) or (0,))[0] for day in days.known(tx))
    gone = tx.one(
        "SELECT coalesce(sum(number), 0) FROM tally WHERE destination=''"
        " AND day NOT IN (SELECT day FROM day WHERE leaving=0)"
    ) or (0,)
    if rows and rows + gone[0] != last[0]:
        yield f"the journal numbers {last[0]} messages, of which it has {rows} and dropped {gone[0]} by age"


def _day_faults(tx: Transaction, spool: Path, day: str) -> Iterable[str]:
    for source, route, destination, state, rows, tally in tx.rows(
        "SELECT source, route, destination, state, sum(counted), sum(told) FROM ("
        " SELECT source, '' AS route, '' AS destination, verdict AS state, 1 AS counted, 0 AS told FROM message"
        " WHERE received>=? AND received<? UNION ALL"
        " SELECT source, route, destination, state, 1, 0 FROM delivery WHERE day=?"
        " UNION ALL SELECT source, route, destination, state, 0, number FROM tally WHERE day=? AND state<>'lossy')"
        " AS both_"
        " GROUP BY source, route, destination, state HAVING sum(counted)<>sum(told)",
        (*days.within(day), day, day),
    ):
        where = " ".join(part for part in (day, source, route, destination, state) if part)
        yield f"{where}: {rows} rows, but {tally} were counted as they came"
    for identity, wanted, found in tx.rows(
        "SELECT message.id, message.events, count(event.seq) FROM message LEFT JOIN event ON event.message=message.seq"
        " WHERE received>=? AND received<? GROUP BY message.seq HAVING message.events<>count(event.seq)",
        days.within(day),
    ):
        yield f"message {identity}: made {wanted} events, {found} are in the log"
    for (number,) in tx.rows(
        "SELECT delivery.id FROM delivery LEFT JOIN event ON event.seq=delivery.event"
        " WHERE day=? AND event.seq IS NULL AND replay_of IS NULL",
        (day,),
    ):
        yield f"delivery {number}: its event is not in the log"
    yield from _open_bytes(tx, spool, day)


def _open_bytes(tx: Transaction, spool: Path, day: str) -> Iterable[str]:
    """What still has to leave must have its bytes."""
    kept = day in days.known(tx, since=day, bodies=True)
    body = (
        f"SELECT 1 FROM {days.table('delivery_body', day)} WHERE delivery=delivery_.id"
        if kept
        else "SELECT 1 WHERE 1=0"
    )
    for (number,) in tx.rows(
        "SELECT delivery_.id FROM delivery AS delivery_ WHERE day=? AND state IN ('queued', 'parked')"
        f" AND NOT EXISTS ({body})",
        (day,),
    ):
        yield f"delivery {number}: still has to leave, and its bytes are gone"
    for number, blob, given_up in tx.rows(
        "SELECT DISTINCT delivery.id, message.blob, coalesce(freed.at, '') FROM delivery"
        " JOIN event ON event.seq=delivery.event JOIN message ON message.seq=event.message"
        " LEFT JOIN instance ON instance.event=event.id"
        " LEFT JOIN freed ON freed.sop_instance_uid=instance.sop_instance_uid"
        " WHERE delivery.day=? AND delivery.state IN ('queued', 'parked') AND message.blob<>''",
        (day,),
    ):
        if not (spool / blob).is_file():
            why = f"was given up on {given_up[:10]}, because archives keep it" if given_up else "is gone"
            yield f"delivery {number}: still has to leave, and its file {why}"


def totals(report: Report) -> list[dict[str, Any]]:
    """Accounts summed over the days: per listener, received and what became of it."""
    found: dict[str, dict[str, int]] = {}
    for account in report.accounts:
        row = found.setdefault(account.source, {"received": 0} | dict.fromkeys(CLASSES, 0))
        row["received"] += account.received
        for kind, number in account.classes.items():
            row[kind] = row.get(kind, 0) + number
    return [{"source": source, **row} for source, row in sorted(found.items())]
