"""Folds one event into the registers, and says what came of it: its `views`, whom it touched, which lanes it joined.

Everything here happens inside commit 2. No route is known here; which steps a demographic change touches is said,
what is made of that is the router's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from broker.event import Event, Patient, PerformedStep, Step, Study
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
from broker.registers.views import of_performed, of_study, through, unverified, view_of
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
        view = view_of(event, message, known)
        return Folded(view=through(view, held), touched=tuple(others))
    order = event.data.order
    if (
        event.type == "order.cancelled"
        and order is not None
        and order.whole is not None
        and known is not None
    ):
        touched, ended = steps.cancel_order(tx, event, order, order.whole, known.key)
        whole = None if ended is None else replace(view_of(event, message, known), order=ended)
        touched += orderless.after_orders(tx, event, touched)
        touched = list(dict.fromkeys((*touched, *_of_provisional(tx, known))))
        return Folded(view=whole, touched=tuple(touched))
    touched = [*_visited(tx, event, known), *_of_provisional(tx, known)]
    return Folded(view=view_of(event, message, known), touched=tuple(touched))


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
    folded = Folded(view=view_of(event, message, known), touched=tuple(steps.of_patient(tx, known.key)))
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
        view=view_of(event, message, known),
        touched=tuple(steps.of_patient(tx, known.key)),
        joined=tuple((key, known.key) for key in absorbed),
    )


def _performed(tx: Transaction, event: Event, message: Message | None, said: PerformedStep) -> Folded:
    seen = performed.fold(tx, event, said)
    studies.expected(tx, event, seen.performed)
    first, *others = of_performed(tx, event, message, seen)
    joined = ((seen.lane, seen.patient_key),) if seen.known_now else ()
    return Folded(view=first, others=tuple(others), joined=joined)


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
    return Folded(view=view_of(event, message, known) if known else unverified(event, message))


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
    return Folded(view=of_study(tx, event, message, said))


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
