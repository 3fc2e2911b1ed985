"""The storage commitment service: devices ask by N-ACTION, archives answer by N-EVENT-REPORT (PS3.4 J.3).

A request is in the journal, as a Part 10 file with its bytes as they came, before `0000` leaves (invariant 1). Whether
anything is safe is not decided here, and nothing is reported from here.
"""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from typing import Final

from pydicom import dcmread

from adapters.commitment import mapping
from broker.adapter import InboundContext, InboundSpec, ListenerPlace, Options, Reception
from broker.dicom import attributes as dicom
from broker.dicom import commitment, elements, part10, status, uid
from broker.dicom.attributes import Attributes
from broker.errors import RemoteProtocolError
from broker.ids import message_id
from broker.net.service import ActionRequest, Answer, Peer
from broker.statement import DicomService, IheClaim, Statement


class CommitmentService(Options):
    """The storage commitment service; it has no options."""


class CommitmentScp:
    """Takes N-ACTION as the SCP, and N-EVENT-REPORT as the SCU (`broker.net.service.ActionService`)."""

    sop_classes = (uid.STORAGE_COMMITMENT,)
    scu_classes = (uid.STORAGE_COMMITMENT,)

    def __init__(self, context: InboundContext) -> None:
        self._context = context
        self._place = mapping.Place(name=context.name, site=context.site)

    def act(self, request: ActionRequest, peer: Peer) -> Answer:
        """Judges the request, writes it to the journal, then answers."""
        context, now = self._context, self._context.clock()
        raw = part10.head(
            sop_class_uid=uid.STORAGE_COMMITMENT,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=request.transfer_syntax_uid,
            calling_aet=peer.calling_aet,
            information=_remark(request.operation, request.type_id),
        )
        reception = _judged(
            raw + request.dataset,
            self._place,
            message_id=message_id(now),
            now=now,
            peer=peer.calling_aet,
            unreadable=(request.operation, status.INVALID_ARGUMENT_VALUE),
        )
        context.intake.accept_blocking(reception)
        labels = {"source": context.name, "verdict": reception.verdict.value}
        context.count("broker_messages_received_total", labels)
        return Answer(status=int(reception.answer_code, 16), comment=reception.reason)


class CommitmentReader:
    """The service without its association: reads a DICOM file of the class (`broker.adapter.Reader`)."""

    def __init__(self, config: CommitmentService, place: ListenerPlace) -> None:  # noqa: ARG002
        self._place = mapping.Place(name=place.name, site=place.site)

    def receive(self, raw: bytes, *, message_id: str, now: datetime, peer: str = "") -> Reception:
        """Judges one file; one that does not say what it was sent as was sent as a request."""
        return _judged(
            raw,
            self._place,
            message_id=message_id,
            now=now,
            peer=peer,
            unreadable=("N-ACTION", status.DATA_SET_MISMATCH),
        )


_OPERATIONS: Final[dict[bytes, mapping.Operation]] = {
    b"A": "N-ACTION",
    b"E": "N-EVENT-REPORT",
    b"G": "N-GET",
}


def _remark(operation: mapping.Operation, type_id: int) -> bytes:
    """What the data set was sent as, which itself does not tell."""
    letter = next(letter for letter, name in _OPERATIONS.items() if name == operation)
    text = letter + str(type_id).encode("ascii")
    return text + b" " * (len(text) % 2)


def _judged(
    raw: bytes,
    place: mapping.Place,
    *,
    message_id: str,
    now: datetime,
    peer: str,
    unreadable: tuple[mapping.Operation, int],
) -> Reception:
    """`unreadable`: what bytes that are none are taken for, and answered."""
    try:
        said = _read(raw, peer)
    except RemoteProtocolError as exc:
        operation, code = unreadable
        said = mapping.Said(
            operation=operation, sop_instance_uid="", type_id=0, calling_aet=peer, information={}
        )
        return mapping.refused(code, str(exc), said, place, message_id=message_id, now=now, raw=raw)
    return mapping.receive(said, place, message_id=message_id, now=now, raw=raw)


def _read(raw: bytes, peer: str) -> mapping.Said:
    """A Part 10 file of the class. Raises `RemoteProtocolError`."""
    elements.scan(BytesIO(raw))
    try:
        dataset = dcmread(BytesIO(raw))
    except Exception as exc:  # whatever pydicom raises of bytes that are no data set
        raise RemoteProtocolError("not a data set") from exc
    meta = dataset.file_meta
    if str(meta.get("MediaStorageSOPClassUID", "")) != uid.STORAGE_COMMITMENT:
        raise RemoteProtocolError("(0002,0002) is not the class of storage commitment")
    remark = bytes(meta.get("PrivateInformation", b"")).strip() or b"A%d" % commitment.REQUEST
    number = remark[1:].decode("ascii", "replace")
    information: Attributes = dicom.from_dataset(dataset)
    return mapping.Said(
        operation=_OPERATIONS.get(remark[:1], "N-ACTION"),
        sop_instance_uid=str(meta.get("MediaStorageSOPInstanceUID", "")),
        type_id=int(number) if number.isdecimal() else 0,
        calling_aet=peer or str(meta.get("SourceApplicationEntityTitle", "")).strip(),
        information=information,
    )


class _Commitments:
    """The listener's life: it lives on the shared association server (`broker.adapter.Inbound`)."""

    addresses: tuple[str, ...] = ()

    def __init__(self, config: CommitmentService, context: InboundContext) -> None:  # noqa: ARG002
        context.register_dicom(CommitmentScp(context))

    async def start(self) -> None:
        """The association server starts with the broker."""

    async def stop(self) -> None:
        """The association server stops with the broker."""


STATEMENT = Statement(
    services=(
        DicomService(
            name="Storage Commitment Push Model",
            role="SCP",
            sop_classes=CommitmentScp.sop_classes,
            operations=("N-ACTION", "N-EVENT-REPORT"),
            statuses=mapping.ANSWERED,
            required=(commitment.TRANSACTION, commitment.REFERENCED),
            remarks=(
                "N-ACTION comes from devices, N-EVENT-REPORT from the archives that the broker itself asked: these may"
                " take the role of the SCP by role selection.",
                "0000 says that a request is in the journal, and no more. It is reported on once as many archives as"
                " `studies.copies` says have committed to each instance, or once it is known that they will not; never"
                " before. A request outlives restarts of the broker.",
                "Failure Reasons (0008,1197): 0112 the instance never came here; 0119 it came as another SOP class;"
                " 0110 the archives had not committed to it within `studies.commitment_overdue`.",
                "A Transaction UID that is used again asks again: the newer list stands. Retrieve AE Title and Storage"
                " Media File-Set attributes are neither read nor written.",
                "An N-EVENT-REPORT under a Transaction UID that was not given out is answered 0000 and reported to a"
                " person (`commitment-unknown`); nothing is believed of it.",
            ),
        ),
    ),
    claims=(
        IheClaim(
            transaction="RAD-10",
            name="Storage Commitment",
            profile="SWF.b",
            actor="Image Manager/Image Archive",
            how="relayed",
            limits="the broker commits to nothing by itself: it reports what the archives behind it have committed to",
        ),
    ),
)

INBOUND = InboundSpec(
    name="commitment",
    summary="Storage commitment: devices ask, archives answer",
    config=CommitmentService,
    factory=_Commitments,
    reader=CommitmentReader,
    makes={"N-ACTION": ("commitment.requested",), "N-EVENT-REPORT": ("study.committed",)},
    statement=lambda _config: STATEMENT,
)
