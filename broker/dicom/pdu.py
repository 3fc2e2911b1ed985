"""Builds and reads PDUs, and the command sets of an association requestor, as bytes.

Only what the requests of `broker.net.requestor` need: no extended negotiation, no user identity. What an acceptor
answers is in `broker.dicom.negotiation` and `broker.dicom.command`. No socket and no state; the order of things is the
requestor's.

PS3.8 9.3 (PDU structures), Annex D (user information); PS3.7 6.3, 9.3, 10.3 and Annex E (command sets),
D.3.3.4 (roles).
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from broker.dicom.command import C_CANCEL, C_FIND, C_GET, C_MOVE, decode, encode, uid, us
from broker.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, VERIFICATION
from broker.errors import RemoteProtocolError

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

ASSOCIATE_RQ = 0x01
ASSOCIATE_AC = 0x02
ASSOCIATE_RJ = 0x03
P_DATA = 0x04
RELEASE_RQ = 0x05
RELEASE_RP = 0x06
ABORT = 0x07

C_STORE_RSP = 0x8001
C_GET_RSP = 0x8010
C_FIND_RSP = 0x8020
C_MOVE_RSP = 0x8021
C_ECHO_RSP = 0x8030
N_EVENT_REPORT_RSP = 0x8100
N_SET_RSP = 0x8120
N_ACTION_RSP = 0x8130
N_CREATE_RSP = 0x8140

MAX_PDU = 131072
"""Bytes of the longest PDU that the broker takes or sends, where nobody says otherwise."""

HEADER_LENGTH = 6
PDV_OVERHEAD = 6
"""What a PDV adds inside its PDU: length, context id, control header (PS3.8 9.3.5.1, Annex E.2)."""

_DATASET_ABSENT = 0x0101
_DATASET_PRESENT = 0x0001


@dataclass(frozen=True, slots=True)
class Context:
    """One proposed presentation context: one transfer syntax each, so that the answer is unambiguous."""

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """An A-ASSOCIATE-AC: context ids with their results (0: accepted), and the peer's maximum PDU length."""

    results: Mapping[int, int]
    max_length: int
    """0: no limit."""
    roles: Mapping[str, bool] = field(default_factory=dict)
    """SOP classes of which a role was answered, and whether we may be their SCP."""


