"""ORU^R01 to `result.available`. Pure. A result passes on whole: only what routes decide by is read here.

A monitor that does not know its patient (empty PID-3) is passed on too: identity is never guessed, and never asked
of a sender whose message the receiver can file by other means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from broker.errors import SEGMENT_SEQUENCE_ERROR, Location, UnmappableError
from broker.event import Draft, EventData, Patient, Result
from broker.hl7 import demographics
from broker.hl7.er7 import Message
from broker.reception import Mapper, Profile


def map_result(message: Message, profile: Profile) -> Sequence[Draft]:
    """One event per message, however many OBR it holds: the message is what is passed on."""
    obr = message.first("OBR")
    if obr is None and message.first("OBX") is None:
        raise UnmappableError(
            "there is neither OBR nor OBX: no result",
            error_code=SEGMENT_SEQUENCE_ERROR,
            location=Location(segment="OBR"),
        )
    result = Result()
    if obr is not None:
        result = Result(
            placer_number=demographics.entity(obr, 2),
            filler_number=demographics.entity(obr, 3),
            service=demographics.code(obr, 4),
            status=obr.get(25),
        )
    return [
        Draft(
            type="result.available",
            time=demographics.event_time(message),
            data=_data(message, profile, result),
        )
    ]


def _data(message: Message, profile: Profile, result: Result) -> EventData:
    pid = message.first("PID")
    found = demographics.identifiers(pid, 3, profile.issuers) if pid is not None else ()
    patient = Patient(identifiers=found) if found else None
    return EventData(patient=patient, result=result)


MAPPERS: Final[Mapping[str, Mapper]] = MappingProxyType({"ORU^R01": map_result})
