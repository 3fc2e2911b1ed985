"""Gathers the facts of a question: the patients who are meant, their steps, and every message that names either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from broker.device import is_own, stands_for
from broker.dicom.matching import Query
from broker.errors import did_you_mean
from broker.journal import log, search
from broker.registers import exceptions, ledger, patients, steps
from broker.registers.steps import OPEN, Held
from broker.why.desk import Desk
from broker.why.facts import Came, Facts, Happened, PatientIs, Question, Tag
from broker.why.reading import SET_ASIDE, AskDevice, Known, Message, Reading, look, stations

MESSAGES: Final = 50
"""The newest of each number that is looked for."""
STEPS: Final = 10
"""Those that are open first, then the latest."""


def gather(it: Desk, question: Question, typed: Query | None, ask: AskDevice) -> Facts:
    """All facts of a question. `typed`: a query that the asker tries by hand."""
    settings = it.configured.settings
    peers = settings.broker.dicom.peers
    known, issuers = _patients(it, question)
    found = _steps(it, known, question)
    reading = Reading(it, _messages(it, question, known, [one.held for one in found]))
    picked = found[:STEPS]
    facts = [reading.step(one, question, typed, ask) for one in picked]
    mine = {came.id for step in facts for came in step.came}
    asked, remembered = ask(question.ae, None)
    return Facts(
        question=question,
        version=it.configured.routes.version,
        admitted=settings.open_ae or question.ae in peers,
        listed=question.ae in peers,
        own=stands_for(settings.device(question.ae), question.ae),
        near="" if question.ae in peers else did_you_mean(question.ae, peers),
        patient=_is(it, known),
        issuers=issuers,
        ended=tuple(_ended(it, question)),
        steps=tuple(facts),
        more=len(found) - len(picked),
        came=tuple(
            one.came
            for one in reading.messages
            if one.came.id not in mine and (not one.came.order or _named(one, question))
        ),
        elsewhere=_elsewhere(it, question, known),
        remembered=remembered,
        asked=() if facts else asked,
    )


def tags(it: Desk, question: Question, keyword: str) -> list[Tag]:
    """Where an attribute of the rows that are meant came from; of several, those of the device that was named."""
    known, _ = _patients(it, question)
    found = _steps(it, known, question)
    reading = Reading(it, _messages(it, question, known, [one.held for one in found]))
    rows = [(one.held, look(it, one.held, one.event)) for one in found[:STEPS]]
    rows = [row for row in rows if row[1].attributes is not None]
    titles = stands_for(it.configured.settings.device(question.ae), question.ae)
    own = [row for row in rows if is_own(stations(row[1].attributes or {}), titles)]
    return [
        Tag(
            accession=held.step.accession_number,
            step=held.step.step_id,
            lists=tuple(placed.list for placed in seen.placed),
            route=seen.target.route if seen.target else "",
            route_place=seen.target.place if seen.target else "",
            value=reading.value(seen, keyword),
        )
        for held, seen in own or rows
    ]


# --- the patient ----------------------------------------------------------------------------------


def _patients(it: Desk, question: Question) -> tuple[list[str], tuple[str, ...]]:
    """Keys of the patients who are meant, and the issuers under which the number is known."""
    owned = patients.under(it.registers, question.patient)
    keys = dict.fromkeys(
        patients.get(it.registers, one.patient).key
        for one in owned
        if not question.issuer or question.issuer in _names(it, one, question.patient)
    )
    return list(keys), tuple(one.issuer for one in owned)


def _names(it: Desk, owned: patients.Owned, value: str) -> set[str]:
    """What people call an issuer: the register's name for it, its OID, its namespace."""
    patient = patients.get(it.registers, owned.patient).patient
    same = [i for i in patient.identifiers if i.key == (owned.issuer, value)]
    return {owned.issuer, *(i.namespace for i in same if i.namespace)}


def _is(it: Desk, keys: list[str]) -> PatientIs:
    if not keys:
        return "unknown"
    return "known" if any(patients.get(it.registers, key).verified for key in keys) else "provisional"


