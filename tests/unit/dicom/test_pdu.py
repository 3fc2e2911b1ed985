"""What we build, pynetdicom reads; what we read, survives any bytes."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom import build_context, build_role
from pynetdicom.dimse_messages import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    DIMSEMessage,
)
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from broker.dicom import pdu
from broker.dicom.uid import IMPLEMENTATION_CLASS_UID
from broker.errors import RemoteProtocolError

CT, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


def message(data: bytes) -> DIMSEMessage:
    decoded = P_DATA_TF()
    decoded.decode(data)
    found = DIMSEMessage()
    found.decode_msg(decoded.to_primitive())
    return found


def test_associate_rq_is_what_pynetdicom_understands() -> None:
    contexts = {2 * n + 1: pdu.Context(CT, f"1.2.{n}") for n in range(128)}
    data = pdu.associate_rq(called_aet="ORTHANC", calling_aet="BROKER", contexts=contexts, max_length=131072)
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(data)
    primitive = decoded.to_primitive()
    assert (primitive.called_ae_title, primitive.calling_ae_title) == ("ORTHANC", "BROKER")
    proposed = {
        cx.context_id: pdu.Context(str(cx.abstract_syntax), str(cx.transfer_syntax[0]))
        for cx in primitive.presentation_context_definition_list
    }
    assert proposed == contexts
    assert primitive.maximum_length_received == 131072
    assert primitive.implementation_class_uid == IMPLEMENTATION_CLASS_UID


def test_the_role_of_the_scp_is_what_pynetdicom_understands() -> None:
    contexts = {1: pdu.Context(CT, EXPLICIT)}
    titles = {"called_aet": "ORTHANC", "calling_aet": "BROKER"}
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(pdu.associate_rq(**titles, contexts=contexts, max_length=16384, serves=[CT]))
    (role,) = (one for one in decoded.to_primitive().user_information if hasattr(one, "scp_role"))

    assert (role.sop_class_uid, role.scu_role, role.scp_role) == (CT, False, True)


@pytest.mark.parametrize("scp", [True, False])
def test_the_role_that_a_peer_answers_is_read(scp: bool) -> None:
    answered = A_ASSOCIATE_AC()
    accepted = build_context(CT, EXPLICIT)
    accepted.context_id, accepted.result = 1, 0
    answer = A_ASSOCIATE()
    answer.application_context_name = pdu.APPLICATION_CONTEXT
    answer.calling_ae_title, answer.called_ae_title = "BROKER", "ORTHANC"
    answer.result, answer.result_source = 0, 1
    answer.presentation_context_definition_results_list = [accepted]
    length, number = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received = 16384
    number.implementation_class_uid = "1.2.3"
    answer.user_information = [length, number, build_role(CT, scu_role=not scp, scp_role=scp)]
    answered.from_primitive(answer)

    read = pdu.read_associate_ac(answered.encode()[6:])
    assert (read.results, read.max_length, read.roles) == ({1: 0}, 16384, {CT: scp})


def test_commands_are_what_pynetdicom_understands() -> None:
    store = message(pdu.store_rq(3, 7, CT, "2.25.1"))
    assert isinstance(store, C_STORE_RQ)
    assert store.context_id == 3
    command = store.command_set
    assert (command.MessageID, command.AffectedSOPClassUID, command.AffectedSOPInstanceUID) == (
        7,
        CT,
        "2.25.1",
    )
    assert command.CommandDataSetType != 0x0101
    find = message(pdu.find_rq(1, 9, CT))
    assert isinstance(find, C_FIND_RQ)
    assert (find.command_set.MessageID, find.command_set.AffectedSOPClassUID) == (9, CT)
    assert find.command_set.CommandDataSetType != 0x0101
    action = message(pdu.action_rq(5, 10, CT, "2.25.1", 1))
    assert isinstance(action, N_ACTION_RQ)
    told = action.command_set
    assert (told.MessageID, told.RequestedSOPClassUID, told.RequestedSOPInstanceUID, told.ActionTypeID) == (
        *(10, CT),
        *("2.25.1", 1),
    )
    event = message(pdu.event_report_rq(5, 11, CT, "2.25.1", 2))
    assert isinstance(event, N_EVENT_REPORT_RQ)
    told = event.command_set
    assert (told.MessageID, told.AffectedSOPClassUID, told.AffectedSOPInstanceUID, told.EventTypeID) == (
        *(11, CT),
        *("2.25.1", 2),
    )
    echo = message(pdu.echo_rq(1, 8))
    assert isinstance(echo, C_ECHO_RQ)
    assert echo.command_set.CommandDataSetType == 0x0101


def test_commands_of_a_retrieval_are_what_pynetdicom_understands() -> None:
    get = message(pdu.get_rq(1, 9, CT))
    assert isinstance(get, C_GET_RQ)
    move = message(pdu.move_rq(1, 10, CT, "STORE"))
    assert isinstance(move, C_MOVE_RQ)
    assert (move.command_set.MoveDestination, move.command_set.MessageID) == ("STORE", 10)
    assert move.command_set.CommandDataSetType != 0x0101
    cancel = message(pdu.cancel_rq(1, 10))
    assert isinstance(cancel, C_CANCEL_RQ)
    assert cancel.command_set.MessageIDBeingRespondedTo == 10


def test_how_far_a_retrieval_is() -> None:
    said = {0x0100: 0x8021, 0x0120: 4, 0x0900: 0xFF00, 0x1020: 7, 0x1021: 2, 0x1022: 1}
    fields = {number: struct.pack("<H", value) for number, value in said.items()}

    found = pdu.response(fields, b"uids")

    assert found.sub_operations == pdu.SubOperations(remaining=7, completed=2, failed=1, warning=None)
    assert (found.status, found.message_id, found.dataset) == (0xFF00, 4, b"uids")
    with pytest.raises(RemoteProtocolError, match="0000,0900"):
        pdu.response({0x0100: b"\x21\x80", 0x0120: b"\4\0"})


def test_fragment_header() -> None:
    decoded = P_DATA_TF()
    decoded.decode(pdu.fragment_header(5, 4, last=True) + b"abcd")
    ((context_id, data),) = decoded.to_primitive().presentation_data_value_list
    assert (context_id, data) == (5, b"\x02abcd")


def accept(*items: bytes) -> bytes:
    return bytes(68) + b"".join(items)


def test_associate_ac_is_read_and_unknown_items_are_passed_over() -> None:
    accepted = b"\x21\0\0\x08\x01\0\0\0\x40\0\0\0"
    refused = b"\x21\0\0\x08\x03\0\x04\0\x40\0\0\0"
    user = b"\x50\0\0\x0d\x51\0\0\x04\0\0\x40\0\x59\0\0\x01x"
    answer = pdu.read_associate_ac(accept(b"\x10\0\0\x01a", accepted, refused, b"\x77\0\0\x02zz", user))
    assert answer == pdu.Accepted({1: 0, 3: 4}, 16384)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"\0\1\1\7", "called AE title not recognised, permanent"),
        (b"\0\2\3\1", "temporary congestion, transient"),
        (b"\0\1\1\x63", "no reason given (source 1, reason 99), permanent"),
        (b"", "no reason given (source 0, reason 0), permanent"),
    ],
)
def test_rejections_are_told_in_words(body: bytes, text: str) -> None:
    assert pdu.describe_rejection(body) == text


def command(**values: int) -> bytes:
    return b"".join(struct.pack("<HHLH", 0, int(name[1:], 16), 2, value) for name, value in values.items())


def pdv(data: bytes, control: int) -> bytes:
    return struct.pack(">LBB", len(data) + 2, 1, control) + data


@given(st.integers(0, 30), st.integers(0, 30), st.booleans())
def test_a_response_is_read_however_it_is_cut(first: int, second: int, together: bool) -> None:
    data = command(x0100=pdu.C_STORE_RSP, x0120=9, x0900=0xA700)
    pieces = [data[:first], data[first : first + second], data[first + second :]]
    fragments = [pdv(piece, 3 if index == 2 else 1) for index, piece in enumerate(pieces)]
    reader = pdu.ResponseReader()
    if together:
        fragments = [b"".join(fragments)]
    *before, last = [reader.feed(fragment) for fragment in fragments]
    assert before == [None] * len(before)
    assert last == pdu.Response(pdu.C_STORE_RSP, 9, 0xA700)


@given(st.binary(max_size=40), st.integers(0, 40), st.booleans())
def test_a_response_with_a_data_set_is_read_however_it_is_cut(
    dataset: bytes, cut: int, together: bool
) -> None:
    head = pdv(command(x0100=pdu.C_FIND_RSP, x0120=9, x0900=0xFF00, x0800=1), 3)
    fragments = [head, pdv(dataset[:cut], 0), pdv(dataset[cut:], 2)]
    reader = pdu.ResponseReader(datasets=True)
    if together:
        fragments = [b"".join(fragments)]
    *before, last = [reader.feed(fragment) for fragment in fragments]
    assert before == [None] * len(before)
    assert last == pdu.Response(pdu.C_FIND_RSP, 9, 0xFF00, dataset=dataset)


def test_a_response_of_a_query_may_have_no_data_set() -> None:
    reader = pdu.ResponseReader(datasets=True)
    final = pdv(command(x0100=pdu.C_FIND_RSP, x0120=9, x0900=0, x0800=0x0101), 3)
    assert reader.feed(final) == pdu.Response(pdu.C_FIND_RSP, 9, 0)


def test_two_messages_in_one_pdu_are_refused() -> None:
    head = pdv(command(x0100=pdu.C_FIND_RSP, x0120=9, x0900=0xFF00, x0800=1), 3)
    with pytest.raises(RemoteProtocolError, match="two messages"):
        pdu.ResponseReader(datasets=True).feed(head + pdv(b"ab", 2) + head)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    pdu.read_associate_ac(body)
    pdu.describe_abort(body)
    pdu.describe_rejection(body)
    with contextlib.suppress(RemoteProtocolError):
        pdu.ResponseReader().feed(body)
    with contextlib.suppress(RemoteProtocolError):
        pdu.ResponseReader(datasets=True).feed(body)


ANSWER = accept(
    b"\x10\0\0\x15" + b"1.2.840.10008.3.1.1.1",
    b"\x21\0\0\x19\x01\0\0\0\x40\0\0\x11" + b"1.2.840.10008.1.2",
    b"\x50\0\0\x08\x51\0\0\x04\0\0\x40\0",
)
RESPONSE = pdv(command(x0100=pdu.C_FIND_RSP, x0120=9, x0900=0xFF00, x0800=1), 3) + pdv(b"data set", 2)


@given(st.sampled_from([ANSWER, RESPONSE]), st.data())
def test_what_was_damaged_is_read_or_refused(whole: bytes, data: st.DataObject) -> None:
    """Every acceptor's answer, and every response, by our own error and by no other."""
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    body = bytes(damaged[: data.draw(st.integers(0, len(whole)))])
    read = pdu.read_associate_ac(body)
    assert all(0 <= result <= 255 for result in read.results.values())
    for datasets in (False, True):
        with contextlib.suppress(RemoteProtocolError):
            response = pdu.ResponseReader(datasets=datasets).feed(body)
            assert response is None or len(response.dataset) <= len(body)


def test_undamaged_they_say_what_they_should() -> None:
    assert pdu.read_associate_ac(ANSWER) == pdu.Accepted({1: 0}, 16384)
    response = pdu.ResponseReader(datasets=True).feed(RESPONSE)
    assert response == pdu.Response(pdu.C_FIND_RSP, 9, 0xFF00, dataset=b"data set")


def test_a_response_without_a_status_is_refused() -> None:
    with pytest.raises(RemoteProtocolError, match=r"\(0000,0900\)"):
        pdu.ResponseReader().feed(pdv(command(x0100=0x8001, x0120=1), 3))
