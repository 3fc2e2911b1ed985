"""Instances to the PACS: the kept file, coerced as rendered while it is sent, over a reused association.

Any status but `0000` and `Bxxx` is a failure and is tried again; nothing is called sent that the PACS did not take.
"""

from __future__ import annotations

from pydantic import Field

from adapters.pacs.coerced import CHARSETS, CoercedObjects
from adapters.pacs.render import render_hl7, render_instance, repeatable
from broker.adapter import Delivery, Options, OutboundContext, OutboundSpec, Receipt
from broker.dicom import status, uid
from broker.dicom.aet import AeTitle
from broker.dicom.charset import Term
from broker.net.hl7_sender import Hl7Destination, Hl7Sender
from broker.net.retrieve_scu import RetrieveScu
from broker.net.retrieved import COMMON, SYNTAXES
from broker.net.service import STORAGE_SOP_CLASSES
from broker.net.store_scu import PERMANENT, StoreScu
from broker.net.tls import PeerTlsOption
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
    tls: PeerTlsOption = Field(
        default=None,
        description="Call it over TLS (PS3.15 B.12): `{}`, or the options below; unset: in the clear.",
    )
    query_aet: AeTitle | None = Field(
        default=None, description="AE title that answers queries and retrievals; unset: `called_aet`."
    )
    query_port: int | None = Field(
        default=None, ge=1, le=65535, description="TCP port of that one; unset: `port`."
    )


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
            tls=config.tls,
        )

    def deliver(self, delivery: Delivery) -> Receipt:
        """Sends the instance."""
        with self._objects.of(delivery) as leaving:
            code = self._scu.send(leaving.file, delivery.confirm)
        return leaving.receipt(f"{code:04X}")

    def close(self) -> None:
        """Releases the association."""
        self._scu.close()


def archive(config: StorageDestination) -> RetrieveScu:
    """Asks the PACS what it keeps."""
    return RetrieveScu(
        config.host,
        config.query_port or config.port,
        called_aet=config.query_aet or config.called_aet,
        calling_aet=config.calling_aet,
        connect_timeout=config.connect_timeout,
        response_timeout=config.response_timeout,
        tls=config.tls,
    )


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
        DicomService(
            name="Study Root Query/Retrieve",
            role="SCU",
            sop_classes=(uid.STUDY_ROOT_FIND, uid.STUDY_ROOT_MOVE, uid.STUDY_ROOT_GET),
            operations=("C-FIND", "C-MOVE", "C-GET"),
            on_demand=True,
            statuses={
                status.SUCCESS: "done; the counts of the sub-operations go before it: one that failed is told",
                status.COERCED: "C-MOVE, C-GET: done but for the sub-operations that failed, which are listed",
                status.CANCEL: "it ended because a C-CANCEL was sent",
                status.MOVE_DESTINATION_UNKNOWN: "C-MOVE: a person must tell the archive where the AE title is",
                status.DATA_SET_MISMATCH: "a lasting refusal",
                **dict.fromkeys(
                    (
                        status.OUT_OF_RESOURCES,
                        status.OUT_OF_RESOURCES_MATCHES,
                        status.OUT_OF_RESOURCES_SUBOPERATIONS,
                        status.CANNOT_UNDERSTAND,
                    ),
                    "may be tried again",
                ),
            },
            remarks=(
                "Used by `broker reconcile --archive`, `broker studies find` and `broker studies fetch`, at `query_aet`"
                " and `query_port` where the PACS has others for it.",
                "Queries are hierarchical at STUDY, SERIES and IMAGE level, with the unique keys of the levels above;"
                " no relational queries, no extended negotiation. Answers beyond what is wanted are cancelled.",
                "For C-GET the broker is the SCP of the storage SOP classes that a query at IMAGE level names"
                f" (0008,0016), or of the {len(COMMON)} commonest where it names none, by role selection (SCP 1):"
                " each in contexts of one transfer syntax, so that an object can come as the archive has it, of"
                f" {len(SYNTAXES)} syntaxes as many as the 126 contexts left allow. Objects are written to files as"
                " they come, never transcoded.",
                "C-MOVE: any AE title that the archive knows. Remaining, completed, failed and warning sub-operations"
                " are read where the archive tells them; silence is borne for 300 s.",
            ),
        ),
    ),
    claims=(
        IheClaim(
            transaction="RAD-14",
            name="Query Images",
            profile="SWF.b",
            actor="Image Display (query and retrieval only)",
            limits="asked by commands and for reconciliation, to compare and to fetch; nothing is displayed",
        ),
        IheClaim(
            transaction="RAD-16",
            name="Retrieve Images",
            profile="SWF.b",
            actor="Image Display (query and retrieval only)",
            limits="C-MOVE to an AE title that the archive knows, or C-GET into files; nothing is displayed",
        ),
    ),
)

OUTBOUND = OutboundSpec(
    name="pacs",
    summary="Storage SCU to a PACS",
    kind="dicom",
    config=StorageDestination,
    render=render_instance,
    factory=PacsSender,
    repeatable=repeatable,
    statement=lambda _config: STATEMENT,
    archive=archive,
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
