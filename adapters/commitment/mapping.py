"""What a device asks (N-ACTION) and what an archive answers (N-EVENT-REPORT) to events (PS3.4 J.3). Pure.

Nothing is decided here: whether an instance is safe, and which request an archive answers, the registers say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from broker.adapter import ListenerPlace, Reception
from broker.dicom import commitment, status, uid
from broker.dicom.attributes import Attributes
from broker.dicom_request import Request
from broker.errors import RemoteProtocolError
from broker.event import Draft, EventData, EventType, Study

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


def receive(said: Said, place: ListenerPlace, *, message_id: str, now: datetime, raw: bytes) -> Reception:
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
            request = _request(said, place, message_id=message_id, now=now, raw=raw)
            return request.taken((Draft(type=_EVENTS[said.operation], data=EventData(study=study)),))
    return refused(code, reason, said, place, message_id=message_id, now=now, raw=raw)


def refused(
    code: int, reason: str, said: Said, place: ListenerPlace, *, message_id: str, now: datetime, raw: bytes
) -> Reception:
    """A request that is answered with a failure; its bytes are kept."""
    return _request(said, place, message_id=message_id, now=now, raw=raw).refused(code, reason)


def _request(said: Said, place: ListenerPlace, *, message_id: str, now: datetime, raw: bytes) -> Request:
    return Request(
        source=place.name,
        site=place.site,
        message_id=message_id,
        received=now,
        message_type=said.operation,
        calling_aet=said.calling_aet,
        raw=raw,
    )


def _study(said: Said) -> Study:
    transaction, instances = commitment.read(said.information)
    if said.operation == "N-ACTION":
        # Whatever a device says of failures in a request, it is asking.
        instances = tuple(one.model_copy(update={"failure": 0}) for one in instances)
        return Study(transaction_uid=transaction, requester=said.calling_aet, instances=instances)
    return Study(transaction_uid=transaction, instances=instances)
