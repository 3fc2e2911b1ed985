"""The Storage SCP (PS3.4 B): an object is synced to disk and in the journal before `0000` leaves (invariant 1).

Objects are never decoded beyond their head and never transcoded; pixel data passes from socket to file.
"""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from typing import BinaryIO

from pydantic import Field

from adapters.pacs import mapping, spool
from broker.adapter import InboundContext, InboundSpec, ListenerPlace, Options, Reception, Verdict
from broker.dicom import elements, key_object, part10, status, uid
from broker.dicom import head as dicom_head
from broker.dicom.aet import AeTitle
from broker.dicom.attributes import Attributes, text_of
from broker.dicom_identity import Profile
from broker.errors import RemoteProtocolError
from broker.event import Code
from broker.hl7.demographics import Issuers, read_issuer
from broker.identity import Rules
from broker.ids import message_id
from broker.net.dicom_listener import DicomListener
from broker.net.hl7_listener import Issuer, count_flags, issuer_names
from broker.net.service import PRIVATE_STORAGE, STORAGE_SOP_CLASSES, Answer, Peer, StoreRequest
from broker.scalars import Text
from broker.statement import DicomService, IheClaim, Statement


class StorageService(Options):
    """Options of the storage SCP."""

    issuer: Issuer = Field(description="Issuer of a Patient ID whose object names none: namespace&oid&ISO.")
    issuers: tuple[Issuer, ...] = Field(
        default=(), description="Known issuers; a name alone is completed from them."
    )
    national: tuple[Issuer, ...] = Field(
        default=(),
        description="Issuers of national numbers, tried for an id that names no issuer and has the length of one.",
    )
    h_issuers: tuple[Issuer, ...] = Field(default=(), description="Issuers that give H-numbers (month + 40).")
    neonatal_aets: tuple[AeTitle, ...] = Field(
        default=(),
        description="Calling AE titles of devices that examine newborns only: what they send under the id of a mother"
        " whose newborn is registered is held (docs/identifiers.md).",
    )
    revocation: Text = Field(
        default="REVOKE_REJECTION^Restore rejected Instances^99DCM4CHEE",
        description="Title of key objects that take rejections back, code^meaning^scheme: the standard has none. The"
        " default is dcm4chee's (docs/rejections.md).",
    )

    @property
    def restore(self) -> Code:
        """`revocation` in its parts."""
        code, meaning, scheme = (*self.revocation.split("^"), "", "")[:3]
        return Code(code=code, text=meaning, system=scheme)


def profile(config: StorageService, place: ListenerPlace) -> Profile:
    """How a storage service with these options reads."""
    national = tuple(read_issuer(text) for text in config.national)
    known = (*(read_issuer(text) for text in config.issuers), *national)
    rules = Rules(environment=place.environment, h_issuers=issuer_names(config.h_issuers))
    issuers = Issuers(default=read_issuer(config.issuer), known=known, rules=rules)
    return Profile(
        name=place.name,
        site=place.site,
        issuers=issuers,
        national=national,
        neonatal_aets=frozenset(config.neonatal_aets),
    )


class StorageScp:
    """Takes every storage SOP class, the vendors' own too (`broker.net.service.StoreService`)."""

    sop_classes = (*STORAGE_SOP_CLASSES, PRIVATE_STORAGE)

    def __init__(self, config: StorageService, context: InboundContext) -> None:
        self._context = context
        self._profile = profile(config, context.place)
        self._restore = config.restore
        self._spool = spool.Spool(context.spool)

    def store(self, request: StoreRequest, peer: Peer) -> Answer:
        """Keeps the object, then writes it to the journal, then answers."""
        context = self._context
        now = context.clock()  # before anything may take its time: whether it was overtaken is told by this
        try:
            with request.path.open("rb") as file:
                head = _head(file, request.dataset_offset, request.transfer_syntax_uid)
        except RemoteProtocolError as exc:
            return self._refused(str(exc), peer)
        if text_of(head, "SOPInstanceUID") != request.sop_instance_uid:
            return self._refused("(0008,0018) is not the Affected SOP Instance UID", peer)
        if (
            text_of(head, "SOPClassUID") != request.sop_class_uid
        ):  # archives would refuse it, and its sender be gone
            return self._refused("(0008,0016) is not the Affected SOP Class UID", peer)
        path, size = self._spool.keep(request.path, request.sha256)
        arrived = mapping.Arrived(
            path=path,
            size=size,
            sha256=request.sha256,
            transfer_syntax_uid=request.transfer_syntax_uid,
            calling_aet=peer.calling_aet,
        )
        reception = mapping.receive(
            head, arrived, self._profile, message_id=message_id(now), now=now, restore=self._restore
        )
        stored = context.intake.accept_blocking(reception)
        if stored.refused is not None:
            self._count(Verdict.REJECTED.value)
            return Answer(status=status.DUPLICATE_SOP_INSTANCE, comment=stored.refused.reason)
        self._count("repeat" if stored.repeat else Verdict.ACCEPTED.value)
        if not stored.repeat:
            count_flags(context, reception)
        return Answer(status=status.SUCCESS)

    def _refused(self, reason: str, peer: Peer) -> Answer:
        """Written down, so that it can be counted; the object stays the sender's."""
        now = self._context.clock()
        self._context.intake.accept_blocking(
            mapping.refused(reason, self._profile, message_id=message_id(now), now=now, peer=peer.calling_aet)
        )
        self._count(Verdict.REJECTED.value)
        return Answer(status=status.DATA_SET_MISMATCH, comment=reason)

    def _count(self, verdict: str) -> None:
        labels = {"source": self._context.name, "verdict": verdict}
        self._context.count("broker_messages_received_total", labels)


