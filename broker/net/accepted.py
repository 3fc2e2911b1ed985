"""One accepted association, in the one thread that it has: negotiates, reads requests, ends when either side wants.

What a request means and what is answered is `broker.net.serving`'s. Another thread may send it an N-EVENT-REPORT while
nothing is being answered (`report`). While an answer is worked out, `cancelled` looks whether the peer has sent a
C-CANCEL, or has gone. One request at a time (asynchronous window 1/1): who sends another one meanwhile is served after
it.

PS3.8 7, 9.2 (upper layer service and states, as acceptor), 9.3.4, 9.3.8 (why it is rejected, aborted).
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.dicom import negotiation, pdu
from broker.dicom.command import C_CANCEL, N_EVENT_REPORT, RESPONSE, Message, MessageReader, dataset_pdus
from broker.errors import RemoteProtocolError
from broker.net import heard
from broker.net.action_scu import Call
from broker.net.service import Peer
from broker.net.serving import Serving
from broker.net.upper_layer import INVALID_PARAMETER, UNEXPECTED_PDU, UNRECOGNISED_PDU, UpperLayer, Violation

if TYPE_CHECKING:
    from broker.net.association import AssociationServer

logger = logging.getLogger(__name__)

Refusal = tuple[int, int, int]
"""Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

APPLICATION_UNKNOWN = "application context name not supported"
CALLING_UNKNOWN = "calling AE title unknown"
CALLED_UNKNOWN = "called AE title unknown"
VERSION_UNKNOWN = "protocol version not supported"
LIMIT_EXCEEDED = "too many associations"
REFUSALS: Mapping[str, Refusal] = {
    CALLED_UNKNOWN: (1, 1, 7),
    CALLING_UNKNOWN: (1, 1, 3),
    APPLICATION_UNKNOWN: (1, 1, 2),
    VERSION_UNKNOWN: (1, 2, 2),
    LIMIT_EXCEEDED: (2, 3, 2),  # transient, by the service provider: the peer may try again
}
"""Why an association is refused, and how that is said."""

_USER, _PROVIDER = 0, 2
"""Sources of an A-ABORT (PS3.8 9.3.8)."""


