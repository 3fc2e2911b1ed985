"""Which deliveries or messages a replay is about, in parts that fit one transaction each. Read only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from broker.adapter import Target
from broker.delivery import ledger
from broker.store.transaction import Transaction, Value

Mode = Literal["sent", "rendered", "received"]
"""The bytes as they left; made anew by today's routes and registers; or the whole message taken in again."""

PART: Final = 200
"""Replays a transaction: the traffic of a running broker goes on between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which deliveries: every field that is given must fit."""

    deliveries: tuple[int, ...] = ()
    messages: tuple[int, ...] = ()
    """Journal numbers of messages."""
    destination: str = ""
    route: str = ""
    source: str = ""
    since: str = ""
    until: str = ""
    """Reception, ISO 8601 in UTC, the latter excluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A delivery that was made once."""

    id: int
    event: int
    message: int
    day: str
    source: str
    lane: str
    target: Target
    summary: str


def chosen(tx: Transaction, selection: Selection) -> list[Chosen]:
    """The first deliveries that fit, in lane order. What is open, or a row of the broker's own, is not replayed."""
    where, values = (
        ["state IN ('delivered', 'dropped', 'held', 'withheld')", "kind<>'worklist'", "replay_of IS NULL"],
        list[Value](),
    )
    for column, numbers in (("delivery.id", selection.deliveries), ("event.message", selection.messages)):
        if numbers:
            where.append(f"{column} IN ({','.join('?' * len(numbers))})")
            values += numbers
    texts = (
        ("destination=?", selection.destination),
        ("route=?", selection.route),
        ("delivery.source=?", selection.source),
        ("created>=?", selection.since),
        ("created<?", selection.until),
    )
    for condition, value in texts:
        if value:
            where.append(condition)
            values.append(value)
    rows = tx.rows(
        "SELECT delivery.id, event.seq, event.message, day, source, lane, route, version, delivery.place, kind,"
        " destination, summary, purpose FROM delivery JOIN event ON event.seq=delivery.event"
        f" WHERE {' AND '.join(where)} ORDER BY delivery.id",
        values,
    )
    return [
        Chosen(
            id=number,
            event=event,
            message=message,
            day=day,
            source=source,
            lane=lane,
            target=Target(
                route=route,
                version=version,
                place=place,
                kind=kind,
                destination=destination,
                purpose="contact" if ledger.may_tell(may, kind) or may == "cleared" else "care",
                cleared=may == "cleared",
            ),
            summary=summary,
        )
        for number, event, message, day, source, lane, route, version, place, kind, destination, summary, may in rows
    ]


def count(tx: Transaction, selection: Selection, mode: Mode) -> int:
    """How many deliveries, or messages in mode `received`, fit."""
    return sum(len(part) for part in parts(tx, selection, mode))


def parts(tx: Transaction, selection: Selection, mode: Mode) -> Iterator[Sequence[Chosen | int]]:
    found: Sequence[Chosen | int] = messages(tx, selection) if mode == "received" else chosen(tx, selection)
    for start in range(0, len(found), PART):
        yield found[start : start + PART]


def messages(tx: Transaction, selection: Selection) -> list[int]:
    """Journal numbers of the messages that are meant: as they are named, else behind the deliveries."""
    return list(selection.messages) or list(dict.fromkeys(row.message for row in chosen(tx, selection)))
