"""The client against a scripted peer in a thread. Waiting is for conditions, never for time to pass."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from broker.errors import LocalProtocolError, TransientDeliveryError
from broker.hl7.framing import START, Frame, FrameDecoder, frame
from broker.net.mllp_client import MllpClient
from tests.support.mllp import ack, message

LIMIT = 20.0
"""Seconds after which a test that hangs fails."""


class Scripted:
    """A peer that answers each message by the next step: bytes are sent, None closes the connection."""

    def __init__(self, *steps: bytes | None) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(LIMIT)
        self.port = self.listener.getsockname()[1]
        self.received: list[list[bytes]] = []
        self.steps = list(steps)
        self.closed = threading.Event()
        """Set when a connection was closed by a step."""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with self.listener:
            while self.steps:
                connection, _ = self.listener.accept()
                with connection, contextlib.suppress(ConnectionResetError):  # what the client gave up
                    self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(LIMIT)
        decoder = FrameDecoder()
        self.received.append([])
        while self.steps:
            while (event := decoder.next_event()) is None:
                data = connection.recv(65536)
                if not data:
                    return
                decoder.receive_data(data)
            assert isinstance(event, Frame)
            self.received[-1].append(event.payload)
            step = self.steps.pop(0)
            if step is None:
                return
            connection.sendall(step)
            if self.steps and self.steps[0] is None:
                self.steps.pop(0)
                connection.close()
                self.closed.set()
                return


@pytest.fixture
def client_of() -> Iterator[Callable[..., MllpClient]]:
    made: list[MllpClient] = []
    peers: list[Scripted] = []

    def make(peer: Scripted, ack_timeout: float = LIMIT) -> MllpClient:
        made.append(MllpClient("127.0.0.1", peer.port, ack_timeout=ack_timeout))
        peers.append(peer)
        return made[-1]

    yield make
    for client in made:
        client.close()
    for peer in peers:
        peer.thread.join(LIMIT)


def test_the_client_keeps_its_connection(client_of: Callable[..., MllpClient]) -> None:
    peer = Scripted(frame(ack("1")) + b"\n", b"\r" + frame(ack("2", "AE")))
    client = client_of(peer)

    assert client.send(message("1")) == ack("1")
    assert client.send(message("2")) == ack("2", "AE")
    assert peer.received == [[message("1"), message("2")]]


def test_the_client_reconnects_when_the_peer_has_closed(client_of: Callable[..., MllpClient]) -> None:
    peer = Scripted(frame(ack("1")), None, frame(ack("2")))
    client = client_of(peer)

    assert client.send(message("1")) == ack("1")
    assert peer.closed.wait(LIMIT)
    assert client.send(message("2")) == ack("2")
    assert peer.received == [[message("1")], [message("2")]]


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (frame(ack("0")), "MSA-2"),
        (frame(b"MSH|^~\\&|A\r"), "not an acknowledgement"),
        (frame(b""), "not an acknowledgement"),
        (None, "closed before the answer"),
    ],
)
def test_without_a_matching_answer_the_connection_is_given_up(
    step: bytes | None, why: str, client_of: Callable[..., MllpClient]
) -> None:
    peer = Scripted(step, frame(ack("1")))
    client = client_of(peer)

    with pytest.raises(TransientDeliveryError, match=why):
        client.send(message("1"))

    assert client.send(message("1")) == ack("1")
    assert len(peer.received) == 2


def test_a_late_answer_is_never_taken_for_the_next_message(client_of: Callable[..., MllpClient]) -> None:
    peer = Scripted(b"\x0b", frame(ack("2")))
    client = client_of(peer, ack_timeout=0.05)

    with pytest.raises(TransientDeliveryError, match="no answer in time"):
        client.send(message("1"))

    client = client_of(peer)
    assert client.send(message("2")) == ack("2")
    assert peer.received == [[message("1")], [message("2")]]


def test_an_unasked_answer_ends_the_connection(client_of: Callable[..., MllpClient]) -> None:
    peer = Scripted(frame(ack("1")) + frame(ack("1")), frame(ack("2")))
    client = client_of(peer)

    assert client.send(message("1")) == ack("1")
    assert client.send(message("2")) == ack("2")
    assert len(peer.received) == 2


def test_an_accept_acknowledgement_is_passed_over_where_another_follows(
    client_of: Callable[..., MllpClient],
) -> None:
    peer = Scripted(
        frame(ack("1", "CA")) + frame(ack("1")), frame(ack("2", "CR")), frame(ack("3", "CA")), frame(ack("4"))
    )
    client = client_of(peer)

    assert client.send(message("1", "AL", "AL")) == ack("1")
    assert client.send(message("2", "AL", "AL")) == ack("2", "CR")
    assert client.send(message("3", "AL", "NE")) == ack("3", "CA")
    assert client.send(message("9", "NE", "NE")) == b""


def test_an_answer_whose_end_lacks_its_cr_is_taken_when_the_peer_closes(
    client_of: Callable[..., MllpClient],
) -> None:
    peer = Scripted(START + ack("1") + b"\x1c", None)

    assert client_of(peer).send(message("1")) == ack("1")


def batch(*members: bytes, reference: str = "") -> bytes:
    return f"BHS|^~\\&|||||||||B1|{reference}\r".encode() + b"".join(members) + b"BTS|%d\r" % len(members)


def test_a_batch_is_answered_by_a_batch_or_by_one_acknowledgement(
    client_of: Callable[..., MllpClient],
) -> None:
    answers = [batch(ack("1"), ack("2", "AE"), reference="B1"), ack("B1", "AE"), batch(reference="B1")]
    client = client_of(Scripted(*map(frame, answers)))

    assert client.send(batch(message("1"), message("2"))) == answers[0]
    assert client.send(batch(message("1"), b"MSH|^~\r")) == answers[1]
    assert client.send(batch()) == answers[2]


def test_a_batch_of_which_nothing_is_answered_is_not_waited_for(client_of: Callable[..., MllpClient]) -> None:
    client = client_of(Scripted(frame(batch(ack("2"), reference="B1")), b""))

    assert client.send(batch(message("1", "NE", "NE"), message("2"))) != b""
    assert client.send(batch(message("1", "NE", "NE"), ack("1"))) == b""


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (batch(ack("1"), reference="B2"), "BHS-12"),
        (b"BHS|aaaa\r", "not a batch"),
        (ack("1"), "MSA-2"),
    ],
)
def test_the_answer_of_another_batch_is_given_up(
    step: bytes, why: str, client_of: Callable[..., MllpClient]
) -> None:
    client = client_of(Scripted(frame(step), frame(batch(ack("1"), reference="B1"))))

    with pytest.raises(TransientDeliveryError, match=why):
        client.send(batch(message("1")))

    assert client.send(batch(message("1")))


def test_a_batch_is_no_answer_to_one_message(client_of: Callable[..., MllpClient]) -> None:
    with pytest.raises(TransientDeliveryError, match="not an acknowledgement"):
        client_of(Scripted(frame(batch(reference="1")))).send(message("1"))


def test_nobody_listening_is_transient() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(TransientDeliveryError, match=f"127.0.0.1:{port}"):
        MllpClient("127.0.0.1", port).send(message("1"))


def test_what_has_no_header_is_not_sent() -> None:
    with pytest.raises(LocalProtocolError):
        MllpClient("127.0.0.1", 1).send(b"PID|1")
