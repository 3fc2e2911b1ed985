"""Folds one event into the registers and says how it looks through them: the view that routes read.

Everything here happens inside commit 2. No route is known here; which steps a demographic change touches is said,
what is made of that is the router's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker.event import Event, Identifier, Patient, PerformedStep, Step, Study
from broker.hl7.er7 import Message
from broker.registers import (
    commitments,
    demographics,
    exceptions,
    filing,
    instances,
    ledger,
    links,
    newborns,
    orderless,
    patients,
    performed,
    protection,
    rejections,
    split,
    steps,
    studies,
    temporary,
    visits,
)
from broker.registers.patients import Known
from broker.store.transaction import Transaction
from broker.view import View


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What an event did."""

    view: View | None
    """None: the event was refused by a register (reported as an exception); nothing is routed."""
    others: tuple[View, ...] = ()
    """Of an event that is about several steps (an MPPS): how it looks for each but the first."""
    touched: tuple[str, ...] = ()
    """Steps, other than the event's own, whose rows may look different now."""
    joined: tuple[tuple[str, str], ...] = ()
    """(absorbed, surviving) patient keys of a merge: their lanes become one."""
    parted: tuple[tuple[str, str], ...] = ()
    """(patient key, another's): what the first opens from now on waits for what the other's lane has open."""


def fold(tx: Transaction, event: Event, message: Message | None) -> Folded:
    """Folds an event. Deterministic: the same log gives the same registers (invariant 8)."""
    said = event.data.patient
    if event.data.closing is not None:
        exceptions.close(tx, event.data.closing)
        return Folded(view=None)
    if (
        said is not None
        and event.type.startswith(("patient.registered", "patient.updated", "encounter."))
        and temporary.reissued(tx, event, said)
    ):
        return Folded(view=None)
    if event.type.startswith("patient."):
        return _patient(tx, event, message)
    if event.data.instance is not None and said is not None:
        return _instance(tx, event, message)
    if event.data.performed is not None:
        return _performed(tx, event, message, event.data.performed)
    if event.data.study is not None:
        return _study(tx, event, message, event.data.study)
    if (
        said is not None
        and event.type.startswith(("order.", "step."))
        and demographics.conflicting(tx, event, said)
    ):
        return Folded(view=None)
    known = _referred(tx, event)
    if event.type == "encounter.reassigned" and known is not None:
        return _reassigned(tx, event, message, known)
    if event.data.step is not None and known is not None:
        held = _step(tx, event, event.data.step, known.key)
        if held is None:
            return Folded(view=None)
        held, others = orderless.follow(tx, event, held)
        view = _view(event, message, known)
        return Folded(view=_through(view, held), touched=tuple(others))
    order = event.data.order
    if (
        event.type == "order.cancelled"
        and order is not None
        and order.whole is not None
        and known is not None
    ):
        touched, ended = steps.cancel_order(tx, event, order, order.whole, known.key)
        whole = None if ended is None else replace(_view(event, message, known), order=ended)
        touched += orderless.after_orders(tx, event, touched)
        touched = list(dict.fromkeys((*touched, *_of_provisional(tx, known))))
        return Folded(view=whole, touched=tuple(touched))
    touched = [*_visited(tx, event, known), *_of_provisional(tx, known)]
    return Folded(view=_view(event, message, known), touched=tuple(touched))


def _of_provisional(tx: Transaction, known: Known | None) -> list[str]:
    """What an order says of a patient whom PAS does not know shows in the rows of all of the patient's steps."""
    return steps.of_patient(tx, known.key) if known is not None and known.renewed else []


def _step(tx: Transaction, event: Event, said: Step, patient_key: str) -> steps.Held | None:
    """Nobody came (no order says so): the row ends. Else what an order or a visit says of the step."""
    if event.type == "step.expired" and event.data.order is None:
        return steps.expire(tx, event, said)
    said = orderless.recognised(tx, said, event.data.encounter, patient_key)
    return steps.fold(tx, event, said, patient_key)


