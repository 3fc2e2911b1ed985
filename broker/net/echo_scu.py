"""One C-ECHO on an association of its own (PS3.7 9.1.5): whether a peer takes us and answers. Keeps nothing open."""

from __future__ import annotations

from broker.dicom import pdu, status, uid
from broker.errors import DeliveryError
from broker.net.requestor import Requestor
from broker.net.tls import PeerTls


def echo(
    host: str, port: int, *, called_aet: str, calling_aet: str, patience: float, tls: PeerTls | None = None
) -> str:
    """What went wrong, or nothing. `patience` in seconds, of each wait."""
    context = pdu.Context(uid.VERIFICATION, uid.IMPLICIT_LITTLE_ENDIAN)
    try:
        association = Requestor(
            host,
            port,
            called_aet=called_aet,
            calling_aet=calling_aet,
            contexts=[context],
            connect_timeout=patience,
            response_timeout=patience,
            max_pdu=16384,
            tls=tls,
        )
        if context not in association.accepted:
            association.release()
            return f"{called_aet} takes the association, but no C-ECHO"
        code = association.echo(association.accepted[context])
    except DeliveryError as exc:
        return str(exc)
    association.release()
    return "" if code == status.SUCCESS else f"C-ECHO answered with status {status.describe(code)}"
