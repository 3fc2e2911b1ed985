"""Whose address is protected beside those of whom PAS says it: a child's whose mother's is, a survivor's by a merge.

What PAS says of a patient stands in the register (`Patient.protected`), newest last, as every other value. What follows
for routes and for what already left is not decided here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from broker.event import Event, Patient
from broker.registers import patients
from broker.registers.patients import Known
from broker.store.transaction import Transaction
from broker.view import View

OF_AGE: Final = 18
"""Years after which a child no longer inherits: it need not live where its mother does."""


def carried(tx: Transaction, event: Event) -> Event:
    """A merge, as the register is to hear it: where it says nothing of protection, that of an absorbed patient stands.

    To be called before the event is folded. An id change carries it over with the record anyway.
    """
    said = event.data.patient
    if event.type != "patient.merged" or said is None or said.protected is not None:
        return event
    ending = [patients.get(tx, key) for key in patients.find(tx, event.data.prior)]
    if not any(known.patient.protected for known in ending):
        return event
    data = event.data.model_copy(update={"patient": said.model_copy(update={"protected": True})})
    return event.model_copy(update={"data": data})


def seen(tx: Transaction, view: View) -> View:
    """The view with what its patient inherits."""
    inherits = view.patient is not None and _inherits(tx, view.patient, view.event)
    return replace(view, inherits=True) if inherits else view


def holds(tx: Transaction, known: Known, event: Event) -> bool:
    """Whether the patient's address is protected when the event came, by PAS's own word or by the mother's."""
    return known.patient.protected is True or _inherits(tx, known.patient, event)


def _inherits(tx: Transaction, patient: Patient, event: Event) -> bool:
    """A child's own value does not count against it: a register's default must not tell where a mother hides."""
    if patient.mother is None or not patient.mother.value or _of_age(patient, event):
        return False
    return any(
        patients.get(tx, key).patient.protected is True for key in patients.find(tx, (patient.mother,))
    )


def _of_age(patient: Patient, event: Event) -> bool:
    born = (patient.birth_date or "")[:8]
    if len(born) < 4:
        return False
    return f"{int(born[:4]) + OF_AGE:04}{born[4:]}" <= event.time.strftime("%Y%m%d")[: len(born)]
