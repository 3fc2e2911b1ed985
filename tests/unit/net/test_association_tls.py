"""Associations over TLS: nobody's handshake holds another; cancel, abort, limits and reports are as in the clear."""

from __future__ import annotations

import logging
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from broker.dicom import uid
from broker.dicom.dataset import to_dataset
from broker.net.action_scu import Call
from broker.net.association import (
    AssociationServer,
)
from broker.net.find_scu import FindScu
from broker.net.seats import REFUSALS
from broker.net.store_scu import StoreScu
from broker.net.tls import ListenerTls, PeerTls
from tests.support.certificates import Authority, Issued
from tests.support.commitment import asked
from tests.support.dimse import (
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    WORKLIST,
    RejectedError,
    Scu,
    associate_rq,
    encoded,
)
from tests.support.images import write_image
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.services import Services, digest

ECHO = [(VERIFICATION, IMPLICIT)]
CT = ("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)
COMMITMENT = (uid.STORAGE_COMMITMENT, EXPLICIT)
_ENDS, _RESETS = struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue()


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    """A client's."""
    return ssl.create_default_context(cafile=authority.file)


@pytest.fixture
def peer_tls(authority: Authority) -> PeerTls:
    return PeerTls(ca_file=str(authority.file))


@pytest.fixture
def services() -> Services:
    return Services()


@pytest.fixture
def serve(tmp_path: Path, services: Services, issued: Issued) -> Iterator[Callable[..., AssociationServer]]:
    with ExitStack() as stack:

        def start(**options: Any) -> AssociationServer:
            tls = ListenerTls(port=0, certificate_file=str(issued.certificate), key_file=str(issued.key))
            server = AssociationServer(
                *("127.0.0.1", 0), spool=tmp_path / "spool", admit=lambda _: True, tls=tls, **options
            )
            services.register(server)
            server.start()
            stack.callback(server.stop, 0)
            return server

        yield start


# --- the handshake ---


@pytest.mark.parametrize("sent", [b"", HALF_A_HELLO])
def test_a_handshake_that_does_not_go_on_holds_nobody(
    serve: Callable[..., AssociationServer], trusting: ssl.SSLContext, sent: bytes
) -> None:
    server = serve()
    with ExitStack() as stack:
        for _ in range(20):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", server.tls_port), timeout=10))
            silent.sendall(sent)
        with Scu(server.tls_port, ECHO, tls=trusting) as one, Scu(server.port, ECHO) as other:
            assert one.echo() == other.echo() == 0


@pytest.mark.parametrize("sent", [b"", HALF_A_HELLO])
def test_a_handshake_has_the_time_of_a_negotiation(
    serve: Callable[..., AssociationServer], sent: bytes
) -> None:
    server = serve(negotiation_timeout=0.05)
    with socket.create_connection(("127.0.0.1", server.tls_port), timeout=10) as silent:
        silent.sendall(sent)
        assert silent.recv(1) == b""


def test_the_time_goes_on_after_the_handshake(
    serve: Callable[..., AssociationServer], trusting: ssl.SSLContext
) -> None:
    server = serve(negotiation_timeout=0.3)
    with (
        socket.create_connection(("127.0.0.1", server.tls_port), timeout=10) as bare,
        trusting.wrap_socket(bare, server_hostname="localhost") as silent,
    ):
        assert silent.recv(1) == b""


def test_where_no_thread_is_left_the_longest_half_done_handshake_makes_room(
    serve: Callable[..., AssociationServer], trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.net.acceptor._SILENT", 0.01)
    server = serve(max_associations=2)
    with ExitStack() as stack:
        silent = []
        for _ in range(2 * REFUSALS):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", server.tls_port), timeout=10))
            one.sendall(HALF_A_HELLO)
            silent.append(one)
        with Scu(server.tls_port, ECHO, tls=trusting) as served:
            assert served.echo() == 0
        assert silent[0].recv(1) == b"", "it was here first"


def test_a_stop_ends_handshakes_at_once(serve: Callable[..., AssociationServer]) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.tls_port), timeout=10) as silent:
        silent.sendall(HALF_A_HELLO)
        with Scu(server.port, ECHO):  # whoever came later is being served: so is this one
            pass
        server.stop(10)
        assert silent.recv(1) == b""


def test_who_speaks_in_the_clear_is_told_in_the_log(
    serve: Callable[..., AssociationServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.tls_port), timeout=10) as plain:
        plain.sendall(associate_rq(ECHO))
        assert plain.recv(1) == b""
    assert "connection from 127.0.0.1 broken off: TLS: wrong version number" in caplog.text


def test_who_is_gone_before_the_handshake_is_no_news(
    serve: Callable[..., AssociationServer], trusting: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """A load balancer that looks whether the port is open does so every second."""
    caplog.set_level(logging.INFO)
    server = serve()
    for said, how in ((b"", _ENDS), (b"", _RESETS), (b"x", _RESETS)):
        with socket.create_connection(("127.0.0.1", server.tls_port), timeout=10) as looking:
            looking.sendall(said)
            looking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, how)
    with Scu(server.tls_port, ECHO, tls=trusting) as other:
        other.echo()
    assert caplog.text == ""


