"""A plain MLLP client and a recording MLLP server, written for the tests on bare sockets.

They share no code with the broker, so that a fault in its framing cannot hide behind the same fault here.
Frame: <VT> content <FS><CR> (HL7 v2.5.1 appendix C, minimal lower layer protocol).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Literal

VT, FS_CR = b"\x0b", b"\x1c\x0d"

Behaviour = Literal["AA", "AE", "AR", "silent", "close", "forget"]
"""What the sink does with a message: answers with the code, says nothing, hangs up, or answers AA and keeps nothing."""


def framed(content: bytes) -> bytes:
    return VT + content + FS_CR


def field(message: bytes, segment: bytes, number: int) -> bytes:
    """A field by HL7's numbering, of the first such segment (MSH-1 counts); empty when it is not there."""
    for line in message.replace(b"\n", b"\r").split(b"\r"):
        if line.startswith(segment):
            parts = line.split(line[3:4] if segment == b"MSH" else b"|")
            index = number - 1 if segment == b"MSH" else number
            return parts[index] if index < len(parts) else b""
    return b""


def message(control_id: str, accept: str = "", application: str = "") -> bytes:
    """A message of two segments; MSH-15 and MSH-16 as given."""
    return f"MSH|^~\\&|A|B|C|D|2026||ADT^A01|{control_id}|P|2.5|||{accept}|{application}\rPID|1\r".encode()


def ack(control_id: str, code: str = "AA") -> bytes:
    """What acknowledges it."""
    return f"MSH|^~\\&|C|D|A|B|2026||ACK|x{control_id}|P|2.5\rMSA|{code}|{control_id}\r".encode()


class MllpClient:
    """One connection. Use it as a context manager."""

    def __init__(self, port: int, host: str = "127.0.0.1", timeout: float = 20.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> MllpClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def ask(self, message: bytes) -> bytes:
        """Sends one message and returns the content of the next frame."""
        self.send_raw(framed(message))
        return self.receive()

    def send_raw(self, data: bytes) -> None:
        """Bytes as they are: pieces of frames, several frames, junk."""
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """The content of the next frame. `TimeoutError`: none came; `ConnectionError`: the peer hung up."""
        while FS_CR not in self._buffer:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("the peer closed the connection before a whole frame")
            self._buffer += data
        frame, _, self._buffer = self._buffer.partition(FS_CR)
        if not frame.startswith(VT):
            raise ValueError("a frame that does not start with VT")
        return frame[1:]

    def closed_by_peer(self) -> bool:
        """Waits for the peer to hang up; False when it does not in time or sends something instead."""
        try:
            return self._socket.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def close(self) -> None:
        self._socket.close()


class MllpSink:
    """A server standing for a receiving system. It keeps every message and answers as told.

    `behaviour` may be changed at any time, also to a function of the message. `stop` and `start` again on the
    same port make a destination that was dead for a while; what it received is kept.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self.host, self.port = host, port
        self.behaviour: Behaviour | Callable[[bytes], Behaviour] = "AA"
        self.text = b""
        """What it says in MSA-3: receivers quote what they were sent."""
        self._messages: list[bytes] = []
        self._changed = threading.Condition()
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._listener = socket.create_server((self.host, self.port))
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        """Hangs up on everybody and frees the port."""
        if self._listener is not None:
            _shut(self._listener)
            self._listener = None
        with self._changed:
            connections = list(self._connections)
        for connection in connections:
            _shut(connection)
        for thread in self._threads:
            thread.join(timeout=5)
        self._threads.clear()

    @property
    def messages(self) -> list[bytes]:
        """What was received so far, in order of arrival, whatever was answered."""
        with self._changed:
            return list(self._messages)

    def wait_for(self, count: int, timeout: float = 20.0) -> list[bytes]:
        """The messages once there are at least so many."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._messages) >= count, timeout):
                raise AssertionError(f"{len(self._messages)} of {count} messages came within {timeout:g} s")
            return list(self._messages)

    def _spawn(self, target: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(argument,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with self._changed:
                    self._connections.add(connection)
                self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(65536):
                buffer += data
                while FS_CR in buffer:
                    frame, _, buffer = buffer.partition(FS_CR)
                    if not self._take(connection, frame.removeprefix(VT)):
                        return
        with self._changed:
            self._connections.discard(connection)

    def _take(self, connection: socket.socket, message: bytes) -> bool:
        """Records the message and answers it; False to hang up."""
        behaviour = self.behaviour(message) if callable(self.behaviour) else self.behaviour
        if behaviour == "forget":
            behaviour = "AA"
        else:
            with self._changed:
                self._messages.append(message)
                self._changed.notify_all()
        if behaviour in ("AA", "AE", "AR"):
            connection.sendall(framed(_acknowledgement(message, behaviour, self.text)))
        return behaviour != "close"


def _acknowledgement(message: bytes, code: str, text: bytes) -> bytes:
    """MSH and MSA in original mode, sender and receiver exchanged."""
    msh = b"|".join(
        [
            b"MSH|^~\\&",
            *(field(message, b"MSH", number) for number in (5, 6, 3, 4)),
            field(message, b"MSH", 7),
            b"",
            b"ACK",
            b"A" + field(message, b"MSH", 10),
            field(message, b"MSH", 11),
            field(message, b"MSH", 12),
        ]
    )
    msa = b"|".join([b"MSA", code.encode("ascii"), field(message, b"MSH", 10), text]).rstrip(b"|")
    return msh + b"\r" + msa + b"\r"


def _shut(connection: socket.socket) -> None:
    """Closes, also under a thread blocked in `accept` or `recv`, which `close` alone would leave waiting."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
