"""Temporary identifiers: H-numbers, FH-numbers, a trauma series, and whatever PAS calls an unknown person by.

Since when one stands and who gave it, so that none is forgotten; and that one which has ended, because it is known by
now who that was, is nobody else's ever after. Which identifiers are temporary, `broker.identity` says.
"""

from __future__ import annotations

from typing import NamedTuple

from broker.event import Event, Patient
from broker.identity import class_of
from broker.registers import demographics, exceptions, patients
from broker.store.transaction import Transaction


class Unreconciled(NamedTuple):
    """A patient of whom it is still not known who it is."""

    key: str
    since: str
    """ISO 8601, UTC."""
    source: str
    """Listener that took the message, and its site: who must find out."""
    site: str
    event: str
    """The event that named the identifier first."""


def fold(tx: Transaction, event: Event, said: Patient) -> None:
    """Remembers since when the temporary ones among the identifiers stand, those that MRG-1 names among them."""
    unknown = {i.key for i in said.identifiers if said.unknown == "Y" and class_of(i) == "local"}
    for identifier in (*said.identifiers, *event.data.prior):
        if class_of(identifier) == "temporary" or identifier.key in unknown:
            tx.execute(
                "INSERT INTO temporary_id (value, issuer, since, source, site, event) VALUES (?,?,?,?,?,?)"
                " ON CONFLICT (value, issuer) DO NOTHING",
                (
                    identifier.value,
                    identifier.issuer,
                    event.time.isoformat(),
                    event.source,
                    event.site,
                    event.id,
                ),
            )


def reissued(tx: Transaction, event: Event, said: Patient) -> bool:
    """Whether PAS names another person by a temporary identifier that has ended; reported, not to be applied.

    Aliases stay valid for ever, longer than the ten years for which none may be given again: taken at its word, such
    a message would overwrite the patient who once had the identifier.
    """
    for (issuer, value), owner in patients.owners_of(tx, said.identifiers).items():
        if (
            owner.current
            or tx.one("SELECT 1 FROM temporary_id WHERE value=? AND issuer=?", (value, issuer)) is None
        ):
            continue
        known = patients.get(tx, owner.patient)
        if any(i.key in {own.key for own in known.patient.identifiers} for i in said.identifiers):
            continue  # it is the same patient by another identifier, which has not ended
        anew = event.type in ("patient.registered", "encounter.started")
        unknown = anew and said.unknown == "Y" and known.patient.unknown != "Y"
        if unknown or {"birth date", "family name"} <= set(demographics.differences(known.patient, said)):
            reason = "PID-3 names another person by a temporary identifier that has ended; not applied"
            exceptions.report(tx, "temporary-id-reissued", event.message_id, reason, event)
            return True
    return False


def unreconciled(tx: Transaction) -> list[Unreconciled]:
    """Who is still known by a temporary identifier alone, or is called unknown; the longest first."""
    found: dict[str, Unreconciled] = {}
    for key, *first in tx.rows(
        "SELECT patient, first.since, first.source, first.site, first.event FROM temporary_id AS first"
        " JOIN patient_identifier USING (value, issuer) WHERE current=1 ORDER BY first.since, value, issuer"
    ):
        known = patients.get(tx, key)
        if known.key not in found and _is_open(known.patient):
            found[known.key] = Unreconciled._make((known.key, *first))
    return list(found.values())


def _is_open(patient: Patient) -> bool:
    classes = {class_of(identifier) for identifier in patient.identifiers}
    return patient.unknown == "Y" or ("temporary" in classes and "national" not in classes)
