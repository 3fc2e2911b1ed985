"""PDUs over one accepted connection, blocking: read with a deadline, written within a time. No association state.

A PDU is handed out as a view of the receive buffer, so that an image goes from there to its file without a copy in
between. PS3.8 9.1 (transport connection), 9.3.1 (PDU structure).
"""

from __future__ import annotations

import contextlib
import socket
import time

from broker.dicom import pdu
from broker.net.transport import Transport

LONGEST_ASSOCIATE = 1 << 20
"""Bytes of an A-ASSOCIATE-RQ: 128 contexts with 40 transfer syntaxes each stay below 200 kB."""

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
    (`TimeoutError`); reading the request also `ssl.SSLError`, where there is to be TLS and the two do not agree.
    """

    def __init__(self, transport: Transport, *, max_pdu: int, timeout: float) -> None:
        """`timeout`: seconds in which a PDU that has begun must be here, and in which what is written must be taken."""
        self._transport = transport
        self._timeout = timeout
        self._longest = max_pdu + _MARGIN
        self._buffer = memoryview(bytearray(_FIRST_BUFFER))
        self._start = self._end = 0
        self._gathered: list[bytes] = []
        self._written = 0.0

    def read_request(self, deadline: float) -> bytes:
        """The body of the A-ASSOCIATE-RQ, which all of has to come before the deadline (PS3.8 9.1.5, ARTIM), after the
        handshake of TLS."""
        self._transport.open(deadline)
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
        return self._start < self._end or self._transport.arrived()

    def write(self, data: bytes = b"") -> None:
        """Writes it after what has been gathered."""
        self._gathered.append(data)
        whole = b"".join(self._gathered)
        self._gathered.clear()
        self._transport.send(whole, time.monotonic() + self._timeout)
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
            self._transport.send(data, deadline)
            self._transport.finish()
            while True:
                self._start = self._end = 0
                self._fill(deadline)

    def end_reading(self) -> None:
        """From another thread: what reads finds the connection's end, what is being written still goes out."""
        self._transport.shut(socket.SHUT_RD)

    def cut(self) -> None:
        """From another thread: neither reads nor writes go on."""
        self._transport.shut(socket.SHUT_RDWR)

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
        count = self._transport.receive(self._buffer[self._end :], deadline)
        if not count:
            raise ConnectionResetError("closed by the peer")
        self._end += count
