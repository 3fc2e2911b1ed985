"""MLLP over TCP: a server on asyncio for the listeners, a blocking client for the lanes.

Framing is `broker.hl7.framing`. What a message means, and what to answer, is the handler's; the server only
says no by itself where it has too many connections. No message content is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

import structlog

from broker.errors import (
    LocalProtocolError,
    RemoteProtocolError,
    TransientDeliveryError,
    UnreachableError,
    Unreadable,
)
from broker.hl7.ack import AckError, Acknowledgement, answers, awaits_success, build_ack, is_ack, read_ack
from broker.hl7.batch import Batch
from broker.hl7.er7 import Header, is_batch
from broker.hl7.framing import MAX_FRAME, Frame, FrameDecoder, Junk, Oversize, frame
from broker.net.heard import reason
from broker.net.unsent import forget_unsent

READ_AHEAD = 256 * 1024
"""Bytes that a connection takes in while one message is handled; then TCP holds the sender back."""
WRITE_TIMEOUT = 30.0
"""Seconds for a peer to read its answers before it is cut off."""
END_WAIT = 1.0
"""Seconds of silence after an FS without its CR until the frame counts as ended."""
REFUSAL_WAIT = 5.0
"""Seconds that a connection over the limit has for its first frame, to be refused by name."""
LINGER = 1.0
"""Seconds that a peer has to hang up itself after its last answer, where the server wants to close."""
REFUSALS = 64
"""Connections over the limit that are being refused at once; those beyond wait in the kernel until one has gone."""
BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted (Linux: at most `net.core.somaxconn`)."""
ACCEPT_RETRY = 1.0
"""Seconds after which a failed accept is tried again: mostly it is out of file descriptors."""

