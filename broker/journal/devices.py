"""What DICOM devices sent of late, whose messages reached an HL7 destination, who was told of patients. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.store.database import Transaction

STORES: Final = ("C-STORE",)
PERFORMS: Final = ("N-CREATE", "N-SET")
UNSCHEDULED: Final = "mpps-unscheduled"
"""Flag of an MPPS that names no scheduled step: what it performs was on no list that the device saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Messages of one device, of one service, with one verdict."""

    aet: str
    """Calling AE title."""
    type: str
    verdict: str
    number: int
    last: str
    """When the newest came: ISO 8601, UTC."""
    scheduled: int = 0
    """Of MPPS that began: those that name a scheduled step."""


def sent(tx: Transaction, since: str) -> list[Sent]:
    """Everything that devices sent since then (ISO 8601, UTC), added up by device, service and verdict."""
    types = (*STORES, *PERFORMS)
    marks = ",".join("?" * len(types))
    rows = tx.rows(
        "SELECT sender, type, verdict, count(*), max(received),"
        " sum(CASE WHEN type='N-CREATE' AND flags NOT LIKE ? THEN 1 ELSE 0 END) FROM message"
        f" WHERE type IN ({marks}) AND received>=? GROUP BY sender, type, verdict ORDER BY sender, type, verdict",
        (f"%{UNSCHEDULED}%", *types, since),
    )
    return [
        Sent(aet=aet, type=kind, verdict=verdict, number=number, last=last, scheduled=scheduled)
        for aet, kind, verdict, number, last, scheduled in rows
    ]


def reached(tx: Transaction, since: str) -> dict[str, tuple[str, ...]]:
    """By calling AE title: the HL7 destinations that took a message which came of what the device sent since then."""
    types = (*STORES, *PERFORMS)
    marks = ",".join("?" * len(types))
    found: dict[str, tuple[str, ...]] = {}
    for aet, destination in tx.rows(
        "SELECT DISTINCT message.sender, delivery.destination FROM message"
        " JOIN event ON event.message=message.seq JOIN delivery ON delivery.event=event.seq"
        f" WHERE message.type IN ({marks}) AND message.received>=? AND delivery.kind='hl7'"
        " AND delivery.state='delivered' ORDER BY message.sender, delivery.destination",
        (*types, since),
    ):
        found[aet] = (*found.get(aet, ()), destination)
    return found


def told(tx: Transaction, since: str) -> frozenset[str]:
    """Who was told of a patient since then, as the audit names them: a device by its AE title."""
    rows = tx.rows(
        "SELECT DISTINCT who FROM audit WHERE at>=? AND id IN (SELECT audit FROM disclosure)", (since,)
    )
    return frozenset(who for (who,) in rows)
