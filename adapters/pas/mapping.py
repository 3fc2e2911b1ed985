"""ADT to canonical events (IHE ITI-30, ITI-31, RAD-1, RAD-12). Pure; what each trigger means stands in `triggers.py`.

Every ADT message gives exactly one `patient.*` event for each patient it speaks of, before any `encounter.*` event, so
that a route on `patient.*` sees each message once. Triggers that are not listed are refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

from adapters.pas import clinics
from adapters.pas.appointments import map_appointment
from adapters.pas.clinics import Clinic
from adapters.pas.triggers import (
    APPOINTMENTS,
    NOTHING,
    PAIRS,
    PERSONS,
    REASSIGNED,
    REFUSED,
    SWAP,
    TWO,
    VISITS,
    Begin,
    Visit,
)
from broker.errors import (
    DUPLICATE_KEY,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE_ERROR,
    UNSUPPORTED_EVENT_CODE,
    Location,
    UnmappableError,
)
from broker.event import Draft, Encounter, EventData, EventType, Identifier, Patient
from broker.hl7 import demographics, protection
from broker.hl7.er7 import Message, Segment
from broker.reception import Mapper, Profile

SWAPPED: Final = Visit(event="encounter.moved", begin="event", means="")


def map_visit(message: Message, profile: Profile, table: tuple[Clinic, ...] = ()) -> Sequence[Draft]:
    """A visit's trigger: who the patient is, then what became of the visit, then the steps of an order-less clinic."""
    pid = demographics.only_pid(message)
    meaning = VISITS[_trigger(message)]
    return list(_visit(message, profile, meaning, pid, message.first("PV1"), message.first("PV2"), table))


def map_swap(message: Message, profile: Profile, table: tuple[Clinic, ...] = ()) -> Sequence[Draft]:
    """A17: each PID with its PV1, as if each had been moved alone."""
    drafts: list[Draft] = []
    for pid, (pv1, *_) in _groups(message, "PV1"):
        drafts += _visit(message, profile, SWAPPED, pid, pv1, None, table)
    return sorted(drafts, key=lambda draft: not draft.type.startswith("patient."))


def _visit(
    message: Message,
    profile: Profile,
    meaning: Visit,
    pid: Segment | None,
    pv1: Segment | None,
    pv2: Segment | None,
    table: tuple[Clinic, ...],
) -> Iterator[Draft]:
    time = demographics.event_time(message)
    patient = _patient(pid, message, profile)
    encounter = demographics.encounter(pv1, pid, profile.issuers)
    if encounter is None:
        yield Draft(type=meaning.patient, time=time, data=EventData(patient=patient))
        return
    sets = dict(meaning.sets)
    if sets.get("temporary_location", "") is None:
        sets["temporary_location"] = encounter.temporary_location or ""
    begins = _begins(meaning.begin, encounter, time, pv2)
    if meaning.begin == "planned":
        sets["start"] = begins or None
    encounter = encounter.model_copy(update={"status": meaning.status, "restores": meaning.restores, **sets})
    data = EventData(patient=patient, encounter=encounter)
    yield Draft(type=meaning.patient, time=time, data=data)
    yield Draft(type=meaning.event, time=time, data=data)
    if meaning.begin:
        yield from clinics.drafts(table, patient, encounter, begins, time, profile)


def _begins(begin: Begin, encounter: Encounter, time: str, pv2: Segment | None) -> str:
    """When the visit begins at the place that it names, as `YYYYMMDD` or longer. Empty: nobody said it."""
    happened = "".join(demographics.date_and_time(time) or ())
    if begin == "admitted":
        return encounter.admitted or happened
    if begin == "planned":
        expected = demographics.date_and_time(pv2.get(8)) if pv2 is not None else None
        return "".join(expected or ()) or encounter.admitted or ""
    return happened


def map_person(message: Message, profile: Profile) -> Sequence[Draft]:
    """A person's trigger: demographics, and the visit they came with where there is one."""
    pid = demographics.only_pid(message)
    data = EventData(
        patient=_patient(pid, message, profile),
        encounter=demographics.encounter(message.first("PV1"), pid, profile.issuers),
    )
    kind = PERSONS[_trigger(message)].event
    return [Draft(type=kind, time=demographics.event_time(message), data=data)]


