"""Folds one event into the registers and says how it looks through them: the view that routes read.

Everything here happens inside commit 2. No route is known here; which steps a demographic change touches is said,
what is made of that is the router's business.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from broker.event import Event, Identifier
from broker.hl7.er7 import Message
from broker.registers import exceptions, instances, patients, protection, steps
from broker.registers.patients import Known
from broker.store.database import Transaction
from broker.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What an event did."""

    view: View | None
    """None: the event was refused by a register (reported as an exception); nothing is routed."""
    touched: tuple[str, ...] = ()
    """Steps, other than the event's own, whose rows may look different now."""
    joined: tuple[tuple[str, str], ...] = ()
    """(absorbed, surviving) patient keys of a merge: their lanes become one."""


def fold(tx: Transaction, event: Event, message: Message | None) -> Folded:
    """Folds an event. Deterministic: the same log gives the same registers (invariant 8)."""
    if event.type.startswith("patient."):
        return _patient(tx, event, message)
    if event.data.instance is not None and event.data.patient is not None:
        return _instance(tx, event, message)
    said = event.data.patient
    if (
        said is not None
        and event.type.startswith(("order.", "step."))
        and patients.conflicting(tx, event, said)
    ):
        return Folded(view=None)
    known = _referred(tx, event)
    if event.data.step is not None and known is not None:
        held = steps.fold(tx, event, event.data.step, known.key)
        if held is None:
            return Folded(view=None)
        view = _view(event, message, known)
        return Folded(view=_through(view, held))
    order = event.data.order
    if (
        event.type == "order.cancelled"
        and order is not None
        and order.whole is not None
        and known is not None
    ):
        touched, ended = steps.cancel_order(tx, event, order, order.whole, known.key)
        whole = None if ended is None else replace(_view(event, message, known), order=ended)
        return Folded(view=whole, touched=tuple(touched))
    return Folded(view=_view(event, message, known))


def look(tx: Transaction, event: Event, message: Message | None) -> View | None:
    """An event of the log seen again, through the registers as they stand now; nothing is folded.

    None where the registers do not know what it speaks of.
    """
    data = event.data
    if data.step is not None:
        held = steps.get(tx, data.step.key)
        if held is None:
            return None
        return _through(_view(event, message, patients.get(tx, held.patient_key)), held)
    if data.patient is None:
        return _view(event, message, None)
    if data.instance is not None:
        known = instances.owner(tx, data.instance, data.patient)
        return _view(event, message, known) if known else _unverified(event, message)
    keys = patients.find(tx, data.patient.identifiers) or patients.find(tx, data.prior)
    return _view(event, message, patients.get(tx, keys[0]) if keys else None)


def look_as_said(tx: Transaction, event: Event, message: Message | None) -> View | None:
    """As `look`, with what the event itself said of its step over what is known of it by now."""
    view = look(tx, event, message)
    if view is None or view.step is None or event.data.step is None:
        return view
    return replace(view, step=steps.overlaid(view.step, event.data.step))


def step_view(tx: Transaction, event: Event, key: str) -> View | None:
    """A step as it stands now, seen because of an event that is not its own (a demographic change, a merge).

    Source and site are the order's: a route that asks for them means where the step came from.
    """
    held = steps.get(tx, key)
    if held is None:
        return None
    seen = event.model_copy(update={"source": held.source, "site": held.site})
    return _through(_view(seen, None, patients.get(tx, held.patient_key)), held)


def _patient(tx: Transaction, event: Event, message: Message | None) -> Folded:
    event = protection.carried(tx, event)
    if event.data.patient is None:
        return Folded(view=None)
    known, absorbed = patients.assert_from_pas(tx, event, event.data.patient)
    if event.type in patients.RENAMING:
        ended = patients.end_identifiers(tx, event, known, event.data.prior)
        if ended and event.type == "patient.id-changed":
            reason = "an id change names two known patients; taken as the merge that it amounts to"
            exceptions.report(tx, "identity-conflict", event.message_id, reason, event)
        absorbed += ended
        known = patients.get(tx, known.key)
    protection.note_mother(tx, known.key, known.patient)
    for key in absorbed:
        steps.move(tx, key, known.key)
        instances.move(tx, key, known.key)
    return Folded(
        view=_view(event, message, known),
        touched=tuple(steps.of_patient(tx, known.key)),
        joined=tuple((key, known.key) for key in absorbed),
    )


def _instance(tx: Transaction, event: Event, message: Message | None) -> Folded:
    instance, said = event.data.instance, event.data.patient
    assert instance is not None, "the caller looked"
    assert said is not None, "the caller looked"
    if instances.differs(tx, event, instance):
        return Folded(view=None)
    known = instances.fold(tx, event, instance, said)
    return Folded(view=_view(event, message, known) if known else _unverified(event, message))


def _unverified(event: Event, message: Message | None) -> View:
    """Images of a person PAS does not know still keep their order among themselves."""
    instance, said = event.data.instance, event.data.patient
    assert instance is not None, "the caller looked"
    assert said is not None, "the caller looked"
    lane = "|".join(("unverified", *(said.identifiers[0].key if said.identifiers else (instance.study_uid,))))
    return View(event=event, message=message, patient=said, patient_key=lane, verified=False)


def _referred(tx: Transaction, event: Event) -> Known | None:
    patient = event.data.patient
    if patient is None or not patient.identifiers:
        return None
    if event.type.startswith("encounter."):
        # From PAS, behind the patient event of the same message, which said all there is to say.
        keys = patients.find(tx, patient.identifiers)
        return patients.get(tx, keys[0]) if keys else patients.assert_from_pas(tx, event, patient)[0]
    if event.type.startswith("result."):
        keys = patients.find(tx, patient.identifiers)
        return patients.get(tx, keys[0]) if keys else None
    return patients.refer(tx, event, patient)


def _view(event: Event, message: Message | None, known: Known | None) -> View:
    if known is None:
        return View(event=event, message=message, patient=event.data.patient, patient_key=_laneless(event))
    return View(
        event=event, message=message, patient=known.patient, patient_key=known.key, verified=known.verified
    )


def _through(view: View, held: steps.Held) -> View:
    return View(
        event=view.event,
        message=view.message,
        patient=view.patient,
        patient_key=view.patient_key,
        verified=view.verified,
        encounter=held.encounter,
        order=held.order,
        step=held.step,
    )


def _laneless(event: Event) -> str:
    """Results of a patient that nobody knows keep their order by the id they carry, else per source."""
    patient = event.data.patient
    if patient is None or not patient.identifiers:
        return f"source|{event.source}"
    return unknown_lane(patient.identifiers[0])


def unknown_lane(identifier: Identifier) -> str:
    """The lane of results that came under an identifier while nobody knew its patient."""
    return "|".join(("unknown", *identifier.key))
