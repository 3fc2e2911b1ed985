"""A load client for MLLP that adds next to nothing: one thread, one selector, send and wait on each connection."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

VT, END = b"\x0b", b"\x1c\r"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one run of a load gave."""

    seconds: float
    latencies: Sequence[float]
    """Seconds from the last byte sent to the whole answer, sorted."""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, part: float) -> float:
        """Seconds; `part` from 0 to 1."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * part))]


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.since = 0.0

    def send(self, message: bytes) -> None:
        self.socket.sendall(VT + message + END)
        self.since = time.perf_counter()


def run(port: int, connections: int, messages: Iterator[bytes], count: int) -> Load:
    """`count` messages over so many connections at once, one in flight on each. Every answer must be AA."""
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    open_connections = [_Connection(port) for _ in range(connections)]
    sent = 0
    began = time.perf_counter()
    for connection in open_connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(next(messages))
        sent += 1
    while len(latencies) < count:
        for key, _ in selector.select():
            connection = key.data
            connection.buffer += connection.socket.recv(65536)
            if not connection.buffer.endswith(END):
                continue
            latencies.append(time.perf_counter() - connection.since)
            if b"MSA|AA|" not in connection.buffer:
                raise RuntimeError(f"not acknowledged: {connection.buffer!r}")
            connection.buffer = b""
            if sent < count:
                connection.send(next(messages))
                sent += 1
    seconds = time.perf_counter() - began
    for connection in open_connections:
        connection.socket.close()
    return Load(seconds=seconds, latencies=sorted(latencies))
