"""One accepted association: pynetdicom's providers, subclassed to fit the broker. No monkeypatching.

Streams C-STORE data sets into files of the spool folder, answers in the thread that serves, sees a C-CANCEL
between answers. Knows the server, but no service. Undecodable messages abort the association, and nothing
else.

PS3.8 9 (upper layer), PS3.7 6.3, 9.3 (messages).
"""

from __future__ import annotations

import io
import logging
import queue
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pynetdicom.acse import ACSE
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import _RSP_TO_MESSAGE, DIMSEServiceProvider
from pynetdicom.dimse_messages import C_FIND_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_CANCEL, C_ECHO, C_FIND, C_STORE, N_CREATE, N_SET
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext

from broker.dicom import part10, status
from broker.dicom.uid import EXPLICIT_BIG_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from broker.errors import LocalProtocolError, RemoteProtocolError
from broker.net.incoming import Incoming
from broker.net.service import Answer, FindRequest, ObjectRequest, Peer, StoreRequest

if TYPE_CHECKING:
    from broker.net.association import AssociationServer

logger = logging.getLogger(__name__)

# A-ASSOCIATE-RJ (PS3.8 9.3.4): result, source and reason.
Refusal = tuple[int, int, int]
CALLED_UNKNOWN = "called AE title unknown"
CALLING_UNKNOWN = "calling AE title unknown"
LIMIT_EXCEEDED = "too many associations"
REFUSALS: Mapping[str, Refusal] = {
    CALLED_UNKNOWN: (1, 1, 7),
    CALLING_UNKNOWN: (1, 1, 3),
    LIMIT_EXCEEDED: (2, 3, 2),  # transient, by the service provider: the peer may try again
}
"""Why an association is refused, and how that is said."""
IDLE_AFTER = 0.25
"""Seconds of silence after which an association is idle: pynetdicom's loops then wait, instead of polling."""

IDLE_WAIT = 0.05
"""How long they wait at a time: what a release or a stop may be late by. A message is seen at once."""

# States of the upper layer in which an abort has been sent or is not needed (PS3.8 9.2.1).
_ENDED = ("Sta1", "Sta13")


class _Dimse(DIMSEServiceProvider):
    """Receives C-STORE data sets into files, and sends in the thread that answers.

    pynetdicom would hold the data set in memory, or make a temporary file where the system keeps those.
    Sending past the upper layer's queue keeps its thread free to read, so that a C-CANCEL is seen between
    answers; it lets a slow peer slow the service down, and makes one write of each response.
    """

    def __init__(self, association: ServedAssociation) -> None:
        super().__init__(association)
        self._association = association
        self._incoming: set[Incoming] = set()
        self._served = time.monotonic()

    def get_msg(self, block: bool = False) -> Any:
        idle = not block and time.monotonic() - self._served > IDLE_AFTER
        try:
            found = self.msg_queue.get(timeout=IDLE_WAIT) if idle else super().get_msg(block)
        except queue.Empty:
            return None, None
        if found[1] is not None:
            self._served = time.monotonic()
        return found

    def receive_primitive(self, primitive: P_DATA) -> None:
        try:
            for value in primitive.presentation_data_value_list:
                single = P_DATA()
                single.presentation_data_value_list.append(value)
                super().receive_primitive(single)
                self._look_at_message()
        except Exception as exc:  # noqa: BLE001 - no bytes may end pynetdicom's thread
            caller = self._association.peer.calling_aet
            logger.warning("message of %r cannot be read: %s", caller, type(exc).__name__)
            self.dul.event_queue.put("Evt19")  # unexpected PDU: the upper layer aborts

    def _look_at_message(self) -> None:
        """pynetdicom gives the message its class once the command set is complete, before the data set."""
        if isinstance(self.message, C_STORE_RQ) and self.message._data_set_file is None:
            self._open_file(self.message)
        elif isinstance(self.message, C_FIND_RQ):
            # A C-CANCEL that came before the request it names belongs to an older one.
            self.cancel_req.pop(cast(int, self.message.command_set.MessageID), None)

    def _open_file(self, message: C_STORE_RQ) -> None:
        command = message.command_set
        context = self._association._accepted_cx.get(cast(int, message.context_id))
        incoming = Incoming(
            self._association.server.spool,
            self._association.server.check_room,
            part10.head(
                sop_class_uid=str(command.get("AffectedSOPClassUID", "") or ""),
                sop_instance_uid=str(command.get("AffectedSOPInstanceUID", "") or ""),
                transfer_syntax_uid=str(context.transfer_syntax[0]) if context else "",
                calling_aet=self._association.peer.calling_aet,
            ),
        )
        self._incoming.add(incoming)
        message._data_set_file = cast(Any, incoming)
        message._data_set_path = incoming.path

    def release(self, incoming: Incoming) -> None:
        """Done with: whatever the service left behind goes."""
        incoming.remove()
        self._incoming.discard(incoming)

    def release_all(self) -> None:
        """At the end of the association: files that were never completed or never served."""
        for incoming in tuple(self._incoming):
            self.release(incoming)

    def send_msg(self, primitive: Any, context_id: int) -> None:
        message = _RSP_TO_MESSAGE[type(primitive)]()
        message.primitive_to_message(primitive)
        pdus = (P_DATA_TF(data).encode() for data in message.encode_msg(context_id, self.maximum_pdu_size))
        if self.dul.socket is not None:
            self.dul.socket.send(b"".join(pdus))


