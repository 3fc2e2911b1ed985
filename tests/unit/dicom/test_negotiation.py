"""Negotiation: requests that pynetdicom writes are read, answers that we write pynetdicom reads."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context

from broker.dicom import negotiation, pdu
from broker.dicom.negotiation import Accepted, Proposal, Roles
from broker.dicom.uid import IMPLEMENTATION_CLASS_UID
from broker.errors import RemoteProtocolError

CT, FIND, COMMITMENT, MPPS = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.31",
    "1.2.840.10008.1.20.1",
    "1.2.3",
)
IMPLICIT, EXPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"


class Supports:
    """Images as they come, queries in explicit or implicit; commitment as its SCU."""

    max_pdu = 100_000

    def __init__(self, *, acknowledges_identity: bool = False) -> None:
        self.acknowledges_identity = acknowledges_identity

    def syntaxes(self, sop_class: str, proposed: Sequence[str]) -> Sequence[str]:
        return (
            proposed if sop_class == CT else (EXPLICIT, IMPLICIT) if sop_class in (FIND, COMMITMENT) else ()
        )

    def peer_serves(self, sop_class: str) -> bool:
        return sop_class == COMMITMENT

    def extended(self, sop_class: str, proposed: bytes) -> bytes | None:
        return b"\0\1" if sop_class == FIND else None


def requested(*items: object, application: str = "1.2.840.10008.3.1.1.1") -> bytes:
    """The body of an A-ASSOCIATE-RQ with five contexts, from pynetdicom."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = application
    primitive.calling_ae_title, primitive.called_ae_title = "CAMERA", "BROKER"
    contexts = [
        build_context(CT, [JPEG, EXPLICIT]),
        build_context(FIND, [IMPLICIT, EXPLICIT]),
        build_context(FIND, [JPEG]),
        build_context(MPPS, [IMPLICIT]),
        build_context(COMMITMENT, [IMPLICIT]),
    ]
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    primitive.presentation_context_definition_list = contexts
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16_000
    implementation.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, implementation, *items]
    encoded = A_ASSOCIATE_RQ()
    encoded.from_primitive(primitive)
    return encoded.encode()[6:]


def roles(sop_class: str, scu: bool, scp: bool) -> SCP_SCU_RoleSelectionNegotiation:
    item = SCP_SCU_RoleSelectionNegotiation()
    item.sop_class_uid, item.scu_role, item.scp_role = sop_class, scu, scp
    return item


def extended(sop_class: str, information: bytes) -> SOPClassExtendedNegotiation:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = sop_class, information
    return item


def identity(*, answer: bool) -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type, item.primary_field, item.secondary_field = 2, b"user", b"secret"
    item.positive_response_requested = answer
    return item


def window() -> AsynchronousOperationsWindowNegotiation:
    item = AsynchronousOperationsWindowNegotiation()
    item.maximum_number_operations_invoked = item.maximum_number_operations_performed = 8
    return item


def answered(body: bytes, **options: bool) -> tuple[Accepted, A_ASSOCIATE]:
    accepted = negotiation.accept(body, negotiation.read(body), Supports(**options))
    decoded = A_ASSOCIATE_AC()
    decoded.decode(accepted.answer)
    return accepted, decoded.to_primitive()


def items_of(answer: A_ASSOCIATE, kind: type) -> list[object]:
    return [item for item in answer.user_information if isinstance(item, kind)]


def test_a_request_is_read() -> None:
    body = requested(
        roles(COMMITMENT, False, True), extended(FIND, b"\1\1\1"), window(), identity(answer=True)
    )
    assert negotiation.titles(body) == ("BROKER", "CAMERA")
    request = negotiation.read(body)
    assert (request.protocol_version, request.application_context) == (1, pdu.APPLICATION_CONTEXT)
    assert request.contexts[:2] == (
        Proposal(1, CT, (JPEG, EXPLICIT)),
        Proposal(3, FIND, (IMPLICIT, EXPLICIT)),
    )
    assert request.max_length == 16_000
    assert request.roles == {COMMITMENT: Roles(scu=False, scp=True)}
    assert request.extended == {FIND: b"\1\1\1"}
    assert request.asynchronous
    assert request.wants_identity_answer
    assert "secret" not in repr(request)


