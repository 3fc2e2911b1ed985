"""An EPJ: an MLLP server that notes what it gets and answers as it is told. It keeps no message, only its digest.

One thread per connection; a broker has few.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from broker.errors import RemoteProtocolError
from broker.hl7.ack import build_ack
from broker.hl7.er7 import Header
from broker.hl7.framing import Frame, FrameDecoder, frame
from broker.simulate.faults import Behaviour
from broker.simulate.messages import digest, key_of
from broker.simulate.records import Arrival

Behave = Callable[[str, int], Behaviour]
"""(key of what came, how often it has come before) to what is done with it."""

_SLOW: Final = 0.005
"""Seconds between the pieces of a slow reader."""


class Sink:
    """A listening EPJ. `stop` and `start` again make one that was away; what it noted is kept."""

    def __init__(
        self,
        host: str,
        port: int,
        behave: Behave,
        note: Callable[[Arrival], None],
        *,
        patience: float = 30.0,
        hear: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """`patience`: seconds that the broker waits for an ack; `late-ack` answers one second after.

        `note`, and `hear` with the message itself, are called before the answer leaves, from one thread at a time.
        `port` 0 takes a free one.
        """
        self.host, self.port = host, port
        self._behave, self._note, self._hear, self._patience = behave, note, hear, patience
        self._times: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._answered = threading.Condition(self._lock)
        self._late = 0
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self._connections: set[_Connection] = set()

    def start(self) -> None:
        """Listens. `OSError` when the port cannot be had."""
        self._listener = socket.create_server((self.host, self.port), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._accepting.start()

    def stop(self) -> None:
        """Frees the port and hangs up on everybody, after the answers that are under way, the late ones too."""
        with self._lock:
            self._answered.wait_for(lambda: not self._late)
        if self._listener is not None and self._accepting is not None:
            _shut(self._listener)
            self._accepting.join()  # whom it accepted last is among the connections now
            self._listener = None
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener was shut
            while True:
                accepted, _ = listener.accept()
                connection = _Connection(accepted, self)
                with self._lock:
                    self._connections.add(connection)
                threading.Thread(target=connection.serve, name="epj-connection", daemon=True).start()

    def forget(self, connection: _Connection) -> None:
        """The connection is over."""
        with self._lock:
            self._connections.discard(connection)

    def take(self, raw: bytes) -> tuple[Behaviour, Header]:
        """Notes a message and decides what is done with it. Raises `RemoteProtocolError` for what is none."""
        control_id, key = key_of(raw)
        with self._lock:
            at = time.monotonic()
            before = self._times[key, control_id]
            self._times[key, control_id] += 1
            behaviour = self._behave(key, before)
            clean = behaviour in ("AA", "slow-reader")
            self._note(Arrival(control_id=control_id, key=key, digest=digest(raw), at=at, clean=clean))
            self._hear(raw)
        return behaviour, Header.read(raw)

    def answer_late(self, answer: Callable[[], None]) -> None:
        """Answers one second after the broker has given up; it goes on over another connection meanwhile."""
        with self._lock:
            self._late += 1
        try:
            time.sleep(self._patience + 1.0)
            answer()
        finally:
            with self._lock:
                self._late -= 1
                self._answered.notify_all()


class _Connection:
    """One connection of the broker."""

    def __init__(self, connection: socket.socket, sink: Sink) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket, self._sink = connection, sink
        self._busy = threading.Lock()
        self._closed = False
        self._slow = False

    def close(self) -> None:
        """Hangs up between two messages, never between one and its answer."""
        with self._busy:
            self._closed = True
            _shut(self._socket)
        self._sink.forget(self)

    def serve(self) -> None:
        """Until the broker hangs up, or `close`."""
        decoder = FrameDecoder()
        with contextlib.suppress(OSError), contextlib.closing(self):
            while data := self._socket.recv(16 if self._slow else 65536):
                if self._slow:
                    time.sleep(_SLOW)
                decoder.receive_data(data)
                while (event := decoder.next_event()) is not None:
                    if isinstance(event, Frame) and not self._handle(event.payload):
                        return

    def _handle(self, raw: bytes) -> bool:
        """Notes and answers one message; False when the connection is over."""
        with self._busy:
            if self._closed:
                return False
            try:
                behaviour, header = self._sink.take(raw)
            except RemoteProtocolError:
                self._socket.sendall(frame(_answer(None, "AR", "")))
                return True
            self._slow = behaviour == "slow-reader"
            if behaviour == "close":
                self._closed = True
                return False
            code = behaviour if behaviour in ("AE", "AR") else "AA"
            answer = frame(_answer(header, code, "OTHER" if behaviour == "wrong-msa2" else header.control_id))
            if behaviour not in ("silent", "late-ack"):
                self._write(answer)
        if behaviour == "late-ack":
            self._sink.answer_late(lambda: self._write(answer))
        return True

    def _write(self, answer: bytes) -> None:
        if not self._slow:
            self._socket.sendall(answer)
            return
        for start in range(0, len(answer), 3):
            self._socket.sendall(answer[start : start + 3])
            time.sleep(_SLOW)


def _answer(header: Header | None, code: str, control_id: str) -> bytes:
    answer = build_ack(
        header, code=code, control_id=f"E{control_id}"[:20], timestamp=time.strftime("%Y%m%d%H%M%S")
    )
    if header is None or control_id == header.control_id:
        return answer
    return answer.replace(f"MSA|{code}|{header.control_id}".encode(), f"MSA|{code}|{control_id}".encode())


def _shut(connection: socket.socket) -> None:
    """Closes, also under a thread that waits in `accept` or `recv`, which `close` alone would leave there."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
