"""Instances to the PACS: the kept file, coerced as rendered, sent from disk over a reused association.

Any status but `0000` and `Bxxx` is a failure and is tried again; nothing is called sent that the PACS did not take.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from adapters.pacs.render import render_hl7, render_instance
from adapters.pacs.spool import FOLDER
from broker.adapter import Delivery, Options, OutboundContext, OutboundSpec, Receipt
from broker.dicom import attributes as dicom
from broker.dicom import coerce, status
from broker.dicom.aet import AeTitle
from broker.dicom.charset import Term
from broker.errors import AskPersonError, RemoteProtocolError, TransientDeliveryError
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
    charsets: tuple[Term, ...] = Field(
        default=coerce.LADDER,
        description="Specific Character Sets that it takes, in order of preference, where an object's own cannot show"
        " what PAS says (docs/charsets.md). An object whose own can keeps it.",
    )
    connect_timeout: Duration = Field(default=5.0, description="Longest wait for a connection.")
    response_timeout: Duration = Field(default=60.0, description="Longest wait for an answer.")


class PacsSender:
    """A kept association to the PACS (`broker.adapter.Outbound`)."""

    def __init__(self, config: StorageDestination, context: OutboundContext) -> None:
        self._charsets = config.charsets
        self._spool = context.spool
        self._work_folder = context.work
        self._scu = StoreScu(
            config.host,
            config.port,
            called_aet=config.called_aet,
            calling_aet=config.calling_aet,
            connect_timeout=config.connect_timeout,
            response_timeout=config.response_timeout,
        )

    def deliver(self, delivery: Delivery) -> Receipt:
        """Sends the instance; the coerced copy lives only as long as the sending."""
        order = json.loads(delivery.payload)
        if not (self._spool / FOLDER).is_dir():  # else every object would seem to be gone
            raise TransientDeliveryError("the spool is not there: is it mounted?")
        kept = self._spool / order["path"]
        coerced, lossy = (None, False) if order["coerce"] is None else self._coerced(kept, order, delivery)
        try:
            code = self._scu.send(coerced or kept, delivery.confirm)
        finally:
            if coerced is not None:
                coerced.unlink(missing_ok=True)
        said = "; sent with a name transliterated or cut" if lossy else ""
        return Receipt(detail=f"{code:04X}{said}", lossy=lossy)

    def close(self) -> None:
        """Releases the association."""
        self._scu.close()

    def _coerced(self, kept: Path, order: dict[str, str], delivery: Delivery) -> tuple[Path | None, bool]:
        """A copy with what PAS says and without contact data, None where nothing is to change; whether it says so in
        other letters."""
        coercion = coerce.Coercion(
            attributes=dicom.from_json(json.dumps(order["coerce"])), charsets=self._charsets
        )
        try:
            with kept.open("rb") as source:
                splice = coerce.plan(
                    source, coercion, now=order["time"], source=order["source"], system="BROKER"
                )
                if splice is None:
                    return None, False
                self._work_folder.mkdir(parents=True, exist_ok=True)
                target = self._work_folder / f"{delivery.id}.dcm"
                with target.open("wb") as copy:
                    coerce.apply(source, copy, splice)
                return target, splice.lossy
        except FileNotFoundError as exc:
            raise AskPersonError("the kept file of the instance is gone") from exc
        except RemoteProtocolError as exc:
            raise AskPersonError(f"the instance cannot be coerced: {exc}") from exc
        except OSError as exc:
            raise TransientDeliveryError(f"the instance cannot be copied: {type(exc).__name__}") from exc


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
