"""N-ACTION and N-EVENT-REPORT against pynetdicom's peers and our own association server, over loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.dicom import status, uid
from broker.dicom.dataset import from_dataset
from broker.errors import PermanentDeliveryError, TransientDeliveryError, UnreachableError
from broker.net import action_scu
from broker.net.action_scu import Call, Place
from broker.net.association import ActionRequest, Answer, AssociationServer, Peer
from tests.support.commitment import Archive, Device, asked, outcome, send_action
from tests.support.dimse import EXPLICIT, Scu, command_set, p_data
from tests.support.ports import free_port

INFORMATION = asked("2.25.9", "2.25.1", "2.25.2")


def call(type_id: int = 1) -> Call:
    return Call(
        sop_class_uid=uid.STORAGE_COMMITMENT,
        sop_instance_uid=uid.STORAGE_COMMITMENT_INSTANCE,
        type_id=type_id,
        information=INFORMATION,
    )


def place(port: int, **fields: float) -> Place:
    return Place(host="127.0.0.1", port=port, called_aet="PEER", calling_aet="BROKER", **fields)  # type: ignore[arg-type]


class Acting:
    """An action service that keeps what it was asked."""

    sop_classes = (uid.STORAGE_COMMITMENT,)
    scu_classes = (uid.STORAGE_COMMITMENT,)

    def __init__(self) -> None:
        self.asked: list[tuple[ActionRequest, Peer]] = []
        self.during: Callable[[], None] = lambda: None

    def act(self, request: ActionRequest, peer: Peer) -> Answer:
        self.asked.append((request, peer))
        self.during()
        return Answer(status=status.SUCCESS)


@pytest.fixture
def acting() -> Acting:
    return Acting()


@pytest.fixture
def server(tmp_path: Path, acting: Acting) -> Iterator[AssociationServer]:
    found = AssociationServer(
        "127.0.0.1", 0, ae_title="BROKER", spool=tmp_path, admit=lambda _: True, network_timeout=10.0
    )
    found.register(acting)
    found.start()
    yield found
    found.stop(grace=1.0)


def test_an_archive_is_asked() -> None:
    archive = Archive()
    archive.start()
    confirmed: list[bool] = []
    try:
        answer = action_scu.act(place(archive.port), call(), lambda: confirmed.append(True))
        (request,) = archive.wait_for_requests()
    finally:
        archive.stop()

    assert (answer.status, confirmed) == (status.SUCCESS, [True])
    assert (request.TransactionUID, outcome(request)) == ("2.25.9", (["2.25.1", "2.25.2"], {}))


def test_a_device_is_told_under_the_role_of_the_scp(device: Device) -> None:
    answer = action_scu.report(place(device.port), call())

    assert answer.status == status.SUCCESS
    ((where, kind, told),) = device.heard
    assert (where, kind, outcome(told)[0]) == ("new", 1, ["2.25.1", "2.25.2"])


def test_what_the_peer_answers_is_handed_on(device: Device) -> None:
    device.answers = [status.NO_SUCH_SOP_INSTANCE]

    assert action_scu.report(place(device.port), call()).status == status.NO_SUCH_SOP_INSTANCE
    assert device.heard == []


def test_a_lease_that_is_lost_before_the_last_byte_tells_nobody(
    server: AssociationServer, acting: Acting
) -> None:
    def lost() -> None:
        raise RuntimeError("another node has it")

    there = Place(host="127.0.0.1", port=server.port, called_aet="BROKER", calling_aet="ORTHANC")
    for send in (action_scu.act, action_scu.report):
        with pytest.raises(RuntimeError):
            send(there, call(), lost)
    server.stop()
    assert acting.asked == []


def test_a_peer_that_does_not_let_us_be_the_scp_is_told_nothing() -> None:
    device = Device(takes_role=False)
    device.start()
    try:
        with pytest.raises(PermanentDeliveryError, match=r"role selection|SOP class"):
            action_scu.report(place(device.port), call())
        assert action_scu.takes_reports(place(device.port)) != ""
    finally:
        device.stop()
    assert device.heard == []


def test_whether_a_device_would_take_reports_is_told_without_sending_one(device: Device) -> None:
    assert action_scu.takes_reports(place(device.port)) == ""
    assert "no connection" in action_scu.takes_reports(place(free_port()))
    assert device.heard == []


def test_nobody_there_is_told_as_such() -> None:
    with pytest.raises(UnreachableError):
        action_scu.act(place(free_port()), call())


def test_our_own_server_is_both_sides(server: AssociationServer, acting: Acting) -> None:
    here = place(server.port)
    there = Place(host=here.host, port=here.port, called_aet="BROKER", calling_aet="ORTHANC")

    assert action_scu.act(there, call()).status == status.SUCCESS
    assert action_scu.report(there, call(2)).status == status.SUCCESS
    (action, peer), (event, _) = acting.asked
    assert (action.operation, action.type_id, event.operation, event.type_id) == (
        *("N-ACTION", 1),
        *("N-EVENT-REPORT", 2),
    )
    assert (peer.calling_aet, action.sop_instance_uid) == ("ORTHANC", uid.STORAGE_COMMITMENT_INSTANCE)
    assert action.dataset == event.dataset == call().encoded(uid.EXPLICIT_LITTLE_ENDIAN)


# --- on the association of the peer ---


def test_a_peer_is_told_on_the_association_that_it_has_open(
    server: AssociationServer, device: Device
) -> None:
    with device.association(server.port) as association:
        assert send_action(association, INFORMATION) == status.SUCCESS
        assert server.report("CT1_STO", call(2), 10.0) == status.SUCCESS
        assert server.report("CT1_STO", call(1), 10.0) == status.SUCCESS, "and again"
        assert send_action(association, INFORMATION) == status.SUCCESS, "it goes on as before"
        assert server.report("OTHER", call(), 10.0) is None

    assert [(where, kind) for where, kind, _ in device.heard] == [("same", 2), ("same", 1)]
    assert outcome(device.heard[0][2]) == outcome(device.heard[1][2])
    assert server.report("CT1_STO", call(), 10.0) is None, "it is gone"


def test_what_it_answers_there_counts(server: AssociationServer, device: Device) -> None:
    device.answers = [status.PROCESSING_FAILURE]
    with device.association(server.port):
        assert server.report("CT1_STO", call(), 10.0) == status.PROCESSING_FAILURE


def test_a_report_waits_until_the_request_in_hand_is_answered(
    server: AssociationServer, acting: Acting, device: Device
) -> None:
    told: list[int | None] = []
    reporting = threading.Thread(target=lambda: told.append(server.report("CT1_STO", call(2), 10.0)))
    acting.during = reporting.start
    with device.association(server.port) as association:
        assert send_action(association, INFORMATION) == status.SUCCESS
        reporting.join(10.0)

    assert told == [status.SUCCESS]
    assert from_dataset(device.heard[0][2])["TransactionUID"] == "2.25.9"


def test_a_request_in_hand_for_too_long_is_no_association_to_be_told_on(
    server: AssociationServer, acting: Acting, device: Device
) -> None:
    told: list[int | None] = []
    acting.during = lambda: told.append(server.report("CT1_STO", call(), 0.01))
    with device.association(server.port) as association:
        assert send_action(association, INFORMATION) == status.SUCCESS

    assert (told, device.heard) == ([None], [])


def test_an_answer_to_what_was_not_asked_aborts(server: AssociationServer, device: Device) -> None:
    scu = Scu(server.port, [(uid.STORAGE_COMMITMENT, EXPLICIT)], calling="CT1_STO")
    stray = command_set({0x0100: 0x8100, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0})
    scu.send_raw(p_data(1, 3, stray))

    assert scu.read_pdu()[0] == 7, "A-ABORT"
    scu.close()


def test_a_peer_that_ends_the_association_instead_of_answering_was_not_told_for_sure(
    server: AssociationServer,
) -> None:
    scu = Scu(server.port, [(uid.STORAGE_COMMITMENT, EXPLICIT)], calling="CT1_STO")
    told: list[int | None] = []
    reporting = threading.Thread(target=lambda: told.append(server.report("CT1_STO", call(), 30.0)))
    reporting.start()
    assert scu.read_pdu()[0] == 4
    scu.close()
    reporting.join(10.0)

    assert told == [None]


def test_a_silent_peer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = place(silent.getsockname()[1], response_timeout=0.05)
        with pytest.raises(TransientDeliveryError, match="no answer in time"):
            action_scu.act(there, call())
