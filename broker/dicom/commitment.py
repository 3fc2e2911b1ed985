"""Storage commitment as attributes: what is asked, what is reported, and what of either cannot be taken. Pure.

Not here: who is asked, when, and what follows. PS3.4 J.3.2 (N-ACTION), J.3.3 (N-EVENT-REPORT), PS3.3 C.14.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from broker.dicom import status, uid
from broker.dicom.attributes import Attributes, Value
from broker.errors import RemoteProtocolError
from broker.event import InstanceReference

REQUEST: Final = 1
"""Action Type ID (PS3.4 table J.3-1)."""
SUCCESSFUL: Final = 1
FAILURES_EXIST: Final = 2
"""Event Type IDs (PS3.4 table J.3-2)."""

TRANSACTION: Final = "TransactionUID"
REFERENCED: Final = "ReferencedSOPSequence"
FAILED: Final = "FailedSOPSequence"


def transaction_of(event_id: str) -> str:
    """The Transaction UID of the request that follows from an event: the same however often it is made."""
    return uid.derive(f"commitment|{event_id}")


def information(transaction_uid: str, instances: Sequence[InstanceReference]) -> Attributes:
    """Action or event information: what failed stands apart, with its reason. No sequence is empty (type 1C)."""
    found: dict[str, Value] = {TRANSACTION: transaction_uid}
    for keyword, items in (
        (REFERENCED, tuple(_item(one) for one in instances if not one.failure)),
        (
            FAILED,
            tuple({**_item(one), "FailureReason": str(one.failure)} for one in instances if one.failure),
        ),
    ):
        if items:
            found[keyword] = items
    return found


def event_type(information: Attributes) -> int:
    """Event Type ID of the report that says so."""
    return FAILURES_EXIST if FAILED in information else SUCCESSFUL


def read(information: Attributes) -> tuple[str, tuple[InstanceReference, ...]]:
    """Transaction UID and instances, each once; what is named as committed and as failed, failed.

    `RemoteProtocolError` names what is missing or no UID: a request for nothing is none.
    """
    transaction = information.get(TRANSACTION)
    if not isinstance(transaction, str) or not uid.valid(transaction):
        raise RemoteProtocolError("(0008,1195) Transaction UID is missing, or no UID")
    found = {one.sop_instance_uid: one for one in _references(information)}
    if not found:
        raise RemoteProtocolError("(0008,1199) Referenced SOP Sequence is missing or empty")
    return transaction, tuple(found.values())


def _references(information: Attributes) -> Iterator[InstanceReference]:
    for keyword, tag in ((REFERENCED, "(0008,1199)"), (FAILED, "(0008,1198)")):
        items = information.get(keyword, ())
        for number, item in enumerate(items if isinstance(items, tuple) else (), 1):
            place = f"{tag} item {number}"
            yield InstanceReference(
                sop_class_uid=_uid(item, "ReferencedSOPClassUID", f"{place} (0008,1150)"),
                sop_instance_uid=_uid(item, "ReferencedSOPInstanceUID", f"{place} (0008,1155)"),
                failure=_reason(item) if keyword == FAILED else 0,
            )


def _uid(item: object, keyword: str, place: str) -> str:
    value = item.get(keyword) if isinstance(item, Mapping) else None
    if not isinstance(value, str) or not uid.valid(value):
        raise RemoteProtocolError(f"{place} is missing, or no UID")
    return value


def _reason(item: object) -> int:
    """What failed without saying why failed all the same."""
    value = item.get("FailureReason") if isinstance(item, Mapping) else None
    number = int(value) if isinstance(value, str) and value.isdecimal() else 0
    return number or status.PROCESSING_FAILURE


def _item(one: InstanceReference) -> dict[str, Value]:
    return {
        "ReferencedSOPClassUID": one.sop_class_uid,
        "ReferencedSOPInstanceUID": one.sop_instance_uid,
    }