def test_each_context_gets_the_result_and_the_syntax_that_it_should() -> None:
    accepted, answer = answered(requested())
    assert accepted.contexts == {
        1: pdu.Context(CT, JPEG),
        3: pdu.Context(FIND, EXPLICIT),
        9: pdu.Context(COMMITMENT, IMPLICIT),
    }
    assert accepted.max_length == 16_000
    results = {cx.context_id: cx.result for cx in answer.presentation_context_definition_results_list}
    assert results == {1: 0, 3: 0, 5: 4, 7: 3, 9: 0}
    assert (answer.called_ae_title, answer.calling_ae_title) == ("BROKER", "CAMERA")
    assert answer.maximum_length_received == 100_000
    assert answer.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert len(answer.user_information) == 3, "nothing is answered that was not asked"


def test_roles_are_given_as_far_as_this_side_can_take_the_other() -> None:
    _, answer = answered(
        requested(roles(COMMITMENT, False, True), roles(CT, True, True), roles(MPPS, True, False))
    )
    given_roles = {
        item.sop_class_uid: (item.scu_role, item.scp_role)  # type: ignore[attr-defined]
        for item in items_of(answer, SCP_SCU_RoleSelectionNegotiation)
    }
    assert given_roles == {COMMITMENT: (False, True), CT: (True, False)}


def test_extended_negotiation_and_the_window_are_answered_where_asked() -> None:
    _, answer = answered(requested(extended(FIND, b"\1\1\1"), extended(CT, b"\2\0"), window()))
    [information] = items_of(answer, SOPClassExtendedNegotiation)
    assert information.service_class_application_information == b"\0\1"  # type: ignore[attr-defined]
    [item] = items_of(answer, AsynchronousOperationsWindowNegotiation)
    assert item.maximum_number_operations_invoked == 1  # type: ignore[attr-defined]
    assert item.maximum_number_operations_performed == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asked", "acknowledges", "answers"),
    [(True, True, 1), (True, False, 0), (False, True, 0)],
)
def test_a_user_identity_is_confirmed_where_both_sides_want_it(
    asked: bool, acknowledges: bool, answers: int
) -> None:
    _, answer = answered(requested(identity(answer=asked)), acknowledges_identity=acknowledges)
    assert len(items_of(answer, UserIdentityNegotiation)) == answers


def test_names_that_are_padded_with_nul_or_are_no_text() -> None:
    body = bytearray(requested())
    body[4:20], body[20:36] = b"BROKER" + bytes(10), b"\xd8\xff" + b" " * 14
    assert negotiation.titles(bytes(body)) == ("BROKER", "\ufffd\ufffd")


def test_a_request_without_contexts_or_user_information_is_one() -> None:
    request = negotiation.read(requested()[:68])
    assert (request.contexts, request.max_length, request.application_context) == ((), 0, "")


ITEM = struct.Struct(">BxH")


@pytest.mark.parametrize(
    "tail",
    [
        b"\x10",
        ITEM.pack(0x10, 50) + b"1.2",
        ITEM.pack(0x20, 2) + b"\1\0",
        (ITEM.pack(0x20, 4) + b"\1\0\0\0") * 2,
        ITEM.pack(0x20, 9) + b"\1\0\0\0" + ITEM.pack(0x30, 99) + b"1",
        ITEM.pack(0x10, 2) + b"\xc3\x98",
        ITEM.pack(0x50, 6) + ITEM.pack(0x54, 2) + b"\0\x63",
        ITEM.pack(0x50, 5) + ITEM.pack(0x56, 1) + b"\0",
    ],
)
def test_items_that_lie(tail: bytes) -> None:
    body = requested()[:68] + tail
    with pytest.raises(RemoteProtocolError):
        negotiation.read(body)


@pytest.mark.parametrize("body", [b"", bytes(67)])
def test_a_request_too_short_for_its_titles(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        negotiation.titles(body)
    with pytest.raises(RemoteProtocolError):
        negotiation.read(body)


WHOLE = requested(roles(COMMITMENT, False, True), extended(FIND, b"\1\1\1"), window(), identity(answer=True))


@given(st.data())
def test_a_request_that_was_damaged_is_answered_or_our_error(data: st.DataObject) -> None:
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(WHOLE) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(damaged[: data.draw(st.integers(0, len(WHOLE)))])
    try:
        accepted = negotiation.accept(body, negotiation.read(body), Supports())
    except RemoteProtocolError:
        return
    assert int.from_bytes(accepted.answer[2:6], "big") == len(accepted.answer) - 6


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_our_error(tail: bytes) -> None:
    try:
        negotiation.read(bytes(68) + tail)
    except RemoteProtocolError:
        return
