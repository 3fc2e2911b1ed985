"""An MLLP server on asyncio for the listeners: accepts connections, as many as there are places, and ends them.

What happens on a connection is `broker.net.mllp_connection`. What a message means, and what to answer, is the
handler's; the server only says no by itself where it has too many connections.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence

import structlog

from broker.hl7.framing import MAX_FRAME, Junk
from broker.net.mllp_connection import Connection
from broker.net.mllp_peer import END_WAIT, Peer
from broker.net.mllp_refusal import refusal

WRITE_TIMEOUT = 30.0
"""Seconds for a peer to read its answers before it is cut off."""
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

Handler = Callable[[bytes, Peer], Awaitable[Sequence[bytes]]]
"""Payload in, payloads to answer with out (none, one, or accept and application acknowledgement)."""
OnOversize = Callable[[bytes, int, Peer], Awaitable[Sequence[bytes]]]
"""First bytes and true size of a frame above the limit in, answers out."""
OnJunk = Callable[[Junk, Peer], Awaitable[None]]

log = structlog.get_logger("broker.net.mllp")


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
        self._connections: set[Connection] = set()

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
                await loop.connect_accepted_socket(lambda: Connection(self), accepted)
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

    def admit(self, connection: Connection) -> None:
        """The new connection has a place; one over the limit only to be refused."""
        connection.refused = self.connections >= self.max_connections
        self._connections.add(connection)

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._places.release()


async def _refuse_oversize(head: bytes, size: int, peer: Peer) -> Sequence[bytes]:  # noqa: ARG001 - OnOversize
    return refusal(head, "the message is longer than this listener takes")