def associate_rq(
    *,
    called_aet: str,
    calling_aet: str,
    contexts: Mapping[int, Context],
    max_length: int,
    serves: Collection[str] = (),
) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 9.3.2). `contexts` by odd id, 128 at most; `serves`: the SOP classes of which the requestor
    would be the SCP, and not the SCU."""
    items = [item(0x10, APPLICATION_CONTEXT.encode())]
    for number, context in contexts.items():
        abstract, transfer = context.abstract_syntax.encode("ascii"), context.transfer_syntax.encode("ascii")
        items.append(item(0x20, bytes((number, 0, 0, 0)) + item(0x30, abstract) + item(0x40, transfer)))
    user = item(0x51, struct.pack(">L", max_length))
    user += item(0x52, IMPLEMENTATION_CLASS_UID.encode())
    for sop_class in serves:
        user += item(0x54, struct.pack(">H", len(sop_class)) + sop_class.encode("ascii") + b"\0\1")
    user += item(0x55, IMPLEMENTATION_VERSION_NAME.encode())
    items.append(item(0x50, user))
    titles = called_aet.encode("ascii").ljust(16) + calling_aet.encode("ascii").ljust(16)
    return framed(ASSOCIATE_RQ, struct.pack(">HH", 1, 0) + titles + bytes(32) + b"".join(items))


def read_associate_ac(body: bytes) -> Accepted:
    """Reads the variable items of an A-ASSOCIATE-AC (PS3.8 9.3.3); unknown items are passed over."""
    results: dict[int, int] = {}
    roles: dict[str, bool] = {}
    max_length = 0
    for kind, value in _items(body[68:]):
        if kind == 0x21 and len(value) >= 4:
            results[value[0]] = value[2]
        elif kind == 0x50:
            for sub_kind, sub_value in _items(value):
                if sub_kind == 0x51 and len(sub_value) == 4:
                    max_length = struct.unpack(">L", sub_value)[0]
                elif sub_kind == 0x54 and len(sub_value) > 4:
                    roles[sub_value[2:-2].decode("ascii", "replace").rstrip("\0 ")] = sub_value[-1] == 1
    return Accepted(results, max_length, roles)


def describe_rejection(body: bytes) -> str:
    """What an A-ASSOCIATE-RJ says (PS3.8 table 9-21), for an operator."""
    result, source, reason = (body + bytes(4))[1:4]
    reasons = {
        (1, 2): "application context name not supported",
        (1, 3): "calling AE title not recognised",
        (1, 7): "called AE title not recognised",
        (2, 2): "protocol version not supported",
        (3, 1): "temporary congestion",
        (3, 2): "local limit exceeded",
    }
    text = reasons.get((source, reason), f"no reason given (source {source}, reason {reason})")
    return f"{text}, {'transient' if result == 2 else 'permanent'}"


def describe_abort(body: bytes) -> str:
    """Who aborted and why (PS3.8 table 9-26)."""
    source, reason = (body + bytes(4))[2:4]
    return "by the peer's application" if source == 0 else f"by the peer's protocol layer, reason {reason}"


def release_rq() -> bytes:
    """A-RELEASE-RQ (PS3.8 9.3.6)."""
    return framed(RELEASE_RQ, bytes(4))


def release_rp() -> bytes:
    """A-RELEASE-RP (PS3.8 9.3.7)."""
    return framed(RELEASE_RP, bytes(4))


def abort(source: int = 0, reason: int = 0) -> bytes:
    """A-ABORT (PS3.8 9.3.8), by the service user unless said otherwise."""
    return framed(ABORT, bytes((0, 0, source, reason)))


def reject(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return framed(ASSOCIATE_RJ, bytes((0, result, source, reason)))


def store_rq(context_id: int, message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """P-DATA-TF with the command set of a C-STORE-RQ, priority medium (PS3.7 9.3.1.1)."""
    return _command(
        context_id,
        {
            0x0002: uid(sop_class_uid),
            0x0100: us(0x0001),
            0x0110: us(message_id),
            0x0700: us(0x0000),
            0x0800: us(_DATASET_PRESENT),
            0x1000: uid(sop_instance_uid),
        },
    )


def find_rq(context_id: int, message_id: int, sop_class_uid: str) -> bytes:
    """P-DATA-TF with the command set of a C-FIND-RQ, priority medium (PS3.7 9.3.2.1); its identifier follows."""
    return _query(context_id, message_id, sop_class_uid, C_FIND, {})


def get_rq(context_id: int, message_id: int, sop_class_uid: str) -> bytes:
    """P-DATA-TF with the command set of a C-GET-RQ, as `find_rq` (PS3.7 9.3.3.1)."""
    return _query(context_id, message_id, sop_class_uid, C_GET, {})


def move_rq(context_id: int, message_id: int, sop_class_uid: str, destination: str) -> bytes:
    """P-DATA-TF with the command set of a C-MOVE-RQ to an AE title, as `find_rq` (PS3.7 9.3.4.1)."""
    title = destination.encode("ascii")
    return _query(context_id, message_id, sop_class_uid, C_MOVE, {0x0600: title + b" " * (len(title) % 2)})


def _query(
    context_id: int, message_id: int, sop_class_uid: str, field: int, more: Mapping[int, bytes]
) -> bytes:
    return _command(
        context_id,
        {
            0x0002: uid(sop_class_uid),
            0x0100: us(field),
            0x0110: us(message_id),
            **more,
            0x0700: us(0x0000),
            0x0800: us(_DATASET_PRESENT),
        },
    )


def cancel_rq(context_id: int, message_id: int) -> bytes:
    """P-DATA-TF with the command set of a C-CANCEL-RQ of the request with this message id (PS3.7 9.3.2.3)."""
    return _command(context_id, {0x0100: us(C_CANCEL), 0x0120: us(message_id), 0x0800: us(_DATASET_ABSENT)})


def create_rq(context_id: int, message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """P-DATA-TF with the command set of an N-CREATE-RQ (PS3.7 10.3.5.1); its attribute list follows."""
    return _command(
        context_id,
        {
            0x0002: uid(sop_class_uid),
            0x0100: us(0x0140),
            0x0110: us(message_id),
            0x0800: us(_DATASET_PRESENT),
            0x1000: uid(sop_instance_uid),
        },
    )


def set_rq(context_id: int, message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """P-DATA-TF with the command set of an N-SET-RQ (PS3.7 10.3.3.1); its modification list follows."""
    return _command(
        context_id,
        {
            0x0003: uid(sop_class_uid),
            0x0100: us(0x0120),
            0x0110: us(message_id),
            0x0800: us(_DATASET_PRESENT),
            0x1001: uid(sop_instance_uid),
        },
    )


def action_rq(
    context_id: int, message_id: int, sop_class_uid: str, sop_instance_uid: str, action_type: int
) -> bytes:
    """P-DATA-TF with the command set of an N-ACTION-RQ (PS3.7 10.3.4.1); its action information follows."""
    return _command(
        context_id,
        {
            0x0003: uid(sop_class_uid),
            0x0100: us(0x0130),
            0x0110: us(message_id),
            0x0800: us(_DATASET_PRESENT),
            0x1001: uid(sop_instance_uid),
            0x1008: us(action_type),
        },
    )


def event_report_rq(
    context_id: int, message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type: int
) -> bytes:
    """P-DATA-TF with the command set of an N-EVENT-REPORT-RQ (PS3.7 10.3.1.1); its event information follows."""
    return _command(
        context_id,
        {
            0x0002: uid(sop_class_uid),
            0x0100: us(0x0100),
            0x0110: us(message_id),
            0x0800: us(_DATASET_PRESENT),
            0x1000: uid(sop_instance_uid),
            0x1002: us(event_type),
        },
    )


def echo_rq(context_id: int, message_id: int) -> bytes:
    """P-DATA-TF with the command set of a C-ECHO-RQ (PS3.7 9.3.5.1)."""
    return _command(
        context_id,
        {
            0x0002: uid(VERIFICATION),
            0x0100: us(0x0030),
            0x0110: us(message_id),
            0x0800: us(_DATASET_ABSENT),
        },
    )


def fragment_header(context_id: int, length: int, *, last: bool) -> bytes:
    """The 12 bytes before a data set fragment of `length` bytes that fills a P-DATA-TF alone."""
    return struct.pack(">BBLLBB", P_DATA, 0, length + 6, length + 2, context_id, 2 if last else 0)


@dataclass(frozen=True, slots=True)
class SubOperations:
    """How far a C-MOVE or C-GET is: (0000,1020) to (0000,1023). None: the peer does not say."""

    remaining: int | None = None
    completed: int | None = None
    failed: int | None = None
    warning: int | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """A DIMSE response."""

    command_field: int
    message_id: int
    status: int
    error_id: int | None = None
    """(0000,0903), of DIMSE-N."""
    dataset: bytes = b""
    """As it stands, in the context's transfer syntax; only of a reader that takes data sets."""
    sub_operations: SubOperations = SubOperations()


