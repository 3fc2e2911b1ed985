"""What was given up never arrives late: the connection is reset, with what the kernel still had to send."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from broker.dicom import pdu
from broker.errors import TransientDeliveryError
from broker.net.mllp_client import MllpClient
from broker.net.requestor import Requestor

MESSAGE = b"MSH|^~\\&|A|B|C|D|20260309||ADT^A08|1|T|2.5.1\r"
NO_ANSWER_WANTED = b"MSH|^~\\&|A|B|C|D|20260309||ADT^A08|1|T|2.5.1|||NE|NE\r"
ANSWER = b"\x0bMSH|^~\\&|C|D|A|B|20260309||ACK|9|T|2.5.1\rMSA|AA|1\r\x1c\r"


def ended(client: Callable[[int], Any], answer: bytes = b"") -> str:
    """How a connection ends for a server that reads, answers once with these bytes, and reads on."""
    found: list[str] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            connection.recv(65536)
            connection.sendall(answer)
            try:
                while connection.recv(65536):
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


def test_an_association_that_is_given_up_is_forgotten() -> None:
    def given_up(port: int) -> None:
        with pytest.raises(TransientDeliveryError):
            Requestor(
                "127.0.0.1",
                port,
                called_aet="PACS",
                calling_aet="BROKER",
                contexts=[pdu.Context("1.2.840.10008.1.1", "1.2.840.10008.1.2")],
                connect_timeout=5.0,
                response_timeout=0.05,
                max_pdu=16384,
            )

    assert ended(given_up) == "reset"
