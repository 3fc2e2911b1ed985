"""The Instance Availability Notification SCP (PS3.4 R): archives say what of a study can be retrieved, and from where.

A notification is in the journal, as a Part 10 file with its bytes as they came, before `0000` leaves (invariant 1).
"""

from __future__ import annotations

from datetime import datetime

from adapters.pacs import notified
from broker.adapter import InboundContext, InboundSpec, ListenerPlace, Options, Reception
from broker.dicom import part10, status, uid
from broker.errors import RemoteProtocolError
from broker.ids import message_id
from broker.net.service import Answer, ObjectRequest, Peer
from broker.statement import DicomService, IheClaim, Statement


class AvailabilityService(Options):
    """The notification service; it has no options."""


class AvailabilityScp:
    """Takes N-CREATE (`broker.net.service.ObjectService`)."""

    sop_classes = (uid.INSTANCE_AVAILABILITY,)

    def __init__(self, context: InboundContext) -> None:
        self._context = context
        self._place = notified.Place(name=context.name, site=context.site)

    def operate(self, request: ObjectRequest, peer: Peer) -> Answer:
        """Judges the notification, writes it to the journal, then answers."""
        if request.operation != "N-CREATE":
            return Answer(status=status.UNRECOGNISED_OPERATION)
        context, now = self._context, self._context.clock()
        identity = message_id(now)
        sop_instance = request.sop_instance_uid or uid.derive(f"availability|{identity}")
        raw = request.dataset and (
            part10.head(
                sop_class_uid=uid.INSTANCE_AVAILABILITY,
                sop_instance_uid=sop_instance,
                transfer_syntax_uid=request.transfer_syntax_uid,
                calling_aet=peer.calling_aet,
            )
            + request.dataset
        )
        reception = _judged(raw, sop_instance, peer.calling_aet, self._place, message_id=identity, now=now)
        context.intake.accept_blocking(reception)
        labels = {"source": context.name, "verdict": reception.verdict.value}
        context.count("broker_messages_received_total", labels)
        return Answer(
            status=int(reception.answer_code, 16), comment=reception.reason, sop_instance_uid=sop_instance
        )


class AvailabilityReader:
    """The SCP without its association: reads a DICOM file of the class (`broker.adapter.Reader`)."""

    def __init__(self, config: AvailabilityService, place: ListenerPlace) -> None:  # noqa: ARG002
        self._place = notified.Place(name=place.name, site=place.site)

    def receive(self, raw: bytes, *, message_id: str, now: datetime, peer: str = "") -> Reception:
        """Judges one file."""
        return _judged(raw, "", peer, self._place, message_id=message_id, now=now)


def _judged(
    raw: bytes, sop_instance: str, peer: str, place: notified.Place, *, message_id: str, now: datetime
) -> Reception:
    """`sop_instance`: empty where only the file says it."""
    nothing = notified.Said(uid=sop_instance, calling_aet=peer, attributes={})
    if not raw:
        return notified.receive(nothing, place, message_id=message_id, now=now, raw=raw)
    try:
        named, attributes = part10.read(raw, uid.INSTANCE_AVAILABILITY)
    except RemoteProtocolError as exc:
        fault = notified.Fault(status.PROCESSING_FAILURE, str(exc))
        return notified.refused(fault, nothing, place, message_id=message_id, now=now, raw=raw)
    said = notified.Said(uid=sop_instance or named, calling_aet=peer, attributes=attributes)
    return notified.receive(said, place, message_id=message_id, now=now, raw=raw)


class _Availability:
    """The listener's life: it lives on the shared association server (`broker.adapter.Inbound`)."""

    addresses: tuple[str, ...] = ()

    def __init__(self, config: AvailabilityService, context: InboundContext) -> None:  # noqa: ARG002
        context.register_dicom(AvailabilityScp(context))

    async def start(self) -> None:
        """The association server starts with the broker."""

    async def stop(self) -> None:
        """The association server stops with the broker."""


STATEMENT = Statement(
    services=(
        DicomService(
            name="Instance Availability Notification",
            role="SCP",
            sop_classes=AvailabilityScp.sop_classes,
            operations=("N-CREATE",),
            statuses=notified.ANSWERED,
            required=notified.REQUIRED,
            remarks=(
                "An N-CREATE without SOP Instance UID is given one. Attributes of type 1 of the items are needed too;"
                " those of type 2, and the Referenced Performed Procedure Step Sequence, are not read.",
                "Kept for each study and Retrieve AE Title: the newest notification, and of instances that are not"
                " equally near the farthest availability. Nothing is retrieved because of one, and none is taken for a"
                " storage commitment.",
            ),
        ),
    ),
    claims=(
        IheClaim(
            transaction="RAD-49",
            name="Instance Availability Notification",
            profile="SWF.b",
            actor="Department System Scheduler/Order Filler",
            limits="kept for each study and given to routes (`study.available`); no report waits for it",
        ),
    ),
)

INBOUND = InboundSpec(
    name="availability",
    summary="Instance Availability Notification SCP",
    config=AvailabilityService,
    factory=_Availability,
    reader=AvailabilityReader,
    makes={notified.TYPE: ("study.available",)},
    statement=lambda _config: STATEMENT,
)