class _Acse(ACSE):
    """Lets in whom the server admits; supports what was asked for: no copies of all storage contexts."""

    def negotiate_association(self) -> None:
        association = cast(ServedAssociation, self.assoc)
        refusal = association.refusal()
        if refusal is not None:
            self.send_reject(*refusal)
            association.kill()
            return
        request = cast(Any, self.requestor.primitive)
        self.acceptor.supported_contexts = _supported(
            association.server, request.presentation_context_definition_list
        )
        super().negotiate_association()


def _supported(
    server: AssociationServer, proposed: Sequence[PresentationContext]
) -> list[PresentationContext]:
    """One context for each proposed SOP class that has a service; the syntaxes of all its proposals."""
    supported: dict[str, PresentationContext] = {}
    for proposal in proposed:
        sop_class = str(proposal.abstract_syntax)
        for syntax in server.syntaxes(sop_class, [str(s) for s in proposal.transfer_syntax]):
            if sop_class not in supported:
                supported[sop_class] = PresentationContext()
                supported[sop_class].abstract_syntax = sop_class
            supported[sop_class].add_transfer_syntax(syntax)
    return list(supported.values())


class Seats(Protocol):
    """What accepted the connection, and knows how many were let in."""

    def seat(self, association: ServedAssociation) -> bool:
        """Lets it in, unless so many are in that this one is over the limit."""


