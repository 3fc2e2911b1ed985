"""SIU to canonical events (HL7 v2.5.1 chapter 10): an appointment is a planned visit, with a place and a time. Pure.

Resources other than the place are not read, and series (SCH-10, repeat patterns) are what the sender makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from adapters.pas import clinics
from adapters.pas.clinics import Clinic
from adapters.pas.triggers import APPOINTMENTS
from broker.errors import REQUIRED_FIELD_MISSING, SEGMENT_SEQUENCE_ERROR, Location, UnmappableError
from broker.event import Draft, Encounter, EventData, Identifier
from broker.hl7 import demographics
from broker.hl7.er7 import Message, Segment
from broker.reception import Profile

_TIMES: Final = (("SCH", 11, 4), ("AIS", 4, 1), ("AIL", 6, 1), ("AIG", 8, 1), ("AIP", 6, 1))
"""Where the beginning stands, the first that is given."""


def map_appointment(message: Message, profile: Profile, table: tuple[Clinic, ...] = ()) -> Sequence[Draft]:
    """A visit that is planned, changed or called off. The patient is only named: PAS says who that is by ADT."""
    meaning = APPOINTMENTS[message.header.trigger.upper()]
    pid, time = demographics.only_pid(message), _said_at(message)
    patient = demographics.patient(pid, profile.issuers)
    found = demographics.encounter(message.first("PV1"), pid, profile.issuers) or Encounter()
    sch, ail = message.first("SCH"), message.first("AIL")
    appointment = _number(sch, profile) if sch is not None else None
    place = {}
    if not found.location and ail is not None:
        place = {"location": demographics.location(ail, 3), "facility": demographics.stated(ail.get(3, 4))}
    start = _start(message)
    encounter = found.model_copy(
        update={"status": meaning.status, "appointment": appointment, "start": start or None, **place}
    )
    if encounter.visit_number is None and appointment is None:
        raise UnmappableError(
            "neither SCH-1, SCH-2 nor PV1-19 numbers the appointment",
            error_code=REQUIRED_FIELD_MISSING if sch is not None else SEGMENT_SEQUENCE_ERROR,
            location=Location(segment="SCH"),
        )
    drafts = [Draft(type=meaning.event, time=time, data=EventData(patient=patient, encounter=encounter))]
    if meaning.begin:
        drafts += clinics.drafts(table, patient, encounter, start, time, profile)
    return drafts


def _said_at(message: Message) -> str:
    """When it was said: SIU has no EVN."""
    return message.header.datetime


def _number(sch: Segment, profile: Profile) -> Identifier | None:
    """The filler's appointment id, else the placer's, under the listener's issuer where it names none."""
    number = demographics.entity(sch, 2) or demographics.entity(sch, 1)
    if number is None:
        return None
    return profile.issuers.complete(number.value, number.namespace, number.oid, number.oid_type, "")


def _start(message: Message) -> str:
    for name, field, component in _TIMES:
        segment = message.first(name)
        if segment is None or not (text := demographics.stated(segment.get(field, component))):
            continue
        found = demographics.date_and_time(text)
        if found is None:
            raise UnmappableError(f"{name}-{field} is no time", location=segment.location(field, component))
        return "".join(found)
    return ""
