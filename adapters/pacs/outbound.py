"""Instances to the PACS: the kept file, coerced as rendered while it is sent, over a reused association.

Any status but `0000` and `Bxxx` is a failure and is tried again; nothing is called sent that the PACS did not take.
"""

from __future__ import annotations

from pydantic import Field

from adapters.pacs.coerced import CHARSETS, CoercedObjects
from adapters.pacs.render import render_hl7, render_instance
from broker.adapter import Delivery, Options, OutboundContext, OutboundSpec, Receipt
from broker.dicom import status
from broker.dicom.aet import AeTitle
from broker.dicom.charset import Term
from broker.net.hl7_sender import Hl7Destination, Hl7Sender
from broker.net.service import STORAGE_SOP_CLASSES
from broker.net.store_scu import PERMANENT, StoreScu
from broker.scalars import Duration, Text
from broker.statement import DicomService, IheClaim, Statement


class StorageDestination(Options):
    """Options of a PACS."""

    host: Text = Field(description="Host name or address.")
    port: int = Field(ge=1, le=65535, description="TCP port (DICOM).")
    called_aet: AeTitle = Field(description="AE title of the PACS.")
    calling_aet: AeTitle = Field(default="BROKER", description="AE title we come as.")
    charsets: tuple[Term, ...] = CHARSETS
    connect_timeout: Duration = Field(default=5.0, description="Longest wait for a connection.")
    response_timeout: Duration = Field(default=60.0, description="Longest wait for an answer.")


class PacsSender:
    """A kept association to the PACS (`broker.adapter.Outbound`)."""

    def __init__(self, config: StorageDestination, context: OutboundContext) -> None:
        self._objects = CoercedObjects(config.charsets, context)
        self._scu = StoreScu(
            config.host,
            config.port,
            called_aet=config.called_aet,
            calling_aet=config.calling_aet,
            connect_timeout=config.connect_timeout,
            response_timeout=config.response_timeout,
        )

    def deliver(self, delivery: Delivery) -> Receipt:
        """Sends the instance."""
        with self._objects.of(delivery) as leaving:
            code = self._scu.send(leaving.file, delivery.confirm)
        return leaving.receipt(f"{code:04X}")

    def close(self) -> None:
        """Releases the association."""
        self._scu.close()


STATEMENT = Statement(
    services=(
        DicomService(
            name="Storage",
            role="SCU",
            sop_classes=STORAGE_SOP_CLASSES,
            operations=("C-STORE",),
            statuses={
                status.SUCCESS: "delivered; so is a warning (Bxxx)",
                **dict.fromkeys(
                    sorted({*PERMANENT, status.DATA_SET_MISMATCH}),
                    "a lasting refusal: held for a person after a few tries",
                ),
            },
            remarks=(
                "Any other status is tried again (A7xx, Cxxx, 0110, 0124, 0213). The classes of the objects that wait"
                " are proposed, private ones too, each in the transfer syntax that the object came in.",
                "Where PAS knows the patient, the Patient Module says what PAS says, and (0400,0561) keeps what the"
                " object said; address, telephone and the like are removed. Pixel data is never touched.",
            ),
        ),
    )
)

OUTBOUND = OutboundSpec(
    name="pacs",
    summary="Storage SCU to a PACS",
    kind="dicom",
    config=StorageDestination,
    render=render_instance,
    factory=PacsSender,
    statement=lambda _config: STATEMENT,
)

HL7_STATEMENT = Statement(
    claims=(
        IheClaim(
            transaction="RAD-12",
            name="Patient Update",
            profile="SWF.b, PIR",
            actor="Department System Scheduler/Order Filler",
            how="relayed",
            limits="PAS's own ADT passed on, without contact data",
        ),
    )
)

HL7_OUTBOUND = OutboundSpec(
    name="pacs-hl7",
    summary="ADT to a PACS's HL7 listener",
    kind="hl7",
    config=Hl7Destination,
    render=render_hl7,
    factory=Hl7Sender,
    statement=lambda _config: HL7_STATEMENT,
)
