"""The DICOM association server: many services on one port, and on another one in TLS.

Services (`broker.net.service`) get a request and the peer and give answers. What a query or an object means
is their business, and so is durability. Nothing of the layer below (`broker.net.acceptor`) shows through, so that it
can be exchanged. Received objects are files: never held in memory, decoded or
transcoded. Data sets are not logged.

PS3.7 9 (DIMSE-C services), 10 (DIMSE-N services), PS3.8 7 (association establishment).
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from broker.dicom import negotiation, status
from broker.dicom.pdu import MAX_PDU
from broker.dicom.uid import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, VERIFICATION
from broker.errors import BrokerError, LocalProtocolError, RemoteProtocolError, StoreError, UnwritableError
from broker.net.accepted import Times
from broker.net.acceptor import Acceptor
from broker.net.action_scu import Call
from broker.net.incoming import PART
from broker.net.seats import Seats
from broker.net.service import (
    PRIVATE_STORAGE,
    STORAGE_SOP_CLASSES,
    ActionRequest,
    ActionService,
    Answer,
    FindRequest,
    FindService,
    ObjectRequest,
    ObjectService,
    Peer,
    Service,
    StoreRequest,
    StoreService,
)
from broker.net.tls import ListenerTls, Renewed

__all__ = [
    "STORAGE_SOP_CLASSES",
    "ActionRequest",
    "ActionService",
    "Answer",
    "AssociationServer",
    "FindRequest",
    "FindService",
    "ObjectRequest",
    "ObjectService",
    "Peer",
    "Service",
    "StoreRequest",
    "StoreService",
]

logger = logging.getLogger(__name__)

MESSAGE_SYNTAXES = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
"""What a query or a DIMSE-N service speaks, in order of liking; images are taken as proposed."""

NETWORK_TIMEOUT = 60.0
"""Seconds of silence within an association."""
NEGOTIATION_TIMEOUT = 30.0
"""Seconds from connecting to the A-ASSOCIATE-RQ."""

_NOT_SERVED = {status.SOP_CLASS_NOT_SUPPORTED: "the request names an SOP class that is not served"}
_LATER = {status.OUT_OF_RESOURCES: "the disk is nearly full, or the journal cannot be used: try again later"}
_BROKEN = {status.CANNOT_UNDERSTAND: "the request cannot be read, or an error of this side, which is logged"}
_OBJECT = {
    status.NO_SUCH_SOP_CLASS: "the SOP class of the request is not the negotiated one",
    status.PROCESSING_FAILURE: "this side could not do it: try again later",
    status.UNRECOGNISED_OPERATION: "the SOP class is not served by this request",
}
ANSWERED: Mapping[str, Mapping[int, str]] = {
    "C-ECHO": {status.SUCCESS: "always"},
    "C-FIND": {
        status.SUCCESS: "all matches were sent",
        status.CANCEL: "the peer sent a C-CANCEL",
        **_NOT_SERVED,
        **_LATER,
        **_BROKEN,
    },
    "C-STORE": {**_NOT_SERVED, **_LATER, **_BROKEN},
    "N-CREATE": _OBJECT,
    "N-SET": _OBJECT,
    "N-ACTION": _OBJECT,
    "N-EVENT-REPORT": _OBJECT,
}
"""What the server itself answers, whatever the service; any other request is answered 0211."""

# Bytes of the application information that a query service answers with: no relational queries (there is one level),
# combined matching of dates and times, no fuzzy matching beyond case and accents.
_FIND_EXTENDED = b"\0\1\0"

_KNOWN, _LONGEST_KNOWN = 256, 1 << 16
"""How many A-ASSOCIATE-RQs are remembered with their answers, and how many bytes they have at most."""


class AssociationServer:
    """Accepts associations on one port and hands their requests to the registered services."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        ae_title: str = "BROKER",
        spool: Path,
        admit: Callable[[Peer], bool],
        check_room: Callable[[], None] = lambda: None,
        turned_away: Callable[[], None] = lambda: None,
        max_associations: int = 200,
        max_per_peer: int | None = None,
        acknowledges_identity: bool = False,
        max_pdu: int = MAX_PDU,
        network_timeout: float = NETWORK_TIMEOUT,
        negotiation_timeout: float = NEGOTIATION_TIMEOUT,
        tls: ListenerTls | None = None,
        tls_host: str = "",
    ) -> None:
        """`port` 0 takes a free one. `spool`: a folder of this server alone, on the file system of the
        archive.

        `admit`: whether a calling AE title may associate; called in the association's thread. `check_room`:
        asked while an object arrives, raises `StoreError` where nothing may be written. `turned_away`: called
        for each object that is answered A700. `max_per_peer`: of `max_associations`, for one calling AE title and
        for one host; None: all of them. `acknowledges_identity`: a user identity, which nobody checks, is confirmed
        where the peer asks for that. Time-outs in seconds: of silence within an association, and from connecting to
        the A-ASSOCIATE-RQ, the handshake of TLS included. `tls`: the port of DICOM over TLS, at
        `tls_host` or else at `host`.
        """
        self.ae_title = ae_title
        self.spool = spool
        self._admit = admit
        self._turned_away = turned_away
        self.check_room = check_room
        self._finders: dict[str, FindService] = {}
        self._stores: dict[str, StoreService] = {}
        self._objects: dict[str, ObjectService] = {}
        self._actions: dict[str, ActionService] = {}
        self.max_pdu = max_pdu
        self.acknowledges_identity = acknowledges_identity
        self._known = lru_cache(maxsize=_KNOWN)(self._negotiated)
        seats = Seats(max_associations=max_associations, max_per_peer=max_per_peer)
        accepting = partial(
            Acceptor,
            self,
            seats=seats,
            max_pdu=max_pdu,
            times=Times(negotiation=negotiation_timeout, network=network_timeout),
        )
        self._seats = seats
        self._plain = accepting(host, port)
        self._secure = accepting(tls_host or host, tls.port, tls=Renewed(tls)) if tls is not None else None
        self._acceptors = [self._plain, *filter(None, [self._secure])]

    def register(self, service: Service) -> None:
        """Hosts the service. Before `start`; `LocalProtocolError` when one of its SOP classes is taken."""
        kinds: dict[str, dict[str, Any]] = {
            "find": self._finders,
            "store": self._stores,
            "operate": self._objects,
            "act": self._actions,
        }
        table = next(kinds[kind] for kind in kinds if hasattr(service, kind))
        for sop_class in service.sop_classes:
            if sop_class in table:
                raise LocalProtocolError(f"{sop_class}: two services for one SOP class")
            table[sop_class] = service
        self._known.cache_clear()

    @property
    def port(self) -> int:
        """Where it listens; what was asked for before `start`."""
        return self._plain.port

    @property
    def tls_port(self) -> int:
        """Where it listens in TLS, what was asked for before `start`; 0 where it does not."""
        return self._secure.port if self._secure is not None else 0

    def start(self) -> None:
        """Opens the ports and accepts. `OSError` when one of them or the spool folder cannot be had."""
        self.spool.mkdir(parents=True, exist_ok=True)
        # Of a process that died: never answered, so never promised.
        for leftover in self.spool.glob(f"*{PART}"):
            leftover.unlink()
        try:
            for acceptor in self._acceptors:
                acceptor.start()
        except OSError:
            self.stop(0)
            raise

    def stop(self, grace: float = 5.0) -> None:
        """Stops accepting, lets served requests end within `grace` seconds, aborts the rest. Idempotent."""
        deadline = time.monotonic() + grace
        for acceptor in [one for one in self._acceptors if one.stop_accepting()]:
            acceptor.end(deadline)

    def report(self, calling_aet: str, call: Call, patience: float) -> int | None:
        """Tells a peer by N-EVENT-REPORT on an association that it has open with this server; from any thread.

        The status that it answered; None where it has none open for the SOP class, or did not answer within
        `patience` seconds. Then it may have been told.
        """
        statuses = (one.report(call, patience) for one in self._seats.of(calling_aet))
        return next((status for status in statuses if status is not None), None)

    # --- for the layer below ---

    def admits(self, peer: Peer) -> bool:
        """Whether the calling AE title may associate. An exception of `admit` refuses."""
        try:
            return self._admit(peer)
        except Exception as exc:  # noqa: BLE001 - the edge of somebody else's code
            _failed("A-ASSOCIATE", peer, exc)
            return False

    def syntaxes(self, sop_class: str, proposed: Sequence[str]) -> Sequence[str]:
        """Transfer syntaxes to accept for a SOP class, the best first; none when it has no service."""
        if self._store_of(sop_class) is not None:
            return proposed
        known = any(sop_class in table for table in (self._finders, self._objects, self._actions))
        return MESSAGE_SYNTAXES if known or sop_class == VERIFICATION else ()

    def peer_serves(self, sop_class: str) -> bool:
        """See `broker.dicom.negotiation.Policy`."""
        service = self._actions.get(sop_class)
        return service is not None and sop_class in service.scu_classes

    def extended(self, sop_class: str, proposed: bytes) -> bytes | None:
        """What of the proposed ways to query there is (PS3.4 C.5.1.1, K.5.1.1); of other classes, nothing is said."""
        if sop_class not in self._finders:
            return None
        return bytes(ours & theirs for ours, theirs in zip(_FIND_EXTENDED, proposed, strict=False))

    def negotiate(self, body: bytes) -> tuple[negotiation.AssociateRequest, negotiation.Accepted]:
        """An A-ASSOCIATE-RQ and its A-ASSOCIATE-AC. Raises `RemoteProtocolError`.

        A device sends the same bytes every time, and the answer hangs on nothing else once the services are there.
        """
        return self._known(body) if len(body) <= _LONGEST_KNOWN else self._negotiated(body)

    def _negotiated(self, body: bytes) -> tuple[negotiation.AssociateRequest, negotiation.Accepted]:
        request = negotiation.read(body)
        return request, negotiation.accept(body, request, self)

    def find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        """The service's answers; an exception ends them with a failure status."""
        service = self._finders.get(request.sop_class)
        if service is None:
            yield Answer(status=status.SOP_CLASS_NOT_SUPPORTED)
            return
        try:
            yield from service.find(request, peer)
        except Exception as exc:  # noqa: BLE001 - the edge of the service
            yield _failed("C-FIND", peer, exc)

    def store(self, request: StoreRequest, peer: Peer) -> Answer:
        """The service's answer; an exception becomes a failure status."""
        service = self._store_of(request.sop_class_uid)
        if service is None:
            return Answer(status=status.SOP_CLASS_NOT_SUPPORTED)
        try:
            return service.store(request, peer)
        except Exception as exc:  # noqa: BLE001 - the edge of the service
            return self.failed("C-STORE", peer, exc)

    def operate(self, request: ObjectRequest, peer: Peer) -> Answer:
        """The service's answer; an exception becomes 0110 processing failure."""
        service = self._objects.get(request.sop_class_uid)
        if service is None:  # the class is known to another kind of service, or it had not been negotiated
            return Answer(status=status.UNRECOGNISED_OPERATION)
        try:
            return service.operate(request, peer)
        except Exception as exc:  # noqa: BLE001 - the edge of the service
            return replace(_failed(request.operation, peer, exc), status=status.PROCESSING_FAILURE)

    def act(self, request: ActionRequest, peer: Peer) -> Answer:
        """The service's answer; an exception becomes 0110 processing failure."""
        service = self._actions.get(request.sop_class_uid)
        if service is None:
            return Answer(status=status.UNRECOGNISED_OPERATION)
        try:
            return service.act(request, peer)
        except Exception as exc:  # noqa: BLE001 - the edge of the service
            return replace(_failed(request.operation, peer, exc), status=status.PROCESSING_FAILURE)

    def _store_of(self, sop_class: str) -> StoreService | None:
        """A vendor's own class is one outside the standard's root (PS3.5 9.2)."""
        private = not sop_class.startswith("1.2.840.10008.")
        return self._stores.get(sop_class) or (self._stores.get(PRIVATE_STORAGE) if private else None)

    def failed(self, operation: str, peer: Peer, exc: Exception) -> Answer:
        """What the peer gets when this side failed before a service could answer."""
        if operation == "C-STORE" and _passes(exc):
            self._turned_away()
        return _failed(operation, peer, exc)


def _passes(exc: Exception) -> bool:
    """Whether the peer may try the same again later."""
    return isinstance(exc, StoreError | OSError)


def _failed(operation: str, peer: Peer, exc: Exception) -> Answer:
    """Logs an exception once, with its place; with its text only where that is ours and names no value."""
    if isinstance(exc, UnwritableError):  # logged where it began, not once per object
        return Answer(status=status.OUT_OF_RESOURCES, comment=f"{exc}, try again later")
    frames = [f for f in traceback.extract_tb(exc.__traceback__) if "site-packages" not in f.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "unknown place"
    text = f": {exc}" if isinstance(exc, BrokerError) else ""
    logger.error("%s of %r failed: %s at %s%s", operation, peer.calling_aet, type(exc).__name__, place, text)
    if _passes(exc):
        return Answer(status=status.OUT_OF_RESOURCES, comment="not now, try again later")
    comment = str(exc) if isinstance(exc, RemoteProtocolError) else "internal error"
    return Answer(status=status.CANNOT_UNDERSTAND, comment=comment)
