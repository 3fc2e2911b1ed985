"""A TCP proxy that treats its connections badly while it is told to: any protocol, as it reads no bytes.

It cuts in the middle of what passes, resets, closes one half, goes deaf, delays, and hangs up on new connections.
It can also stand before several servers, of which each new connection gets the next that lives, and be cut as a cable
is: nothing passes and nobody is told. It never hands on what a sender wrote before it hung up and which is still here:
the network forgets at a cut, so that no old message overtakes the next connection's.
"""

from __future__ import annotations

import contextlib
import random
import select
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Final

LATE_SECONDS: Final = 2.5
"""Longer than the broker of the proof waits for an acknowledgement (tests/proof/stage.py)."""

_FAULTS: Final = ("cut", "reset", "half", "deaf", "slow", "late")


_CONNECT_SECONDS: Final = 2.0


class Proxy:
    """Listens on loopback, on `port`, for `targets`. `trouble`: the part of all pieces that something befalls."""

    def __init__(self, targets: Sequence[tuple[str, int]], dice: random.Random) -> None:
        self._targets = list(targets)
        self.trouble = 0.0
        self.faults = 0
        """How many connections were harmed."""
        self._dice = dice
        self._whole = threading.Event()
        self._whole.set()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """From now on nothing passes, either way, and connections stay as they are."""
        self._whole.clear()

    def heal(self) -> None:
        """What still hangs on goes on; what hung up meanwhile has said nothing."""
        self._whole.set()

    def close(self) -> None:
        """Hangs up on everybody and stops listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.heal()
        with self._lock:
            sockets = list(self._open)
        for one in sockets:
            _hang_up(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        if self._fault() is not None:
            near.close()
            return
        far = self._connect() if self._passes(near) else None
        if far is None:
            near.close()
            return
        with self._lock:
            self._open |= {near, far}
        back = threading.Thread(target=self._pump, args=(far, near), daemon=True)
        back.start()
        self._pump(near, far)
        back.join()
        with self._lock:
            self._open -= {near, far}
        near.close()
        far.close()

    def _connect(self) -> socket.socket | None:
        """A connection to the next server that takes one."""
        for _ in range(len(self._targets)):
            with self._lock:
                target = self._targets.pop(0)
                self._targets.append(target)
            with contextlib.suppress(OSError):
                far = socket.create_connection(target, timeout=_CONNECT_SECONDS)
                far.settimeout(None)
                return far
        return None

    def _passes(self, source: socket.socket) -> bool:
        """Waits while the cable is cut; False when the source hung up meanwhile."""
        if self._whole.is_set():
            return True
        self._whole.wait()
        poll = select.poll()
        poll.register(source, select.POLLRDHUP)
        return not poll.poll(0)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Hands on what comes from the source until one of both ends."""
        deaf = False
        with contextlib.suppress(OSError):
            while (piece := source.recv(65536)) and self._passes(source):
                fault = self._fault()
                if fault == "cut":
                    sink.sendall(piece[: self._drawn(len(piece))])
                    _hang_up(source, sink)
                elif fault == "reset":
                    sink.sendall(piece[: self._drawn(len(piece))])
                    _reset(source, sink)
                elif fault == "half":
                    sink.sendall(piece)
                    sink.shutdown(socket.SHUT_WR)
                    deaf = True
                elif fault == "deaf":
                    deaf = True
                elif fault is not None and not _waits(source, 0.2 if fault == "slow" else LATE_SECONDS):
                    _hang_up(source, sink)
                if not deaf and fault in (None, "slow", "late"):
                    sink.sendall(piece)
        _hang_up(source, sink)

    def _fault(self) -> str | None:
        """What befalls the next piece."""
        with self._lock:
            if self._dice.random() >= self.trouble:
                return None
            self.faults += 1
            return self._dice.choice(_FAULTS)

    def _drawn(self, size: int) -> int:
        with self._lock:
            return self._dice.randrange(size)


def _waits(source: socket.socket, seconds: float) -> bool:
    """Waits; False as soon as the source hangs up meanwhile."""
    readable, _, _ = select.select([source], [], [], seconds)
    if not readable:
        return True
    return source.recv(1, socket.MSG_PEEK) != b""


def _hang_up(*sockets: socket.socket) -> None:
    """Ends both directions, also under a thread that waits in `recv`; the connection's own thread closes it."""
    for one in sockets:
        with contextlib.suppress(OSError):
            lingers, _ = struct.unpack("ii", one.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
            # Without a FIN, so that the close of a socket that does not linger sends RST.
            one.shutdown(socket.SHUT_RD if lingers else socket.SHUT_RDWR)


def _reset(*sockets: socket.socket) -> None:
    """As `_hang_up`, but the peers get RST instead of FIN."""
    for one in sockets:
        with contextlib.suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    _hang_up(*sockets)