def map_pairs(message: Message, profile: Profile) -> Sequence[Draft]:
    """Merge, id change and move: each PID with its MRG. MRG-1 ends, or comes to the patient of the PID."""
    kind = PAIRS[_trigger(message)].event
    drafts = []
    for pid, mrgs in _groups(message, "MRG", most=1):
        patient = _patient(pid, message, profile)
        prior = _prior(mrgs[0], 1, profile)
        if kind != "patient.moved" and {i.key for i in prior} & {i.key for i in patient.identifiers}:
            raise UnmappableError(
                "MRG-1 names an identifier of PID-3: a patient cannot be merged into itself",
                error_code=DUPLICATE_KEY,
                location=mrgs[0].location(1),
            )
        data = EventData(patient=patient, prior=prior)
        drafts.append(Draft(type=kind, time=demographics.event_time(message), data=data))
    return drafts


def map_two(message: Message, profile: Profile) -> Sequence[Draft]:
    """Link and unlink: the first PID is the patient, the second's identifiers stand in `prior`."""
    found = message.all("PID")
    if len(found) != 2:
        raise UnmappableError(
            "there must be two PID segments",
            error_code=SEGMENT_SEQUENCE_ERROR,
            location=Location(segment="PID"),
        )
    patient, other = (_patient(pid, message, profile) for pid in found)
    if {i.key for i in patient.identifiers} & {i.key for i in other.identifiers}:
        raise UnmappableError(
            "both PID segments name the same identifier",
            error_code=DUPLICATE_KEY,
            location=found[1].location(3),
        )
    data = EventData(patient=patient, prior=other.identifiers)
    kind = TWO[_trigger(message)].event
    return [Draft(type=kind, time=demographics.event_time(message), data=data)]


def map_reassigned(message: Message, profile: Profile) -> Sequence[Draft]:
    """Visits that get another patient or another number: the PID with one or several MRG, each with its PV1."""
    meaning = REASSIGNED[_trigger(message)]
    pid, time = demographics.only_pid(message), demographics.event_time(message)
    patient = _patient(pid, message, profile)
    drafts = [Draft(type="patient.updated", time=time, data=EventData(patient=patient))]
    for _, segments in _groups(message, "MRG"):
        pv1s = message.all("PV1")
        for place, mrg in enumerate(segments):
            pv1 = pv1s[place] if place < len(pv1s) else None
            number = _number(pid, pv1, meaning.prior, profile)
            if number is None and meaning.required:
                where = "PV1-19" if meaning.prior == 5 else "PID-18"
                raise UnmappableError(
                    f"{where} holds no number for the visit to go on under",
                    error_code=REQUIRED_FIELD_MISSING,
                    location=Location(segment=where[:3], field=int(where[4:])),
                )
            data = EventData(
                patient=patient,
                prior=demographics.identifiers(mrg, 1, profile.issuers),
                prior_visits=_prior(mrg, meaning.prior, profile),
                encounter=Encounter(visit_number=number) if number is not None else None,
            )
            drafts.append(Draft(type="encounter.reassigned", time=time, data=data))
    return drafts


def _number(pid: Segment | None, pv1: Segment | None, prior: int, profile: Profile) -> Identifier | None:
    segment, field = (pv1, 19) if prior == 5 else (pid, 18)
    found = demographics.identifiers(segment, field, profile.issuers) if segment is not None else ()
    return found[0] if found else None


def map_nothing(_message: Message, _profile: Profile) -> Sequence[Draft]:
    """A trigger that is answered, and nothing made of it."""
    return []


def refuse(message: Message, _profile: Profile) -> Sequence[Draft]:
    """A trigger that is refused, with what to do instead. Raises `UnmappableError`."""
    raise UnmappableError(
        f"{_trigger(message)} is not taken: {REFUSED[_trigger(message)]}",
        error_code=UNSUPPORTED_EVENT_CODE,
        location=Location(segment="MSH", field=9, component=2),
    )


