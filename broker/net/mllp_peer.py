"""The other end of an MLLP connection: its address, what its socket is set to, what it is forgiven. Sends nothing."""

from __future__ import annotations

import socket
from dataclasses import dataclass

END_WAIT = 1.0
"""Seconds of silence after an FS without its CR until the frame counts as ended."""


@dataclass(frozen=True, slots=True)
class Peer:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def tune(connection: socket.socket) -> None:
    """No Nagle delay, and a dead peer is noticed after about two minutes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
