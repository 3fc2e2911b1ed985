"""PDUs over a connection, plain and in TLS, cut anywhere; peers that lie about lengths, trickle, or do not read."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.net.transport import Plain, Secure
from broker.net.upper_layer import (
    INVALID_PARAMETER,
    LONGEST_ASSOCIATE,
    UNEXPECTED_PDU,
    UpperLayer,
    Violation,
)
from tests.support.certificates import certificate

MAX_PDU = 40_000


def framed(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


Connected = Callable[..., AbstractContextManager[tuple[UpperLayer, socket.socket]]]
"""The acceptor's end, and the peer's."""


@pytest.fixture(scope="module", params=["plain", "tls"])
def connected(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Connected:
    tls, authority = certificate(tmp_path_factory.mktemp("tls"))
    trusting = ssl.create_default_context(cafile=authority)

    @contextmanager
    def both(timeout: float = 5.0) -> Iterator[tuple[UpperLayer, socket.socket]]:
        with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
            peer = stack.enter_context(socket.create_connection(listener.getsockname()))
            transport = stack.enter_context(listener.accept()[0])
            if request.param == "plain":
                yield UpperLayer(Plain(transport), max_pdu=MAX_PDU, timeout=timeout), peer
                return
            wrapped = stack.enter_context(
                tls.wrap_socket(transport, server_side=True, do_handshake_on_connect=False)
            )
            secure = Secure(wrapped)
            with ThreadPoolExecutor() as pool:
                shaking = pool.submit(secure.open, time.monotonic() + 5)
                peer = stack.enter_context(trusting.wrap_socket(peer, server_hostname="localhost"))
                shaking.result()
            yield UpperLayer(secure, max_pdu=MAX_PDU, timeout=timeout), peer

    return both


def half_close(peer: socket.socket) -> None:
    """Past `ssl`, whose method would go on in the clear."""
    socket.socket.shutdown(peer, socket.SHUT_WR)


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=300) | st.integers(9_000, MAX_PDU).map(bytes), max_size=8), st.data())
def test_pdus_are_read_however_the_bytes_come(
    connected: Connected, bodies: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(framed(number % 8, body) for number, body in enumerate(bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    with connected() as (layer, peer):

        def send() -> None:
            for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
                peer.sendall(whole[start:end])
            half_close(peer)

        sender = threading.Thread(target=send)
        sender.start()
        found = []
        for _ in bodies:
            kind, body = layer.read(5)
            found.append((kind, bytes(body)))
        assert found == [(number % 8, body) for number, body in enumerate(bodies)]
        with pytest.raises(ConnectionResetError):
            layer.read(5)
        sender.join()


@pytest.mark.parametrize("size", [0, 1, 20_000, LONGEST_ASSOCIATE])
def test_an_associate_request_of_any_length_and_what_follows_it(connected: Connected, size: int) -> None:
    with connected() as (layer, peer):
        content = framed(1, bytes(size)) + framed(5, b"1234")
        sender = threading.Thread(target=peer.sendall, args=(content,))
        sender.start()
        assert layer.read_request(time.monotonic() + 5) == bytes(size)
        kind, body = layer.read(5)
        assert (kind, bytes(body)) == (5, b"1234")
        sender.join()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (framed(4, b"data"), UNEXPECTED_PDU),
        (b"GET / HTTP/1.1\r\n", UNEXPECTED_PDU),
        (struct.pack(">BxL", 1, LONGEST_ASSOCIATE + 1), INVALID_PARAMETER),
    ],
)
def test_what_is_no_associate_request(connected: Connected, sent: bytes, reason: int) -> None:
    with connected() as (layer, peer):
        peer.sendall(sent)
        with pytest.raises(Violation) as violation:
            layer.read_request(time.monotonic() + 5)
        assert violation.value.reason == reason


@pytest.mark.parametrize("length", [MAX_PDU + 17, 0xFFFFFFFF])
def test_a_pdu_longer_than_was_agreed_is_not_waited_for(connected: Connected, length: int) -> None:
    with connected() as (layer, peer):
        peer.sendall(struct.pack(">BxL", 4, length))
        with pytest.raises(Violation) as violation:
            layer.read(5)
        assert violation.value.reason == INVALID_PARAMETER


def test_a_peer_that_counts_headers_too_is_understood(connected: Connected) -> None:
    with connected() as (layer, peer):
        sender = threading.Thread(target=peer.sendall, args=(framed(4, bytes(MAX_PDU + 12)),))
        sender.start()
        assert len(layer.read(5)[1]) == MAX_PDU + 12
        sender.join()


@pytest.mark.parametrize("sent", [b"", b"\4\0\0", struct.pack(">BxL", 4, 100) + b"half"])
def test_a_peer_that_goes_within_a_pdu(connected: Connected, sent: bytes) -> None:
    with connected() as (layer, peer):
        peer.sendall(sent)
        half_close(peer)
        with pytest.raises(ConnectionResetError):
            layer.read(5)


@pytest.mark.parametrize("sent", [b"", b"\4\0\0", struct.pack(">BxL", 4, 100) + b"half"])
def test_a_peer_that_falls_silent(connected: Connected, sent: bytes) -> None:
    with connected(timeout=0.05) as (layer, peer):
        peer.sendall(sent)
        with pytest.raises(TimeoutError):
            layer.read(0.05)


def test_a_peer_that_trickles_gets_no_more_time_for_it(connected: Connected) -> None:
    """A byte now and then keeps neither a PDU nor the request of an association open."""
    done = threading.Event()
    for read in (
        lambda layer: layer.read(0.2),
        lambda layer: layer.read_request(time.monotonic() + 0.2),
    ):
        with connected(timeout=0.2) as (layer, peer):

            def trickle(peer: socket.socket = peer) -> None:
                peer.sendall(struct.pack(">BxL", 1, 10_000))
                while not done.wait(0.01):
                    peer.sendall(b"x")

            done.clear()
            sender = threading.Thread(target=trickle)
            sender.start()
            with pytest.raises(TimeoutError):
                read(layer)
            done.set()
            sender.join()


def test_a_peer_that_does_not_read_is_not_waited_for(connected: Connected) -> None:
    with connected(timeout=0.1) as (layer, _), pytest.raises(TimeoutError):
        layer.write(bytes(50_000_000))


def test_what_is_written_in_a_row_goes_together_and_in_order(connected: Connected) -> None:
    with connected() as (layer, peer):
        assert layer.gather(b"1"), "nothing was written before: it goes at once"
        written = [layer.gather(b"2"), layer.gather(b"3")]
        layer.write(b"4")
        received = b""
        while len(received) < 4:
            received += peer.recv(10)
        assert received == b"1234"
        assert len(written) == 2


def test_many_answers_are_not_kept_for_their_company(connected: Connected) -> None:
    with connected() as (layer, peer):
        written = [layer.gather(b"x") for _ in range(200)]
        assert sum(written) >= 3
        layer.write()
        received = 0
        while received < 200:
            received += len(peer.recv(1000))
        assert received == 200


def test_something_is_pending(connected: Connected) -> None:
    with connected() as (layer, peer):
        assert not layer.pending()
        peer.sendall(framed(4, b"a") + framed(4, b"b"))
        layer.read(5)
        assert layer.pending(), "in the buffer"
        layer.read(5)
        assert not layer.pending()
        peer.close()
        with pytest.raises(ConnectionResetError):
            layer.read(5)
        assert layer.pending(), "the end of the connection"


def test_the_last_word_arrives_although_nobody_reads_what_the_peer_still_sends(connected: Connected) -> None:
    with connected() as (layer, peer):
        peer.sendall(bytes(100_000))

        def close_after_reading() -> None:
            while peer.recv(1000):
                pass
            peer.close()

        received: list[bytes] = []
        reader = threading.Thread(target=lambda: (received.append(peer.recv(10)), close_after_reading()))
        reader.start()
        layer.write_last(b"bye")
        reader.join()
        assert received == [b"bye"]


@pytest.mark.parametrize("how", ["end_reading", "cut"])
def test_another_thread_ends_the_reading(connected: Connected, how: str) -> None:
    with connected() as (layer, _):
        failures: list[BaseException] = []

        def read() -> None:
            try:
                layer.read(20)
            except OSError as exc:
                failures.append(exc)

        reader = threading.Thread(target=read)
        reader.start()
        getattr(layer, how)()
        reader.join(5)
        assert [type(failure) for failure in failures] == [ConnectionResetError]
