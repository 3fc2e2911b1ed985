"""What DICOM devices sent of late, what became of it, and who was told of patients. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from broker.store.transaction import Transaction

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


ENDED: Final = {
    "step.started": "begun",
    "step.completed": "completed",
    "step.discontinued": "discontinued",
}
"""What MPPS came to, by the event that they made."""


def performed(tx: Transaction, aet: str, since: str) -> dict[str, int]:
    """How many steps one device began, completed and discontinued since then."""
    marks, types = ",".join("?" * len(PERFORMS)), ",".join("?" * len(ENDED))
    rows = tx.rows(
        "SELECT event.type, count(*) FROM message JOIN event ON event.message=message.seq"
        f" WHERE message.type IN ({marks}) AND message.sender=? AND message.received>=?"
        f" AND event.type IN ({types}) GROUP BY event.type",
        (*PERFORMS, aet, since, *ENDED),
    )
    return {ENDED[kind]: number for kind, number in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """Whose the objects of one device are."""

    number: int = 0
    unknown: int = 0
    """PAS knows no such patient."""
    ended: int = 0
    """They came under a number that PAS had ended, by a merge or otherwise."""


def filed(tx: Transaction, aet: str, since: str) -> Filed:
    """Of the objects that one device sent since then."""
    marks = ",".join("?" * len(STORES))
    number, unknown, ended = tx.one(
        "SELECT count(*), coalesce(sum(CASE WHEN instance.patient='' THEN 1 ELSE 0 END), 0),"
        " coalesce(sum(CASE WHEN instance.patient<>'' AND patient_identifier.current=0 THEN 1 ELSE 0 END), 0)"
        " FROM message JOIN event ON event.message=message.seq JOIN instance ON instance.event=event.id"
        " LEFT JOIN patient_identifier ON patient_identifier.value=instance.said_value"
        " AND patient_identifier.issuer=instance.said_issuer"
        f" WHERE message.type IN ({marks}) AND message.sender=? AND message.received>=?",
        (*STORES, aet, since),
    ) or (0, 0, 0)
    return Filed(number=number, unknown=int(unknown), ended=int(ended))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Storage commitments that one device asked for."""

    number: int = 0
    last: str = ""
    """When the newest was: ISO 8601, UTC."""
    reported: int = 0
    """Those whose report the device took."""
    stuck: int = 0
    """Reports that wait for a person."""


def asked(tx: Transaction, aet: str, since: str) -> Asked:
    """Since then (ISO 8601, UTC)."""
    number, last = tx.one(
        "SELECT count(*), coalesce(max(asked), '') FROM commitment_request WHERE requester=? AND asked>=?",
        (aet, since),
    ) or (0, "")
    states = dict(
        tx.rows(
            "SELECT delivery.state, count(*) FROM event JOIN delivery ON delivery.event=event.seq"
            " JOIN commitment_request ON commitment_request.event=event.id"
            " WHERE commitment_request.requester=? AND commitment_request.asked>=? AND event.type=?"
            " GROUP BY delivery.state",
            (aet, since, "commitment.reported"),
        )
    )
    return Asked(
        number=number,
        last=last,
        reported=states.get("delivered", 0),
        stuck=states.get("parked", 0) + states.get("held", 0),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Safe:
    """Objects that archives took, and those of them that one has committed to."""

    stored: int
    committed: int


def safe(tx: Transaction, since: str) -> dict[str, Safe]:
    """By calling AE title, of what came since then."""
    marks = ",".join("?" * len(STORES))
    rows = tx.rows(
        "SELECT sender, count(*), sum(committed) FROM (SELECT message.sender AS sender,"
        " max(CASE WHEN copy.state='committed' THEN 1 ELSE 0 END) AS committed FROM message"
        " JOIN event ON event.message=message.seq JOIN instance ON instance.event=event.id"
        " JOIN copy ON copy.sop_instance_uid=instance.sop_instance_uid"
        f" WHERE message.type IN ({marks}) AND message.received>=?"
        " GROUP BY message.sender, instance.sop_instance_uid) AS one GROUP BY sender",
        (*STORES, since),
    )
    return {aet: Safe(stored=stored, committed=int(committed)) for aet, stored, committed in rows}
