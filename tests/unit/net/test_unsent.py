"""What was given up never arrives late: the connection is reset, with what the kernel still had to send."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.dicom import pdu
from broker.errors import TransientDeliveryError
from broker.net.association import AssociationServer
from broker.net.mllp_client import MllpClient
from broker.net.requestor import Requestor
from broker.net.tls import PeerTls
from tests.support.certificates import certificate

CONTEXT = pdu.Context("1.2.840.10008.1.1", "1.2.840.10008.1.2")
MESSAGE = b"MSH|^~\\&|A|B|C|D|20260309||ADT^A08|1|T|2.5.1\r"
NO_ANSWER_WANTED = b"MSH|^~\\&|A|B|C|D|20260309||ADT^A08|1|T|2.5.1|||NE|NE\r"
ANSWER = b"\x0bMSH|^~\\&|C|D|A|B|20260309||ACK|9|T|2.5.1\rMSA|AA|1\r\x1c\r"


def ended(client: Callable[[int], Any], answer: bytes = b"", tls: ssl.SSLContext | None = None) -> str:
    """How a connection ends for a server that reads, answers once with these bytes, and reads on."""
    found: list[str] = []

    def serve() -> None:
        connection, _ = listener.accept()
        if tls is not None:
            connection = tls.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)
        with connection:
            connection.settimeout(10)
            connection.recv(65536)
            connection.sendall(answer)
            # OpenSSL takes a reset for an end, and Python an end without close_notify for a failure: each is looked at
            # where it is told from the other.
            below = tls is not None and not answer
            try:
                while socket.socket.recv(connection, 65536) if below else connection.recv(65536):
                    pass
                found.append("in order")
            except ConnectionResetError:
                found.append("reset")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        client(listener.getsockname()[1])
        server.join()
    return found[0]


def hl7(message: bytes) -> Callable[[int], None]:
    def send(port: int) -> None:
        client = MllpClient("127.0.0.1", port, ack_timeout=0.05)
        try:
            client.send(message)
        finally:
            client.close()

    return send


def test_a_message_without_its_answer_is_forgotten() -> None:
    def given_up(port: int) -> None:
        with pytest.raises(TransientDeliveryError):
            hl7(MESSAGE)(port)

    assert ended(given_up) == "reset"


def test_after_its_answer_the_connection_ends_in_order() -> None:
    assert ended(hl7(MESSAGE), ANSWER) == "in order"


def test_a_message_that_wants_no_answer_is_still_sent_when_the_connection_is_closed() -> None:
    assert ended(hl7(NO_ANSWER_WANTED)) == "in order"


def requestor(port: int, tls: PeerTls | None, patience: float) -> Requestor:
    return Requestor(
        "localhost",
        port,
        called_aet="PACS",
        calling_aet="BROKER",
        contexts=[CONTEXT],
        connect_timeout=5.0,
        response_timeout=patience,
        max_pdu=16384,
        tls=tls,
    )


@pytest.fixture(scope="module", params=["plain", "tls"])
def encryption(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ssl.SSLContext | None, PeerTls | None]:
    """The server's and the client's."""
    if request.param == "plain":
        return None, None
    context, authority = certificate(tmp_path_factory.mktemp("tls"))
    return context, PeerTls(ca_file=str(authority))


def test_an_association_that_is_given_up_is_forgotten(
    encryption: tuple[ssl.SSLContext | None, PeerTls | None],
) -> None:
    context, tls = encryption

    def given_up(port: int) -> None:
        with pytest.raises(TransientDeliveryError):
            requestor(port, tls, 0.05)

    assert ended(given_up, tls=context) == "reset"


def test_an_association_that_is_released_ends_in_order(
    encryption: tuple[ssl.SSLContext | None, PeerTls | None], tmp_path: Path
) -> None:
    """In TLS with a word of its own for the end (close_notify): without it the server would raise."""
    context, tls = encryption
    server = AssociationServer("127.0.0.1", 0, ae_title="PACS", spool=tmp_path, admit=lambda _: True)
    wanted = pdu.associate_rq(
        called_aet="PACS", calling_aet="BROKER", contexts={1: CONTEXT}, max_length=16384
    )
    _, accepted = server.negotiate(wanted[pdu.HEADER_LENGTH :])

    def released(port: int) -> None:
        association = requestor(port, tls, 5.0)
        assert CONTEXT in association.accepted
        association.release()

    assert ended(released, accepted.answer + pdu.release_rp(), tls=context) == "in order"
