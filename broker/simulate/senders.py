"""A system that feeds the broker over MLLP as real ones do: one message in flight, wait, and send the same bytes again.

Faults are committed here on a connection of their own; afterwards the sender goes on as if nothing had been.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from broker.errors import BrokerError, RemoteProtocolError, TransientDeliveryError
from broker.hl7.ack import Acknowledgement, read_ack
from broker.hl7.framing import END, Frame, FrameDecoder, frame
from broker.net.mllp_client import MllpClient
from broker.simulate.messages import Said
from broker.simulate.records import Records, Sending

ACK_TIMEOUT: Final = 30.0
CROWD: Final = 520
"""Connections of `many-connections`: the shipped listeners take 500."""
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0


class Sender:
    """One connection to one listener. Used by one thread."""

    def __init__(
        self, host: str, port: int, records: Records, stopping: threading.Event, *, crowd: int = CROWD
    ) -> None:
        self._host, self._port, self._crowd = host, port, crowd
        self._records, self._stopping = records, stopping
        self._client = MllpClient(host, port, ack_timeout=ACK_TIMEOUT)

    def send(self, messages: Sequence[Said], fault: str = "") -> None:
        """Sends the messages one after the other, or commits the fault with them; notes what became of each."""
        if fault:
            self._records.faults.append(fault)
        commit = self._faults().get(fault)
        if commit is None:
            for said in messages:
                self._records.sendings.append(self._until_answered(said, fault))
            return
        self._client.close()  # the order on the wire must not hang on two connections
        try:
            self._records.sendings.extend(commit(messages))
        except (OSError, BrokerError):
            # The peer broke the connection under the fault: like any sender, all of it is sent again.
            for said in messages:
                self._records.sendings.append(self._until_answered(said, fault))

    def close(self) -> None:
        """Closes the connection."""
        self._client.close()

    def _until_answered(
        self, said: Said, fault: str = "", *, sent: float = 0.0, attempts: int = 0
    ) -> Sending:
        """Sends until there is an answer that names the message, whatever it says, or the run ends."""
        sent, wait = sent or time.monotonic(), _FIRST_WAIT
        while not self._stopping.is_set():
            attempts += 1
            began = time.monotonic()
            try:
                ack = read_ack(self._client.send(said.raw))
            except (TransientDeliveryError, RemoteProtocolError):
                self._stopping.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
                continue
            now = time.monotonic()
            latency = None if fault else now - began
            return _answered(said, sent, now, ack, latency=latency, attempts=attempts, fault=fault)
        return Sending(said=said, sent=sent, attempts=attempts, fault=fault)

    def _faults(self) -> dict[str, Callable[[Sequence[Said]], Sequence[Sending]]]:
        return {
            "split": self._split,
            "pipelined": self._pipelined,
            "junk": self._junk,
            "half-close": self._half_close,
            "reset": self._reset,
            "repeat": self._repeat,
            "many-connections": self._crowded,
        }

    def _split(self, messages: Sequence[Said]) -> Sequence[Sending]:
        """The start, the body in pieces, and each of the two end bytes alone."""
        (said,), content = messages, frame(messages[0].raw)
        body = content[: -len(END)]
        pieces = [body[:1], *(body[n : n + 100] for n in range(1, len(body), 100)), END[:1], END[1:]]
        with _Wire(self._host, self._port) as wire:
            sent = time.monotonic()
            for piece in pieces:
                wire.write(piece)
                time.sleep(0.002)  # lets the segment leave alone
            return [_answered(said, sent, time.monotonic(), wire.answer(), fault="split")]

    def _pipelined(self, messages: Sequence[Said]) -> Sequence[Sending]:
        with _Wire(self._host, self._port) as wire:
            sent = time.monotonic()
            wire.write(b"".join(frame(said.raw) for said in messages))
            found = []
            for said in messages:
                found.append(_answered(said, sent, time.monotonic(), wire.answer(), fault="pipelined"))
                sent = time.monotonic()  # on one connection the next is behind it, as if it had been sent now
            return found

    def _junk(self, messages: Sequence[Said]) -> Sequence[Sending]:
        (said,) = messages
        with _Wire(self._host, self._port) as wire:
            sent = time.monotonic()
            wire.write(b"\r\nGET / HTTP/1.1\r\nHost: broker\r\n\r\n" + frame(said.raw))
            return [_answered(said, sent, time.monotonic(), wire.answer(), fault="junk")]

    def _half_close(self, messages: Sequence[Said]) -> Sequence[Sending]:
        (said,) = messages
        with _Wire(self._host, self._port) as wire:
            sent = time.monotonic()
            wire.write(frame(said.raw))
            wire.end()
            return [_answered(said, sent, time.monotonic(), wire.answer(), fault="half-close")]

    def _reset(self, messages: Sequence[Said]) -> Sequence[Sending]:
        (said,) = messages
        with _Wire(self._host, self._port) as wire:
            sent = time.monotonic()
            wire.write(frame(said.raw))
            wire.reset()
        return [self._until_answered(said, "reset", sent=sent, attempts=1)]

    def _repeat(self, messages: Sequence[Said]) -> Sequence[Sending]:
        (said,) = messages
        with _Wire(self._host, self._port) as wire:
            sent = time.monotonic()
            wire.write(frame(said.raw))
            first = wire.read()
            acked = time.monotonic()
            wire.write(frame(said.raw))
            again = wire.read()
        complaint = "" if first == again else "the answer to a repeat was another"
        return [
            _answered(said, sent, acked, read_ack(first), attempts=2, fault="repeat", complaint=complaint)
        ]

    def _crowded(self, messages: Sequence[Said]) -> Sequence[Sending]:
        """Fills the listener with silent connections, then sends on one more: it may be refused, never ignored."""
        (said,), complaint = messages, ""
        sent = time.monotonic()
        with contextlib.ExitStack() as stack:
            try:
                for _ in range(self._crowd):
                    stack.enter_context(_Wire(self._host, self._port))
                wire = stack.enter_context(_Wire(self._host, self._port))
                wire.write(frame(said.raw))
                first = read_ack(wire.read())
            except TimeoutError:
                complaint = "a connection over the limit was not answered"
            except (OSError, RemoteProtocolError):
                pass  # it was hung up on, or this process may open no more: seen at once, and sent again
            else:
                if first.positive:
                    return [_answered(said, sent, time.monotonic(), first, fault="many-connections")]
        again = self._until_answered(said, "many-connections", sent=sent, attempts=1)
        return [replace(again, complaint=complaint or again.complaint)]


class _Wire:
    """A bare MLLP connection that can be cut, ended and flooded. Use it as a context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=ACK_TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._decoder = FrameDecoder()

    def __enter__(self) -> _Wire:
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.close()

    def write(self, data: bytes) -> None:
        """Bytes as they are."""
        self._socket.sendall(data)

    def read(self) -> bytes:
        """The next frame's payload. `OSError` when none comes."""
        while not isinstance(event := self._decoder.next_event(), Frame):
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("closed before the answer")
            self._decoder.receive_data(data)
        return event.payload

    def answer(self) -> Acknowledgement:
        """The next acknowledgement."""
        return read_ack(self.read())

    def end(self) -> None:
        """Shuts the sending side."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Closes with a reset instead of an end."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


def _answered(
    said: Said,
    sent: float,
    acked: float,
    ack: Acknowledgement,
    *,
    latency: float | None = None,
    attempts: int = 1,
    fault: str = "",
    complaint: str = "",
) -> Sending:
    if ack.control_id != said.control_id:
        complaint = "MSA-2 is not the message's"
    return Sending(
        said=said,
        sent=sent,
        acked=acked,
        code=ack.code,
        latency=latency,
        attempts=attempts,
        fault=fault,
        complaint=complaint,
    )