def _visited(tx: Transaction, event: Event, known: Known | None) -> list[str]:
    """What an event does to visits. Returns the keys of the steps that came, went or changed hands with them."""
    if known is None or not event.type.startswith("encounter."):
        return []
    return orderless.after_visits(tx, event, visits.fold(tx, event, known.key))


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
    if data.performed is not None:
        seen = performed.look(tx, data.performed.uid)
        return None if seen is None else _views(tx, event, message, seen)[0]
    if data.study is not None:
        return _of_study(tx, event, message, data.study)
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
    if event.type == "patient.split":
        return _split(tx, event)
    event = protection.carried(tx, event)
    said = event.data.patient
    if said is None:
        return Folded(view=None)
    if event.type in demographics.RENAMING:
        return _renamed(tx, event, said, message)
    if event.type == "patient.moved":
        return _moved(tx, event, said, message)
    known, absorbed = demographics.assert_from_pas(tx, event, said)
    filing.take_in(tx, said.identifiers)
    if event.type in ("patient.linked", "patient.unlinked"):
        links.fold(tx, event)
    return _whole(tx, event, said, message, known, absorbed)


def _renamed(tx: Transaction, event: Event, said: Patient, message: Message | None) -> Folded:
    """A merge or an id change: held for a person, or applied and written into the ledger."""
    if reason := ledger.objection(tx, event):
        ledger.hold(tx, event, reason)
        return Folded(view=None)
    if event.data.decision is not None:
        ledger.close(tx, event, event.data.decision.change, "released")
    before = ledger.snapshot(tx, event)
    known, absorbed = demographics.assert_from_pas(tx, event, said)
    ended = patients.end_identifiers(tx, event, known, event.data.prior)
    if ended and event.type == "patient.id-changed":
        reason = "an id change names two known patients; taken as the merge that it amounts to"
        exceptions.report(tx, "identity-conflict", event.message_id, reason, event)
    ledger.enter(tx, event, before, known.key)
    return _whole(tx, event, said, message, patients.get(tx, known.key), [*absorbed, *ended])


def _moved(tx: Transaction, event: Event, said: Patient, message: Message | None) -> Folded:
    """Identifiers that are another patient's (A43), with what came under them; the rest of that patient stays."""
    before = ledger.snapshot(tx, event)
    known, absorbed = demographics.assert_from_pas(tx, event, said)
    sources, emptied = patients.take_identifiers(tx, event, known, event.data.prior)
    for identifier in event.data.prior:
        filing.refile(tx, identifier.key, known.key)
    ledger.enter(tx, event, before, known.key)
    folded = _whole(tx, event, said, message, patients.get(tx, known.key), [*absorbed, *emptied])
    return _with_sources(tx, folded, [key for key in sources if key not in emptied], known.key)


def _reassigned(tx: Transaction, event: Event, message: Message | None, known: Known) -> Folded:
    """A visit that is another patient's (A45): its steps and their objects, nothing else."""
    sources = filing.reassign(tx, event, known)
    visits.renumber(tx, event, known.key)
    folded = Folded(view=_view(event, message, known), touched=tuple(steps.of_patient(tx, known.key)))
    return _with_sources(tx, folded, sources, known.key) if sources else folded


def _with_sources(tx: Transaction, folded: Folded, sources: Sequence[str], target: str) -> Folded:
    """Where only a part went: it must not overtake what was open of it, nor what stays that part."""
    others = [step for key in sources for step in steps.of_patient(tx, key)]
    return replace(
        folded,
        touched=tuple(dict.fromkeys((*folded.touched, *others))),
        joined=(*folded.joined, *((key, target) for key in sources)),
        parted=tuple((key, target) for key in sources),
    )


