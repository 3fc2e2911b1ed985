"""Steps that visits make without an order (IHE EBIW): shown while the visit is at the clinic, until an order comes.

Such a step has a `clinic`. It stands while its visit, or an appointment of it, is open there; an order of the same
visit and modality adopts it: its row goes unless the order's is held, and the order has its Study Instance UID unless
it brings its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from broker.event import Encounter, Event, Step, StepStatus
from broker.registers import exceptions, steps, visits
from broker.registers.steps import Held
from broker.registers.visits import Visit
from broker.store.transaction import Transaction


def recognised(tx: Transaction, step: Step, encounter: Encounter | None, patient_key: str) -> Step:
    """A step as an event says it, with what its visit has already given it.

    A clinic's step has the key it had when its visit had another number. A new order that brings no Study Instance
    UID has the one that was made for the visit and this modality, so that images taken before the order are its own.
    """
    visit = _visit(tx, encounter)
    if not visit or steps.get(tx, step.key) is not None:
        return step
    for held in _alike(tx, visit, step, patient_key):
        if not held.step.clinic:
            continue
        if step.clinic:
            if held.step.clinic == step.clinic:
                return step.model_copy(update={"key": held.step.key})
        elif step.study_uid_derived and _free(tx, held, step):
            return step.model_copy(update={"study_uid": held.step.study_uid})
    return step


def follow(tx: Transaction, event: Event, held: Held) -> tuple[Held, list[str]]:
    """A step was folded: it is bound to its visit, and an order and a clinic's step of one kind find each other.

    Returns the step as it is then, and the keys of the others that changed.
    """
    visit = _visit(tx, held.encounter)
    if not visit:
        return held, []
    key = held.step.key
    tx.execute("UPDATE step SET visit=? WHERE key=?", (visit, key))
    alike = _alike(tx, visit, held.step, held.patient_key)
    if held.step.clinic:
        orders = [one for one in alike if not one.step.clinic and one.step.status != "CANCELED"]
        if orders and not adopted_by(tx, key):
            _adopt(tx, event, held, orders[0])
    else:
        for one in alike:
            if one.step.clinic and not adopted_by(tx, one.step.key):
                _adopt(tx, event, one, held)
    changed = settle(tx, event, visit, anew=key if event.type == "step.scheduled" else "")
    return steps.get(tx, key) or held, [other for other in changed if other != key]


def after_orders(tx: Transaction, event: Event, keys: Iterable[str]) -> list[str]:
    """Orders ended, or are held or no more: the clinics' steps that they adopted may come or go. Returns their keys."""
    found = {
        visit: None for key in keys for (visit,) in tx.rows("SELECT visit FROM step WHERE key=?", (key,))
    }
    return [key for visit in found if visit for key in settle(tx, event, visit)]


def after_visits(tx: Transaction, event: Event, changed: Iterable[Visit]) -> list[str]:
    """Visits are another now. Returns the keys of the clinics' steps that came or went with it."""
    groups = dict.fromkeys(key for visit in changed for key in (visit.visit, visit.key))
    return [key for group in groups for key in settle(tx, event, group)]


def settle(tx: Transaction, event: Event, visit: str, *, anew: str = "") -> list[str]:
    """Every clinic's step of a visit that is not begun: shown while it stands, else withdrawn.

    `anew`: the step that PAS just spoke of, which stands again though nobody had come to it in time.
    """
    own = [held for held in steps.of_visit(tx, visit) if held.step.clinic]
    states = visits.of_visit(tx, visit) if own else []
    changed = []
    for held in own:
        stands = any(_stands(one.state, held) for one in states) and not replaced_by(tx, held.step.key)
        status: StepStatus | None = None
        expired = held.step.status == "EXPIRED" and held.step.key == anew
        if stands and (expired or held.step.status == "CANCELED"):
            status = "SCHEDULED"
        elif not stands and held.step.status in steps.OPEN:
            status = "CANCELED"
        if status is not None:
            step = held.step.model_copy(update={"status": status})
            steps.rewrite(tx, event, held, replace(held, step=step))
            changed.append(held.step.key)
    return changed


def adopted_by(tx: Transaction, key: str) -> str:
    """The order's step that took over from a clinic's one; empty: none did, or it was cancelled since."""
    row = tx.one(
        "SELECT other.key FROM step JOIN step AS other ON other.key = step.adopted_by"
        " WHERE step.key=? AND other.status <> 'CANCELED'",
        (key,),
    )
    return row[0] if row else ""


def replaced_by(tx: Transaction, key: str) -> str:
    """The order's step that is shown in place of a clinic's one. Empty: none took over, or its own row is held: then
    devices go on showing the visit, or the patient would be on no list at all."""
    order = adopted_by(tx, key)
    held = order and tx.one("SELECT 1 FROM worklist WHERE key=? AND held<>'' LIMIT 1", (order,))
    return "" if held else order


def adopted(tx: Transaction, key: str) -> list[str]:
    """The clinics' steps that an order's step took over."""
    rows = tx.rows("SELECT key FROM step WHERE adopted_by=? ORDER BY key", (key,))
    return [found for (found,) in rows]


def _visit(tx: Transaction, encounter: Encounter | None) -> str:
    """The visit a step belongs to; empty: its message numbers none."""
    if encounter is None:
        return ""
    number = encounter.visit_number
    key = visits.key_of(Encounter(visit_number=number) if number is not None else encounter)
    found = visits.get(tx, key) if key else None
    return found.visit if found is not None else key


def _alike(tx: Transaction, visit: str, step: Step, patient_key: str) -> list[Held]:
    """The other steps of a visit for the same kind of device; never another patient's."""
    return [
        held
        for held in steps.of_visit(tx, visit)
        if held.step.key != step.key
        and held.step.modality == step.modality
        and held.patient_key == patient_key
    ]


def _free(tx: Transaction, clinic: Held, step: Step) -> bool:
    """No other examination has the study: nobody adopted it, or another step of the same accession did."""
    other = adopted_by(tx, clinic.step.key)
    held = steps.get(tx, other) if other else None
    return held is None or (
        step.accession_number != "" and held.step.accession_number == step.accession_number
    )


def _adopt(tx: Transaction, event: Event, clinic: Held, order: Held) -> None:
    tx.execute("UPDATE step SET adopted_by=? WHERE key=?", (order.step.key, clinic.step.key))
    if clinic.step.study_uid == order.step.study_uid:
        return
    if tx.one("SELECT 1 FROM instance WHERE study_uid=? LIMIT 1", (clinic.step.study_uid,)) is not None:
        reason = (
            "images stand under the Study Instance UID that the visit was given, and the order brings its own:"
            " the PACS must be told that they are one"
        )
        exceptions.report(tx, "study-adopted", order.step.key, reason, event)


def _stands(state: Encounter, held: Held) -> bool:
    """Whether the patient is, or is expected, where the step is done."""
    facility = held.encounter.facility if held.encounter else None
    return (
        state.status in visits.OPEN
        and state.on_leave != "Y"
        and state.is_at(held.step.clinic)
        and (not facility or not state.facility or state.facility == facility)
    )
