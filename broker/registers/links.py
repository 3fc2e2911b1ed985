"""Records that PAS calls related (A24) or not related any more (A37). Nothing is filed by it, and no row changes.

A link stands between two identifiers, so that merges and splits need not touch it.
"""

from __future__ import annotations

from broker.event import Event, Identifier
from broker.registers import patients
from broker.store.transaction import Transaction


def fold(tx: Transaction, event: Event) -> None:
    """Links or unlinks the patient of PID and the one whom `prior` names."""
    patient, others = event.data.patient, event.data.prior
    if patient is None or not patient.identifiers or not others:
        return
    if event.type == "patient.unlinked":
        one, two = (_whole(tx, ids) for ids in (patient.identifiers, others))
        for a, b in ((one, two), (two, one)):
            for issuer, value in a:
                tx.each(
                    "DELETE FROM patient_link WHERE value=? AND issuer=? AND other_value=? AND other_issuer=?",
                    [(value, issuer, v, i) for i, v in b],
                )
        return
    (issuer, value), (other_issuer, other_value) = sorted((patient.identifiers[0].key, others[0].key))
    tx.execute(
        "INSERT INTO patient_link (value, issuer, other_value, other_issuer, event) VALUES (?,?,?,?,?)"
        " ON CONFLICT (value, issuer, other_value, other_issuer) DO NOTHING",
        (value, issuer, other_value, other_issuer, event.id),
    )


def related(tx: Transaction, key: str) -> list[str]:
    """Records linked with a patient's, by key; without itself, which a merge may have made of the other."""
    found: list[str] = []
    for mine, theirs in (("", "other_"), ("other_", "")):
        found += [
            other
            for (other,) in tx.rows(
                "SELECT theirs.patient FROM patient_identifier AS mine"
                f" JOIN patient_link ON patient_link.{mine}value=mine.value AND patient_link.{mine}issuer=mine.issuer"
                f" JOIN patient_identifier AS theirs ON theirs.value=patient_link.{theirs}value"
                f" AND theirs.issuer=patient_link.{theirs}issuer WHERE mine.patient=? ORDER BY theirs.patient",
                (key,),
            )
        ]
    return [other for other in dict.fromkeys(found) if other != key]


def _whole(tx: Transaction, identifiers: tuple[Identifier, ...]) -> set[tuple[str, str]]:
    """(issuer, value) of everything that leads to the same record, and what was said itself."""
    keys = patients.find(tx, identifiers)[:1]
    rows = [
        row
        for key in keys
        for row in tx.rows("SELECT issuer, value FROM patient_identifier WHERE patient=?", (key,))
    ]
    return {i.key for i in identifiers} | {(issuer, value) for issuer, value in rows}
