"""What a device asks (N-ACTION) and what an archive answers (N-EVENT-REPORT) to events (PS3.4 J.3). Pure.

Nothing is decided here: whether an instance is safe, and which request an archive answers, the registers say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from broker.adapter import Reception, Verdict
from broker.dicom import commitment, status, uid
from broker.dicom.attributes import Attributes
from broker.errors import RemoteProtocolError
from broker.event import Event, EventData, EventType, Study
from broker.reception import search_keys

Operation = Literal["N-ACTION", "N-EVENT-REPORT", "N-GET"]

ANSWERED: Final[Mapping[int, str]] = {
    status.SUCCESS: "it is in the journal",
    status.NO_SUCH_SOP_INSTANCE: "the SOP Instance UID is not the well-known one of the class",
    status.NO_SUCH_EVENT_TYPE: "N-EVENT-REPORT: the Event Type ID is neither 1 nor 2",
    status.INVALID_ARGUMENT_VALUE: "the data set cannot be read; the Transaction UID or a reference is missing or no"
    " UID; nothing is referred to",
    status.NO_SUCH_ACTION: "N-ACTION: the Action Type ID is not 1",
    status.UNRECOGNISED_OPERATION: "N-GET, which the class has not",
}
"""What a request is answered, and when: the conformance statement says the same."""

_EVENTS: Final[Mapping[str, EventType]] = {
    "N-ACTION": "commitment.requested",
    "N-EVENT-REPORT": "study.committed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One request, with its data set read."""

    operation: Operation
    sop_instance_uid: str
    type_id: int
    calling_aet: str
    information: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which listener took it."""

    name: str
    site: str


def receive(said: Said, place: Place, *, message_id: str, now: datetime, raw: bytes) -> Reception:
    """The request as commit 1 writes it."""
    if said.operation == "N-GET":
        code, reason = status.UNRECOGNISED_OPERATION, "the class has no N-GET"
    elif said.sop_instance_uid != uid.STORAGE_COMMITMENT_INSTANCE:
        code, reason = status.NO_SUCH_SOP_INSTANCE, "not the well-known SOP instance of the class"
    elif said.operation == "N-ACTION" and said.type_id != commitment.REQUEST:
        code, reason = status.NO_SUCH_ACTION, "the Action Type ID is not 1"
    elif said.operation == "N-EVENT-REPORT" and said.type_id not in (
        commitment.SUCCESSFUL,
        commitment.FAILURES_EXIST,
    ):
        code, reason = status.NO_SUCH_EVENT_TYPE, "the Event Type ID is neither 1 nor 2"
    else:
        try:
            study = _study(said)
        except RemoteProtocolError as exc:
            code, reason = status.INVALID_ARGUMENT_VALUE, str(exc)
        else:
            return _accepted(study, said, place, message_id=message_id, now=now, raw=raw)
    return refused(code, reason, said, place, message_id=message_id, now=now, raw=raw)


def refused(
    code: int, reason: str, said: Said, place: Place, *, message_id: str, now: datetime, raw: bytes
) -> Reception:
    """A request that is answered with a failure; its bytes are kept."""
    return Reception(
        message_id=message_id,
        source=place.name,
        site=place.site,
        peer=said.calling_aet,
        protocol="dicom",
        received=now,
        message_type=said.operation,
        sender=said.calling_aet,
        verdict=Verdict.REJECTED,
        reason=reason,
        answer_code=f"{code:04X}",
        raw=raw,
    )


def _study(said: Said) -> Study:
    transaction, instances = commitment.read(said.information)
    if said.operation == "N-ACTION":
        # Whatever a device says of failures in a request, it is asking.
        instances = tuple(one.model_copy(update={"failure": 0}) for one in instances)
        return Study(transaction_uid=transaction, requester=said.calling_aet, instances=instances)
    return Study(transaction_uid=transaction, instances=instances)


def _accepted(
    study: Study, said: Said, place: Place, *, message_id: str, now: datetime, raw: bytes
) -> Reception:
    event = Event(
        id=f"{message_id}.0",
        type=_EVENTS[said.operation],
        source=place.name,
        site=place.site,
        time=now,
        message_id=message_id,
        data=EventData(study=study),
    )
    return Reception(
        message_id=message_id,
        source=place.name,
        site=place.site,
        peer=said.calling_aet,
        protocol="dicom",
        received=now,
        message_type=said.operation,
        sender=said.calling_aet,
        verdict=Verdict.ACCEPTED,
        answer_code=f"{status.SUCCESS:04X}",
        raw=raw,
        keys=search_keys((event,)),
        events=(event,),
    )
