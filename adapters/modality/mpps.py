"""The MPPS SCP (PS3.4 F.7): modalities say that a step began, how it went on, and how it ended.

A request is in the journal, as a Part 10 file with its bytes as they came, before `0000` leaves (invariant 1). What it
does to rows and who is told are the registers' and the routes' business. N-GET and N-EVENT-REPORT are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from pydantic import Field

from adapters.modality import mapping
from broker.adapter import InboundContext, InboundSpec, ListenerPlace, Options, Reception
from broker.dicom import part10, status, uid
from broker.dicom_identity import Profile
from broker.errors import RemoteProtocolError
from broker.hl7.demographics import Issuers, read_issuer
from broker.ids import message_id
from broker.net.dicom_listener import DicomListener
from broker.net.hl7_listener import Issuer
from broker.net.service import Answer, ObjectRequest, Peer
from broker.statement import DicomService, IheClaim, Statement

_REMARKS: Final[Mapping[mapping.Operation, bytes]] = {"N-CREATE": b"N-CREATE", "N-SET": b"N-SET "}
"""What a data set was sent as, in the head of its file: devices send in an N-SET all that their N-CREATE had."""


class PerformedStepService(Options):
    """Options of the MPPS SCP."""

    issuer: Issuer = Field(description="Issuer of a Patient ID whose MPPS names none: namespace&oid&ISO.")
    issuers: tuple[Issuer, ...] = Field(
        default=(), description="Known issuers; a name alone is completed from them."
    )
    national: tuple[Issuer, ...] = Field(
        default=(), description="Issuers of national numbers, tried for an 11-digit id that names no issuer."
    )


def profile(config: PerformedStepService, name: str, site: str) -> Profile:
    """How an MPPS service with these options reads."""
    national = tuple(read_issuer(text) for text in config.national)
    known = (*(read_issuer(text) for text in config.issuers), *national)
    issuers = Issuers(default=read_issuer(config.issuer), known=known)
    return Profile(name=name, site=site, issuers=issuers, national=national)


class PerformedStepScp:
    """Takes N-CREATE and N-SET (`broker.net.service.ObjectService`)."""

    sop_classes = (uid.PERFORMED_STEP,)

    def __init__(self, config: PerformedStepService, context: InboundContext) -> None:
        self._context = context
        self._profile = profile(config, context.name, context.site)

    def operate(self, request: ObjectRequest, peer: Peer) -> Answer:
        """Judges the request, writes it to the journal, then answers."""
        context, now = self._context, self._context.clock()
        identity = message_id(now)
        made = uid.derive(f"mpps|{identity}") if request.operation == "N-CREATE" else ""
        sop_instance = request.sop_instance_uid or made
        raw = request.dataset and (
            part10.head(
                sop_class_uid=uid.PERFORMED_STEP,
                sop_instance_uid=sop_instance,
                transfer_syntax_uid=request.transfer_syntax_uid,
                calling_aet=peer.calling_aet,
                information=_REMARKS[request.operation],
            )
            + request.dataset
        )
        try:
            attributes = part10.read(raw, uid.PERFORMED_STEP).attributes if raw else {}
        except RemoteProtocolError as exc:
            said = mapping.Said(
                operation=request.operation, uid=sop_instance, calling_aet=peer.calling_aet, attributes={}
            )
            fault = mapping.Fault(code=status.PROCESSING_FAILURE, reason=str(exc))
            reception = mapping.refused(fault, said, self._profile, message_id=identity, now=now, raw=raw)
        else:
            said = mapping.Said(
                operation=request.operation,
                uid=sop_instance,
                calling_aet=peer.calling_aet,
                attributes=attributes,
            )
            reception = mapping.receive(said, self._profile, message_id=identity, now=now, raw=raw)
        stored = context.intake.accept_blocking(reception)
        written = stored.refused or reception
        labels = {"source": context.name, "verdict": written.verdict.value}
        context.count("broker_messages_received_total", labels)
        code = int(written.answer_code, 16)
        final = stored.refused is not None and code == status.PROCESSING_FAILURE
        return Answer(
            status=code,
            comment=written.reason,
            error_id=status.MAY_NO_LONGER_BE_UPDATED if final else None,
            sop_instance_uid=sop_instance,
        )


class PerformedStepReader:
    """The MPPS SCP without its association: reads a DICOM file of the class (`broker.adapter.Reader`)."""

    def __init__(self, config: PerformedStepService, place: ListenerPlace) -> None:
        self._profile = profile(config, place.name, place.site)

    def receive(self, raw: bytes, *, message_id: str, now: datetime, peer: str = "") -> Reception:
        """Judges one file; whether it is an N-CREATE or an N-SET, its head tells, else its attributes."""
        try:
            contents = part10.read(raw, uid.PERFORMED_STEP)
        except RemoteProtocolError as exc:
            said = mapping.Said(operation="N-CREATE", uid="", calling_aet=peer, attributes={})
            fault = mapping.Fault(code=status.DATA_SET_MISMATCH, reason=str(exc))
            return mapping.refused(fault, said, self._profile, message_id=message_id, now=now, raw=raw)
        sent_as = (name for name, remark in _REMARKS.items() if remark.strip() == contents.information)
        said = mapping.Said(
            operation=next(sent_as, mapping.operation_of(contents.attributes)),
            uid=contents.sop_instance_uid,
            calling_aet=peer,
            attributes=contents.attributes,
        )
        return mapping.receive(said, self._profile, message_id=message_id, now=now, raw=raw)


STATEMENT = Statement(
    services=(
        DicomService(
            name="Modality Performed Procedure Step",
            role="SCP",
            sop_classes=PerformedStepScp.sop_classes,
            operations=("N-CREATE", "N-SET"),
            statuses=mapping.ANSWERED,
            required=mapping.CREATED_WITH,
            remarks=(
                "An N-CREATE without SOP Instance UID is given one.",
                *(
                    f"{state or 'Not there'}: {', '.join(sorted(after)) or 'final, nothing'} may follow."
                    for state, after in mapping.STATES.items()
                ),
                "Attributes of type 2 that are missing refuse nothing. What a request changes, it says; nothing is"
                " coerced in the answer.",
                "N-GET and N-EVENT-REPORT of the MPPS are not supported.",
            ),
        ),
    ),
    claims=tuple(
        IheClaim(
            transaction=number,
            name=name,
            profile="SWF.b, PIR",
            actor="Performed Procedure Step Manager",
            limits="forwarded where a destination `mpps` is switched on, in order, and kept until it is taken",
        )
        for number, name in (
            ("RAD-6", "Modality Procedure Step In Progress"),
            ("RAD-7", "Modality Procedure Step Completed/Discontinued"),
        )
    ),
)


INBOUND = InboundSpec(
    name="mpps",
    summary="MPPS SCP: steps that modalities perform",
    config=PerformedStepService,
    factory=lambda config, context: DicomListener(context, PerformedStepScp(config, context)),
    reader=PerformedStepReader,
    statement=lambda _config: STATEMENT,
    makes={"N-CREATE": ("step.started",), "N-SET": tuple(mapping.EVENTS.values())},
)
