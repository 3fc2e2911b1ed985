"""A listening socket below `broker.net.association`: a thread for each connection, from a pool that grows as needed.

Threads that have nothing to do wait in `accept` themselves, so that a connection is not handed over; the one that takes
the last place leaves another one waiting. The thread is the connection's alone: a peer that is silent, or shakes hands
for ever, holds nothing but it, and where no thread is left the one that has been silent longest gives it up. Who may
associate is not decided here, and how many of whom is `broker.net.seats`'.

PS3.8 9.1.4 (transport connection), PS3.15 B.12 (a port of its own for TLS).
"""

from __future__ import annotations

import errno
import logging
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

from broker.net.accepted import Association, Times
from broker.net.seats import REFUSALS, Seats
from broker.net.tls import Renewed
from broker.net.transport import Plain, Secure
from broker.net.upper_layer import UpperLayer

if TYPE_CHECKING:
    from broker.net.association import AssociationServer

logger = logging.getLogger(__name__)

_BACKLOG = 1024
SPARE = 32
"""Threads that are kept waiting for connections; others end once their connection does."""
_SILENT = 1.0
"""Seconds that a connection has for its A-ASSOCIATE-RQ where others wait for its thread."""
_CUT_AFTER = 0.5
"""Seconds that associations have to abort once `stop` has lost its patience."""
_FAILED_WAIT = 0.1
"""Seconds until it is tried again to accept where the system has no more files, threads or memory."""


class Acceptor:
    """Listens for one `AssociationServer`."""

    def __init__(
        self,
        server: AssociationServer,
        host: str,
        port: int,
        *,
        seats: Seats,
        max_pdu: int,
        times: Times,
        tls: Renewed | None = None,
    ) -> None:
        """`seats`: those of every port of the server. `tls`: whose connections these are; None: plain ones."""
        self._server = server
        self._host, self._wanted_port = host, port
        self._seats = seats
        self._tls = tls
        self._max_pdu = max_pdu
        self._times = times
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()
        self._changed = seats.changed
        """Guards what follows."""
        self._living: dict[Association, None] = {}
        """Connections of this port, the oldest first."""
        self._threads = self._waiting = 0

    @property
    def port(self) -> int:
        """Where it listens; what was asked for when it does not."""
        return int(self._listener.getsockname()[1]) if self._listener else self._wanted_port

    def start(self) -> None:
        """Opens the port; `OSError` when it or a thread cannot be had, or its certificate cannot be used."""
        if self._tls is not None:
            self._tls.context()
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server(
            (self._host, self._wanted_port), family=family, backlog=_BACKLOG
        )
        self._stopping.clear()
        with self._changed:
            if not self._add_thread(self._listener):
                raise OSError(errno.EAGAIN, "no thread can be had")

    def stop_accepting(self) -> bool:
        """Closes the port, and ends associations that are idle; whether it was open."""
        if self._listener is None:
            return False
        listener, self._listener = self._listener, None
        self._stopping.set()
        listener.shutdown(socket.SHUT_RDWR)  # wakes the threads that wait in accept
        listener.close()
        with self._changed:
            for association in self._living:
                if association.idle:
                    association.layer.end_reading()
        return True

    def end(self, deadline: float) -> None:
        """Waits for those that serve, and ends them once it is too late."""
        with self._changed:
            self._changed.wait_for(lambda: not self._living, max(0.0, deadline - time.monotonic()))
            for association in self._living:
                association.layer.end_reading()
            self._changed.wait_for(lambda: not self._living, _CUT_AFTER)
            for association in self._living:
                association.layer.cut()

    def _add_thread(self, listener: socket.socket) -> bool:
        """Whether the system had one more. Under `changed`."""
        self._threads += 1
        self._waiting += 1
        name = f"dicom-{self._threads}"
        # A daemon: a service that hangs must not keep the process from ending.
        try:
            threading.Thread(target=self._work, args=(listener,), name=name, daemon=True).start()
        except RuntimeError:
            self._threads -= 1
            self._waiting -= 1
            return False
        return True

    def _work(self, listener: socket.socket) -> None:
        while (connection := self._accepted(listener)) is not None:
            transport, address = connection
            with self._changed:
                self._waiting -= 1
                if not self._waiting:
                    self._leave_one(listener)
            try:
                with transport, self._secured(transport) as secured:
                    self._serve(secured, address)
            except ConnectionError:
                pass  # as a look whether the port is open ends
            except Exception:
                logger.exception("connection could not be served")
            with self._changed:
                if self._waiting >= SPARE:
                    self._threads -= 1
                    return
                self._waiting += 1
                self._changed.notify_all()
        with self._changed:
            self._threads -= 1
            self._waiting -= 1

    def _leave_one(self, listener: socket.socket) -> None:
        """Nobody would wait for connections any more: another thread does. Where the system has none, the connection
        at hand waits until one has: were it served before that, nobody might ever hear the next one."""
        told = False
        while self._threads < self._seats.most + REFUSALS:
            if self._add_thread(listener):
                return
            if not told:
                logger.error("no connection can be accepted: the system has no more threads")
                told = True
            if self._changed.wait_for(lambda: self._waiting or self._stopping.is_set(), _FAILED_WAIT):
                return
        self._make_room()

    def _make_room(self) -> None:
        """Nobody waits for connections any more: unless that changes, who has been silent longest is cut off."""
        silent = next((living for living in self._living if living.negotiating), None)
        if silent is None:
            return
        left = silent.since + _SILENT - time.monotonic()
        room = self._changed.wait_for(lambda: self._waiting or self._stopping.is_set(), left)
        if not room and silent.negotiating:
            logger.warning("connection from %s cut off: it says nothing, and others wait", silent.host)
            silent.layer.cut()

    def _accepted(self, listener: socket.socket) -> tuple[socket.socket, tuple[str, int]] | None:
        """The next connection, None once nothing listens any more."""
        while not self._stopping.is_set():
            try:
                transport, address = listener.accept()
            except OSError as exc:
                if self._stopping.is_set():
                    break
                if not isinstance(
                    exc, ConnectionError
                ):  # no more files or memory; those that are there go on
                    logger.error("no connection can be accepted: %s", exc.strerror)
                    self._stopping.wait(_FAILED_WAIT)
                continue
            return transport, (address[0], address[1])
        return None

    def _secured(self, transport: socket.socket) -> socket.socket:
        """The connection in TLS, where this is its port, before anything is said. `ConnectionError`: it is gone."""
        if self._tls is None:
            return transport
        context = self._tls.context()
        try:
            transport.getpeername()  # `ssl` asks too, but then has taken the connection and does not close it
            return context.wrap_socket(transport, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            raise ConnectionResetError("closed by the peer") from error

    def _serve(self, transport: socket.socket, address: tuple[str, int]) -> None:
        host = address[0]
        over = Secure(transport) if isinstance(transport, ssl.SSLSocket) else Plain(transport)
        association = Association(
            self._server,
            UpperLayer(over, max_pdu=self._max_pdu, timeout=self._times.network),
            address,
            times=self._times,
            take_seat=lambda peer: self._seats.take(association, peer),
            give_seat=lambda: self._seats.give(association),
            stopping=self._stopping.is_set,
        )
        with self._changed:
            if self._stopping.is_set() or not self._seats.enter(host):
                return
            self._living[association] = None
        try:
            association.run()
        finally:
            with self._changed:
                del self._living[association]
                self._seats.leave(association)
