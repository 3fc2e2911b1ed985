"""What is to be told of a connection without reading from it: whether its peer said something, and why it failed."""

from __future__ import annotations

import select
import socket


def heard(connection: socket.socket) -> bool:
    """Whether something is to be read, an end included."""
    waiting = select.poll()  # not `select`, which has no place for a file number above 1023
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))


def reason(error: OSError) -> str:
    """The system's words for it, which never carry data."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or type(error).__name__
