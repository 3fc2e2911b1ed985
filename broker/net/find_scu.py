"""Asks one query SCP on one association that is kept and reused, as a modality does. Retrying is the caller's.

One `FindScu` serves one thread. PS3.4 K.4.1 (Modality Worklist C-FIND), C.4.1 (Patient Root C-FIND, statuses).
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from pydicom.filereader import read_dataset

from broker.dicom import attributes as dicom
from broker.dicom import pdu, status, uid
from broker.dicom.attributes import Attributes
from broker.dicom.encode import encode
from broker.errors import PermanentDeliveryError, TransientDeliveryError
from broker.net.requestor import Requestor


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
    ) -> None:
        """Times in seconds; `response_timeout` bounds the wait for each answer."""
        self._host, self._port = host, port
        self._called_aet, self._calling_aet = called_aet, calling_aet
        self._connect_timeout, self._response_timeout = connect_timeout, response_timeout
        self._sop_class = sop_class_uid
        self._contexts = tuple(
            pdu.Context(sop_class_uid, syntax)
            for syntax in (uid.EXPLICIT_LITTLE_ENDIAN, uid.IMPLICIT_LITTLE_ENDIAN)
        )
        self._association: Requestor | None = None

    def find(self, query: Attributes) -> list[Attributes]:
        """The rows that match. Raises as `count` does."""
        return [_decoded(raw, explicit) for raw, explicit in self._answers(query)]

    def count(self, query: Attributes) -> int:
        """How many rows match, unread.

        Raises `TransientDeliveryError` (no association, broken off, a final status that is no success) or
        `PermanentDeliveryError` (the peer does not serve the SOP class).
        """
        return sum(1 for _ in self._answers(query))

    def close(self) -> None:
        """Releases the association. Idempotent."""
        if self._association is not None:
            self._association.release()
            self._association = None

    def _answers(self, query: Attributes) -> Iterator[tuple[bytes, bool]]:
        association = self._open()
        context = next((context for context in self._contexts if context in association.accepted), None)
        if context is None:
            self.close()
            raise PermanentDeliveryError(f"{self._called_aet} refuses SOP class {self._sop_class}")
        explicit = context.transfer_syntax == uid.EXPLICIT_LITTLE_ENDIAN
        found, final = [], status.SUCCESS
        try:
            for response in association.find(
                encode(query, explicit=explicit),
                context_id=association.accepted[context],
                sop_class_uid=self._sop_class,
            ):
                if status.is_pending(response.status):
                    found.append(response.dataset)
                else:
                    final = response.status
        except BaseException:
            association.abort()
            self._association = None
            raise
        if not status.is_success(final):
            raise TransientDeliveryError(f"C-FIND answered with status {status.describe(final)}")
        for raw in found:
            yield raw, explicit

    def _open(self) -> Requestor:
        if self._association is not None and self._association.usable():
            return self._association
        self._association = None
        self._association = Requestor(
            self._host,
            self._port,
            called_aet=self._called_aet,
            calling_aet=self._calling_aet,
            contexts=self._contexts,
            connect_timeout=self._connect_timeout,
            response_timeout=self._response_timeout,
            max_pdu=pdu.MAX_PDU,
        )
        return self._association


def _decoded(raw: bytes, explicit: bool) -> Attributes:
    return dicom.from_dataset(read_dataset(BytesIO(raw), is_implicit_VR=not explicit, is_little_endian=True))
