"""The measurements of `table.py` to canonical events. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from broker.errors import SEGMENT_SEQUENCE_ERROR, Location, UnmappableError
from broker.event import Draft, EventData, Patient, Result
from broker.hl7 import demographics
from broker.hl7.er7 import Message
from broker.reception import Mapper, Profile


def map_measurement(message: Message, profile: Profile) -> Sequence[Draft]:
    """One `result.available`; the message passes on whole."""
    obr = message.first("OBR")
    if obr is None:
        raise UnmappableError(
            "there is no OBR", error_code=SEGMENT_SEQUENCE_ERROR, location=Location(segment="OBR")
        )
    pid = message.first("PID")
    identifiers = demographics.identifiers(pid, 3, profile.issuers) if pid is not None else ()
    result = Result(
        filler_number=demographics.entity(obr, 3), service=demographics.code(obr, 4), status=obr.get(25)
    )
    patient = Patient(identifiers=identifiers) if identifiers else None
    data = EventData(patient=patient, result=result)
    return [Draft(type="result.available", time=demographics.event_time(message), data=data)]


MAPPERS: Final[Mapping[str, Mapper]] = MappingProxyType({"ORU^R01": map_measurement})
