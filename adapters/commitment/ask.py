"""Archives are asked to commit to what they were sent (N-ACTION, PS3.4 J.3.2). Their answer comes to the listener.

A destination of its own beside the archive's: one that will not be asked must not hold up a single image.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from broker.adapter import Delivery, Options, OutboundContext, OutboundSpec, Receipt, Rendered, Target
from broker.dicom import attributes as dicom
from broker.dicom import commitment, status, uid
from broker.dicom.aet import AeTitle
from broker.errors import AskPersonError, PermanentDeliveryError, TransientDeliveryError, UnmappableError
from broker.net import action_scu
from broker.net.store_scu import PERMANENT
from broker.net.tls import PeerTlsOption
from broker.scalars import Duration, Text
from broker.statement import DicomService, Statement
from broker.view import View

_PERMANENT: Final = PERMANENT | {status.NO_SUCH_ACTION}


class ArchiveCommitment(Options):
    """Options of an archive's storage commitment."""

    archive: Text = Field(
        description="The destination whose objects it answers for: the name that routes send them to."
    )
    host: Text = Field(description="Host name or address.")
    port: int = Field(ge=1, le=65535, description="TCP port (DICOM).")
    called_aet: AeTitle = Field(description="AE title of the archive.")
    calling_aet: AeTitle = Field(
        default="BROKER",
        description="AE title we come as; the archive reports to it, at the address that it has for it.",
    )
    connect_timeout: Duration = Field(default=5.0, description="Longest wait for a connection.")
    response_timeout: Duration = Field(default=60.0, description="Longest wait for an answer.")
    tls: PeerTlsOption = Field(
        default=None,
        description="Call it over TLS (PS3.15 B.12): `{}`, or the options below; unset: in the clear.",
    )


def render_request(view: View, target: Target) -> Rendered:
    """The action information as JSON, with whose objects it is about under `archive`. Raises `UnmappableError`."""
    study = view.event.data.study
    if view.event.type != "study.stored" or study is None or not study.instances:
        raise UnmappableError(f"{target.place}: a {view.event.type} names nothing to commit to")
    transaction = commitment.transaction_of(view.event.id)
    asked = {"archive": study.archive, **commitment.information(transaction, study.instances)}
    return Rendered(
        payload=dicom.to_json(asked).encode(),
        summary=f"N-ACTION of storage commitment, {len(study.instances)} instances",
    )


class RequestSender:
    """Opens an association for each request (`broker.adapter.Outbound`)."""

    def __init__(self, config: ArchiveCommitment, context: OutboundContext) -> None:  # noqa: ARG002
        self._archive = config.archive
        self._place = action_scu.Place(
            host=config.host,
            port=config.port,
            called_aet=config.called_aet,
            calling_aet=config.calling_aet,
            connect_timeout=config.connect_timeout,
            response_timeout=config.response_timeout,
            tls=config.tls,
        )

    def deliver(self, delivery: Delivery) -> Receipt:
        """Asks. That it was asked already is what a repeat hears whose answer was lost.

        Never for another archive's objects: its word would count as that one's, and their files be given up.
        """
        information = dict(dicom.from_json(delivery.payload.decode()))
        archive = information.pop("archive", self._archive)
        if archive != self._archive:
            raise AskPersonError(
                f"{delivery.destination} answers for {self._archive}, and this is about objects of {archive}: mend"
                " `where` of the route, then drop this one"
            )
        call = action_scu.Call(type_id=commitment.REQUEST, information=information)
        code = action_scu.act(self._place, call, delivery.confirm).status
        if status.is_success(code) or status.is_warning(code):
            return Receipt(detail=f"{code:04X}")
        if code == status.DUPLICATE_INVOCATION and delivery.attempt > 1:
            return Receipt(detail=f"{code:04X}, it was asked already")
        text = f"N-ACTION answered with status {status.describe(code)}"
        if code in _PERMANENT:
            raise PermanentDeliveryError(text)
        raise TransientDeliveryError(text)

    def close(self) -> None:
        """Nothing is kept open."""


STATEMENT = Statement(
    services=(
        DicomService(
            name="Storage Commitment Push Model",
            role="SCU",
            sop_classes=(uid.STORAGE_COMMITMENT,),
            operations=("N-ACTION",),
            kept=False,
            statuses={
                status.SUCCESS: "the archive was asked; so is a warning (Bxxx, 0107, 0116)",
                **dict.fromkeys(sorted(_PERMANENT), "a lasting refusal: held for a person after a few tries"),
                status.DUPLICATE_INVOCATION: "of a repeat: the archive was asked; else a lasting refusal",
            },
            remarks=(
                "For all objects of a study that the archive took, whatever their SOP class, one request a study once"
                " it is complete, and one more for what came later. Any other status is tried again.",
                "The association is released after the answer: the archive reports on one that it opens itself, and is"
                " the SCP on by role selection. Its report is taken on port and AE title of all DICOM services.",
                "A Transaction UID stands for `studies.commitment_retry`: unanswered by then, what is not committed to"
                " is asked for under another one. A report that comes later still counts.",
                "What an archive says it has not (0112) is sent to it again and asked for again, unless a rejection"
                " note took it out of use; what fails otherwise is told to a person (`commitment-failed`).",
            ),
        ),
    )
)

OUTBOUND = OutboundSpec(
    name="archive-commitment",
    summary="Storage commitment SCU: asks an archive",
    kind="dicom",
    config=ArchiveCommitment,
    render=render_request,
    factory=RequestSender,
    takes=("study",),
    statement=lambda _config: STATEMENT,
)
