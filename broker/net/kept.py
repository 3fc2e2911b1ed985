"""An association of one SOP class with one peer, kept and used again by request after request.

What is asked on it, and whether it is tried again, is the SCU's. One serves one thread. PS3.8 7.1.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from broker.dicom import pdu, uid
from broker.errors import PermanentDeliveryError
from broker.net.requestor import Requestor
from broker.net.tls import PeerTls


class KeptAssociation:
    """Opens nothing before the first request."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        sop_class_uid: str,
        called_aet: str,
        calling_aet: str,
        connect_timeout: float,
        response_timeout: float,
        storing: Sequence[pdu.Context] = (),
        tls: PeerTls | None = None,
    ) -> None:
        """Times in seconds; `response_timeout` bounds the wait for each answer. `storing`: contexts in which the peer
        may send objects back (PS3.4 C.5.3)."""
        self.sop_class_uid = sop_class_uid
        self._host, self._port = host, port
        self._called_aet, self._calling_aet = called_aet, calling_aet
        self._connect_timeout, self._response_timeout = connect_timeout, response_timeout
        self._contexts = tuple(
            pdu.Context(sop_class_uid, syntax)
            for syntax in (uid.EXPLICIT_LITTLE_ENDIAN, uid.IMPLICIT_LITTLE_ENDIAN)
        )
        self._storing = tuple(storing)
        self._tls = tls
        self._association: Requestor | None = None

    @contextlib.contextmanager
    def request(self) -> Iterator[tuple[Requestor, pdu.Context]]:
        """The association, and the context to ask in; a failure inside ends it.

        Raises `TransientDeliveryError` (no association) or `PermanentDeliveryError` (it refuses the SOP class).
        """
        association = self._open()
        context = next((context for context in self._contexts if context in association.accepted), None)
        if context is None:
            self.close()
            raise PermanentDeliveryError(f"{self._called_aet} refuses SOP class {self.sop_class_uid}")
        try:
            yield association, context
        except BaseException:
            association.abort()
            self._association = None
            raise

    def close(self) -> None:
        """Releases the association. Idempotent."""
        if self._association is not None:
            self._association.release()
            self._association = None

    def _open(self) -> Requestor:
        if self._association is not None and self._association.usable():
            return self._association
        self._association = None
        self._association = Requestor(
            self._host,
            self._port,
            called_aet=self._called_aet,
            calling_aet=self._calling_aet,
            contexts=(*self._contexts, *self._storing),
            connect_timeout=self._connect_timeout,
            response_timeout=self._response_timeout,
            max_pdu=pdu.MAX_PDU,
            serves=tuple(dict.fromkeys(context.abstract_syntax for context in self._storing)),
            tls=self._tls,
        )
        return self._association
