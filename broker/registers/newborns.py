"""Whose child somebody is (PID-21), and images of a newborn that carry the mother's id.

Mother and child are two patients from the first minute, and nothing is ever filed by this link: it only stops what
would be filed under the wrong one of them. What was imaged before the child was registered is the mother's.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from broker.event import Event, Instance, Patient
from broker.registers import exceptions, instances, patients
from broker.registers.patients import Known
from broker.store.transaction import Transaction

NEWBORN: Final = timedelta(days=365)
"""How long after birth a child may still lie among newborns."""


def fold(tx: Transaction, event: Event, said: Patient, known: Known) -> None:
    """Keeps the link as the register now has it. A message that says nothing of the mother changes nothing."""
    if said.mother is None:
        return
    tx.execute(
        "DELETE FROM mother WHERE child=? OR child IN (SELECT key FROM patient WHERE merged_into=?)",
        (known.key, known.key),
    )
    if known.patient.mother is not None and known.patient.mother.value:
        issuer, value = known.patient.mother.key
        tx.execute(
            "INSERT INTO mother (child, value, issuer, event) VALUES (?,?,?,?)",
            (known.key, value, issuer, event.id),
        )


def children(tx: Transaction, key: str) -> list[Known]:
    """The children of a patient, each once, by whichever of her identifiers they name her."""
    rows = tx.rows(
        "SELECT DISTINCT child FROM mother JOIN patient_identifier USING (value, issuer) WHERE patient=?"
        " ORDER BY child",
        (key,),
    )
    return list({known.key: known for known in (patients.get(tx, child) for (child,) in rows)}.values())


def misplaced(tx: Transaction, event: Event, instance: Instance, said: Patient) -> bool:
    """Whether an object from among newborns names a mother whose newborn is registered: held, for a person to decide.

    It is not filed, so that it may come again under the child's id with the same SOP Instance UID.
    """
    owner = instances.owner(tx, instance, said) if instance.neonatal else None
    if owner is None or not any(_is_newborn(child.patient, event) for child in children(tx, owner.key)):
        exceptions.clear(tx, "mother-for-child", instance.sop_instance_uid)
        return False
    reason = "it came from among newborns under the id of a mother whose newborn is registered; kept, not passed on"
    exceptions.report(tx, "mother-for-child", instance.sop_instance_uid, reason, event)
    return True


def _is_newborn(child: Patient, event: Event) -> bool:
    """Living, and born not long before; so is a child whose birth date nobody said."""
    if child.deceased == "Y":
        return False
    born = child.birth_date or ""
    if len(born) < len("YYYYMMDD"):
        return not born or int(born[:4]) >= event.time.year - 1
    return event.time.date() - date.fromisoformat(born) <= NEWBORN
