"""One N-ACTION or N-EVENT-REPORT on an association of its own: storage commitment is asked for and told so (PS3.4 J.3).

The association is released after the answer; what else the peer has to say it says on one that it opens itself. What a
status means, and whether it is tried again, is the caller's. Keeps nothing open. PS3.7 10.1.1, 10.1.4, D.3.3.4 (roles).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from broker.dicom import pdu, uid
from broker.dicom.attributes import Attributes
from broker.dicom.encode import encode
from broker.errors import DeliveryError, PermanentDeliveryError
from broker.net.requestor import Requestor
from broker.net.tls import PeerTls

_SYNTAXES = (uid.EXPLICIT_LITTLE_ENDIAN, uid.IMPLICIT_LITTLE_ENDIAN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whom to call. Times in seconds; `response_timeout` bounds the wait for each answer."""

    host: str
    port: int
    called_aet: str
    calling_aet: str
    connect_timeout: float = 5.0
    response_timeout: float = 60.0
    tls: PeerTls | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is said of which object: the well-known one of storage commitment, unless another is named.

    `type_id`: Action or Event Type ID.
    """

    sop_class_uid: str = uid.STORAGE_COMMITMENT
    sop_instance_uid: str = uid.STORAGE_COMMITMENT_INSTANCE
    type_id: int
    information: Attributes

    def encoded(self, transfer_syntax_uid: str) -> bytes:
        """The information in one of the two syntaxes that messages have."""
        return encode(self.information, explicit=transfer_syntax_uid != uid.IMPLICIT_LITTLE_ENDIAN)


def act(place: Place, call: Call, confirm: Callable[[], None] = lambda: None) -> pdu.Response:
    """N-ACTION as the SCU; the answer, whatever its status.

    `confirm` is called directly before the information leaves; what it raises passes. Raises `TransientDeliveryError`
    (no association, or it broke), `PermanentDeliveryError` where the peer refuses the SOP class.
    """
    with _association(place, call.sop_class_uid, serves=False) as (association, context):
        return association.act(
            call.encoded(context.transfer_syntax),
            context_id=association.accepted[context],
            sop_class_uid=call.sop_class_uid,
            sop_instance_uid=call.sop_instance_uid,
            action_type=call.type_id,
            confirm=confirm,
        )


def report(place: Place, call: Call, confirm: Callable[[], None] = lambda: None) -> pdu.Response:
    """N-EVENT-REPORT as the SCP, which role selection makes of us; as `act`.

    `PermanentDeliveryError` also where the peer refuses us that role. One that answers nothing to it is told all the
    same: many take what they do not negotiate.
    """
    with _association(place, call.sop_class_uid, serves=True) as (association, context):
        return association.report_event(
            call.encoded(context.transfer_syntax),
            context_id=association.accepted[context],
            sop_class_uid=call.sop_class_uid,
            sop_instance_uid=call.sop_instance_uid,
            event_type=call.type_id,
            confirm=confirm,
        )


def takes_reports(place: Place, sop_class_uid: str = uid.STORAGE_COMMITMENT) -> str:
    """Why the peer would not take an N-EVENT-REPORT, or nothing. It is sent none (`broker devices verify`)."""
    try:
        with _association(place, sop_class_uid, serves=True):
            return ""
    except DeliveryError as exc:
        return str(exc)


@contextlib.contextmanager
def _association(
    place: Place, sop_class_uid: str, *, serves: bool
) -> Iterator[tuple[Requestor, pdu.Context]]:
    """An association for one request, and its context; aborted where anything fails, else released."""
    contexts = [pdu.Context(sop_class_uid, syntax) for syntax in _SYNTAXES]
    association = Requestor(
        place.host,
        place.port,
        called_aet=place.called_aet,
        calling_aet=place.calling_aet,
        contexts=contexts,
        connect_timeout=place.connect_timeout,
        response_timeout=place.response_timeout,
        max_pdu=pdu.MAX_PDU,
        serves=(sop_class_uid,) if serves else (),
        tls=place.tls,
    )
    context = next((context for context in contexts if context in association.accepted), None)
    if context is None or (serves and association.roles.get(sop_class_uid) is False):
        association.release()
        what = f"SOP class {sop_class_uid}" if context is None else "us as the SCP (role selection)"
        raise PermanentDeliveryError(f"{place.called_aet} refuses {what}")
    try:
        yield association, context
    except BaseException:
        association.abort()
        raise
    association.release()
