"""MPPS on their way to RIS and PACS (IHE RAD-6, RAD-7: the PPS manager): what came, with the patient as PAS has it.

Each N-CREATE and N-SET is a delivery in its patient's lane: an N-SET never overtakes its N-CREATE, and a receiver that
is away gets all of them later. An MPPS whose patient PAS does not know goes unchanged.
"""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Final

from pydantic import Field
from pydicom import dcmread

from adapters.modality.mapping import Operation, operation_of
from broker.adapter import Delivery, Options, OutboundContext, OutboundSpec, Receipt, Rendered, Target
from broker.dicom import attributes as dicom
from broker.dicom import dataset, status, uid
from broker.dicom.aet import AeTitle
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import from_dataset, to_dataset
from broker.dicom_identity import patient_module
from broker.errors import AskPersonError, PermanentDeliveryError, TransientDeliveryError, UnmappableError
from broker.event import Patient
from broker.net.object_scu import ObjectScu
from broker.net.tls import PeerTlsOption
from broker.scalars import Duration, Text
from broker.statement import DicomService, Statement
from broker.view import View

_PERMANENT: Final = frozenset(
    {
        *(status.INVALID_ATTRIBUTE_VALUE, status.INVALID_OBJECT_INSTANCE, status.MISSING_ATTRIBUTE),
        *(status.MISSING_ATTRIBUTE_VALUE, status.NO_SUCH_SOP_INSTANCE, status.NO_SUCH_SOP_CLASS),
        *(status.SOP_CLASS_NOT_SUPPORTED, status.UNRECOGNISED_OPERATION),
    }
)
"""Lasting answers: they speak of these bytes, not of the receiver's day."""


class PerformedStepDestination(Options):
    """Options of a receiver of MPPS."""

    host: Text = Field(description="Host name or address.")
    port: int = Field(ge=1, le=65535, description="TCP port (DICOM).")
    called_aet: AeTitle = Field(description="AE title of the receiver.")
    calling_aet: AeTitle = Field(default="BROKER", description="AE title we come as.")
    connect_timeout: Duration = Field(default=5.0, description="Longest wait for a connection.")
    response_timeout: Duration = Field(default=60.0, description="Longest wait for an answer.")
    tls: PeerTlsOption = Field(
        default=None,
        description="Call it over TLS (PS3.15 B.12): `{}`, or the options below; unset: in the clear.",
    )


def render_performed(view: View, target: Target) -> Rendered:
    """The delivery as JSON: `operation`, the file as it came, and `coerce`, what PAS says of the patient of an
    N-CREATE."""
    performed = view.performed
    if performed is None:
        raise UnmappableError(f"{target.place}: a {view.event.type} is no MPPS")
    if not view.raw:
        raise UnmappableError(f"{target.place}: the bytes of the MPPS are not kept")
    creates = view.event.type == "step.started"
    known = creates and view.verified and view.patient is not None
    operation: Operation = "N-CREATE" if creates else "N-SET"
    delivery = {
        "uid": performed.uid,
        "operation": operation,
        "file": base64.b64encode(view.raw).decode("ascii"),
        "coerce": _patient(view.patient, view.event.data.patient) if known and view.patient else None,
    }
    summary = f"MPPS {operation} {performed.status or ''}".rstrip()
    return Rendered(payload=json.dumps(delivery).encode(), summary=summary)


def _patient(patient: Patient, said: Patient | None) -> Attributes:
    """The patient as PAS has it, in the attributes that an N-CREATE has for it (PS3.4 table F.7.2-1).

    The MPPS keeps its id where that is one of the patient's; an ended one becomes the first.
    """
    stated = {identifier.key for identifier in said.identifiers} if said else set()
    first = next((i for i in patient.identifiers if i.key in stated), patient.identifiers[0])
    return patient_module(patient.model_copy(update={"identifiers": (first,)}))


class PerformedStepSender:
    """A kept association to the receiver (`broker.adapter.Outbound`)."""

    def __init__(self, config: PerformedStepDestination, context: OutboundContext) -> None:  # noqa: ARG002
        self._scu = ObjectScu(
            config.host,
            config.port,
            sop_class_uid=uid.PERFORMED_STEP,
            called_aet=config.called_aet,
            calling_aet=config.calling_aet,
            connect_timeout=config.connect_timeout,
            response_timeout=config.response_timeout,
            tls=config.tls,
        )

    def deliver(self, delivery: Delivery) -> Receipt:
        """Sends the request. That it stands already is what a repeat hears whose answer was lost: it is delivered."""
        order = json.loads(delivery.payload)
        performed = dcmread(BytesIO(base64.b64decode(order["file"])))
        # Not by its attributes: an N-SET may have all that its N-CREATE had. An older version's payload does not say.
        operation: Operation = order.get("operation") or operation_of(from_dataset(performed))
        if order["coerce"] is not None:
            performed.decode()  # else texts would stay in the bytes of a character set that is named no more
            performed.update(to_dataset(dicom.from_json(json.dumps(order["coerce"]))))
        leaving = dataset.write(performed, self._scu.syntax())
        answer = self._scu.send(operation, order["uid"], leaving, delivery.confirm)
        code, text = answer.status, f"{operation} answered with status {status.describe(answer.status)}"
        closed = (code, answer.error_id) == (status.PROCESSING_FAILURE, status.MAY_NO_LONGER_BE_UPDATED)
        if status.is_success(code) or status.is_warning(code):
            return Receipt(detail=f"{code:04X}")
        if (code == status.DUPLICATE_SOP_INSTANCE and operation == "N-CREATE") or (
            closed and delivery.attempt > 1
        ):
            return Receipt(detail=f"{code:04X}, it stands there already")
        if closed:
            raise AskPersonError(f"{text}: the receiver has closed it")
        if code in _PERMANENT:
            raise PermanentDeliveryError(text)
        raise TransientDeliveryError(text)

    def close(self) -> None:
        """Releases the association."""
        self._scu.close()


STATEMENT = Statement(
    services=(
        DicomService(
            name="Modality Performed Procedure Step",
            role="SCU",
            sop_classes=(uid.PERFORMED_STEP,),
            operations=("N-CREATE", "N-SET"),
            statuses={
                status.SUCCESS: "delivered; so is a warning (Bxxx, 0107, 0116)",
                status.DUPLICATE_SOP_INSTANCE: "delivered: the N-CREATE stands there already",
                **dict.fromkeys(sorted(_PERMANENT), "a lasting refusal: held for a person after a few tries"),
            },
            remarks=(
                "Any other status is tried again. 0110 with Error ID A710 is held for a person; of a repeat it is"
                " delivered.",
                "The patient's module is PAS's where PAS knows the patient; all else is as the modality sent it.",
            ),
        ),
    )
)

OUTBOUND = OutboundSpec(
    name="mpps",
    summary="MPPS SCU: forwards what modalities perform",
    kind="dicom",
    config=PerformedStepDestination,
    render=render_performed,
    factory=PerformedStepSender,
    takes=("step",),
    statement=lambda _config: STATEMENT,
)
