"""An Instance Availability Notification to `study.available` (PS3.4 R): where a study can be had, and how soon. Pure.

What is said is taken as it is. It says nothing of safety, which is storage commitment's, and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args

from broker.adapter import Reception, Verdict
from broker.dicom import attributes as dicom
from broker.dicom import status, uid
from broker.dicom.attributes import Attributes
from broker.event import Event, EventData, InstanceReference, Study
from broker.reception import search_keys

TYPE: Final = "IAN"
"""Message type in the journal: an N-CREATE there is a performed procedure step."""

Availability = Literal["UNAVAILABLE", "OFFLINE", "NEARLINE", "ONLINE"]
SOONEST: Final[tuple[Availability, ...]] = get_args(Availability)
"""(0008,0056), the worst first (PS3.3 C.4.23.1.1)."""

ANSWERED: Final[Mapping[int, str]] = {
    status.SUCCESS: "it is in the journal; so is a repeat",
    status.INVALID_ATTRIBUTE_VALUE: "an availability that PS3.3 does not know, or a reference that is no UID",
    status.PROCESSING_FAILURE: "the data set cannot be read",
    status.INVALID_OBJECT_INSTANCE: "the SOP Instance UID is none",
    status.MISSING_ATTRIBUTE: "an attribute of type 1 is missing, or there is no data set",
    status.MISSING_ATTRIBUTE_VALUE: "an attribute of type 1 has no value",
    status.UNRECOGNISED_OPERATION: "N-SET, which the class has not",
}
"""What a notification is answered, and when: the conformance statement says the same."""

REQUIRED: Final = ("StudyInstanceUID", "ReferencedSeriesSequence")
"""Type 1 at the top of N-CREATE (PS3.4 R.3); those of its items are looked for too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One notification, read."""

    uid: str
    calling_aet: str
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which listener took it."""

    name: str
    site: str


class Fault(Exception):  # noqa: N818 - as the MPPS has it: why a request cannot be taken
    """Why it cannot be taken: a DIMSE status, and the place."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def receive(said: Said, place: Place, *, message_id: str, now: datetime, raw: bytes) -> Reception:
    """The notification as commit 1 writes it."""
    try:
        studies = map_studies(said)
    except Fault as fault:
        return refused(fault, said, place, message_id=message_id, now=now, raw=raw)
    events = tuple(
        Event(
            id=f"{message_id}.{number}",
            type="study.available",
            source=place.name,
            site=place.site,
            time=now,
            message_id=message_id,
            data=EventData(study=study),
        )
        for number, study in enumerate(studies)
    )
    return Reception(
        message_id=message_id,
        source=place.name,
        site=place.site,
        peer=said.calling_aet,
        protocol="dicom",
        received=now,
        message_type=TYPE,
        sender=said.calling_aet,
        verdict=Verdict.ACCEPTED,
        answer_code=f"{status.SUCCESS:04X}",
        raw=raw,
        keys=search_keys(events),
        events=events,
    )


def refused(
    fault: Fault, said: Said, place: Place, *, message_id: str, now: datetime, raw: bytes
) -> Reception:
    """One that is answered with a failure; its bytes are kept."""
    return Reception(
        message_id=message_id,
        source=place.name,
        site=place.site,
        peer=said.calling_aet,
        protocol="dicom",
        received=now,
        message_type=TYPE,
        sender=said.calling_aet,
        verdict=Verdict.REJECTED,
        reason=str(fault),
        answer_code=f"{fault.code:04X}",
        raw=raw,
    )


def map_studies(said: Said) -> tuple[Study, ...]:
    """For each AE title that the instances can be retrieved from: which they are, and how soon.

    Of instances that are not equally near, the study is as far as the farthest: who wants it wants all of it. Raises
    `Fault`.
    """
    if not uid.valid(said.uid):
        raise Fault(status.INVALID_OBJECT_INSTANCE, "the SOP Instance UID is none")
    if not said.attributes:
        raise Fault(status.MISSING_ATTRIBUTE, "there is no data set")
    study_uid = _uid(said.attributes, "StudyInstanceUID")
    found: dict[str, dict[str, InstanceReference]] = {}
    farthest: dict[str, int] = {}
    for aet, availability, instance in _references(said.attributes):
        found.setdefault(aet, {})[instance.sop_instance_uid] = instance
        farthest[aet] = min(SOONEST.index(availability), farthest.get(aet, len(SOONEST)))
    return tuple(
        Study(
            study_uid=study_uid,
            retrieve_aet=aet,
            availability=SOONEST[farthest[aet]],
            instances=tuple(instances.values()),
        )
        for aet, instances in found.items()
    )


def _references(head: Attributes) -> Iterator[tuple[str, Availability, InstanceReference]]:
    for series in _items(head, "ReferencedSeriesSequence"):
        series_uid = _uid(series, "SeriesInstanceUID")
        for item in _items(series, "ReferencedSOPSequence"):
            instance = InstanceReference(
                sop_class_uid=_uid(item, "ReferencedSOPClassUID"),
                sop_instance_uid=_uid(item, "ReferencedSOPInstanceUID"),
                series_uid=series_uid,
            )
            availability = _value(item, "InstanceAvailability")
            if availability not in SOONEST:
                raise Fault(
                    status.INVALID_ATTRIBUTE_VALUE, f"{_place('InstanceAvailability')}: none of {SOONEST}"
                )
            for aet in _values(item, "RetrieveAETitle"):
                yield aet, availability, instance


def _items(item: Attributes, keyword: str) -> tuple[Attributes, ...]:
    found = dicom.items_of(item.get(keyword, ()))
    if not found:
        raise _missing(item, keyword)
    return found


def _uid(item: Attributes, keyword: str) -> str:
    value = _value(item, keyword)
    if not uid.valid(value):
        raise Fault(status.INVALID_ATTRIBUTE_VALUE, f"{_place(keyword)} is no UID")
    return value


def _value(item: Attributes, keyword: str) -> str:
    return _values(item, keyword)[0]


def _values(item: Attributes, keyword: str) -> tuple[str, ...]:
    value = item.get(keyword, "")
    several = (value,) if isinstance(value, str) else value
    found = tuple(one for one in several if isinstance(one, str) and one)
    if not found:
        raise _missing(item, keyword)
    return found


def _missing(item: Attributes, keyword: str) -> Fault:
    if keyword in item:
        return Fault(status.MISSING_ATTRIBUTE_VALUE, f"{_place(keyword)} has no value")
    return Fault(status.MISSING_ATTRIBUTE, f"{_place(keyword)} is missing")


def _place(keyword: str) -> str:
    tag = dicom.tag_of(keyword)
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