Handler = Callable[[bytes, "Peer"], Awaitable[Sequence[bytes]]]
"""Payload in, payloads to answer with out (none, one, or accept and application acknowledgement)."""
OnOversize = Callable[[bytes, int, "Peer"], Awaitable[Sequence[bytes]]]
"""First bytes and true size of a frame above the limit in, answers out."""
OnJunk = Callable[[Junk, "Peer"], Awaitable[None]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Peer:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MllpServer:
    """One listening port. Frames of a connection are handled in order, connections beside each other.

    A frame whose handling has begun is always finished and answered, also when the peer has hung up its
    sending side or the server stops. A handler that raises closes its own connection only.
    """

    def __init__(
        self,
        host: str,
        port: int,
        handler: Handler,
        *,
        max_frame: int = MAX_FRAME,
        max_connections: int = 500,
        idle_timeout: float | None = None,
        on_oversize: OnOversize | None = None,
        on_junk: OnJunk | None = None,
        write_timeout: float = WRITE_TIMEOUT,
        end_wait: float = END_WAIT,
        refusal_wait: float = REFUSAL_WAIT,
        linger: float = LINGER,
    ) -> None:
        self.host = host
        self.handler = handler
        self.max_frame = max_frame
        self.max_connections = max_connections
        self.idle_timeout = idle_timeout
        """Seconds without a byte until a connection is closed; None keeps it while the peer lives."""
        self.on_oversize = on_oversize or _refuse_oversize
        self.on_junk = on_junk
        self.write_timeout = write_timeout
        self.end_wait = end_wait
        self.refusal_wait = refusal_wait
        self.linger = linger
        self._port = port
        self._listeners: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._places = asyncio.Semaphore(max_connections + REFUSALS)
        self._connections: set[_Connection] = set()

    @property
    def port(self) -> int:
        """The port that it listens on; the real one once started, where 0 was asked for."""
        return self._port

    @property
    def connections(self) -> int:
        return sum(not connection.refused for connection in self._connections)

    async def start(self) -> None:
        """Raises `OSError` when the port cannot be had."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            self.host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, _, _, _, address in found:
                listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
                listener.setblocking(False)
                self._listeners.append(listener)
        except OSError:
            self._close_listeners()
            raise
        self._port = self._listeners[0].getsockname()[1]
        self._accepting = [loop.create_task(self._accept(listener)) for listener in self._listeners]

    async def stop(self, grace: float = 5.0) -> None:
        """Stops accepting, lets frames whose handling has begun be answered for `grace` seconds, closes."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._accepting = []
        self._close_listeners()
        for connection in self._connections:
            connection.finish()
        tasks = [connection.task for connection in self._connections]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        """Accepts while there is a place. asyncio's own server accepts always, and could only hang up then."""
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            try:
                accepted, _ = await loop.sock_accept(listener)
                await loop.connect_accepted_socket(lambda: _Connection(self), accepted)
            except ConnectionAbortedError:
                self._places.release()  # it hung up while it waited
            except OSError as error:
                self._places.release()
                log.error("mllp.accept-failed", port=self._port, error=type(error).__name__)
                await asyncio.sleep(ACCEPT_RETRY)

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def _admit(self, connection: _Connection) -> None:
        """The new connection has a place; one over the limit only to be refused."""
        connection.refused = self.connections >= self.max_connections
        self._connections.add(connection)

    def _forget(self, connection: _Connection) -> None:
        self._connections.discard(connection)
        self._places.release()


class _PeerDoesNotReadError(Exception):
    """The peer sends, but leaves its answers lying: it must not fill our memory."""


class _Connection(asyncio.Protocol):
    """One peer: the transport feeds the decoder, one task takes the frames out and answers them."""

    task: asyncio.Task[None]
    peer: Peer

    def __init__(self, server: MllpServer) -> None:
        self.server = server
        self.refused = False
        self._decoder = FrameDecoder(server.max_frame)
        self._transport: asyncio.Transport | None = None
        self._news = asyncio.Event()
        """Set when bytes came, the peer hung up, or the server stops."""
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        self._lost = False
        self._stopping = False
        self._handling = False
        self._ahead = 0
        self._paused = False
        self._discarding = False

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        host, port, *_ = transport.get_extra_info("peername") or ("unknown", 0)
        self.peer = Peer(host, port)
        self.server._admit(self)
        with contextlib.suppress(OSError):  # gone already: the task finds out, and gives the place back
            _tune(transport.get_extra_info("socket"))
        work = self._refuse() if self.refused else self._serve()
        self.task = asyncio.get_running_loop().create_task(work)

    def data_received(self, data: bytes) -> None:
        if self._discarding:
            return
        self._decoder.receive_data(data)
        self._ahead += len(data)
        if self._handling and self._ahead > READ_AHEAD and not self._paused:
            self._paused = True
            self._transport_().pause_reading()
        self._news.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._news.set()
        return True  # the peer may still read its answers

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._ended = self._lost = True
        self._news.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # Called by the server.

    def finish(self) -> None:
        self._stopping = True
        self._news.set()

    # The task.

    async def _serve(self) -> None:
        answered = False
        try:
            while not self._stopping:
                answered = False
                event = self._decoder.next_event() or await self._more(self.server.idle_timeout)
                if event is None:
                    break
                self._handling = answered = True
                await self._handle(event)
                self._handling = False
            if not self._stopping:
                await self._leave()
            elif answered:
                await self._linger()
        except _PeerDoesNotReadError:
            log.warning("mllp.peer-does-not-read", peer=str(self.peer))
            self._transport_().abort()
        except Exception as error:  # noqa: BLE001 - an intake edge: only this connection may suffer
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{place.filename}:{place.lineno}"
            log.error("mllp.handler-failed", peer=str(self.peer), error=type(error).__name__, place=where)
        finally:
            self._transport_().close()
            self.server._forget(self)

    async def _refuse(self) -> None:
        """Over the limit: the first message gets a refusal by name, then the connection is closed."""
        log.warning("mllp.connection-refused", peer=str(self.peer), limit=self.server.max_connections)
        try:
            event = self._decoder.next_event() or await self._more(self.server.refusal_wait)
            if isinstance(event, Frame | Oversize) and not self._stopping:
                head = event.payload if isinstance(event, Frame) else event.head
                await self._write(
                    _refusal(head, "the listener has too many connections; send again later", "CE")
                )
                await self._linger()
        except _PeerDoesNotReadError:
            self._transport_().abort()
        finally:
            self._transport_().close()
            self.server._forget(self)

    async def _more(self, patience: float | None) -> Frame | Junk | Oversize | None:
        """The next event once it has come. None: the peer is done or silent, or the server stops."""
        while not self._ended and not self._stopping:
            self._ahead = 0
            if self._paused:
                self._paused = False
                self._transport_().resume_reading()
            self._news.clear()
            unsure = self._decoder.ends_without_cr
            wait = self.server.end_wait if unsure else patience
            try:
                async with asyncio.timeout(wait) if wait is not None else contextlib.nullcontext():
                    await self._news.wait()
            except TimeoutError:
                return self._decoder.end_without_cr() if unsure else None
            event = self._decoder.next_event()
            if event is not None:
                return event
        if self._stopping:
            return None
        return self._decoder.next_event() or self._decoder.end_without_cr()

    async def _handle(self, event: Frame | Junk | Oversize) -> None:
        if isinstance(event, Frame):
            await self._write(await self.server.handler(event.payload, self.peer))
        elif isinstance(event, Oversize):
            await self._write(await self.server.on_oversize(event.head, event.size, self.peer))
        else:
            await self._junk(event)

    async def _leave(self) -> None:
        rest = self._decoder.close()
        if rest is not None:
            await self._junk(rest)

    async def _linger(self) -> None:
        """Lets the peer hang up first: closing over unread bytes would reset it before it read its answer."""
        if self._lost:
            return
        self._discarding = True
        self._transport_().write_eof()
        self._transport_().resume_reading()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.server.linger):
                while not self._ended:
                    self._news.clear()
                    await self._news.wait()

    async def _junk(self, junk: Junk) -> None:
        log.warning("mllp.junk", peer=str(self.peer), reason=junk.reason, size=len(junk.data))
        if self.server.on_junk is not None:
            await self.server.on_junk(junk, self.peer)

    async def _write(self, payloads: Sequence[bytes]) -> None:
        """All answers in one write; waits while the peer does not read them."""
        if not payloads or self._lost:
            return
        self._transport_().write(b"".join(map(frame, payloads)))
        if not self._writable.is_set():
            try:
                async with asyncio.timeout(self.server.write_timeout):
                    await self._writable.wait()
            except TimeoutError as error:
                raise _PeerDoesNotReadError from error

    def _transport_(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport


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
            _tune(self._socket)
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


def _tune(connection: socket.socket) -> None:
    """No Nagle delay, and a dead peer is noticed after about two minutes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


async def _refuse_oversize(head: bytes, size: int, peer: Peer) -> Sequence[bytes]:  # noqa: ARG001 - OnOversize
    return _refusal(head, "the message is longer than this listener takes")


def _refusal(head: bytes, text: str, enhanced: Literal["CE", "CR"] = "CR") -> Sequence[bytes]:
    """Answers of a message that is refused before anything looked at it: AR, or `enhanced` where that is the mode.

    CE: it could not be taken now; CR: it would not be taken later either (HL7 v2.5.1 2.9.3.1).
    """
    try:
        header = Header.read(head)
    except Unreadable:
        header = None
    if header is not None and is_ack(header):
        return ()
    now = datetime.now().astimezone().strftime("%Y%m%d%H%M%S%z")
    error = AckError(code="207", text=text)
    return [
        build_ack(
            header,
            code=code if code != "CR" else enhanced,
            control_id=secrets.token_hex(8),
            timestamp=now,
            text=text,
            error=error,
        )
        for code in answers(header, "AR")
    ]
