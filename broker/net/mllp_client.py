"""A blocking MLLP client for the lanes: one message out, its acknowledgement in.

Framing is `broker.hl7.framing`. What an acknowledgement says is the caller's to judge, and so is whether a message is
sent again. No message content is logged.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from broker.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    TransientDeliveryError,
    UnreachableError,
    Unreadable,
)
from broker.hl7.ack import Acknowledgement, awaits_success, is_ack, read_ack
from broker.hl7.batch import Batch
from broker.hl7.er7 import Header, is_batch
from broker.hl7.framing import Frame, FrameDecoder, Oversize, frame
from broker.net.heard import reason
from broker.net.mllp_peer import END_WAIT, Peer, tune
from broker.net.unsent import forget_unsent


class MllpClient:
    """A kept connection to one peer, one message in flight at a time. Safe to share between threads.

    An answer counts only when its MSA-2 is the MSH-10 just sent. After a time-out or any other answer the
    connection is reset, so that a late answer can never be taken for the next message's, and the message itself cannot
    come late either.
    """

    def __init__(
        self, host: str, port: int, *, connect_timeout: float = 10.0, ack_timeout: float = 30.0
    ) -> None:
        self._peer = Peer(host, port)
        self._connect_timeout = connect_timeout
        self._ack_timeout = ack_timeout
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def send(self, payload: bytes, confirm: Callable[[], None] = lambda: None) -> bytes:
        """Sends a message or a batch and gives the payload of its acknowledgement, whatever that says.

        `confirm` is called once the connection stands, directly before the message leaves; what it raises passes.

        Enhanced mode: where MSH-16 is AL, a positive accept acknowledgement is passed over and the
        application acknowledgement awaited; where neither MSH-15 nor MSH-16 asks for an answer to success,
        `b""` is given as soon as the message is written. A batch is answered by one batch, or refused by one
        acknowledgement. Raises `TransientDeliveryError` when there is no matching answer.
        """
        try:
            header = Header.read(payload)
        except Unreadable as error:
            raise LocalProtocolError("a message without a readable MSH cannot be sent") from error
        with self._lock:
            try:
                return self._exchange(payload, header, confirm)
            except OSError as error:
                self._close()
                raise self._failure(reason(error)) from error
            except BaseException:
                self._close()
                raise

    def close(self) -> None:
        with self._lock:
            self._close()

    def _exchange(self, payload: bytes, header: Header, confirm: Callable[[], None]) -> bytes:
        connection = self._connected()
        connection.settimeout(self._ack_timeout)
        batch = is_batch(payload)
        awaited = _batch_awaits_success(payload) if batch else awaits_success(header)
        forget_unsent(connection, awaited)
        framed = frame(payload)
        confirm()
        connection.sendall(framed)
        if not awaited:
            return b""
        deadline = time.monotonic() + self._ack_timeout
        decoder = FrameDecoder()
        while True:
            answer = self._answer(connection, decoder, deadline)
            if batch and is_batch(answer):
                self._match_batch(answer, header)
                break
            ack = self._matching(answer, header)
            if not (ack.code == "CA" and header.application_ack == "AL"):
                break
        forget_unsent(connection, False)
        if decoder.close() is not None:
            self._close()  # whatever else came was not asked for
        return answer

    def _answer(self, connection: socket.socket, decoder: FrameDecoder, deadline: float) -> bytes:
        while True:
            event = decoder.next_event()
            if isinstance(event, Frame):
                return event.payload
            if isinstance(event, Oversize):
                raise self._failure("the answer is longer than a message may be")
            if event is not None:
                continue
            patience = deadline - time.monotonic()
            if patience <= 0:
                raise TimeoutError
            connection.settimeout(min(patience, END_WAIT) if decoder.ends_without_cr else patience)
            try:
                data = connection.recv(64 * 1024)
            except TimeoutError:
                ended = decoder.end_without_cr()
                if isinstance(ended, Frame):
                    return ended.payload
                raise
            if not data:
                ended = decoder.end_without_cr()
                if isinstance(ended, Frame):
                    return ended.payload
                raise self._failure("the connection was closed before the answer")
            decoder.receive_data(data)

    def _matching(self, answer: bytes, header: Header) -> Acknowledgement:
        try:
            ack = read_ack(answer)
        except Unreadable as error:
            raise self._failure(f"the answer is not an acknowledgement: {error}") from error
        if ack.control_id != header.control_id:
            raise self._failure("MSA-2 of the answer is not MSH-10 of the message")
        return ack

    def _match_batch(self, answer: bytes, header: Header) -> None:
        try:
            reference = Header.read(answer).reference
        except Unreadable as error:
            raise self._failure(f"the answer is not a batch: {error}") from error
        if reference != header.control_id:
            raise self._failure("the batch answers another one: FHS-12 or BHS-12")

    def _connected(self) -> socket.socket:
        """The kept connection while it is alive and silent, else a new one."""
        if self._socket is not None and not self._silent(self._socket):
            self._close()
        if self._socket is None:
            address = (self._peer.host, self._peer.port)
            try:
                self._socket = socket.create_connection(address, timeout=self._connect_timeout)
            except OSError as error:
                raise UnreachableError(f"{self._peer}: {reason(error)}") from error
            tune(self._socket)
        return self._socket

    def _silent(self, connection: socket.socket) -> bool:
        """Whether nothing but line ends came since the last answer, and the peer has not hung up."""
        connection.settimeout(0)
        try:
            while data := connection.recv(4096):
                if not data.isspace():
                    return False
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _failure(self, why: str) -> TransientDeliveryError:
        return TransientDeliveryError(f"{self._peer}: {why}")


def _batch_awaits_success(payload: bytes) -> bool:
    """Whether anything of this batch is answered when all of it is taken."""
    try:
        members = [Header.read(member) for member in Batch.read(payload).members]
    except RemoteProtocolError:
        return True  # refused, then, which is always answered
    return not members or any(awaits_success(member) and not is_ack(member) for member in members)
