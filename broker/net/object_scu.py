"""Makes and changes objects of one SOP class at one peer (N-CREATE, N-SET) on an association that is kept and reused.

Retrying is the caller's. One `ObjectScu` serves one thread. PS3.7 10.1.3, 10.1.5.
"""

from __future__ import annotations

from typing import Literal

from broker.dicom import pdu, uid
from broker.errors import PermanentDeliveryError
from broker.net.requestor import Requestor


class ObjectScu:
    """An SCU of one SOP class. Opens nothing before the first request."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        sop_class_uid: str,
        called_aet: str,
        calling_aet: str,
        connect_timeout: float = 5.0,
        response_timeout: float = 60.0,
    ) -> None:
        """Times in seconds; `response_timeout` bounds the wait for each answer."""
        self._host, self._port = host, port
        self._sop_class = sop_class_uid
        self._called_aet, self._calling_aet = called_aet, calling_aet
        self._connect_timeout, self._response_timeout = connect_timeout, response_timeout
        self._association: Requestor | None = None
        self._contexts = tuple(
            pdu.Context(sop_class_uid, syntax)
            for syntax in (uid.EXPLICIT_LITTLE_ENDIAN, uid.IMPLICIT_LITTLE_ENDIAN)
        )

    def syntax(self) -> str:
        """The transfer syntax that the peer takes data sets in.

        Raises `TransientDeliveryError` (no association) or `PermanentDeliveryError` (it refuses the SOP class).
        """
        return self._context(self._open()).transfer_syntax

    def send(
        self, operation: Literal["N-CREATE", "N-SET"], sop_instance_uid: str, dataset: bytes
    ) -> pdu.Response:
        """The answer, whatever its status. `dataset` in `syntax()`. Raises as `syntax`, also where it breaks off."""
        association = self._open()
        request = association.create if operation == "N-CREATE" else association.set
        try:
            return request(
                dataset,
                context_id=association.accepted[self._context(association)],
                sop_class_uid=self._sop_class,
                sop_instance_uid=sop_instance_uid,
            )
        except BaseException:
            association.abort()
            self._association = None
            raise

    def close(self) -> None:
        """Releases the association. Idempotent."""
        if self._association is not None:
            self._association.release()
            self._association = None

    def _context(self, association: Requestor) -> pdu.Context:
        for context in self._contexts:
            if context in association.accepted:
                return context
        self.close()
        raise PermanentDeliveryError(f"{self._called_aet} refuses SOP class {self._sop_class}")

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