def _ended(it: Desk, question: Question) -> Iterator[str]:
    """The changes that ended the number, under each issuer that is meant."""
    for one in patients.under(it.registers, question.patient):
        if one.current or (question.issuer and question.issuer not in _names(it, one, question.patient)):
            continue
        changes = ledger.of_identifiers(it.registers, [(one.issuer, question.patient)])
        applied = [change for change in changes if change.state == "applied"]
        if applied:
            yield f"{applied[-1].kind} {applied[-1].id}"


def _elsewhere(it: Desk, question: Question, keys: list[str]) -> bool:
    if not question.accession:
        return False
    known = steps.known_by(it.registers, accession=question.accession)
    owners = {held.patient_key for key, _ in known if (held := steps.get(it.registers, key)) is not None}
    return bool(owners - set(keys))


# --- steps and messages ---------------------------------------------------------------------------


def _steps(it: Desk, keys: Iterable[str], question: Question) -> list[Known]:
    found = [
        Known(held=held, event=event)
        for patient in keys
        for key, event in steps.known_by(it.registers, patient_key=patient)
        if (held := steps.get(it.registers, key)) is not None and _asked_for(held, question)
    ]
    return sorted(found, key=_order)


def _asked_for(held: Held, question: Question) -> bool:
    """By its accession number, or by the number that the placer or the filler gave the order."""
    order = held.order
    numbers = [n.value for n in (order.placer_number, order.filler_number) if n] if order else []
    return not question.accession or question.accession in (held.step.accession_number, *numbers)


def _named(one: Message, question: Question) -> bool:
    """Whether an order is the one that was asked for; any is where none was named."""
    return not question.accession or question.accession in one.by_accession


def _order(one: Known) -> tuple[bool, int]:
    date = one.held.step.start_date
    return one.held.step.status not in OPEN, -int(date) if date.isdigit() else 0


def _messages(it: Desk, question: Question, keys: list[str], found: list[Held]) -> list[Message]:
    """Every message that names the patient or one of the orders, the oldest first."""
    numbers = {question.patient, *(v for key in keys for v in patients.values_of(it.registers, key))}
    seqs = {seq for value in numbers for seq in _find(it, "patient", value)}
    accessions = {question.accession, *(held.step.accession_number for held in found)} - {""}
    by_accession = {value: set(_find(it, "accession", value)) for value in accessions}
    if question.accession:
        by_accession[question.accession] |= set(_find(it, "order", question.accession))
        seqs |= by_accession[question.accession]
    for held in found:
        seqs |= by_accession.get(held.step.accession_number, set())
    set_aside: dict[str, list[str]] = {}
    for entry in exceptions.entries(it.registers):
        if entry.kind in SET_ASIDE:
            set_aside.setdefault(entry.event, []).append(entry.reason)
    return [
        read_message(it, seq, frozenset(v for v, s in by_accession.items() if seq in s), set_aside)
        for seq in sorted(seqs)
    ]


def _find(it: Desk, kind: str, value: str) -> list[int]:
    return search.find(it.journal, text=value, kind=kind, until=it.until, limit=MESSAGES)


def read_message(
    it: Desk,
    seq: int,
    by_accession: frozenset[str] = frozenset(),
    set_aside: Mapping[str, list[str]] = MappingProxyType({}),
) -> Message:
    """One message with its events."""
    told, logged = log.timeline(it.journal, seq), tuple(log.events_of(it.journal, seq))
    of_orders = {
        s.name
        for s in it.configured.settings.inbound
        if any(event.startswith("order.") for event in s.spec.events)
    }
    came = Came(
        id=told["id"],
        control_id=told["control_id"],
        at=told["received"],
        source=told["source"],
        peer=told["peer"],
        type=told["type"],
        verdict=told["verdict"],
        reason=told["reason"],
        answer=told["answer"],
        order=told["source"] in of_orders,
        events=tuple(Happened(type=one.event.type, routed=one.routed) for one in logged),
        set_aside=tuple(reason for one in logged for reason in set_aside.get(one.event.id, ())),
    )
    return Message(came=came, logged=logged, by_accession=by_accession)