class ServedAssociation(Association):
    """One association: hands its requests to the server, one after the other."""

    def __init__(self, ae: ApplicationEntity, server: AssociationServer) -> None:
        super().__init__(ae, "acceptor")
        self.server = server
        self.dimse = _Dimse(self)
        self.acse = _Acse(self)
        self.dul.daemon = True  # a stuck peer must not keep the process from ending
        self._serving = False
        self.seated = False
        """It was let in, and counts until its thread ends."""
        self.ended = False
        """`end` was called; the thread may need a while yet."""

    @property
    def peer(self) -> Peer:
        """Valid once the A-ASSOCIATE-RQ is there."""
        request = cast(Any, self.requestor.primitive)
        return Peer(
            calling_aet=str(request.calling_ae_title).strip(),
            called_aet=str(request.called_ae_title).strip(),
            host=str(self.requestor.address),
            port=int(self.requestor.port or 0),
        )

    @property
    def busy(self) -> bool:
        """A request is being received, waits, or is being served."""
        return self._serving or self.dimse.message is not None or not self.dimse.msg_queue.empty()

    @property
    def open(self) -> bool:
        """Answers can be sent (PS3.8 9.2: data transfer state)."""
        return self.is_established and self.dul.state_machine.current_state == "Sta6"

    def end(self) -> None:
        """Aborts from another thread, and does not wait for the peer."""
        self.ended = True
        if self.is_established:
            self.abort(block=False)
            # The A-ABORT leaves through the upper layer's thread, which is idle or reading.
            give_up = time.monotonic() + 0.5
            while self.dul.state_machine.current_state not in _ENDED and time.monotonic() < give_up:
                time.sleep(0.001)
        self._kill = True
        transport = self.dul.socket
        if transport is not None and transport.socket is not None:
            transport._shutdown_socket()
        self.dul.kill_dul()

    def refusal(self) -> Refusal | None:
        """What the A-ASSOCIATE-RJ says, None when the peer may come in."""
        peer = self.peer
        if peer.called_aet != self.server.ae_title:
            why = CALLED_UNKNOWN
        elif not self.server.admits(peer):
            why = CALLING_UNKNOWN
        elif not cast("Seats", self._server).seat(self):
            why = LIMIT_EXCEEDED
        else:
            return None
        logger.warning(
            "association refused: %s (%r to %r from %s)",
            why,
            peer.calling_aet,
            peer.called_aet,
            peer.host,
        )
        return REFUSALS[why]

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        finally:
            cast(_Dimse, self.dimse).release_all()

    def _serve_request(self, msg: Any, context_id: int) -> None:
        context = self._accepted_cx.get(context_id)
        if context is None or self._sent_release:
            self.abort()
            return
        self._serving = True
        try:
            if isinstance(msg, C_STORE):
                self._serve_store(msg, context)
            elif isinstance(msg, C_FIND):
                self._serve_find(msg, context)
            elif isinstance(msg, N_CREATE | N_SET):
                self._serve_object(msg, context)
            elif isinstance(msg, C_ECHO):
                self._respond(C_ECHO(), msg, context, Answer(status=status.SUCCESS))
            elif not isinstance(msg, C_CANCEL) and type(msg) in _RSP_TO_MESSAGE:
                self._respond(type(msg)(), msg, context, Answer(status=status.UNRECOGNISED_OPERATION))
        finally:
            self.dul._idle_timer.restart()  # the peer was not silent, it was waiting for us
            self._serving = False

    def _serve_store(self, msg: C_STORE, context: PresentationContext) -> None:
        dimse = cast(_Dimse, self.dimse)
        incoming = cast("Incoming | None", msg._dataset_file)
        if incoming is None:
            answer = Answer(status=status.CANNOT_UNDERSTAND, comment="no data set")
        else:
            incoming.close()
            answer = self._store(msg, context, incoming)
            dimse.release(incoming)
        self._respond(C_STORE(), msg, context, answer)

    def _store(self, msg: C_STORE, context: PresentationContext, incoming: Incoming) -> Answer:
        if incoming.error is not None:
            return self.server.failed("C-STORE", self.peer, incoming.error)
        if not msg.AffectedSOPInstanceUID or msg.AffectedSOPClassUID != context.abstract_syntax:
            return Answer(
                status=status.CANNOT_UNDERSTAND, comment="SOP class or instance UID not as negotiated"
            )
        request = StoreRequest(
            sop_class_uid=str(msg.AffectedSOPClassUID),
            sop_instance_uid=str(msg.AffectedSOPInstanceUID),
            transfer_syntax_uid=str(context.transfer_syntax[0]),
            path=incoming.path,
        )
        return self.server.store(request, self.peer)

    def _serve_object(self, msg: N_CREATE | N_SET, context: PresentationContext) -> None:
        if isinstance(msg, N_CREATE):
            sop_class, sop_instance = msg.AffectedSOPClassUID, msg.AffectedSOPInstanceUID
        else:
            sop_class, sop_instance = msg.RequestedSOPClassUID, msg.RequestedSOPInstanceUID
        listed = msg.AttributeList if isinstance(msg, N_CREATE) else msg.ModificationList
        if sop_class != context.abstract_syntax:
            answer = Answer(status=status.NO_SUCH_SOP_CLASS, comment="SOP class not as negotiated")
        else:
            request = ObjectRequest(
                operation="N-CREATE" if isinstance(msg, N_CREATE) else "N-SET",
                sop_class_uid=str(sop_class),
                sop_instance_uid=str(sop_instance or ""),
                transfer_syntax_uid=str(context.transfer_syntax[0]),
                dataset=listed.getvalue() if listed is not None else b"",
            )
            answer = self.server.operate(request, self.peer)
        self._respond(type(msg)(), msg, context, answer)

    def _serve_find(self, msg: C_FIND, context: PresentationContext) -> None:
        syntax = str(context.transfer_syntax[0])
        message_id = cast(int, msg.MessageID)
        cancelled = self.dimse.cancel_req
        try:
            identifier = _decode(cast(io.BytesIO, msg.Identifier), syntax)
        except RemoteProtocolError as exc:
            self._respond(C_FIND(), msg, context, self.server.failed("C-FIND", self.peer, exc))
            return
        request = FindRequest(
            sop_class=str(msg.AffectedSOPClassUID or context.abstract_syntax),
            identifier=identifier,
            transfer_syntax_uid=syntax,
            message_id=message_id,
            cancelled=lambda: message_id in cancelled,
        )
        final = Answer(status=status.SUCCESS)
        answers = self.server.find(request, self.peer)
        try:
            for answer in answers:
                if not self.open or self.acse.is_aborted():
                    return
                if request.cancelled():
                    final = Answer(status=status.CANCEL)
                    break
                if not status.is_pending(answer.status):
                    final = answer
                    break
                try:
                    encoded = _encoded(answer, syntax)
                except LocalProtocolError as exc:
                    final = self.server.failed("C-FIND", self.peer, exc)
                    break
                self._respond(C_FIND(), msg, context, encoded)
        finally:
            cast(Any, answers).close()
        cancelled.pop(message_id, None)
        self._respond(C_FIND(), msg, context, final)

    def _respond(self, response: Any, msg: Any, context: PresentationContext, answer: Answer) -> None:
        """Sends one response, its identifier already encoded."""
        response.MessageIDBeingRespondedTo = msg.MessageID
        for kind in ("SOPClassUID", "SOPInstanceUID"):
            uid = getattr(msg, f"Affected{kind}", None) or getattr(msg, f"Requested{kind}", None)
            if uid and hasattr(response, f"Affected{kind}"):
                setattr(response, f"Affected{kind}", uid)
        if answer.sop_instance_uid:
            response.AffectedSOPInstanceUID = answer.sop_instance_uid
        if answer.error_id is not None:
            response.ErrorID = answer.error_id
        response.Status = answer.status
        if answer.comment:
            response.ErrorComment = answer.comment[:64]
        if isinstance(answer.identifier, bytes):
            response.Identifier = io.BytesIO(answer.identifier)
        self.dimse.send_msg(response, cast(int, context.context_id))


def _decode(encoded: io.BytesIO | None, syntax: str) -> Dataset:
    try:
        raw = io.BytesIO(cast(io.BytesIO, encoded).getvalue())
        ds = read_dataset(raw, syntax == IMPLICIT_LITTLE_ENDIAN, syntax != EXPLICIT_BIG_ENDIAN)
    except Exception as exc:
        raise RemoteProtocolError("identifier: not a data set") from exc
    if not ds:  # no key at all would ask for everything
        raise RemoteProtocolError("identifier: no data set, or an empty one")
    return ds


def _encoded(answer: Answer, syntax: str) -> Answer:
    """The answer with its identifier in the transfer syntax."""
    if not isinstance(answer.identifier, Dataset):
        return answer
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == IMPLICIT_LITTLE_ENDIAN
    buffer.is_little_endian = syntax != EXPLICIT_BIG_ENDIAN
    try:
        write_dataset(buffer, answer.identifier)
    except Exception as exc:
        raise LocalProtocolError("identifier of the answer: cannot be encoded") from exc
    return replace(answer, identifier=buffer.getvalue())
