"""Scheduled procedure steps: what the orders said of each, under its stable key, and whose it is.

A step is changed only by an order that names it (a cancel of one step never touches its siblings) or by an order
cancelled as a whole. Which attributes a modality sees is not decided here: routes make the rows (`worklist.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, get_args

from broker.event import Encounter, Event, EventData, Identifier, Order, Step, StepStatus
from broker.registers import exceptions, patients, stations
from broker.store.transaction import Transaction

OPEN: Final = frozenset({"SCHEDULED", "ARRIVED"})
ENDED: Final = frozenset({"COMPLETED", "DISCONTINUED", "CANCELED", "EXPIRED"})

State = StepStatus | Literal["HELD"]
"""What a worklist row is: its step's status, or HELD while the row lacks what modalities must be given."""

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = MappingProxyType(
    {
        "HELD": frozenset(get_args(StepStatus)),
        "SCHEDULED": frozenset(
            {"HELD", "ARRIVED", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELED", "EXPIRED"}
        ),
        "ARRIVED": frozenset(
            {"HELD", "SCHEDULED", "STARTED", "COMPLETED", "DISCONTINUED", "CANCELED", "EXPIRED"}
        ),
        "STARTED": frozenset({"COMPLETED", "DISCONTINUED"}),
        "COMPLETED": frozenset(),
        "DISCONTINUED": frozenset({"SCHEDULED"}),
        "CANCELED": frozenset({"SCHEDULED"}),
        "EXPIRED": frozenset({"SCHEDULED", "CANCELED"}),
    }
)
"""From a state to those that may follow it; staying is always allowed. Anything else is refused and reported.

More than domain.md 2.1 draws, for what senders do. ARRIVED to SCHEDULED: an arrival is taken back. COMPLETED and
DISCONTINUED without STARTED: many devices speak no MPPS, and RIS says it (XO/CM, DC). EXPIRED to CANCELED: RIS
cancels what nobody came to. HELD follows its step wherever that goes, and is the row's alone: which station a step
has, a route says, and no register may depend on routes (`worklist.put`).
"""


def state_of_row(status: StepStatus, *, held: bool) -> State:
    """HELD only where devices would be shown the row otherwise: what is over lacks nothing."""
    return "HELD" if held and status in OPEN else status


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A step as the register has it."""

    patient_key: str
    step: Step
    order: Order | None
    encounter: Encounter | None
    source: str
    """Listener that took the order."""
    site: str
    said: Identifier | None = None
    """The identifier under which the step came; None: as the register has it already."""


def get(tx: Transaction, key: str) -> Held | None:
    """The step under a key."""
    row = tx.one("SELECT patient, body, rest, source, site FROM step WHERE key=?", (key,))
    if row is None:
        return None
    rest = EventData.model_validate_json(row[2])
    return Held(
        patient_key=row[0],
        step=Step.model_validate_json(row[1]),
        order=rest.order,
        encounter=rest.encounter,
        source=row[3],
        site=row[4],
    )


def of_patient(tx: Transaction, patient_key: str) -> list[str]:
    """Keys of a patient's steps that modalities can still see."""
    rows = tx.rows(
        "SELECT key FROM step WHERE patient=? AND status IN ('SCHEDULED','ARRIVED') ORDER BY key",
        (patient_key,),
    )
    return [key for (key,) in rows]


def open_behind(tx: Transaction, key: str, limit: int) -> list[tuple[str, str]]:
    """(key, id of the event that wrote it last) of steps that modalities can still see, in the order of the keys."""
    rows = tx.rows(
        "SELECT key, event FROM step WHERE status IN ('SCHEDULED','ARRIVED') AND key>? ORDER BY key LIMIT ?",
        (key, limit),
    )
    return [(found, event) for found, event in rows]


def known_by(tx: Transaction, *, patient_key: str = "", accession: str = "") -> list[tuple[str, str]]:
    """(key, id of the event that wrote it last) of a patient's steps, or of an accession number's, in any status."""
    where, value = ("patient=?", patient_key) if patient_key else ("accession=?", accession)
    return [
        (key, event)
        for key, event in tx.rows(f"SELECT key, event FROM step WHERE {where} ORDER BY key", (value,))
    ]


def of_study(tx: Transaction, study_uid: str) -> Held | None:
    """The step that a study is the examination of; of several the first: they are one order's."""
    row = tx.one("SELECT key FROM step WHERE study_uid=? ORDER BY key LIMIT 1", (study_uid,))
    return get(tx, row[0]) if row is not None else None


def of_visit(tx: Transaction, visit: str) -> list[Held]:
    """All steps of a visit, in any status."""
    rows = tx.rows("SELECT key FROM step WHERE visit=? AND visit<>'' ORDER BY key", (visit,))
    return [held for (key,) in rows if (held := get(tx, key)) is not None]


def of_order(tx: Transaction, order: Order, patient_key: str) -> list[Held]:
    """All steps of an order: of the same patient, or under the very same number."""
    rows = tx.rows(
        "SELECT key FROM step WHERE patient=? OR (filler=? AND filler<>'') OR (placer=? AND placer<>'') ORDER BY key",
        (patient_key, _number(order.filler_number), _number(order.placer_number)),
    )
    found = [held for (key,) in rows if (held := get(tx, key)) is not None]
    return [held for held in found if held.order is not None and same_order(held.order, order)]


def same_order(known: Order, said: Order) -> bool:
    """Whether two messages speak of one order: by the filler's number, or by the placer's where one leaves it out.

    An issuer that only one of them writes does not part them; another issuer is another number.
    """
    for a, b in ((known.filler_number, said.filler_number), (known.placer_number, said.placer_number)):
        if a is not None and b is not None:
            return _agree(a, b)
    return False


def _agree(a: Identifier, b: Identifier) -> bool:
    issuers = ((a.namespace, b.namespace), (a.oid, b.oid))
    return a.value == b.value and all(not x or not y or x == y for x, y in issuers)


def _number(number: Identifier | None) -> str:
    return f"{number.issuer}|{number.value}" if number else ""


def fold(tx: Transaction, event: Event, step: Step, patient_key: str) -> Held | None:
    """Folds one step event. None: refused and reported, nothing changed."""
    data = event.data
    before = get(tx, step.key) or _counterpart(tx, step, data.order, patient_key)
    if before is None:
        status: StepStatus = step.status or "SCHEDULED"
        fresh = Held(
            patient_key=patient_key,
            step=step.model_copy(update={"status": status}),
            order=data.order,
            encounter=data.encounter,
            source=event.source,
            site=event.site,
            said=patients.said_under(tx, data.patient.identifiers, patient_key) if data.patient else None,
        )
        _check_study(tx, event, step, patient_key)
        _store(tx, event, None, fresh)
        if status in ENDED:
            # Kept, so that an order that comes later finds it; but nobody is told that something ended.
            _report_unmatched(tx, event, step.key)
            return None
        return fresh
    if before.patient_key != patient_key:
        _report_patient(tx, event, step.key)
        return None
    if not _may(before.step.status, step.status):
        _refuse(tx, event, before, step.status)
        return None
    exceptions.clear(tx, "cancel-unmatched", before.step.key)
    merged = overlaid(before.step, step)
    if merged.study_uid != step.study_uid and not step.study_uid_derived:
        exceptions.report(
            tx,
            "study-uid-changed",
            step.key,
            "the Study Instance UID was changed; the first one stays",
            event,
        )
    return _store(
        tx,
        event,
        before,
        replace(
            before,
            step=merged,
            order=_order_overlaid(before.order, data.order),
            encounter=data.encounter or before.encounter,
            source=event.source,
            site=event.site,
        ),
    )


def _counterpart(tx: Transaction, step: Step, order: Order | None, patient_key: str) -> Held | None:
    """The step that is meant under another key: the sender left out a number or an issuer, or adds one now.

    It keeps its key, so that there is one row. Only where no doubt is left: same patient, same order, and the same
    step id; or the order's only step, named by an order number (it had no id) that the order has changed since.
    """
    if order is None:
        return None
    known = [held for held in of_order(tx, order, patient_key) if held.patient_key == patient_key]
    named = [held for held in known if held.step.step_id == step.step_id]
    if len(named) == 1:
        return named[0]
    if named or len(known) != 1 or known[0].order is None:
        return None
    renumbered = (known[0].order.filler_number is None) != (order.filler_number is None)
    nameless = known[0].step.step_id == known[0].step.requested_procedure_id
    return known[0] if renumbered and nameless else None


def _check_study(tx: Transaction, event: Event, step: Step, patient_key: str) -> None:
    """One Study Instance UID for two patients would file their images together."""
    if (
        tx.one("SELECT 1 FROM step WHERE study_uid=? AND patient<>?", (step.study_uid, patient_key))
        is not None
    ):
        reason = "its Study Instance UID is also that of another patient's step"
        exceptions.report(tx, "study-uid-shared", step.key, reason, event)


def cancel_order(
    tx: Transaction, event: Event, order: Order, status: StepStatus, patient_key: str
) -> tuple[list[str], Order | None]:
    """An order cancelled or discontinued as a whole: every step of it that still may.

    Returns the keys of the steps that changed, and the order with the numbers it is known by; None: nobody knows it.
    """
    touched = []
    found = of_order(tx, order, patient_key)
    for before in found:
        key = before.step.key
        if before.step.status == status:
            continue
        if before.patient_key != patient_key:
            _report_patient(tx, event, key)
            continue
        if not _may(before.step.status, status):
            _refuse(tx, event, before, status)
            continue
        _become(tx, event, before, status)
        touched.append(key)
    own = [before for before in found if before.patient_key == patient_key]
    if not own:
        _report_unmatched(tx, event, event.message_id)
        return touched, None
    return touched, _order_overlaid(own[0].order, order)


def expire(tx: Transaction, event: Event, said: Step) -> Held | None:
    """A row that idled too long. None: the step is no longer what it was when that was found, and stays as it is."""
    held = get(tx, said.key)
    if held is None or held.step.status not in OPEN:
        return None
    if held.step.model_copy(update={"status": said.status}) != said:
        return None
    return _become(tx, event, held, "EXPIRED")


def performed(tx: Transaction, event: Event, key: str, status: StepStatus) -> Held | None:
    """What its modality performed steps make of a step. None: it stays as it is.

    SCHEDULED is the wrong worklist entry (110514): only a step that is STARTED by it is reopened, by way of
    DISCONTINUED. A step that is COMPLETED may be appended to: its status stays, and that is nothing to report.
    """
    held = get(tx, key)
    if held is None or held.step.status == status:
        return None
    before = held.step.status
    if status == "SCHEDULED":
        if before != "STARTED":
            return None
        held = _become(tx, event, held, "DISCONTINUED")
    elif (before, status) == ("COMPLETED", "STARTED"):
        return None
    elif not _may(before, status):
        _refuse(tx, event, held, status)
        return None
    return _become(tx, event, held, status)


def _become(tx: Transaction, event: Event, held: Held, status: StepStatus) -> Held:
    return _store(tx, event, held, replace(held, step=held.step.model_copy(update={"status": status})))


def _refuse(tx: Transaction, event: Event, held: Held, status: StepStatus | None) -> None:
    reason = f"{held.step.status} cannot become {status}; not applied"
    exceptions.report(tx, "step-refused", held.step.key, reason, event)


def _report_unmatched(tx: Transaction, event: Event, subject: str) -> None:
    exceptions.report(tx, "cancel-unmatched", subject, "what was to end is not known here", event)


def _report_patient(tx: Transaction, event: Event, key: str) -> None:
    reason = "the order names another patient than before; not applied"
    exceptions.report(tx, "step-patient-differs", key, reason, event)


def _may(before: StepStatus | None, after: StepStatus | None) -> bool:
    if after is None or before is None or after == before:
        return True
    return after in TRANSITIONS[before]


def overlaid(base: Step, said: Step) -> Step:
    """What was known with what was said on top: empty keeps; the Study UID, once given, never changes."""
    stated = {
        name: value
        for name in Step.model_fields
        if name not in ("key", "study_uid", "study_uid_derived") and (value := getattr(said, name))
    }
    return base.model_copy(update=stated)


def _order_overlaid(base: Order | None, said: Order | None) -> Order | None:
    """The order as it was said last, with the numbers, procedure and requester that it did not repeat."""
    if base is None or said is None:
        return said or base
    names = ("placer_number", "filler_number", "accession_number", "procedure", "requester")
    return said.model_copy(update={n: getattr(base, n) for n in names if getattr(said, n) is None})


def rewrite(tx: Transaction, event: Event, before: Held, after: Held) -> None:
    """Writes a step as its visit has it now: no order said so."""
    _store(tx, event, before, after)


def _store(tx: Transaction, event: Event, before: Held | None, held: Held) -> Held:
    step, order = held.step, held.order
    rest = EventData(order=order, encounter=held.encounter)
    tx.execute(
        "INSERT INTO step (key, patient, filler, placer, source, site, status, body, rest, accession, study_uid,"
        " event, said_value, said_issuer, visit) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (key) DO UPDATE SET"
        " filler=excluded.filler, placer=excluded.placer,"
        " source=excluded.source, site=excluded.site, status=excluded.status, body=excluded.body,"
        " rest=excluded.rest, accession=excluded.accession, event=excluded.event",
        (
            step.key,
            held.patient_key,
            _number(order.filler_number) if order else "",
            _number(order.placer_number) if order else "",
            held.source,
            held.site,
            step.status or "",
            step.model_dump_json(exclude_defaults=True),
            rest.model_dump_json(exclude_defaults=True),
            step.accession_number,
            step.study_uid,
            event.id,
            held.said.value if held.said else "",
            held.said.issuer if held.said else "",
            _number(held.encounter.visit_number) if held.encounter else "",
        ),
    )
    if before is not None and (before.step.status in ENDED) != (step.status in ENDED):
        (stations.ended if step.status in ENDED else stations.reopened)(tx, step.key)
    return held
