"""PDUs over one accepted connection, blocking: read with a deadline, written within a time. No association state.

A PDU is handed out as a view of the receive buffer, so that an image goes from there to its file without a copy in
between. PS3.8 9.1 (transport connection), 9.3.1 (PDU structure).
"""

from __future__ import annotations

import contextlib
import select
import socket
import time

from broker.dicom import pdu

LONGEST_ASSOCIATE = 1 << 20
"""Bytes of an A-ASSOCIATE-RQ: 128 contexts with 40 transfer syntaxes each stay below 200 kB."""

# A peer as shipped writes a message in two pieces, and holds the second back until the first is acknowledged (Nagle);
# Linux would acknowledge only after 40 ms, for each message. The option does not last, so it is set for each read.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)

_GATHER, _GATHERED = 0.002, 64
"""Seconds after a write in which others wait for company, and how many at most."""

_FIRST_BUFFER = 1 << 14
"""Bytes: enough for what a modality asks; who sends images gets a buffer of two PDUs."""

_MARGIN = 16
"""Bytes: some peers count the PDU's or the PDV's header on top of the maximum that they were told."""

_LINGER = 1.0
"""Seconds that a peer has to close after our last word. Closing first with its bytes unread would reset the connection,
and that word could be lost."""


class Violation(Exception):  # noqa: N818 - what PS3.8 calls it; it never leaves the association
    """The peer broke the protocol: the association is aborted by the service provider with `reason` (PS3.8 9.3.8)."""

    def __init__(self, reason: int, why: str) -> None:
        super().__init__(why)
        self.reason = reason


UNRECOGNISED_PDU, UNEXPECTED_PDU, INVALID_PARAMETER = 1, 2, 6


class UpperLayer:
    """The connection of one association. One thread reads and writes; another may `end_reading` or `cut`.

    What reads and writes raises `OSError` when the connection is gone (`ConnectionError`) or the peer took too long
    (`TimeoutError`).
    """

    def __init__(self, transport: socket.socket, *, max_pdu: int, timeout: float) -> None:
        """`timeout`: seconds in which a PDU that has begun must be here, and in which what is written must be taken."""
        # Waited for by `poll`: a time-out of `socket` takes one more turn through the interpreter's lock.
        transport.setblocking(False)
        self._socket = transport
        self._timeout = timeout
        self._longest = max_pdu + _MARGIN
        self._buffer = memoryview(bytearray(_FIRST_BUFFER))
        self._start = self._end = 0
        self._gathered: list[bytes] = []
        self._written = 0.0
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(transport, select.POLLIN)
        self._writable.register(transport, select.POLLOUT)
        transport.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read_request(self, deadline: float) -> bytes:
        """The body of the A-ASSOCIATE-RQ, which all of has to come before the deadline (PS3.8 9.1.5, ARTIM)."""
        kind, length = self._head(deadline)
        if kind != pdu.ASSOCIATE_RQ:
            raise Violation(UNEXPECTED_PDU, f"PDU of type {kind} instead of an A-ASSOCIATE-RQ")
        if length > LONGEST_ASSOCIATE:
            raise Violation(INVALID_PARAMETER, f"A-ASSOCIATE-RQ of {length} bytes")
        body = bytearray()
        while True:
            take = min(length - len(body), self._end - self._start)
            body += self._buffer[self._start : self._start + take]
            self._start += take
            if len(body) == length:
                return bytes(body)
            self._fill(deadline)

    def read(self, wait: float) -> tuple[int, memoryview]:
        """Type and body of the next PDU, which begins within `wait` seconds. The body is good until the next read."""
        kind, length = self._head(time.monotonic() + wait)
        if length > self._longest:
            raise Violation(INVALID_PARAMETER, f"PDU of {length} bytes")
        if self._end - self._start < length:
            if length > len(self._buffer) // 2:
                self._grow()
            deadline = time.monotonic() + self._timeout
            while self._end - self._start < length:
                self._fill(deadline)
        begin, self._start = self._start, self._start + length
        return kind, self._buffer[begin : self._start]

    def pending(self) -> bool:
        """Whether something has come: bytes, or the end of the connection."""
        return self._start < self._end or bool(self._readable.poll(0))

    def write(self, data: bytes = b"") -> None:
        """Writes it after what has been gathered."""
        self._gathered.append(data)
        whole = b"".join(self._gathered)
        self._gathered.clear()
        self._send(whole, time.monotonic() + self._timeout)
        self._written = time.monotonic()

    def gather(self, data: bytes) -> bool:
        """Writes it by itself unless other data has just been written: then it waits for what comes next.

        So a hundred answers that take a moment are a few writes, and one that took its time is not kept waiting.
        Whether anything was written. `write` is to follow sooner or later.
        """
        if time.monotonic() - self._written < _GATHER and len(self._gathered) < _GATHERED:
            self._gathered.append(data)
            return False
        self.write(data)
        return True

    def write_last(self, data: bytes) -> None:
        """Our last word; then the peer closes, or has it done for it."""
        deadline = time.monotonic() + _LINGER
        with contextlib.suppress(OSError):
            self._send(data, deadline)
            self._socket.shutdown(socket.SHUT_WR)
            while True:
                self._start = self._end = 0
                self._fill(deadline)

    def end_reading(self) -> None:
        """From another thread: what reads finds the connection's end, what is being written still goes out."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def cut(self) -> None:
        """From another thread: neither reads nor writes go on."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _head(self, deadline: float) -> tuple[int, int]:
        while self._end - self._start < pdu.HEADER_LENGTH:
            begun = self._end > self._start
            self._fill(deadline)
            if not begun:
                deadline = min(deadline, time.monotonic() + self._timeout)
        begin, self._start = self._start, self._start + pdu.HEADER_LENGTH
        head = self._buffer[begin : self._start]
        return head[0], int.from_bytes(head[2:], "big")

    def _grow(self) -> None:
        """To twice the longest PDU, so that `_fill` finds room for any."""
        rest = self._buffer[self._start : self._end]
        self._buffer = memoryview(bytearray(2 * (pdu.HEADER_LENGTH + self._longest)))
        self._buffer[: len(rest)] = rest
        self._start, self._end = 0, len(rest)

    def _fill(self, deadline: float) -> None:
        """Receives what is there, waiting for at least a byte. Only while there is too little for what is read."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start > len(self._buffer) // 2:
            # What is read fits in half of the buffer: where it begins in the other half there is room for all of it.
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
        if _QUICKACK is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        _wait(self._readable, deadline)
        count = self._socket.recv_into(self._buffer[self._end :])
        if not count:
            raise ConnectionResetError("closed by the peer")
        self._end += count

    def _send(self, data: bytes, deadline: float) -> None:
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except BlockingIOError:
                _wait(self._writable, deadline)


def _wait(poll: select.poll, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        raise TimeoutError("the peer took too long")
