"""What is to be told of a connection without reading from it: whether its peer said something, and why it failed."""

from __future__ import annotations

import select
import socket
import ssl


def heard(connection: socket.socket) -> bool:
    """Whether something is to be read, an end included; of TLS also what has been taken from the system already."""
    if isinstance(connection, ssl.SSLSocket) and connection.pending():
        return True
    waiting = select.poll()  # not `select`, which has no place for a file number above 1023
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))


def reason(error: OSError) -> str:
    """The system's words for it, which never carry data."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLError) and error.reason:
        return f"TLS: {error.reason.replace('_', ' ').lower()}"
    return error.strerror or type(error).__name__