class ResponseReader:
    """Collects the fragments of one response (PS3.8 Annex E). Data sets are taken only where they may come."""

    def __init__(self, *, datasets: bool = False) -> None:
        self._datasets = datasets
        self._command = b""
        self._dataset = b""
        self._response: Response | None = None

    def feed(self, body: bytes) -> Response | None:
        """Takes the body of one P-DATA-TF; the response once it is whole. Raises `RemoteProtocolError`."""
        position = 0
        while position < len(body):
            if position + PDV_OVERHEAD > len(body):
                raise RemoteProtocolError("P-DATA-TF with an incomplete PDV")
            length, _, control = struct.unpack_from(">LBB", body, position)
            end = position + 4 + length
            if length < 2 or end > len(body):
                raise RemoteProtocolError("P-DATA-TF with a PDV of a wrong length")
            fragment, last = body[position + PDV_OVERHEAD : end], control & 2
            position = end
            if self._response is not None and not control & 1:
                self._dataset += fragment
                if last and position < len(body):
                    raise RemoteProtocolError("P-DATA-TF with parts of two messages")
                if last:
                    return replace(self._response, dataset=self._dataset)
                continue
            if not control & 1 or self._response is not None:
                raise RemoteProtocolError("data set fragment where a response was due, or the reverse")
            self._command += fragment
            if last:
                response, has_dataset = _read_response(decode(self._command))
                if not (self._datasets and has_dataset):
                    return response
                self._response = response
        return None


def response(fields: Mapping[int, bytes], dataset: bytes = b"") -> Response:
    """The response that a command set is. Raises `RemoteProtocolError`."""
    return replace(_read_response(fields)[0], dataset=dataset)


def _read_response(fields: Mapping[int, bytes]) -> tuple[Response, bool]:
    """The response, and whether a data set follows."""
    values = {number: int.from_bytes(value, "little") for number, value in fields.items() if len(value) == 2}
    try:
        response = Response(
            values[0x0100],
            values[0x0120],
            values[0x0900],
            values.get(0x0903),
            sub_operations=SubOperations(*map(values.get, (0x1020, 0x1021, 0x1022, 0x1023))),
        )
    except KeyError as error:
        raise RemoteProtocolError(f"response without (0000,{error.args[0]:04X})") from None
    return response, values.get(0x0800, _DATASET_ABSENT) != _DATASET_ABSENT


def _command(context_id: int, elements: Mapping[int, bytes]) -> bytes:
    body = encode(elements)
    return framed(P_DATA, struct.pack(">LBB", len(body) + 2, context_id, 3) + body)


def framed(kind: int, body: bytes) -> bytes:
    """A PDU of any kind."""
    return struct.pack(">BBL", kind, 0, len(body)) + body


def item(kind: int, value: bytes) -> bytes:
    """A variable item or sub-item (PS3.8 9.3.2)."""
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _items(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    position = 0
    while position + 4 <= len(data):
        kind, _, length = struct.unpack_from(">BBH", data, position)
        found.append((kind, data[position + 4 : position + 4 + length]))
        position += 4 + length
    return found