def _patient(pid: Segment | None, message: Message, profile: Profile) -> Patient:
    """Who it is, and whether the address is protected, as far as the PID and what follows it say."""
    patient = demographics.patient(pid, profile.issuers, evn=message.first("EVN"))
    said = protection.detect(_group(message, pid), profile.protection)
    return patient if said is None else patient.model_copy(update={"protected": said})


def _group(message: Message, pid: Segment | None) -> Iterator[Segment]:
    """A PID and what stands behind it, to the next: what is said of one patient."""
    for segment in message.segments[pid.index :] if pid is not None else ():
        if segment.name == "PID" and pid is not None and segment.index != pid.index:
            return
        yield segment


def _trigger(message: Message) -> str:
    return message.header.trigger.upper()


def _prior(mrg: Segment, field: int, profile: Profile) -> tuple[Identifier, ...]:
    prior = demographics.identifiers(mrg, field, profile.issuers)
    if not prior:
        raise UnmappableError(
            f"MRG-{field} holds no identifier",
            error_code=REQUIRED_FIELD_MISSING,
            location=mrg.location(field),
        )
    return prior


def _groups(message: Message, name: str, *, most: int = 0) -> Iterator[tuple[Segment, Sequence[Segment]]]:
    """Each PID with the segments of this name behind it; one without the other makes no sense. `most` 0: any number."""
    segments = [segment for segment in message if segment.name in ("PID", name)]
    if not segments or segments[0].name != "PID":
        raise _alone(name, 1)
    groups: list[tuple[Segment, list[Segment]]] = []
    for segment in segments:
        if segment.name == "PID":
            groups.append((segment, []))
        else:
            groups[-1][1].append(segment)
    for number, (pid, found) in enumerate(groups, 1):
        if most and len(found) > most:
            raise _alone(name, found[most].sequence)
        if not found:
            raise _alone(name, number)
        yield pid, found


def _alone(name: str, sequence: int) -> UnmappableError:
    return UnmappableError(
        f"each PID must have {'one ' if name == 'MRG' else 'a '}{name} behind it",
        error_code=SEGMENT_SEQUENCE_ERROR,
        location=Location(segment=name, sequence=sequence),
    )


def mappers(table: tuple[Clinic, ...] = ()) -> Mapping[str, Mapper]:
    """What reads which message; `table` are the clinics whose visits are shown without an order."""
    visit, swap = partial(map_visit, table=table), partial(map_swap, table=table)
    siu = partial(map_appointment, table=table)
    adt: dict[str, Mapper] = {
        **dict.fromkeys(VISITS, visit),
        **dict.fromkeys(PERSONS, map_person),
        **dict.fromkeys(PAIRS, map_pairs),
        **dict.fromkeys(TWO, map_two),
        SWAP: swap,
        **dict.fromkeys(REASSIGNED, map_reassigned),
        **dict.fromkeys(NOTHING, map_nothing),
        **dict.fromkeys(REFUSED, refuse),
    }
    found = {f"ADT^{trigger}": mapper for trigger, mapper in adt.items()}
    return MappingProxyType(found | {f"SIU^{trigger}": siu for trigger in APPOINTMENTS})


def _makes() -> dict[str, tuple[EventType, ...]]:
    steps: tuple[EventType, ...] = ("step.scheduled",)
    found: dict[str, tuple[EventType, ...]] = {
        t: (v.patient, v.event, *(steps if v.begin else ())) for t, v in VISITS.items()
    }
    found |= {t: (p.event,) for group in (PERSONS, PAIRS, TWO) for t, p in group.items()}
    found |= {SWAP: ("patient.updated", "encounter.moved", *steps)}
    found |= dict.fromkeys(REASSIGNED, ("patient.updated", "encounter.reassigned"))
    siu = {f"SIU^{t}": (v.event, *(steps if v.begin else ())) for t, v in APPOINTMENTS.items()}
    return {f"ADT^{trigger}": events for trigger, events in found.items()} | siu


MAKES: Final[Mapping[str, tuple[EventType, ...]]] = MappingProxyType(_makes())
"""Message type to the events that may come of it."""
