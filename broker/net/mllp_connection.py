"""One connection of an MLLP server: bytes in, frames to the server's handler one after the other, answers out.

Framing is `broker.hl7.framing`. What a message means, and what to answer, is the handler's. No message content is
logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import structlog

from broker.hl7.framing import Frame, FrameDecoder, Junk, Oversize, frame
from broker.net.mllp_peer import Peer, tune
from broker.net.mllp_refusal import refusal

if TYPE_CHECKING:
    from broker.net.mllp_server import MllpServer

READ_AHEAD = 256 * 1024
"""Bytes that a connection takes in while one message is handled; then TCP holds the sender back."""

log = structlog.get_logger("broker.net.mllp")


class _PeerDoesNotReadError(Exception):
    """The peer sends, but leaves its answers lying: it must not fill our memory."""


class Connection(asyncio.Protocol):
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
        self.server.admit(self)
        with contextlib.suppress(OSError):  # gone already: the task finds out, and gives the place back
            tune(transport.get_extra_info("socket"))
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
            self.server.forget(self)

    async def _refuse(self) -> None:
        """Over the limit: the first message gets a refusal by name, then the connection is closed."""
        log.warning("mllp.connection-refused", peer=str(self.peer), limit=self.server.max_connections)
        try:
            event = self._decoder.next_event() or await self._more(self.server.refusal_wait)
            if isinstance(event, Frame | Oversize) and not self._stopping:
                head = event.payload if isinstance(event, Frame) else event.head
                await self._write(
                    refusal(head, "the listener has too many connections; send again later", "CE")
                )
                await self._linger()
        except _PeerDoesNotReadError:
            self._transport_().abort()
        finally:
            self._transport_().close()
            self.server.forget(self)

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
