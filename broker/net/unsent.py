"""What a connection still says after it was closed: nothing, where it says so here. Not here: when to close.

A closed socket's kernel goes on sending what the peer's machine has not acknowledged, for minutes. A message that was
given up and sent anew over another connection would then arrive once more, after newer ones (invariant 4).
"""

from __future__ import annotations

import socket
import struct
from typing import Final

_RESETS: Final = struct.pack("ii", 1, 0)
_GOES_ON: Final = struct.pack("ii", 0, 0)


def forget_unsent(connection: socket.socket, yes: bool = True) -> None:
    """Whether a close, or the end of this process, resets the connection and throws away what is not sent (RFC 9293
    3.10.5), instead of ending it in order."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETS if yes else _GOES_ON)