class _RefusedError(Exception):
    """The association is rejected for one of `REFUSALS`, which `detail` may say more closely."""

    def __init__(self, why: str, detail: str = "") -> None:
        super().__init__(detail or why)
        self.refusal = REFUSALS[why]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds."""

    negotiation: float
    """From connecting to the whole A-ASSOCIATE-RQ."""
    network: float
    """Of silence within an association, for a PDU that has begun, and for the peer to take what is written."""


class _Reported:
    """An N-EVENT-REPORT on its way, until it is answered or the association ends."""

    def __init__(self, message_id: int) -> None:
        self.message_id = message_id
        self.status: int | None = None
        self.over = threading.Event()


class Association:
    """Of one connection. `take_seat` is asked once the peer may come in otherwise: why not, or an empty text."""

    def __init__(
        self,
        server: AssociationServer,
        layer: UpperLayer,
        address: tuple[str, int],
        *,
        times: Times,
        take_seat: Callable[[Peer], str],
        give_seat: Callable[[], None],
        stopping: Callable[[], bool],
    ) -> None:
        self.layer = layer
        self.idle = True
        """Nothing is being received, served or answered: it may be ended without anyone losing anything."""
        self.negotiating, self.since = True, time.monotonic()
        """Its A-ASSOCIATE-RQ is not whole yet, and when it connected."""
        self._server = server
        self._times = times
        self._take_seat = take_seat
        self._give_seat = give_seat
        self._stopping = stopping
        self._peer = Peer(calling_aet="", called_aet="", host=address[0], port=address[1])
        self._established = False
        self._reader: MessageReader  # of an association that is established
        self._waiting: deque[Message] = deque()
        self._cancelled: set[int] = set()
        self._released = False
        self._contexts: Mapping[int, pdu.Context] = {}
        self._longest = 0
        """What the peer takes in a P-DATA-TF."""
        self._writing = threading.Lock()
        """Held while a request is answered, or a report written: messages are not to be mixed."""
        self._reported: _Reported | None = None
        self._broken: Exception | None = None
        """What went wrong while `cancelled` looked, which the service's work is not to be disturbed with."""

    def run(self) -> None:
        """Serves until either side ends it. Closing the connection is the caller's."""
        try:
            self._run()
        except _RefusedError as exc:
            peer = self._peer
            logger.warning(
                "association refused: %s (%r to %r from %s)",
                exc,
                peer.calling_aet,
                peer.called_aet,
                peer.host,
            )
            self.layer.write_last(pdu.reject(*exc.refusal))
        except Violation as exc:
            # Before there is an association its user aborts (PS3.8 table 9-10, AA-1).
            source, reason = (_PROVIDER, exc.reason) if self._established else (_USER, 0)
            self._abort(source, reason, why=str(exc))
        except RemoteProtocolError as exc:
            self._abort(_USER, 0, why=str(exc))
        except TimeoutError:
            if self._established:
                self._abort(_USER, 0, why="the peer took too long")
        except ssl.SSLError as exc:
            # No A-ABORT: what TLS has to say of it (alert, RFC 8446 6.2) has left already.
            self._give_seat()
            logger.warning("connection from %s broken off: %s", self._peer.host, heard.reason(exc))
            self.layer.write_last(b"")
        except OSError:  # the peer is gone, or this server goes
            if self._established and self._stopping():
                self.layer.write_last(pdu.abort())

    @property
    def host(self) -> str:
        """Where the peer is."""
        return self._peer.host

    def cancelled(self, message_id: int) -> bool:
        """Whether the peer wants no more answers to the message. Looks at what has come, and does not wait."""
        try:
            self.layer.write()  # what the peer has not seen yet may be what it cancels after
            while not self.over:
                if self._waiting and self._waiting[0].command.field == C_CANCEL:
                    self._cancelled.add(self._waiting.popleft().command.message_id)
                elif self._waiting or not self.layer.pending():
                    break
                else:
                    self._read()
        except (Violation, RemoteProtocolError, OSError) as exc:
            self._broken = exc
        return self.over or message_id in self._cancelled

    def report(self, call: Call, patience: float) -> int | None:
        """From another thread: tells the peer by N-EVENT-REPORT, and waits `patience` seconds for its status.

        None: it did not negotiate the SOP class, has no time, or did not answer. It may have been told even then.
        """
        deadline = time.monotonic() + patience
        if not self._writing.acquire(timeout=patience):
            return None
        try:
            found = [
                number for number, c in self._contexts.items() if c.abstract_syntax == call.sop_class_uid
            ]
            if not found or self.over or self._reported is not None:
                return None
            number, reported = found[0], _Reported(message_id=1)
            command = pdu.event_report_rq(
                number, reported.message_id, call.sop_class_uid, call.sop_instance_uid, call.type_id
            )
            information = call.encoded(self._contexts[number].transfer_syntax)
            self._reported = reported
            self.layer.write(command + dataset_pdus(number, information, self._longest))
        except OSError:  # as the association's own thread will find out
            return None
        finally:
            self._writing.release()
        reported.over.wait(deadline - time.monotonic())
        return reported.status

    @property
    def over(self) -> bool:
        """The peer wants no answer at all any more: it is gone, or asks for release."""
        return self._released or self._broken is not None

    def _run(self) -> None:
        accepted = self._negotiated()
        serving = Serving(self._server, self._peer, accepted, self.layer, self)
        self._reader = MessageReader(serving.place)
        try:
            self.layer.write(accepted.answer)
            self._contexts, self._longest = accepted.contexts, accepted.max_length
            while (message := self._next()) is not None:
                with self._writing:
                    serving.answer(message)
        finally:
            serving.close()
            with self._writing:
                self._contexts = {}
            if self._reported is not None:
                self._reported.over.set()
        self._give_seat()  # before the peer knows: it may come again at once
        self.layer.write_last(pdu.release_rp())

    def _negotiated(self) -> negotiation.Accepted:
        body = self.layer.read_request(self.since + self._times.negotiation)
        self.negotiating = False
        called, calling = negotiation.titles(body)
        peer = Peer(calling_aet=calling, called_aet=called, host=self._peer.host, port=self._peer.port)
        self._peer = peer
        if called != self._server.ae_title:
            raise _RefusedError(CALLED_UNKNOWN)
        if not self._server.admits(peer):
            raise _RefusedError(CALLING_UNKNOWN)
        # Read only now: what a stranger sends takes no time, and is not kept.
        request, accepted = self._server.negotiate(body)
        if not request.protocol_version & 1:
            raise _RefusedError(VERSION_UNKNOWN)
        if request.application_context != pdu.APPLICATION_CONTEXT:
            raise _RefusedError(APPLICATION_UNKNOWN)
        if 0 < accepted.max_length < negotiation.SHORTEST_PDU:
            raise Violation(INVALID_PARAMETER, f"it takes PDUs of {accepted.max_length} bytes at most")
        full = self._take_seat(peer)
        if full:
            raise _RefusedError(LIMIT_EXCEEDED, full)
        self._established = True
        return accepted

    def _abort(self, source: int, reason: int, *, why: str) -> None:
        logger.warning("association of %r from %s aborted: %s", self._peer.calling_aet, self._peer.host, why)
        self._give_seat()
        self.layer.write_last(pdu.abort(source, reason))

    def _next(self) -> Message | None:
        """The next request, None once the peer has asked for release."""
        while (message := self._next_message()) is not None:
            if not self._answers_report(message):
                return message
        return None

    def _answers_report(self, message: Message) -> bool:
        reported, command = self._reported, message.command
        if reported is None or command.field != N_EVENT_REPORT | RESPONSE:
            return False
        if command.message_id != reported.message_id:
            return False
        self._reported, reported.status = None, command.status
        reported.over.set()
        return True

    def _next_message(self) -> Message | None:
        if self._broken is not None:
            raise self._broken
        self._cancelled.clear()  # a C-CANCEL that came before the request it names belongs to an older one
        while not self._waiting and not self._released:
            self.idle = not self._reader.midway
            if self.idle and self._stopping():
                raise ConnectionAbortedError("the server stops")
            self._read()
            self.idle = False
        return self._waiting.popleft() if self._waiting else None

    def _read(self) -> None:
        """Takes one PDU."""
        kind, body = self.layer.read(self._times.network)
        if kind == pdu.P_DATA:
            self._waiting.extend(self._reader.feed(body))
        elif kind == pdu.RELEASE_RQ:
            self._released = True
        elif kind == pdu.ABORT:
            raise ConnectionAbortedError("aborted by the peer")
        elif kind in (pdu.ASSOCIATE_RQ, pdu.ASSOCIATE_AC, pdu.ASSOCIATE_RJ, pdu.RELEASE_RP):
            raise Violation(UNEXPECTED_PDU, f"PDU of type {kind} in an association")
        else:
            raise Violation(UNRECOGNISED_PDU, f"PDU of unknown type {kind}")
