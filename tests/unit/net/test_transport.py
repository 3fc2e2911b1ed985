"""A connection in TLS below the PDUs: nothing of it in the clear, half a record is nothing, two threads at once."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from broker.net.tls import ListenerTls
from broker.net.transport import Secure
from tests.support.certificates import Authority

SECRET = b"TEST^BILDE" * 10


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    issued = authority.issue()
    ours = ListenerTls(certificate_file=str(issued.certificate), key_file=str(issued.key))
    return ours.context(), ssl.create_default_context(cafile=authority.file)


@pytest.fixture
def raw(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[tuple[Secure, socket.socket]]:
    """The server's end before the handshake, and the peer's bare one."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=10) as peer,
        contexts[0].wrap_socket(
            listener.accept()[0], server_side=True, do_handshake_on_connect=False
        ) as ours,
    ):
        yield Secure(ours), peer


@pytest.fixture
def both(
    raw: tuple[Secure, socket.socket], contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> Iterator[tuple[Secure, ssl.SSLSocket]]:
    """Both ends, after the handshake."""
    secure, peer = raw
    with ThreadPoolExecutor() as pool:
        shaking = pool.submit(secure.open, soon())
        with contexts[1].wrap_socket(peer, server_hostname="localhost") as wrapped:
            shaking.result()
            yield secure, wrapped


def soon() -> float:
    return time.monotonic() + 10


def test_a_handshake_that_is_half_done_ends_with_its_time(raw: tuple[Secure, socket.socket]) -> None:
    secure, peer = raw
    peer.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    with pytest.raises(TimeoutError):
        secure.open(time.monotonic() + 0.05)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00"])
def test_a_peer_that_goes_within_the_handshake(raw: tuple[Secure, socket.socket], sent: bytes) -> None:
    secure, peer = raw
    peer.sendall(sent)
    peer.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionResetError):
        secure.open(soon())


def test_a_peer_without_tls_is_told_from_one_that_is_gone(raw: tuple[Secure, socket.socket]) -> None:
    secure, peer = raw
    peer.sendall(b"\x01\x00\x00\x00\x00\xcd" + bytes(205))
    with pytest.raises(ssl.SSLError):
        secure.open(soon())


def test_half_a_record_has_not_arrived(both: tuple[Secure, ssl.SSLSocket]) -> None:
    secure, peer = both
    socket.socket.sendall(peer, b"\x17\x03\x03")
    space = memoryview(bytearray(10))
    assert not secure.arrived()
    with pytest.raises(TimeoutError):
        secure.receive(space, time.monotonic() + 0.05)


def test_a_byte_that_was_looked_for_is_not_lost(both: tuple[Secure, ssl.SSLSocket]) -> None:
    secure, peer = both
    peer.sendall(b"abc")
    received = b""
    while len(received) < 3:
        space = memoryview(bytearray(10))
        count = secure.receive(space, soon())
        received += space[:count]
        assert secure.arrived() == (len(received) < 3)
    assert received == b"abc"


def test_whoever_ends_the_reading_does_not_end_the_encryption(both: tuple[Secure, ssl.SSLSocket]) -> None:
    """`SSLSocket.shutdown` would: what is written next would then leave as it stands."""
    secure, peer = both
    secure.shut(socket.SHUT_RD)
    assert secure.receive(memoryview(bytearray(10)), soon()) == 0
    secure.send(SECRET, soon())
    assert peer.recv(1000) == SECRET


def test_whoever_cuts_the_connection_does_not_end_the_encryption(both: tuple[Secure, ssl.SSLSocket]) -> None:
    secure, peer = both
    secure.shut(socket.SHUT_RDWR)
    with pytest.raises(OSError, match=r"Broken pipe|EOF"):
        secure.send(SECRET, soon())
    on_the_wire = b""
    while chunk := socket.socket.recv(peer, 4096):
        on_the_wire += chunk
    assert SECRET[:10] not in on_the_wire


def test_nothing_leaves_after_the_last_word(both: tuple[Secure, ssl.SSLSocket]) -> None:
    secure, peer = both
    secure.send(b"bye", soon())
    secure.finish()
    with pytest.raises(ConnectionAbortedError):
        secure.send(SECRET, soon())
    assert peer.recv(10) == b"bye"
    assert peer.recv(10) == b"", "the end, said in TLS (RFC 8446 6.1)"


def test_nothing_leaves_in_the_clear_that_waited_for_the_last_word(
    both: tuple[Secure, ssl.SSLSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the peer has said so too, `ssl` takes its layer off, and would send what comes next as it stands."""
    secure, peer = both
    peer.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        peer.unwrap()
    others = [secure.finish]

    class Turn:
        """Another thread has it first."""

        def __enter__(self) -> None:
            if others:
                others.pop()()

        def __exit__(self, *_: object) -> None:
            pass

    assert secure.receive(memoryview(bytearray(10)), soon()) == 0
    monkeypatch.setattr(secure, "_turn", Turn())
    monkeypatch.setattr(socket.socket, "shutdown", lambda *_: None)  # it has not come so far yet
    with pytest.raises(ConnectionAbortedError):
        secure.send(SECRET, soon())


def test_one_thread_reads_while_another_writes(both: tuple[Secure, ssl.SSLSocket]) -> None:
    """As a report does to a device on its own association."""
    secure, peer = both
    content = bytes(range(256)) * 8000
    heard = bytearray()

    def echo() -> None:
        echoed = 0
        while echoed < len(content):
            part = peer.recv(1 << 16)
            peer.sendall(part)
            echoed += len(part)

    def read() -> None:
        space = memoryview(bytearray(1 << 16))
        while len(heard) < len(content):
            heard.extend(space[: secure.receive(space, soon())])

    threads = [threading.Thread(target=echo), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    secure.send(content, soon())
    for thread in threads:
        thread.join()
    assert bytes(heard) == content
