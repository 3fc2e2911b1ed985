"""Free TCP ports on loopback."""

from __future__ import annotations

import random
import socket

# Below Linux's range for outgoing connections (32768 and up), which could take the port before it is bound.
_RANGE = range(20_000, 32_000)
_given: set[int] = set()


def free_port() -> int:
    """A port nobody listens on, never the same one twice in this process."""
    for port in random.sample(_RANGE, len(_RANGE)):
        if port not in _given and _can_bind(port):
            _given.add(port)
            return port
    raise RuntimeError("no free port between 20000 and 32000")


def is_open(port: int, host: str = "127.0.0.1") -> bool:
    """Somebody accepts connections on the port."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
