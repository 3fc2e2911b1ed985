"""ADT to canonical events (IHE ITI-30, ITI-31, RAD-1, RAD-12). Pure; the model for a mapping of your own.

Every message gives exactly one `patient.*` event for each patient it speaks of, before any `encounter.*` event, so
that a route on `patient.*` sees each message once. Triggers that are not listed are refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from broker.errors import (
    DUPLICATE_KEY,
    REQUIRED_FIELD_MISSING,
    SEGMENT_SEQUENCE_ERROR,
    Location,
    UnmappableError,
)
from broker.event import Draft, EventData, EventType, Identifier, Patient
from broker.hl7 import demographics, protection
from broker.hl7.er7 import Message, Segment
from broker.reception import Mapper, Profile

ENCOUNTERS: Final[Mapping[str, tuple[EventType, EventType]]] = MappingProxyType(
    {
        "A01": ("patient.registered", "encounter.started"),
        "A02": ("patient.updated", "encounter.moved"),
        "A03": ("patient.updated", "encounter.ended"),
        "A04": ("patient.registered", "encounter.started"),
        "A05": ("patient.registered", "encounter.started"),
        "A06": ("patient.updated", "encounter.moved"),
        "A07": ("patient.updated", "encounter.moved"),
        "A11": ("patient.updated", "encounter.cancelled"),
        "A12": ("patient.updated", "encounter.moved"),
        "A13": ("patient.updated", "encounter.started"),
    }
)
"""Trigger to the patient's event and the visit's."""

PERSONS: Final[Mapping[str, EventType]] = MappingProxyType(
    {"A08": "patient.updated", "A28": "patient.registered", "A31": "patient.updated"}
)

MERGES: Final[Mapping[str, EventType]] = MappingProxyType(
    {"A40": "patient.merged", "A47": "patient.id-changed"}
)


def map_encounter(message: Message, profile: Profile) -> Sequence[Draft]:
    """A visit's trigger: who the patient is, then what became of the visit."""
    of_patient, of_visit = ENCOUNTERS[message.header.trigger.upper()]
    pid, time = demographics.only_pid(message), demographics.event_time(message)
    patient = _patient(pid, message, profile)
    encounter = demographics.encounter(message.first("PV1"), pid, profile.issuers)
    drafts = [Draft(type=of_patient, time=time, data=EventData(patient=patient, encounter=encounter))]
    if encounter is not None:
        drafts.append(Draft(type=of_visit, time=time, data=EventData(patient=patient, encounter=encounter)))
    return drafts


def map_person(message: Message, profile: Profile) -> Sequence[Draft]:
    """A person's trigger: demographics, and the visit they came with where there is one."""
    pid = demographics.only_pid(message)
    data = EventData(
        patient=_patient(pid, message, profile),
        encounter=demographics.encounter(message.first("PV1"), pid, profile.issuers),
    )
    kind = PERSONS[message.header.trigger.upper()]
    return [Draft(type=kind, time=demographics.event_time(message), data=data)]


def map_merge(message: Message, profile: Profile) -> Sequence[Draft]:
    """A40 and A47: each PID with its MRG. The identifiers of MRG-1 end, the PID's go on."""
    kind = MERGES[message.header.trigger.upper()]
    drafts = []
    for pid, mrg in _pairs(message):
        patient = _patient(pid, _group(message, pid), profile)
        prior = _prior(mrg, profile)
        if {i.key for i in prior} & {i.key for i in patient.identifiers}:
            raise UnmappableError(
                "MRG-1 names an identifier of PID-3: a patient cannot be merged into itself",
                error_code=DUPLICATE_KEY,
                location=mrg.location(1),
            )
        data = EventData(patient=patient, prior=prior)
        drafts.append(Draft(type=kind, time=demographics.event_time(message), data=data))
    return drafts


def _patient(pid: Segment | None, segments: Iterable[Segment], profile: Profile) -> Patient:
    """Who it is, and whether the address is protected, as far as these segments say it."""
    patient = demographics.patient(pid, profile.issuers)
    said = protection.detect(segments, profile.protection)
    return patient if said is None else patient.model_copy(update={"protected": said})


def _group(message: Message, pid: Segment) -> Iterator[Segment]:
    """A PID and what stands behind it, to the next: what is said of one patient."""
    for segment in message.segments[pid.index :]:
        if segment.name == "PID" and segment.index != pid.index:
            return
        yield segment


def _prior(mrg: Segment, profile: Profile) -> tuple[Identifier, ...]:
    prior = demographics.identifiers(mrg, 1, profile.issuers)
    if not prior:
        raise UnmappableError(
            "MRG-1 holds no identifier", error_code=REQUIRED_FIELD_MISSING, location=mrg.location(1)
        )
    return prior


def _pairs(message: Message) -> Iterator[tuple[Segment, Segment]]:
    """Each PID with the MRG that follows it, in the message's order. One without the other makes no sense."""
    segments = [segment for segment in message if segment.name in ("PID", "MRG")]
    for place in range(0, max(2, len(segments)), 2):
        match segments[place : place + 2]:
            case [pid, mrg] if (pid.name, mrg.name) == ("PID", "MRG"):
                yield pid, mrg
            case _:
                raise UnmappableError(
                    "each PID must have one MRG behind it",
                    error_code=SEGMENT_SEQUENCE_ERROR,
                    location=Location(segment="MRG", sequence=place // 2 + 1),
                )


MAKES: Final[Mapping[str, tuple[EventType, ...]]] = MappingProxyType(
    {
        **{f"ADT^{trigger}": events for trigger, events in ENCOUNTERS.items()},
        **{f"ADT^{trigger}": (event,) for trigger, event in {**PERSONS, **MERGES}.items()},
    }
)
"""Message type to the events that may come of it."""

MAPPERS: Final[Mapping[str, Mapper]] = MappingProxyType(
    {
        **{f"ADT^{trigger}": map_encounter for trigger in ENCOUNTERS},
        **{f"ADT^{trigger}": map_person for trigger in PERSONS},
        **{f"ADT^{trigger}": map_merge for trigger in MERGES},
    }
)
