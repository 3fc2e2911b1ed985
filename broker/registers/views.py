"""How an event looks through the registers as they stand: the view that routes read. Nothing is folded here."""

from __future__ import annotations

from dataclasses import replace

from broker.event import Event, Identifier, Study
from broker.hl7.er7 import Message
from broker.registers import instances, patients, performed, rejections, steps, studies
from broker.registers.patients import Known
from broker.store.transaction import Transaction
from broker.view import View


def look(tx: Transaction, event: Event, message: Message | None) -> View | None:
    """An event of the log seen again, through the registers as they stand now; nothing is folded.

    None where the registers do not know what it speaks of.
    """
    data = event.data
    if data.step is not None:
        held = steps.get(tx, data.step.key)
        if held is None:
            return None
        return through(view_of(event, message, patients.get(tx, held.patient_key)), held)
    if data.performed is not None:
        seen = performed.look(tx, data.performed.uid)
        return None if seen is None else of_performed(tx, event, message, seen)[0]
    if data.study is not None:
        return of_study(tx, event, message, data.study)
    if data.patient is None:
        return view_of(event, message, None)
    if data.instance is not None:
        known = instances.owner(tx, data.instance, data.patient)
        return view_of(event, message, known) if known else unverified(event, message)
    keys = patients.find(tx, data.patient.identifiers) or patients.find(tx, data.prior)
    return view_of(event, message, patients.get(tx, keys[0]) if keys else None)


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
    return through(view_of(seen, None, patients.get(tx, held.patient_key)), held)


def of_performed(
    tx: Transaction, event: Event, message: Message | None, seen: performed.Folded
) -> list[View]:
    """An MPPS seen once for each of the steps, as the step's order sees it; without one, once by itself."""
    known = patients.get(tx, seen.patient_key) if seen.patient_key else None
    bare = replace(
        view_of(event, message, known),
        performed=seen.performed,
        patient_key=known.key if known else seen.lane,
    )
    return [
        replace(
            through(bare, held),
            event=event.model_copy(update={"source": held.source, "site": held.site}),
            performed=seen.performed,
        )
        for held in seen.steps
    ] or [bare]


def of_study(tx: Transaction, event: Event, message: Message | None, said: Study) -> View:
    """A study with its patient, and with the step that it is the examination of. A device's commitments have no
    patient: they keep their order by device."""
    if event.type.startswith("commitment."):
        return View(event=event, message=message, patient_key=f"device|{said.requester}")
    if event.type in ("study.rejected", "study.restored"):
        said = said.model_copy(update={"number": rejections.remaining(tx, said.study_uid)})
        event = event.model_copy(update={"data": event.data.model_copy(update={"study": said})})
    key = studies.owner(tx, said.study_uid)
    if not key:
        return View(event=event, message=message, patient_key=f"unverified|{said.study_uid}")
    view = view_of(event, message, patients.get(tx, key))
    made_for = steps.of_study(tx, said.study_uid)
    return through(view, made_for) if made_for is not None and made_for.patient_key == key else view


def unverified(event: Event, message: Message | None) -> View:
    """Images of a person PAS does not know still keep their order among themselves."""
    instance, said = event.data.instance, event.data.patient
    assert instance is not None, "the caller looked"
    assert said is not None, "the caller looked"
    lane = "|".join(("unverified", *(said.identifiers[0].key if said.identifiers else (instance.study_uid,))))
    return View(event=event, message=message, patient=said, patient_key=lane, verified=False)


def view_of(event: Event, message: Message | None, known: Known | None) -> View:
    if known is None:
        return View(event=event, message=message, patient=event.data.patient, patient_key=_laneless(event))
    return View(
        event=event, message=message, patient=known.patient, patient_key=known.key, verified=known.verified
    )


def through(view: View, held: steps.Held) -> View:
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
