"""The listening socket below `broker.net.association`: pynetdicom as acceptor.

Makes an association of each connection (`broker.net.provider`) and ends them. Turns pynetdicom's own
logging of data sets off: it is slow and shows patients. PS3.8 9.1.4 (transport connection), 9.2.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any, cast

from pynetdicom import _config as pynetdicom_config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import AssociationServer as TransportServer
from pynetdicom.transport import AssociationSocket, RequestHandler

from broker.dicom.uid import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from broker.net.provider import IDLE_AFTER, IDLE_WAIT, ServedAssociation

if TYPE_CHECKING:
    from broker.net.association import AssociationServer

logger = logging.getLogger(__name__)

REFUSALS = 64
"""Connections beyond the associations that may be: they negotiate or are refused. More wait in the kernel."""

_BACKLOG = 1024
_FULL_WAIT = 0.05
"""Seconds until it is looked again whether a connection has gone."""

# Longest PDU that is read into memory. An A-ASSOCIATE-RQ with 128 contexts stays below 64 KiB, and no peer
# may send P-DATA longer than the maximum it was told.
_LONGEST_PDU = 16 * 1024 * 1024


class Acceptor:
    """Listens for one `AssociationServer`."""

    def __init__(
        self,
        server: AssociationServer,
        host: str,
        port: int,
        *,
        max_associations: int,
        max_pdu: int,
        network_timeout: float,
        negotiation_timeout: float,
    ) -> None:
        self._server = server
        self._address = (host, port)
        self._max_associations = max_associations
        self._transport: _Transport | None = None
        self._ae = ApplicationEntity(server.ae_title)
        # pynetdicom counts every thread, the refused and the silent too: `_Transport.seat` counts.
        self._ae.maximum_associations = max_associations + REFUSALS
        self._ae.maximum_pdu_size = max_pdu
        self._ae.network_timeout = network_timeout
        self._ae.dimse_timeout = network_timeout
        self._ae.acse_timeout = negotiation_timeout
        self._ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        self._ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME

    @property
    def port(self) -> int:
        """Where it listens, 0 when it does not."""
        return int(self._transport.server_address[1]) if self._transport else 0

    def start(self) -> None:
        """Opens the port; `OSError` when it cannot be had."""
        pynetdicom_config.LOG_HANDLER_LEVEL = "none"
        pynetdicom_config.LOG_REQUEST_IDENTIFIERS = False
        pynetdicom_config.LOG_RESPONSE_IDENTIFIERS = False
        self._transport = _Transport(self._ae, self._address, self._server, self._max_associations)
        threading.Thread(
            target=self._transport.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="dicom-accept",
            daemon=True,
        ).start()

    def stop(self, grace: float) -> None:
        """Ends idle associations at once, those that serve after their request, all after `grace` seconds."""
        if self._transport is None:
            return
        transport, self._transport = self._transport, None
        transport.shutdown()
        deadline = time.monotonic() + grace
        while living := [a for a in transport.served if not a.ended]:
            late = time.monotonic() >= deadline
            _end_together([a for a in living if late or not a.busy])
            if late:
                break
            time.sleep(0.01)


class _Socket(AssociationSocket):
    """Reads a PDU in as few calls as the kernel allows (pynetdicom: 4 KiB each), and writes it whole.

    While nothing comes it waits for the peer instead of asking a thousand times a second.
    """

    _heard = 0.0

    @property
    def ready(self) -> bool:
        transport = self.socket
        if transport is not None and time.monotonic() - self._heard > IDLE_AFTER:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile: pynetdicom finds out below
                select.select([transport], [], [], IDLE_WAIT)
        return bool(super().ready)

    def recv(self, nr_bytes: int) -> bytearray:
        self._heard = time.monotonic()
        if nr_bytes > _LONGEST_PDU:
            raise OSError(f"PDU of {nr_bytes} bytes")
        received = bytearray(nr_bytes)
        view = memoryview(received)
        done = 0
        while done < nr_bytes:
            count = cast(socket.socket, self.socket).recv_into(view[done:])
            if not count:
                return received[:done]
            done += count
        return received

    def send(self, bytestream: bytes) -> None:
        try:
            cast(socket.socket, self.socket).sendall(bytestream)
        except (OSError, AttributeError):  # AttributeError: closed meanwhile, there is no socket any more
            self.event_queue.put("Evt17")

    def _shutdown_socket(self) -> None:
        """Closes in any case: pynetdicom leaves a socket open that the peer has closed first."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class _Handler(RequestHandler):
    """Makes the association of a connection."""

    server: _Transport

    def _create_association(self) -> ServedAssociation:
        association = ServedAssociation(self.ae, self.server.host)
        association._server = self.server
        association.name = f"AcceptorThread@{self.client_address[0]}:{self.client_address[1]}"
        association.set_socket(_Socket(association, client_socket=self.request))
        acceptor, ae = association.acceptor, self.ae
        acceptor.maximum_length = ae.maximum_pdu_size
        acceptor.ae_title = self.server.ae_title
        acceptor.address_info = self.local
        acceptor.implementation_class_uid = ae.implementation_class_uid
        acceptor.implementation_version_name = ae.implementation_version_name
        association.requestor.address_info = self.remote
        return association


class _Transport(TransportServer):
    """The listening socket. Making an association does not block, so the accept loop makes it itself."""

    request_queue_size = _BACKLOG

    def __init__(
        self, ae: ApplicationEntity, address: tuple[str, int], host: AssociationServer, most: int
    ) -> None:
        self.host = host
        self._most = most
        self._seating = threading.Lock()
        super().__init__(ae, address, host.ae_title, [], request_handler=_Handler)

    @property
    def served(self) -> list[ServedAssociation]:
        """Associations whose thread lives."""
        return [a for a in self.active_associations if isinstance(a, ServedAssociation)]

    def seat(self, association: ServedAssociation) -> bool:
        """See `broker.net.provider.Seats`. Two that come at once are not both over the limit, nor both below."""
        with self._seating:
            association.seated = sum(other.seated for other in self.served) < self._most
            return association.seated

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        if len(self.served) >= self._most + REFUSALS:
            time.sleep(_FULL_WAIT)
            raise BlockingIOError("not accepted yet: it waits in the kernel, and is answered later")
        connection, address = super().get_request()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(self.ae.network_timeout)  # a peer that stops inside a PDU
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        logger.exception("connection could not be taken")

    def service_actions(self) -> None:
        """Nothing: pynetdicom collects garbage here, which stops the whole process every few seconds."""

    def shutdown(self) -> None:
        TCPServer.shutdown(self)
        self.server_close()


def _end_together(living: list[ServedAssociation]) -> None:
    """Each end may wait for its peer's half-sent PDU: side by side, however many there are."""
    threads = [threading.Thread(target=association.end, daemon=True) for association in living]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 1.0
    for thread in threads:
        thread.join(timeout=max(0.0, deadline - time.monotonic()))
