"""Instances to a PACS that speaks DICOMweb (STOW-RS), made as for one that takes C-STORE (`adapters.pacs.coerced`).

Only an answer that names the object says that it was taken; a Failure Reason means what the same status of
C-STORE does.
"""

from __future__ import annotations

from adapters.pacs.coerced import CHARSETS, CoercedObjects
from adapters.pacs.render import render_instance, repeatable
from broker.adapter import Delivery, OutboundContext, OutboundSpec, Receipt
from broker.dicom.charset import Term
from broker.net.web_answer import BUSY, ELSEWHERE, PERMANENT
from broker.net.web_client import WebClient
from broker.net.web_peer import WebPeer
from broker.statement import IheClaim, Statement, WebService


class WebDestination(WebPeer):
    """Options of a PACS that speaks DICOMweb."""

    charsets: tuple[Term, ...] = CHARSETS


class WebSender:
    """A kept connection to the PACS (`broker.adapter.Outbound`)."""

    def __init__(self, config: WebDestination, context: OutboundContext) -> None:
        self._objects = CoercedObjects(config.charsets, context)
        self._client = WebClient(config)

    def deliver(self, delivery: Delivery) -> Receipt:
        """Sends the instance."""
        with self._objects.of(delivery) as leaving:
            code = self._client.store(leaving.file, delivery.confirm)
        return leaving.receipt(f"{code:04X}")

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()


def _listed(statuses: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(statuses)))


STATEMENT = Statement(
    web=(
        WebService(
            name="Store (STOW-RS)",
            requests=("POST {url}/studies",),
            payload="multipart/related with one application/dicom part, in the transfer syntax that the object came in",
            accepts="application/dicom+json",
            statuses={
                "200, 202": "delivered where the Referenced SOP Sequence names the object, a Warning Reason included; a"
                " Failure Reason means what the same status of C-STORE does; tried again where it says nothing of it",
                "409": "as its Failure Reason says; without one a lasting refusal",
                _listed(PERMANENT - {409}): "a lasting refusal: held for a person after a few tries",
                f"3xx, {_listed(ELSEWHERE)}": "url or credentials are wrong: the destination is paused as a whole and"
                " nothing held for a person",
                _listed(
                    BUSY
                ): "the destination is paused as a whole, for as long as Retry-After asks up to the"
                " route's longest wait",
                "any other": "tried again",
            },
            remarks=(
                "TLS 1.2 or newer where `url` says https; the server's certificate is checked against the authorities"
                " of `ca_file` or of the machine. Client certificates are not supported, redirects not followed.",
                "Where PAS knows the patient, the Patient Module says what PAS says, as for C-STORE.",
            ),
        ),
        WebService(
            name="Search (QIDO-RS)",
            requests=("GET {url}/studies?StudyInstanceUID=…",),
            payload="none",
            accepts="application/dicom+json",
            statuses={
                "200, 204": "address and credentials are right",
                "any other": "`broker doctor` says so",
            },
            remarks=(
                "Asked by `broker doctor` for a study that nobody has, by `broker reconcile --archive` for instances.",
            ),
        ),
    ),
    claims=(
        IheClaim(
            transaction="RAD-108",
            name="Store Instances Over the Web",
            profile="WIC",
            actor="Image Capturer",
            how="relayed",
            limits="objects that modalities made, one in a request; the broker captures none, and sends none as"
            " metadata and bulk data",
        ),
    ),
)

STOW_OUTBOUND = OutboundSpec(
    name="stow",
    summary="STOW-RS to a PACS",
    kind="dicom",
    config=WebDestination,
    render=render_instance,
    factory=WebSender,
    repeatable=repeatable,
    statement=lambda _config: STATEMENT,
    archive=WebClient,
)