class InstanceReader:
    """The storage SCP without its association: reads a DICOM file as it would (`broker.adapter.Reader`)."""

    def __init__(self, config: StorageService, place: ListenerPlace) -> None:
        self._profile = profile(config, place)
        self._restore = config.restore

    def receive(self, raw: bytes, *, message_id: str, now: datetime, peer: str = "") -> Reception:
        """Judges one DICOM file, whole in memory."""
        try:
            meta = elements.read_meta(BytesIO(raw))
            head = _head(BytesIO(raw), meta.dataset_offset, meta.transfer_syntax_uid)
        except RemoteProtocolError as exc:
            return mapping.refused(
                str(exc), self._profile, message_id=message_id, now=now, peer=peer, raw=raw
            )
        digest = part10.digest(meta.transfer_syntax_uid)
        digest.update(raw[meta.dataset_offset :])
        sha256 = digest.hexdigest()
        arrived = mapping.Arrived(
            path=spool.path_of(sha256).as_posix(),
            size=len(raw),
            sha256=sha256,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            calling_aet=peer,
        )
        return mapping.receive(
            head, arrived, self._profile, message_id=message_id, now=now, restore=self._restore
        )


def _head(file: BinaryIO, offset: int, transfer_syntax_uid: str) -> Attributes:
    """The attributes that are read of an object, whose data set begins at `offset`. Raises `RemoteProtocolError`."""
    layout = elements.scan_behind(file, offset, transfer_syntax_uid)
    head = dicom_head.read(file, layout, mapping.HEAD)
    # Of other objects its evidence may be long, and says nothing.
    if text_of(head, "SOPClassUID") == uid.KEY_OBJECT_SELECTION:
        head = {**head, **dicom_head.read(file, layout, key_object.READ)}
    return head


STATEMENT = Statement(
    services=(
        DicomService(
            name="Storage",
            role="SCP",
            sop_classes=StorageScp.sop_classes,
            operations=("C-STORE",),
            statuses={
                status.SUCCESS: "the object is synced to disk and in the journal; a repeat is answered so too",
                status.DUPLICATE_SOP_INSTANCE: "another object came under this SOP Instance UID before; it is kept",
                status.DATA_SET_MISMATCH: "the file cannot be read, or its SOP class or instance is not the request's",
            },
            remarks=(
                "Level 2 (full) of PS3.4 B.4.1; digital signatures: level 1. Objects are kept as they came, never"
                " transcoded, and sent on to the destinations of the routes.",
                "Rejection notes (key objects titled 113001, 113037, 113038 or 113039) are sent on like any object, and"
                " the instances that they name count as withdrawn here where they are the note's own patient's.",
                "The broker is no archive: objects cannot be queried or retrieved here, and it commits to nothing by"
                " itself (Storage Commitment Push Model).",
            ),
        ),
    ),
    claims=(
        IheClaim(
            transaction="RAD-8",
            name="Modality Images Stored",
            profile="SWF.b",
            actor="Image Manager/Image Archive",
            how="relayed",
            limits="store and forward: the archive behind the broker plays the actor's part",
        ),
        IheClaim(
            transaction="RAD-66",
            name="Rejection Note Stored",
            profile="IOCM",
            actor="Image Manager/Image Archive",
            how="relayed",
            limits="the note reaches the archive, which hides what it names; the broker tells the EPJ",
        ),
    ),
)

INBOUND = InboundSpec(
    name="pacs",
    summary="Storage SCP (store and forward)",
    config=StorageService,
    factory=lambda config, context: DicomListener(context, StorageScp(config, context)),
    reader=InstanceReader,
    makes={"C-STORE": ("instance.received", "study.rejected", "study.restored")},
    statement=lambda _config: STATEMENT,
)
