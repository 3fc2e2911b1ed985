"""The bytes of one accepted connection, plain or in TLS: each wait until a deadline. No PDUs, no association state.

One thread reads and another may write; a third may `shut`. Everything raises `OSError`: `TimeoutError` once a deadline
has passed. PS3.8 9.1 (transport connection), PS3.15 B.12 (secure transport connection).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
from typing import Protocol

# A peer as shipped writes a message in two pieces, and holds the second back until the first is acknowledged (Nagle);
# Linux would acknowledge only after 40 ms, for each message. The option does not last, so it is set for each read.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class Transport(Protocol):
    """What an association needs of its connection."""

    def open(self, deadline: float, /) -> None:
        """Shakes hands, where that is done."""

    def receive(self, space: memoryview, deadline: float, /) -> int:
        """Waits for at least a byte; how many are in `space` now, 0 at the end of the connection."""

    def arrived(self) -> bool:
        """Whether `receive` would not wait."""

    def send(self, data: bytes, deadline: float, /) -> None:
        """Sends all of it."""

    def finish(self) -> None:
        """Says that nothing more will be sent."""

    def shut(self, how: int, /) -> None:
        """From another thread: `socket.SHUT_RD` or `SHUT_RDWR`, which wakes who waits here."""


class _Connection:
    """Waits by `poll`: a time-out of `socket` takes one more turn through the interpreter's lock."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(connection, select.POLLIN)
        self._writable.register(connection, select.POLLOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Plain(_Connection):
    """TCP."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(connection)
        self._socket = connection

    def open(self, _deadline: float) -> None:
        """There is nothing to agree upon."""

    def receive(self, space: memoryview, deadline: float) -> int:
        if _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        left = deadline - time.monotonic()
        if left <= 0 or not self._readable.poll(left * 1000):
            raise TimeoutError("the peer took too long")
        return self._socket.recv_into(space)

    def arrived(self) -> bool:
        return bool(self._readable.poll(0))

    def send(self, data: bytes, deadline: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                _wait(self._writable, deadline)

    def finish(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def shut(self, how: int) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(how)


class Secure(_Connection):
    """TLS over TCP. Its handshake waits in `open`, in the connection's own thread, and nowhere else.

    A socket's own `shutdown` is called past `ssl`, whose method drops the encryption and would go on in the clear.
    """

    def __init__(self, connection: ssl.SSLSocket) -> None:
        """Of a connection that is wrapped as the server's side, and has not shaken hands."""
        super().__init__(connection)
        self._socket = connection
        self._turn = threading.Lock()
        """OpenSSL's state of a connection is one thread's at a time; nobody waits while it is held."""
        self._ahead = b""
        """A byte that was taken to find out whether there is one."""
        self._finished = False

    def open(self, deadline: float) -> None:
        """Also raises `ssl.SSLError`: the two do not agree."""
        while True:
            try:
                with self._turn:
                    self._socket.do_handshake()
                return
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
                raise ConnectionResetError("closed by the peer") from error
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as wants:
                self._wait_for(wants, deadline)

    def receive(self, space: memoryview, deadline: float) -> int:
        if self._finished:  # what still comes is thrown away, and need not be understood
            _wait(self._readable, deadline)
            return socket.socket.recv_into(self._socket, space)
        if self._ahead:
            space[:1], self._ahead = self._ahead, b""
            return 1
        while time.monotonic() < deadline:
            try:
                with self._turn:
                    return self._socket.recv_into(space)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as wants:
                self._wait_for(wants, deadline)
        raise TimeoutError("the peer took too long")

    def arrived(self) -> bool:
        """That bytes have come says nothing: they may be half a record, or TLS's own."""
        if not self._ahead:
            try:
                with self._turn:
                    self._ahead = self._socket.recv(1)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            except OSError:  # as `receive` will find out
                return True
        return True

    def send(self, data: bytes, deadline: float) -> None:
        left = memoryview(data)
        while left:
            try:
                with self._turn:
                    if self._finished:  # beyond `unwrap`, `ssl` would send it in the clear
                        raise ConnectionAbortedError("nothing more is sent")
                    count = self._socket.send(left)
                left = left[count:]
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as wants:
                self._wait_for(wants, deadline)

    def finish(self) -> None:
        """Says so in TLS too (close_notify, RFC 8446 6.1), and does not wait for the peer's."""
        with contextlib.suppress(OSError, ValueError), self._turn:
            self._finished = True
            self._socket.unwrap()
        socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def shut(self, how: int) -> None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, how)

    def _wait_for(self, wants: ssl.SSLError, deadline: float) -> None:
        reads = isinstance(wants, ssl.SSLWantReadError)
        if reads and _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        _wait(self._readable if reads else self._writable, deadline)


def _wait(poll: select.poll, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        raise TimeoutError("the peer took too long")