def test_where_one_port_cannot_be_had_the_other_is_given_back(
    serve: Callable[..., AssociationServer], issued: Issued, tmp_path: Path
) -> None:
    taken = serve()
    tls = ListenerTls(port=taken.tls_port, certificate_file=str(issued.certificate), key_file=str(issued.key))
    number = free_port()
    other = AssociationServer("127.0.0.1", number, spool=tmp_path / "other", admit=lambda _: True, tls=tls)
    with pytest.raises(OSError, match="in use"):
        other.start()
    socket.create_server(("127.0.0.1", number)).close()


# --- what holds in the clear ---


def test_both_ports_share_the_seats(
    serve: Callable[..., AssociationServer], trusting: ssl.SSLContext
) -> None:
    server = serve(max_associations=2)
    with Scu(server.port, ECHO), Scu(server.tls_port, ECHO, tls=trusting):
        for port, tls in ((server.port, None), (server.tls_port, trusting)):
            with pytest.raises(RejectedError) as refused:
                Scu(port, ECHO, tls=tls)
            assert refused.value.args == ((2, 3, 2),)


def test_a_query_is_cancelled(
    serve: Callable[..., AssociationServer], services: Services, trusting: ssl.SSLContext
) -> None:
    services.rows = 1_000_000
    with Scu(serve().tls_port, [(WORKLIST, EXPLICIT)], tls=trusting) as scu:
        assert len(scu.find(encoded(to_dataset({"PatientID": ""})), cancel_after=5)) >= 5
    assert services.answered < services.rows


def test_rows_come_whole_and_in_order_on_one_association(
    serve: Callable[..., AssociationServer], services: Services, peer_tls: PeerTls
) -> None:
    services.rows = 300
    scu = FindScu("localhost", serve().tls_port, called_aet="BROKER", calling_aet="CT1", tls=peer_tls)
    try:
        assert [scu.count({"PatientID": ""}) for _ in range(3)] == [300, 300, 300]
        assert len(scu.find({"PatientID": ""}, most=7)) == 7
    finally:
        scu.close()


def test_objects_arrive_as_they_are_on_one_association(
    serve: Callable[..., AssociationServer], services: Services, peer_tls: PeerTls, tmp_path: Path
) -> None:
    files = [tmp_path / f"{number}.dcm" for number in range(2)]
    for file, pixels in zip(files, (16, 2048), strict=True):
        write_image(file, pixels=pixels)
    scu = StoreScu("localhost", serve().tls_port, called_aet="BROKER", tls=peer_tls)
    try:
        assert [scu.send(file) for file in files * 2] == [0] * 4
    finally:
        scu.close()
    assert services.digests == [digest(file) for file in files * 2]


def test_half_an_object_is_removed_when_the_peer_goes(
    serve: Callable[..., AssociationServer], trusting: ssl.SSLContext
) -> None:
    server = serve()
    scu = Scu(server.tls_port, [CT], tls=trusting)
    scu.begin_store(CT, "1.2.3", bytes(20_000))
    wait_until(lambda: bool(list(server.spool.iterdir())), "it is being written")
    scu.drop()
    wait_until(lambda: not list(server.spool.iterdir()), "it is gone")


def test_what_breaks_the_protocol_is_aborted_in_tls(
    serve: Callable[..., AssociationServer], trusting: ssl.SSLContext
) -> None:
    scu = Scu(serve().tls_port, ECHO, tls=trusting)
    scu.send_raw(b"\x09\0\0\0\0\0")
    kind, body = scu.read_pdu()
    assert (kind, body[2], body[3]) == (7, 2, 1)
    with pytest.raises(ConnectionError):
        scu.read_pdu()
    scu.drop()


def test_a_stop_aborts_who_is_associated(
    serve: Callable[..., AssociationServer], trusting: ssl.SSLContext
) -> None:
    server = serve()
    scu = Scu(server.tls_port, ECHO, tls=trusting)
    stopping = threading.Thread(target=server.stop, args=(10,))
    stopping.start()
    assert scu.read_pdu()[0] == 7
    scu.drop()
    stopping.join()


def test_a_device_is_told_on_its_own_association_while_it_may_speak(
    serve: Callable[..., AssociationServer], trusting: ssl.SSLContext
) -> None:
    """Another thread writes on the connection that this one reads."""
    server = serve()
    call = Call(
        sop_class_uid=uid.STORAGE_COMMITMENT,
        sop_instance_uid=uid.STORAGE_COMMITMENT_INSTANCE,
        type_id=1,
        information=asked("2.25.9", "2.25.1"),
    )
    with Scu(server.tls_port, [COMMITMENT, *ECHO], tls=trusting) as scu:
        assert scu.echo() == 0  # from the first answer on it may be told
        told: list[int | None] = []
        telling = threading.Thread(target=lambda: told.append(server.report("TESTSCU", call, 0.05)))
        telling.start()
        kind, body = scu.read_pdu()
        assert (kind, body[4]) == (4, 1), "in the context of the SOP class"
        telling.join()
        assert told == [None], "it has not answered"
        assert scu.read_pdu()[0] == 4, "the information"
        assert scu.echo() == 0
