"""Who got an address that is protected by now: what must be asked back, because no broker can take it back.

What still waited was withdrawn when the protection was set (`pipeline`). Reads only.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.delivery import ledger
from broker.event import Identifier
from broker.registers import patients
from broker.registers.views import unknown_lane
from broker.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A destination that was sent messages with contact data of a patient."""

    destination: str
    first: str
    last: str
    """When, ISO 8601 UTC."""
    deliveries: tuple[int, ...]
    sure: bool
    """False: only attempts that failed, or were under way when the message was withdrawn: it may have arrived."""
    cleared: bool
    """Every one was sent by a route that is cleared for protected addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """What became of a patient's messages that may carry an address."""

    protected: bool | None
    """What PAS says; None: nothing."""
    told: tuple[Told, ...]
    withdrawn: int
    """Deliveries that were taken back, or never made."""


def recall(tx: Transaction, key: str) -> Recall:
    """For the patient under a register's key, with all that was merged into it. Raises `KeyError`."""
    known = patients.get(tx, key)
    lanes = _lanes(tx, known.key)
    marks = ",".join("?" * len(lanes))
    found: dict[str, list[tuple[int, str, str, str]]] = {}
    withdrawn = 0
    for number, destination, state, purpose, finished, attempted in tx.rows(
        "SELECT id, destination, state, purpose, coalesce(finished, created),"
        " EXISTS (SELECT 1 FROM delivery_attempt WHERE delivery_attempt.delivery=delivery.id"
        " AND outcome NOT IN ('unreachable', 'expired'))"
        f" FROM delivery WHERE lane IN ({marks}) AND ({ledger.TELLS} OR purpose='cleared') ORDER BY id",
        lanes,
    ):
        withdrawn += state == "withheld"
        if state == "delivered" or (state in ("withheld", "dropped", "parked", "queued") and attempted):
            found.setdefault(destination, []).append((number, state, purpose, finished))
    return Recall(
        protected=known.patient.protected,
        told=tuple(_told(destination, rows) for destination, rows in sorted(found.items())),
        withdrawn=withdrawn,
    )


def _told(destination: str, rows: list[tuple[int, str, str, str]]) -> Told:
    times = sorted(at for _, _, _, at in rows)
    return Told(
        destination=destination,
        first=times[0],
        last=times[-1],
        deliveries=tuple(number for number, _, _, _ in rows),
        sure=any(state == "delivered" for _, state, _, _ in rows),
        cleared=all(purpose == "cleared" for _, _, purpose, _ in rows),
    )


def _lanes(tx: Transaction, key: str) -> list[str]:
    """Every lane that a message about the patient may have stood in: merged patients', and those of unknown numbers."""
    merged = [one for (one,) in tx.rows("SELECT key FROM patient WHERE merged_into=? ORDER BY key", (key,))]
    numbers = tx.rows("SELECT value, issuer FROM patient_identifier WHERE patient=? ORDER BY 1, 2", (key,))
    unknown = [unknown_lane(Identifier(value=value, oid=issuer)) for value, issuer in numbers]
    return [key, *merged, *unknown]
