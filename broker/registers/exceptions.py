"""What a person must look at, until it is put right: one entry per kind and subject, raised once, cleared once.

A subject is a key of ours (a step, an instance, an event, a record of the patient register) and tells nobody who the
patient is; a reason names places, never values.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, get_args

from broker.event import Closing, Event
from broker.store.transaction import Transaction

Kind = Literal[
    "step-held",
    "step-refused",
    "step-patient-differs",
    "study-uid-changed",
    "study-uid-shared",
    "cancel-unmatched",
    "study-adopted",
    "visit-patient-differs",
    "mpps-unscheduled",
    "mpps-patient-differs",
    "mpps-overdue",
    "study-incomplete",
    "commitment-unknown",
    "commitment-overdue",
    "commitment-failed",
    "rejection-patient-differs",
    "wrong-entry-images",
    "identity-conflict",
    "merge-held",
    "split-refused",
    "clock-skew",
    "demographics-differ",
    "instance-unverified",
    "instance-differs",
    "instance-patient-differs",
    "temporary-id-reissued",
    "mother-for-child",
    "event-failed",
    "delivery-held",
    "control-id-reused",
    "mojibake",
]


SETTLED: Final[frozenset[Kind]] = frozenset(
    {
        *("step-held", "merge-held", "delivery-held", "wrong-entry-images"),
        *("mpps-overdue", "commitment-overdue", "commitment-failed"),
    }
)
"""Kinds that are found again for as long as they are so: what puts them right closes them, nobody's word does."""

CLOSABLE: Final[frozenset[str]] = frozenset(get_args(Kind)) - SETTLED
"""Kinds that stand until somebody says that they are seen to."""


def report(tx: Transaction, kind: Kind, subject: str, reason: str, event: Event) -> None:
    """Opens an entry, or renews its reason while keeping since when it stands."""
    note(tx, kind, subject, reason, at=event.time.isoformat(), event=event.id)


def note(tx: Transaction, kind: Kind, subject: str, reason: str, *, at: str, event: str = "") -> None:
    """As `report`, for what no event tells of."""
    tx.execute(
        "INSERT INTO exception (kind, subject, reason, since, event) VALUES (?,?,?,?,?)"
        " ON CONFLICT (kind, subject) DO UPDATE SET reason=excluded.reason, event=excluded.event",
        (kind, subject, reason, at, event),
    )


def clear(tx: Transaction, kind: Kind, subject: str) -> None:
    """Closes an entry, if there is one."""
    tx.execute("DELETE FROM exception WHERE kind=? AND subject=?", (kind, subject))


def close(tx: Transaction, said: Closing) -> None:
    """Somebody has seen to it. It opens again should it be reported anew."""
    if said.kind in CLOSABLE:
        tx.execute("DELETE FROM exception WHERE kind=? AND subject=?", (said.kind, said.subject))


class Entry(NamedTuple):
    """An open entry as it stands."""

    kind: str
    subject: str
    reason: str
    event: str


def entries(tx: Transaction) -> list[Entry]:
    """Every open entry, without the message behind it: also of registers that have no journal beside them."""
    rows = tx.rows("SELECT kind, subject, reason, event FROM exception ORDER BY since, subject")
    return [Entry(*row) for row in rows]


def listed(tx: Transaction) -> list[dict[str, Any]]:
    """Every open entry, the oldest first, with the message that caused it."""
    rows = tx.rows(
        "SELECT exception.kind, exception.subject, exception.reason, exception.since, message.id, message.source,"
        " message.control_id FROM exception LEFT JOIN event ON event.id = exception.event"
        " LEFT JOIN message ON message.seq = event.message ORDER BY exception.since, exception.subject"
    )
    names = ("kind", "subject", "reason", "since", "message", "source", "control_id")
    return [dict(zip(names, row, strict=True)) for row in rows]
