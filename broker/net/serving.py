"""What the requests of one association become: each is given to the server's services, and their answer is sent.

Where data sets go while they arrive: of C-STORE into files of the spool folder, all others into memory, up to a limit.
No service is known here.

PS3.7 9.3 (C-STORE, C-FIND, C-ECHO), 10.3 (DIMSE-N).
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from pydicom.dataset import Dataset

from broker.dicom import command, dataset, elements, negotiation, part10, pdu, status
from broker.dicom.command import Command, Message, Place
from broker.errors import LocalProtocolError, RemoteProtocolError
from broker.net.incoming import Held, Incoming
from broker.net.service import ActionRequest, Answer, FindRequest, ObjectRequest, Peer, StoreRequest
from broker.net.upper_layer import UpperLayer

if TYPE_CHECKING:
    from broker.net.association import AssociationServer

_KNOWN, _LONGEST_KNOWN = 256, 1 << 12
"""How many identifiers are remembered as they were read, and how many bytes they have at most."""

_OBJECTS: dict[int, Literal["N-CREATE", "N-SET"]] = {command.N_CREATE: "N-CREATE", command.N_SET: "N-SET"}
_ACTIONS: dict[int, Literal["N-ACTION", "N-EVENT-REPORT", "N-GET"]] = {
    command.N_ACTION: "N-ACTION",
    command.N_EVENT_REPORT: "N-EVENT-REPORT",
    command.N_GET: "N-GET",
}


class Line(Protocol):
    """What is asked about the peer while it is being answered."""

    @property
    def over(self) -> bool:
        """It wants no answer any more."""

    def cancelled(self, message_id: int) -> bool:
        """It wants no more answers to this message, or none at all."""


class Serving:
    """The requests of one association, one after the other."""

    def __init__(
        self,
        server: AssociationServer,
        peer: Peer,
        accepted: negotiation.Accepted,
        layer: UpperLayer,
        line: Line,
    ) -> None:
        self._server = server
        self._peer = peer
        self._contexts = accepted.contexts
        self._max_length = accepted.max_length
        self._layer = layer
        self._line = line
        self._incoming: set[Incoming] = set()

    def place(self, context_id: int, request: Command) -> Place:
        """Where the data set of a request goes. Raises `RemoteProtocolError`."""
        context = self._context(context_id)
        if request.field != command.C_STORE:
            return Held()
        head = part10.head(
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            transfer_syntax_uid=context.transfer_syntax,
            calling_aet=self._peer.calling_aet,
        )
        digest = part10.digest(context.transfer_syntax)
        incoming = Incoming(self._server.spool, self._server.check_room, head, digest)
        self._incoming.add(incoming)
        return incoming

    def answer(self, message: Message) -> None:
        """Serves one request. Raises `RemoteProtocolError`, and `OSError` when the answer cannot be sent."""
        context, request = self._context(message.context_id), message.command
        field = request.field
        if field == command.C_CANCEL:  # of a request that is answered already
            return
        if field & command.RESPONSE:
            raise RemoteProtocolError("response to a request that was not made")
        if field == command.C_FIND:
            self._find(message, context)
        elif field == command.C_STORE:
            self._respond(message, self._store(message, context))
        elif field == command.C_ECHO:
            self._respond(message, Answer(status=status.SUCCESS))
        elif field not in _OBJECTS and field not in _ACTIONS:
            self._respond(message, Answer(status=status.UNRECOGNISED_OPERATION))
        elif request.sop_class_uid != context.abstract_syntax:
            comment = "SOP class not as negotiated"
            self._respond(message, Answer(status=status.NO_SUCH_SOP_CLASS, comment=comment))
        else:
            self._respond(message, self._object(message, context))

    def close(self) -> None:
        """At the end of the association: files that were never completed, or never served, go."""
        for incoming in tuple(self._incoming):
            self._remove(incoming)

    def _context(self, context_id: int) -> pdu.Context:
        try:
            return self._contexts[context_id]
        except KeyError:
            raise RemoteProtocolError("message in a presentation context that was not accepted") from None

    def _remove(self, incoming: Incoming) -> None:
        incoming.remove()
        self._incoming.discard(incoming)

    def _store(self, message: Message, context: pdu.Context) -> Answer:
        incoming = message.dataset
        if not isinstance(incoming, Incoming):
            return Answer(status=status.CANNOT_UNDERSTAND, comment="no data set")
        try:
            incoming.close()
            if incoming.error is not None:
                return self._server.failed("C-STORE", self._peer, incoming.error)
            sop_class, instance = message.command.sop_class_uid, message.command.sop_instance_uid
            if not instance or sop_class != context.abstract_syntax:
                comment = "SOP class or instance UID not as negotiated"
                return Answer(status=status.CANNOT_UNDERSTAND, comment=comment)
            request = StoreRequest(
                sop_class_uid=sop_class,
                sop_instance_uid=instance,
                transfer_syntax_uid=context.transfer_syntax,
                path=incoming.path,
                dataset_offset=incoming.dataset_offset,
                sha256=incoming.digest.hexdigest(),
            )
            return self._server.store(request, self._peer)
        finally:
            self._remove(incoming)

    def _object(self, message: Message, context: pdu.Context) -> Answer:
        request = message.command
        if (making := _OBJECTS.get(request.field)) is not None:
            return self._server.operate(
                ObjectRequest(
                    operation=making,
                    sop_class_uid=request.sop_class_uid,
                    sop_instance_uid=request.sop_instance_uid,
                    transfer_syntax_uid=context.transfer_syntax,
                    dataset=_held(message),
                ),
                self._peer,
            )
        return self._server.act(
            ActionRequest(
                operation=_ACTIONS[request.field],
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                type_id=request.type_id,
                attributes=request.attributes,
                transfer_syntax_uid=context.transfer_syntax,
                dataset=_held(message),
            ),
            self._peer,
        )

    def _find(self, message: Message, context: pdu.Context) -> None:
        message_id, syntax = message.command.message_id, context.transfer_syntax
        try:
            encoded = _held(message)
            identifier = (_known if len(encoded) <= _LONGEST_KNOWN else _decoded)(encoded, syntax)
        except RemoteProtocolError as exc:
            self._respond(message, self._server.failed("C-FIND", self._peer, exc))
            return
        stopped = False

        def cancelled() -> bool:
            nonlocal stopped
            stopped = stopped or self._line.cancelled(message_id)
            return stopped

        request = FindRequest(
            sop_class=message.command.sop_class_uid or context.abstract_syntax,
            identifier=identifier,
            encoded=encoded,
            transfer_syntax_uid=syntax,
            message_id=message_id,
            cancelled=cancelled,
        )
        final = Answer(status=status.SUCCESS)
        answers = self._server.find(request, self._peer)
        heads: dict[int, bytes] = {}
        try:
            for answer in answers:
                if stopped:
                    final = Answer(status=status.CANCEL)
                    break
                if not status.is_pending(answer.status):
                    final = answer
                    break
                try:
                    encoded_row = _encoded(answer.identifier, syntax)
                except LocalProtocolError as exc:
                    final = self._server.failed("C-FIND", self._peer, exc)
                    break
                if answer.status not in heads:
                    heads[answer.status] = self._command(message, answer, has_dataset=True)
                data = command.dataset_pdus(message.context_id, encoded_row or b"", self._max_length)
                if self._layer.gather(heads[answer.status] + data):
                    cancelled()
            else:
                if stopped:  # behind the last answer
                    final = Answer(status=status.CANCEL)
        finally:
            cast(Any, answers).close()
        if not self._line.over:
            self._respond(message, final)

    def _respond(self, message: Message, answer: Answer) -> None:
        """Sends a response that is no pending one."""
        try:
            encoded = _encoded(answer.identifier, self._context(message.context_id).transfer_syntax)
        except LocalProtocolError as exc:
            answer, encoded = self._server.failed("response", self._peer, exc), None
        data = self._command(message, answer, has_dataset=encoded is not None)
        if encoded is not None:
            data += command.dataset_pdus(message.context_id, encoded, self._max_length)
        self._layer.write(data)

    def _command(self, message: Message, answer: Answer, *, has_dataset: bool) -> bytes:
        response = message.command.response(
            answer.status,
            has_dataset=has_dataset,
            comment=answer.comment,
            error_id=answer.error_id,
            sop_instance_uid=answer.sop_instance_uid,
        )
        return command.command_pdus(message.context_id, response, self._max_length)


def _held(message: Message) -> bytes:
    return bytes(message.dataset.content) if isinstance(message.dataset, Held) else b""


def _decoded(encoded: bytes, syntax: str) -> Dataset:
    try:
        # To its very end: what is cut short would be read without its last keys, and ask for more than was meant.
        try:
            elements.scan_dataset(BytesIO(encoded), 0, syntax)
            identifier = dataset.read(encoded, syntax)
        except elements.VrError:  # of devices that write the items of a sequence in Implicit VR, say
            identifier = dataset.read(encoded, syntax)
            if not dataset.whole(identifier):
                raise
    except RemoteProtocolError as exc:
        raise RemoteProtocolError(f"identifier: {exc}") from exc
    if not identifier:  # no key at all would ask for everything
        raise RemoteProtocolError("identifier: no data set, or an empty one")
    return identifier


_known = lru_cache(maxsize=_KNOWN)(_decoded)


def _encoded(identifier: Dataset | bytes | None, syntax: str) -> bytes | None:
    """In the transfer syntax."""
    return dataset.write(identifier, syntax) if isinstance(identifier, Dataset) else identifier