def _split(tx: Transaction, event: Event) -> Folded:
    """Two people decided that a change was wrong. No standard message says so: nothing is routed."""
    undone = split.fold(tx, event)
    if undone is None or not undone.other:
        touched = steps.of_patient(tx, undone.survivor) if undone else []
        return Folded(view=None, touched=tuple(touched))
    both = (undone.survivor, undone.other)
    return Folded(
        view=None,
        touched=tuple(step for key in both for step in steps.of_patient(tx, key)),
        parted=((undone.other, undone.survivor),),
    )


def _whole(
    tx: Transaction,
    event: Event,
    said: Patient,
    message: Message | None,
    known: Known,
    absorbed: Sequence[str],
) -> Folded:
    """What is one patient's now, seen as that patient's."""
    temporary.fold(tx, event, said)
    newborns.fold(tx, event, said, known)
    for key in absorbed:
        filing.move(tx, key, known.key)
    return Folded(
        view=_view(event, message, known),
        touched=tuple(steps.of_patient(tx, known.key)),
        joined=tuple((key, known.key) for key in absorbed),
    )


def _performed(tx: Transaction, event: Event, message: Message | None, said: PerformedStep) -> Folded:
    seen = performed.fold(tx, event, said)
    studies.expected(tx, event, seen.performed)
    first, *others = _views(tx, event, message, seen)
    joined = ((seen.lane, seen.patient_key),) if seen.known_now else ()
    return Folded(view=first, others=tuple(others), joined=joined)


def _views(tx: Transaction, event: Event, message: Message | None, seen: performed.Folded) -> list[View]:
    """An MPPS seen once for each of the steps, as the step's order sees it; without one, once by itself."""
    known = patients.get(tx, seen.patient_key) if seen.patient_key else None
    bare = replace(
        _view(event, message, known), performed=seen.performed, patient_key=known.key if known else seen.lane
    )
    return [
        replace(
            _through(bare, held),
            event=event.model_copy(update={"source": held.source, "site": held.site}),
            performed=seen.performed,
        )
        for held in seen.steps
    ] or [bare]


def _instance(tx: Transaction, event: Event, message: Message | None) -> Folded:
    instance, said = event.data.instance, event.data.patient
    assert instance is not None, "the caller looked"
    assert said is not None, "the caller looked"
    first = instances.before(tx, instance)
    if instances.differs(tx, event, instance, first) or newborns.misplaced(tx, event, instance, said):
        return Folded(view=None)
    known = instances.fold(tx, event, instance, said)
    studies.received(tx, event, instance)
    if first:
        commitments.came_again(tx, instance.sop_instance_uid)
    return Folded(view=_view(event, message, known) if known else _unverified(event, message))


def _study(tx: Transaction, event: Event, message: Message | None, said: Study) -> Folded:
    if event.type == "commitment.requested":
        commitments.requested(tx, event, said)
    elif event.type == "commitment.reported":
        commitments.reported(tx, event, said)
    elif event.type == "study.committed":
        known = commitments.answered(tx, event, said)
        if known is None:
            return Folded(view=None)
        said, data = known, event.data.model_copy(update={"study": known})
        event = event.model_copy(update={"data": data})
    elif event.type in ("study.rejected", "study.restored") and rejections.foreign(tx, event, said):
        return Folded(view=None)
    else:
        studies.fold(tx, event, said)
    return Folded(view=_of_study(tx, event, message, said))


def _of_study(tx: Transaction, event: Event, message: Message | None, said: Study) -> View:
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
    view = _view(event, message, patients.get(tx, key))
    made_for = steps.of_study(tx, said.study_uid)
    return _through(view, made_for) if made_for is not None and made_for.patient_key == key else view


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
        return patients.get(tx, keys[0]) if keys else demographics.assert_from_pas(tx, event, patient)[0]
    if event.type.startswith("result."):
        keys = patients.find(tx, patient.identifiers)
        return patients.get(tx, keys[0]) if keys else None
    return demographics.refer(tx, event, patient)


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
