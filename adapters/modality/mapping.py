"""A modality performed procedure step, as an N-CREATE or N-SET says it, to `step.*` events (PS3.4 F.7.2). Pure.

Which scheduled steps and which patient are meant, the registers find: here is what the modality said, and what of it
cannot be taken. The answer also depends on the state of the MPPS (`STATES`), which commit 1 holds it against.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, cast, get_args

from broker.adapter import Claim, Reception
from broker.dicom import attributes as dicom
from broker.dicom import status, uid
from broker.dicom.attributes import Attributes, items_of, text_of
from broker.dicom.vr_faults import vr_faults
from broker.dicom_identity import Profile, issuer, stated
from broker.dicom_request import Request
from broker.event import (
    Draft,
    EventData,
    EventType,
    PerformedSeries,
    PerformedStatus,
    PerformedStep,
    StepReference,
)

Operation = Literal["N-CREATE", "N-SET"]

STATES: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"IN PROGRESS"}),
    "IN PROGRESS": frozenset(get_args(PerformedStatus)),
    "COMPLETED": frozenset(),
    "DISCONTINUED": frozenset(),
}
"""From the state of an MPPS to those that may follow (PS3.4 F.7.1.2); `""`: it does not exist."""

ANSWERED: Final[Mapping[int, str]] = {
    status.SUCCESS: "it is in the journal",
    status.INVALID_ATTRIBUTE_VALUE: "a status that may not be set then, or a date or time that is none",
    status.PROCESSING_FAILURE: "the data set cannot be read; with Error ID A710: the MPPS has ended",
    status.DUPLICATE_SOP_INSTANCE: "N-CREATE: an MPPS with this UID exists",
    status.NO_SUCH_SOP_INSTANCE: "N-SET: no MPPS with this UID exists",
    status.INVALID_OBJECT_INSTANCE: "the SOP Instance UID is none",
    status.MISSING_ATTRIBUTE: "an attribute of type 1 is missing, or there is no data set",
    status.MISSING_ATTRIBUTE_VALUE: "an attribute of type 1 has no value",
}
"""What a request is answered, and when: the conformance statement, and the tests, say the same."""

EVENTS: Final[Mapping[PerformedStatus, EventType]] = {
    "IN PROGRESS": "step.changed",
    "COMPLETED": "step.completed",
    "DISCONTINUED": "step.discontinued",
}
"""What an N-SET in this status comes to; an N-CREATE is `step.started`."""

CREATED_WITH: Final = (
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepStatus",
    "Modality",
)
"""Type 1 of N-CREATE (PS3.4 table F.7.2-1). Of type 2 nothing is missed: devices leave out what they do not know."""

_MOMENTS: Final = (
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One request, read."""

    operation: Operation
    uid: str
    calling_aet: str
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why it cannot be taken: a DIMSE status, and the place."""

    code: int
    reason: str


def operation_of(attributes: Attributes) -> Operation:
    """What a data set of the class was sent as: the performing station stands in an N-CREATE, and never in an N-SET."""
    created = "PerformedStationAETitle" in attributes or "ScheduledStepAttributesSequence" in attributes
    return "N-CREATE" if created else "N-SET"


def receive(said: Said, profile: Profile, *, message_id: str, now: datetime, raw: bytes) -> Reception:
    """The request as commit 1 writes it, if the state of its MPPS allows."""
    fault = _fault(said)
    if fault is not None:
        return refused(fault, said, profile, message_id=message_id, now=now, raw=raw)
    performed = map_performed(said)
    creates = said.operation == "N-CREATE"
    patient = stated(said.attributes, profile) if creates else None
    draft = Draft(
        type="step.started" if creates else EVENTS[performed.status or "IN PROGRESS"],
        data=EventData(
            patient=patient if patient is not None and patient.identifiers else None, performed=performed
        ),
    )

    def otherwise(state: str) -> Reception:
        return refused(_not_now(said, state), said, profile, message_id=message_id, now=now, raw=raw)

    return _request(said, profile, message_id=message_id, now=now, raw=raw).taken(
        (draft,),
        flags=tuple(_remarks(said, performed)),
        claim=Claim(
            uid=said.uid,
            after=frozenset({"" if creates else "IN PROGRESS"}),
            state=performed.status or "IN PROGRESS",
            otherwise=otherwise,
        ),
    )


def refused(
    fault: Fault, said: Said, profile: Profile, *, message_id: str, now: datetime, raw: bytes
) -> Reception:
    """A request that is answered with a failure; its bytes are kept."""
    keys = (("instance", said.uid),) if said.uid else ()
    request = _request(said, profile, message_id=message_id, now=now, raw=raw)
    return request.refused(fault.code, fault.reason, keys)


def _request(said: Said, profile: Profile, *, message_id: str, now: datetime, raw: bytes) -> Request:
    return Request(
        source=profile.name,
        site=profile.site,
        message_id=message_id,
        received=now,
        message_type=said.operation,
        calling_aet=said.calling_aet,
        raw=raw,
    )


def map_performed(said: Said) -> PerformedStep:
    """What the modality said, and no more: an N-SET says what is new."""
    head = said.attributes
    return PerformedStep(
        uid=said.uid,
        status=cast("PerformedStatus | None", text_of(head, "PerformedProcedureStepStatus") or None),
        calling_aet=said.calling_aet,
        station_aet=text_of(head, "PerformedStationAETitle"),
        modality=text_of(head, "Modality"),
        started=_moment(head, "Start"),
        ended=_moment(head, "End"),
        discontinuation=next(
            (
                text_of(item, "CodeValue")
                for item in items_of(head.get("PerformedProcedureStepDiscontinuationReasonCodeSequence", ()))
            ),
            "",
        ),
        steps=tuple(
            StepReference(
                study_uid=text_of(item, "StudyInstanceUID"),
                accession_number=text_of(item, "AccessionNumber"),
                step_id=text_of(item, "ScheduledProcedureStepID"),
            )
            for item in items_of(head.get("ScheduledStepAttributesSequence", ()))
        ),
        series=tuple(
            PerformedSeries(series_uid=text_of(item, "SeriesInstanceUID"), instances=tuple(_instances(item)))
            for item in items_of(head.get("PerformedSeriesSequence", ()))
        ),
        issuer_stated=any(issuer(head)),
    )


def _instances(series: Attributes) -> Iterator[str]:
    for keyword in ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"):
        for item in items_of(series.get(keyword, ())):
            yield text_of(item, "ReferencedSOPInstanceUID")


def _moment(head: Attributes, which: Literal["Start", "End"]) -> str:
    """`YYYYMMDDHHMMSS`; empty where the day is not known."""
    day = text_of(head, f"PerformedProcedureStep{which}Date")
    time = text_of(head, f"PerformedProcedureStep{which}Time").partition(".")[0]
    return f"{day}{time:0<6}" if day else ""


def _fault(said: Said) -> Fault | None:
    """What PS3.4 table F.7.2-1 and PS3.7 Annex C refuse, whatever the state."""
    head, name = said.attributes, "PerformedProcedureStepStatus"
    if not uid.valid(said.uid):
        return Fault(code=status.INVALID_OBJECT_INSTANCE, reason="the SOP Instance UID is none")
    if not head:
        return Fault(code=status.MISSING_ATTRIBUTE, reason="there is no data set")
    if said.operation == "N-CREATE":
        for keyword in CREATED_WITH:
            if missing := _missing(head, keyword):
                return missing
        for item in items_of(head.get("ScheduledStepAttributesSequence", ())):
            if missing := _missing(item, "StudyInstanceUID"):
                return missing
    allowed = STATES["" if said.operation == "N-CREATE" else "IN PROGRESS"]
    if name in head and text_of(head, name) not in allowed:
        return Fault(
            code=status.INVALID_ATTRIBUTE_VALUE, reason=f"{dicom.place_of(name)}: no status that may be set"
        )
    for broken in vr_faults({keyword: head[keyword] for keyword in _MOMENTS if keyword in head}):
        return Fault(
            code=status.INVALID_ATTRIBUTE_VALUE, reason=f"{dicom.place_of(broken.keyword)}: {broken.text}"
        )
    return None


def _missing(head: Attributes, keyword: str) -> Fault | None:
    if keyword not in head:
        return Fault(code=status.MISSING_ATTRIBUTE, reason=f"{dicom.place_of(keyword)} is missing")
    if not text_of(head, keyword):
        return Fault(code=status.MISSING_ATTRIBUTE_VALUE, reason=f"{dicom.place_of(keyword)} has no value")
    return None


def _not_now(said: Said, state: str) -> Fault:
    """The MPPS is in a state that does not allow it."""
    if said.operation == "N-CREATE":
        return Fault(code=status.DUPLICATE_SOP_INSTANCE, reason="an MPPS with this UID exists")
    if not state:
        return Fault(code=status.NO_SUCH_SOP_INSTANCE, reason="no MPPS with this UID exists")
    return Fault(code=status.PROCESSING_FAILURE, reason=f"the MPPS is {state} and may no longer be updated")


def _remarks(said: Said, performed: PerformedStep) -> Iterator[str]:
    """What a careful device would have said, and what is taken without it."""
    if said.operation == "N-CREATE" and not any(step.step_id for step in performed.steps):
        yield "mpps-unscheduled"
    if performed.status in ("COMPLETED", "DISCONTINUED") and not performed.ended:
        yield "mpps-without-end"
    if performed.status == "COMPLETED" and not performed.series:
        yield "mpps-without-series"
