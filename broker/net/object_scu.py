"""Makes and changes objects of one SOP class at one peer (N-CREATE, N-SET) on an association that is kept and reused.

Retrying is the caller's. One `ObjectScu` serves one thread. PS3.7 10.1.3, 10.1.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from broker.dicom import pdu
from broker.net.kept import KeptAssociation
from broker.net.tls import PeerTls


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

    def syntax(self) -> str:
        """The transfer syntax that the peer takes data sets in.

        Raises `TransientDeliveryError` (no association) or `PermanentDeliveryError` (it refuses the SOP class).
        """
        with self._kept.request() as (_, context):
            return context.transfer_syntax

    def send(
        self,
        operation: Literal["N-CREATE", "N-SET"],
        sop_instance_uid: str,
        dataset: bytes,
        confirm: Callable[[], None] = lambda: None,
    ) -> pdu.Response:
        """The answer, whatever its status. `dataset` in `syntax()`. Raises as `syntax`, also where it breaks off.

        `confirm` is called directly before the data set leaves; what it raises passes.
        """
        with self._kept.request() as (association, context):
            request = association.create if operation == "N-CREATE" else association.set
            return request(
                dataset,
                context_id=association.accepted[context],
                sop_class_uid=self._kept.sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                confirm=confirm,
            )

    def close(self) -> None:
        """Releases the association. Idempotent."""
        self._kept.close()
