"""Asks one query SCP on one association that is kept and reused, as a modality does. Retrying is the caller's.

One `FindScu` serves one thread. PS3.4 K.4.1 (Modality Worklist C-FIND), C.4.1 (Patient Root C-FIND, statuses).
"""

from __future__ import annotations

from collections.abc import Iterator

from broker.dicom import dataset, status, uid
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import from_dataset
from broker.dicom.encode import encode
from broker.errors import RemoteProtocolError, TransientDeliveryError
from broker.net.kept import KeptAssociation
from broker.net.tls import PeerTls


class FindScu:
    """An SCU of the worklist, unless another information model is named. Opens nothing before the first query."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        called_aet: str,
        calling_aet: str,
        sop_class_uid: str = uid.WORKLIST_FIND,
        connect_timeout: float = 5.0,
        response_timeout: float = 60.0,
        tls: PeerTls | None = None,
    ) -> None:
        """Times in seconds; `response_timeout` bounds the wait for each answer."""
        self._kept = KeptAssociation(
            host,
            port,
            sop_class_uid=sop_class_uid,
            called_aet=called_aet,
            calling_aet=calling_aet,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
            tls=tls,
        )

    def find(self, query: Attributes, *, most: int | None = None) -> list[Attributes]:
        """The rows that match, at most `most` of them: the rest is cancelled (C-CANCEL). Raises as `count` does."""
        return [decoded(raw, explicit) for raw, explicit in self._answers(query, most)]

    def count(self, query: Attributes) -> int:
        """How many rows match, unread.

        Raises `TransientDeliveryError` (no association, broken off, a final status that is no success) or
        `PermanentDeliveryError` (the peer does not serve the SOP class).
        """
        return sum(1 for _ in self._answers(query))

    def close(self) -> None:
        """Releases the association. Idempotent."""
        self._kept.close()

    def _answers(self, query: Attributes, most: int | None = None) -> Iterator[tuple[bytes, bool]]:
        found: list[bytes] = []
        final, cancelled = status.SUCCESS, False
        with self._kept.request() as (association, context):
            explicit = context.transfer_syntax == uid.EXPLICIT_LITTLE_ENDIAN
            context_id = association.accepted[context]
            for response in association.find(
                encode(query, explicit=explicit),
                context_id=context_id,
                sop_class_uid=self._kept.sop_class_uid,
            ):
                if not status.is_pending(response.status):
                    final = response.status
                elif len(found) != most:
                    found.append(response.dataset)
                elif not cancelled:  # what comes until the peer has seen it is passed over
                    association.cancel(context_id)
                    cancelled = True
        if not (status.is_success(final) or (cancelled and final == status.CANCEL)):
            raise TransientDeliveryError(f"C-FIND answered with status {status.describe(final)}")
        for raw in found:
            yield raw, explicit


def decoded(raw: bytes, explicit: bool) -> Attributes:
    """The data set of an answer, little endian. Raises `TransientDeliveryError` where it is none."""
    try:
        syntax = uid.EXPLICIT_LITTLE_ENDIAN if explicit else uid.IMPLICIT_LITTLE_ENDIAN
        return from_dataset(dataset.read(raw, syntax))
    except RemoteProtocolError as exc:
        raise TransientDeliveryError("the answer's data set cannot be read") from exc
