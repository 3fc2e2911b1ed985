"""Association negotiation as its acceptor: an A-ASSOCIATE-RQ read, and the A-ASSOCIATE-AC that answers it.

The answer is a pure function of the request's bytes and of a policy, so it can be kept and given again. Who may come
in is decided elsewhere, from the AE titles alone. What the requestor sends and reads is in `broker.dicom.pdu`.

PS3.8 9.3.2, 9.3.3, Annex D (maximum length); PS3.7 Annex D.3.3 (implementation, asynchronous window, roles, extended
negotiation, user identity).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from broker.dicom import pdu
from broker.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, IMPLICIT_LITTLE_ENDIAN
from broker.errors import RemoteProtocolError

_HEAD = 68
"""Bytes before the variable items: version, AE titles, reserved (PS3.8 table 9-11)."""

ACCEPTANCE, NO_ABSTRACT_SYNTAX, NO_TRANSFER_SYNTAX = 0, 3, 4
"""Results of a presentation context (PS3.8 table 9-18)."""

SHORTEST_PDU = 16
"""A peer that takes less than this at a time is not served: two bytes of data in one PDU are too few to be meant."""

# Items (PS3.8 9.3.2, PS3.7 D.3.3).
_APPLICATION, _PROPOSED, _ANSWERED, _ABSTRACT, _TRANSFER, _USER = 0x10, 0x20, 0x21, 0x30, 0x40, 0x50
_MAX_LENGTH, _CLASS, _WINDOW, _ROLE, _VERSION, _EXTENDED = 0x51, 0x52, 0x53, 0x54, 0x55, 0x56
_IDENTITY, _IDENTITY_ANSWER = 0x58, 0x59


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposed presentation context."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Roles:
    """What the requestor shall be of a SOP class (PS3.7 D.3.3.4)."""

    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ. A user identity is not kept: it may be a password."""

    protocol_version: int
    application_context: str
    contexts: tuple[Proposal, ...]
    max_length: int = 0
    """The longest P-DATA-TF that the requestor takes, in bytes after the header; 0: any."""
    roles: Mapping[str, Roles] = field(default_factory=dict)
    extended: Mapping[str, bytes] = field(default_factory=dict)
    """SOP class to its application information (PS3.7 D.3.3.5)."""
    asynchronous: bool = False
    wants_identity_answer: bool = False


class Policy(Protocol):
    """What an acceptor supports."""

    @property
    def max_pdu(self) -> int:
        """The longest P-DATA-TF that is taken, in bytes after the header."""

    @property
    def acknowledges_identity(self) -> bool:
        """Whether a requestor that wants its user identity confirmed gets that."""

    def syntaxes(self, sop_class: str, proposed: Sequence[str]) -> Sequence[str]:
        """Transfer syntaxes to accept for a SOP class, the best first; none when it is not supported."""

    def peer_serves(self, sop_class: str) -> bool:
        """Whether the requestor may be the SCP of this class, because this side is its SCU."""

    def extended(self, sop_class: str, proposed: bytes) -> bytes | None:
        """Application information to answer with, None for no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """How an A-ASSOCIATE-RQ is answered."""

    answer: bytes
    """The whole A-ASSOCIATE-AC."""
    contexts: Mapping[int, pdu.Context]
    max_length: int
    """The requestor's, as in `AssociateRequest`."""


def titles(body: bytes) -> tuple[str, str]:
    """Called and calling AE title of an A-ASSOCIATE-RQ, which is not read further."""
    if len(body) < _HEAD:
        raise RemoteProtocolError("A-ASSOCIATE-RQ too short")
    called, calling = body[4:20], body[20:36]
    return called.decode("ascii", "replace").strip(" \0"), calling.decode("ascii", "replace").strip(" \0")


def read(body: bytes) -> AssociateRequest:
    """Reads an A-ASSOCIATE-RQ from behind its header; unknown items are passed over.

    Raises `RemoteProtocolError` where lengths do not fit, a UID is none, or a context id comes twice.
    """
    if len(body) < _HEAD:
        raise RemoteProtocolError("A-ASSOCIATE-RQ too short")
    application = ""
    contexts: dict[int, Proposal] = {}
    user: list[tuple[int, bytes]] = []
    for kind, value in _items(body[_HEAD:]):
        if kind == _APPLICATION:
            application = _uid(value)
        elif kind == _PROPOSED:
            proposal = _proposal(value)
            if proposal.context_id in contexts:
                raise RemoteProtocolError("presentation context id proposed twice")
            contexts[proposal.context_id] = proposal
        elif kind == _USER:
            user = _items(value)
    lengths = [int.from_bytes(value, "big") for kind, value in user if kind == _MAX_LENGTH]
    return AssociateRequest(
        protocol_version=int.from_bytes(body[:2], "big"),
        application_context=application,
        contexts=tuple(contexts.values()),
        max_length=lengths[-1] if lengths else 0,
        roles=dict(_role(value) for kind, value in user if kind == _ROLE),
        extended=dict(_counted(value) for kind, value in user if kind == _EXTENDED),
        asynchronous=any(kind == _WINDOW for kind, _ in user),
        wants_identity_answer=any(kind == _IDENTITY and value[1:2] == b"\1" for kind, value in user),
    )


