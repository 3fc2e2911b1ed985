"""The listening socket below `broker.net.association`: a thread for each connection, from a pool that grows as needed.

Threads that have nothing to do wait in `accept` themselves, so that a connection is not handed over; the one that takes
the last place leaves another one waiting. The thread is the connection's alone: a peer that is silent, or shakes hands
for ever, holds nothing but it, and where no thread is left the one that has been silent longest gives it up. Who may
associate is not decided here, only how many.

PS3.8 9.1.4 (transport connection).
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from broker.net.accepted import Association, Times
from broker.net.service import Peer
from broker.net.upper_layer import UpperLayer

if TYPE_CHECKING:
    from broker.net.association import AssociationServer

logger = logging.getLogger(__name__)

REFUSALS = 64
"""Connections beyond the associations that may be: they negotiate or are refused. More wait in the kernel."""

_BACKLOG = 1024
SPARE = 32
"""Threads that are kept waiting for connections; others end once their connection does."""
_SILENT = 1.0
"""Seconds that a connection has for its A-ASSOCIATE-RQ where others wait for its thread."""
_CUT_AFTER = 0.5
"""Seconds that associations have to abort once `stop` has lost its patience."""
_FAILED_WAIT = 0.1
"""Seconds until it is tried again to accept where the system has no more files or memory."""


class Acceptor:
    """Listens for one `AssociationServer`."""

    def __init__(
        self,
        server: AssociationServer,
        host: str,
        port: int,
        *,
        max_associations: int,
        max_per_peer: int | None,
        max_pdu: int,
        times: Times,
    ) -> None:
        """`max_per_peer`: associations at once of one calling AE title, and of one host; None: as many as there are."""
        self._server = server
        self._host, self._wanted_port = host, port
        # Without one, a limit that nobody can reach: there are no more connections.
        self._most, self._most_of_one = max_associations, max_per_peer or max_associations + REFUSALS
        self._max_pdu = max_pdu
        self._times = times
        self._listener: socket.socket | None = None
        self._stopping = threading.Event()
        # Guards what follows; notified whenever a connection has ended.
        self._changed = threading.Condition()
        self._living: dict[Association, Peer | None] = {}
        """Connections, with the peer that has a seat."""
        self._hosts: Counter[str] = Counter()
        self._threads = self._waiting = 0

    @property
    def port(self) -> int:
        """Where it listens, 0 when it does not."""
        return int(self._listener.getsockname()[1]) if self._listener else 0

    def start(self) -> None:
        """Opens the port; `OSError` when it cannot be had."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server(
            (self._host, self._wanted_port), family=family, backlog=_BACKLOG
        )
        self._stopping.clear()
        with self._changed:
            self._add_thread(self._listener)

    def stop(self, grace: float) -> None:
        """Ends idle associations at once, those that serve after their request, all after `grace` seconds."""
        if self._listener is None:
            return
        listener, self._listener = self._listener, None
        self._stopping.set()
        listener.shutdown(socket.SHUT_RDWR)  # wakes the threads that wait in accept
        listener.close()
        deadline = time.monotonic() + grace
        with self._changed:
            for association in self._living:
                if association.idle:
                    association.layer.end_reading()
            self._changed.wait_for(lambda: not self._living, max(0.0, deadline - time.monotonic()))
            for association in self._living:
                association.layer.end_reading()
            self._changed.wait_for(lambda: not self._living, _CUT_AFTER)
            for association in self._living:
                association.layer.cut()

    def associations(self, calling_aet: str) -> list[Association]:
        """Those that a peer has open."""
        with self._changed:
            return [a for a, peer in self._living.items() if peer and peer.calling_aet == calling_aet]

    def _add_thread(self, listener: socket.socket) -> None:
        self._threads += 1
        self._waiting += 1
        name = f"dicom-{self._threads}"
        # A daemon: a service that hangs must not keep the process from ending.
        threading.Thread(target=self._work, args=(listener,), name=name, daemon=True).start()

    def _work(self, listener: socket.socket) -> None:
        while (connection := self._accepted(listener)) is not None:
            transport, address = connection
            with self._changed:
                self._waiting -= 1
                if not self._waiting:
                    if self._threads < self._most + REFUSALS:
                        self._add_thread(listener)
                    else:
                        self._make_room()
            try:
                with transport:
                    self._serve(transport, address)
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

    def _serve(self, transport: socket.socket, address: tuple[str, int]) -> None:
        host = address[0]
        layer = UpperLayer(transport, max_pdu=self._max_pdu, timeout=self._times.network)
        association = Association(
            self._server,
            layer,
            address,
            times=self._times,
            take_seat=lambda peer: self._take_seat(association, peer),
            give_seat=lambda: self._give_seat(association),
            stopping=self._stopping.is_set,
        )
        with self._changed:
            # Silent ones too are counted: one host alone must not use up the threads.
            full = self._hosts[host] >= self._most_of_one + REFUSALS // 2
            if self._stopping.is_set() or full:
                return
            self._hosts[host] += 1
            self._living[association] = None
        try:
            association.run()
        finally:
            with self._changed:
                del self._living[association]
                self._hosts -= Counter((host,))
                self._changed.notify_all()

    def _take_seat(self, association: Association, peer: Peer) -> str:
        with self._changed:
            seated = [other for other in self._living.values() if other is not None]
            if len(seated) >= self._most:
                return "too many associations"
            if sum(other.calling_aet == peer.calling_aet for other in seated) >= self._most_of_one:
                return "too many associations of this AE title"
            if sum(other.host == peer.host for other in seated) >= self._most_of_one:
                return "too many associations of this host"
            self._living[association] = peer
            return ""

    def _give_seat(self, association: Association) -> None:
        with self._changed:
            self._living[association] = None