def accept(body: bytes, request: AssociateRequest, policy: Policy) -> Accepted:
    """The A-ASSOCIATE-AC for a request and the `body` that it was read from."""
    contexts: dict[int, pdu.Context] = {}
    items = [pdu.item(_APPLICATION, pdu.APPLICATION_CONTEXT.encode())]
    for proposal in request.contexts:
        result, syntax = _judged(proposal, policy)
        if result == ACCEPTANCE:
            contexts[proposal.context_id] = pdu.Context(proposal.abstract_syntax, syntax)
        head = bytes((proposal.context_id, 0, result, 0))
        items.append(pdu.item(_ANSWERED, head + pdu.item(_TRANSFER, syntax.encode("ascii"))))
    items.append(pdu.item(_USER, _user_items(request, policy, contexts)))
    # What the request has in the places of the titles is sent back as it is (PS3.8 table 9-17).
    content = struct.pack(">HH", 1, 0) + body[4:_HEAD] + b"".join(items)
    return Accepted(
        answer=pdu.framed(pdu.ASSOCIATE_AC, content), contexts=contexts, max_length=request.max_length
    )


def _judged(proposal: Proposal, policy: Policy) -> tuple[int, str]:
    """Result, and the transfer syntax; that of a refused context means nothing, but has to be there."""
    accepted = policy.syntaxes(proposal.abstract_syntax, proposal.transfer_syntaxes)
    for syntax in accepted:
        if syntax in proposal.transfer_syntaxes:
            return ACCEPTANCE, syntax
    return NO_TRANSFER_SYNTAX if accepted else NO_ABSTRACT_SYNTAX, IMPLICIT_LITTLE_ENDIAN


def _user_items(request: AssociateRequest, policy: Policy, contexts: Mapping[int, pdu.Context]) -> bytes:
    served = {context.abstract_syntax for context in contexts.values()}
    items = [
        pdu.item(_MAX_LENGTH, struct.pack(">L", policy.max_pdu)),
        pdu.item(_CLASS, IMPLEMENTATION_CLASS_UID.encode()),
    ]
    if request.asynchronous:  # one at a time, each way
        items.append(pdu.item(_WINDOW, struct.pack(">HH", 1, 1)))
    for sop_class, roles in request.roles.items():
        if sop_class in served:
            answer = bytes((roles.scu, roles.scp and policy.peer_serves(sop_class)))
            items.append(pdu.item(_ROLE, _with_count(sop_class) + answer))
    items.append(pdu.item(_VERSION, IMPLEMENTATION_VERSION_NAME.encode()))
    for sop_class, proposed in request.extended.items():
        information = policy.extended(sop_class, proposed) if sop_class in served else None
        if information is not None:
            items.append(pdu.item(_EXTENDED, _with_count(sop_class) + information))
    if request.wants_identity_answer and policy.acknowledges_identity:
        items.append(pdu.item(_IDENTITY_ANSWER, struct.pack(">H", 0)))
    return b"".join(items)


def _proposal(value: bytes) -> Proposal:
    if len(value) < 4:
        raise RemoteProtocolError("presentation context too short")
    parts = _items(value[4:])
    abstract = [_uid(part) for kind, part in parts if kind == _ABSTRACT]
    syntaxes = tuple(_uid(part) for kind, part in parts if kind == _TRANSFER)
    return Proposal(value[0], abstract[0] if abstract else "", syntaxes)


def _role(value: bytes) -> tuple[str, Roles]:
    sop_class, roles = _counted(value)
    if len(roles) < 2:
        raise RemoteProtocolError("role selection of a wrong length")
    return sop_class, Roles(roles[0] == 1, roles[1] == 1)


def _counted(value: bytes) -> tuple[str, bytes]:
    """A UID that its length precedes, and what follows it."""
    length = int.from_bytes(value[:2], "big")
    if len(value) < 2 + length:
        raise RemoteProtocolError("item with a UID of a wrong length")
    return _uid(value[2 : 2 + length]), value[2 + length :]


def _with_count(sop_class: str) -> bytes:
    return struct.pack(">H", len(sop_class)) + sop_class.encode("ascii")


def _items(data: bytes) -> list[tuple[int, bytes]]:
    """(type, value) of each item."""
    found: list[tuple[int, bytes]] = []
    position = 0
    while position < len(data):
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        end = position + 4 + length
        if end > len(data):
            raise RemoteProtocolError("A-ASSOCIATE-RQ with an item of a wrong length")
        found.append((data[position], data[position + 4 : end]))
        position = end
    return found


def _uid(value: bytes) -> str:
    try:
        return value.rstrip(b"\0 ").decode("ascii")
    except UnicodeDecodeError:
        raise RemoteProtocolError("A-ASSOCIATE-RQ with a UID that is none") from None
