"""The requests that are made on an association, each with what it brings. Blocking, no threads; opening and releasing
the association is `broker.net.requested`'s.

Deliberately not pynetdicom's requestor: that one queues the whole object in memory when the peer is slower
than the disk (its chunked sending bounds only the reading), never times out on a peer that stops reading, and
polls between two threads. Here one buffer of one PDU is read from the file and written to the socket.

PS3.7 9.1 (C-STORE, C-FIND, C-GET, C-MOVE, C-ECHO), 10.1.1 (N-EVENT-REPORT), 10.1.3 (N-SET), 10.1.4 (N-ACTION), 10.1.5
(N-CREATE).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from broker.dicom import command, pdu
from broker.dicom.command import Command, Message, MessageReader, Place
from broker.dicom.status import is_pending
from broker.errors import RemoteProtocolError, TransientDeliveryError
from broker.net.incoming import Held
from broker.net.requested import Requested

MAX_CONTEXTS = 128
"""PS3.8 9.3.2.2: context ids are the odd numbers of one byte."""


class Receiver(Protocol):
    """Takes the objects that a C-GET brings."""

    def place(self, context_id: int, request: Command, /) -> Place:
        """Where the data set of a C-STORE-RQ goes. Raises `RemoteProtocolError`."""

    def store(self, message: Message, /) -> int:
        """The status that a complete C-STORE is answered with."""


class Requestor(Requested):
    """An open association, as `Requested`, one request at a time."""

    _message_id = 0

    def store(
        self,
        file: BinaryIO,
        length: int,
        *,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        confirm: Callable[[], None] = lambda: None,
    ) -> int:
        """Sends `length` bytes of data set from the file's position; the status of the answer.

        `confirm` is called before the command and directly before the last fragment, without which the peer has
        nothing. What it raises passes; the association is to be aborted then.

        A data set of odd length gets a zero byte at its end: deflated ones are padded so (PS3.5 A.5), others
        break PS3.5 7.1.1, but DCMTK's receivers never answer a fragment of odd length.
        `OSError` from reading the file passes through, after the association was aborted.
        """
        confirm()
        self._write(pdu.store_rq(context_id, self._next(), sop_class_uid, sop_instance_uid))
        padding = length % 2
        header = pdu.HEADER_LENGTH + pdu.PDV_OVERHEAD
        buffer = memoryview(bytearray(header + min(self._fragment, length + padding)))
        while length:
            count = min(len(buffer) - header, length)
            self._fill(file, buffer[header : header + count])
            length -= count
            if not length and padding:
                buffer[header + count] = 0
                count += 1
            buffer[:header] = pdu.fragment_header(context_id, count, last=not length)
            if not length:
                confirm()
            self._write(buffer[: header + count])
        return self._response(pdu.C_STORE_RSP).status

    def find(self, identifier: bytes, *, context_id: int, sop_class_uid: str) -> Iterator[pdu.Response]:
        """C-FIND with an identifier in the context's transfer syntax: its pending answers, then the final one.

        To be read to its end: what follows on the association would meet the rest of it.
        """
        self._write(pdu.find_rq(context_id, self._next(), sop_class_uid))
        self._write_dataset(identifier, context_id)
        yield from self._responses(pdu.C_FIND_RSP, self._response_timeout)

    def move(
        self, identifier: bytes, *, context_id: int, sop_class_uid: str, destination: str, patience: float
    ) -> Iterator[pdu.Response]:
        """C-MOVE to an AE title: its answers, as `find`. `patience`: the longest silence between them, in seconds; not
        every peer says how far it is."""
        self._write(pdu.move_rq(context_id, self._next(), sop_class_uid, destination))
        self._write_dataset(identifier, context_id)
        yield from self._responses(pdu.C_MOVE_RSP, patience)

    def get(
        self,
        identifier: bytes,
        *,
        context_id: int,
        sop_class_uid: str,
        receiver: Receiver,
        patience: float,
    ) -> Iterator[pdu.Response]:
        """C-GET: its answers, as `find`. The objects go to `receiver` while they come, however long they are.

        `patience`: the longest silence before an object or an answer begins, in seconds; within one the time that each
        answer has.
        """
        self._write(pdu.get_rq(context_id, self._next(), sop_class_uid))
        self._write_dataset(identifier, context_id)
        reader = MessageReader(
            lambda number, request: (
                Held() if request.field & command.RESPONSE else receiver.place(number, request)
            )
        )
        while True:
            wait = self._response_timeout if reader.midway else patience
            kind, body = self._read_pdu(time.monotonic() + wait)
            if kind != pdu.P_DATA:
                raise self._unexpected(kind, body)
            try:
                messages = reader.feed(memoryview(body))
                responses = [r for r in (self._received(one, receiver) for one in messages) if r is not None]
            except RemoteProtocolError as error:
                self.abort()
                raise TransientDeliveryError(str(error)) from error
            for response in responses:
                self._check(response, pdu.C_GET_RSP)
                yield response
                if not is_pending(response.status):
                    return

    def cancel(self, context_id: int) -> None:
        """C-CANCEL of the request whose answers are being read: they go on until the peer has seen it."""
        self._write(pdu.cancel_rq(context_id, self._message_id))

    def create(
        self,
        dataset: bytes,
        *,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        confirm: Callable[[], None] = lambda: None,
    ) -> pdu.Response:
        """N-CREATE with an attribute list in the context's transfer syntax; the answer, whatever its status.

        `confirm` is called directly before it, without which the peer has nothing; as in `store`.
        """
        self._write(pdu.create_rq(context_id, self._next(), sop_class_uid, sop_instance_uid))
        confirm()
        self._write_dataset(dataset, context_id)
        return self._response(pdu.N_CREATE_RSP, datasets=True)

    def set(
        self,
        dataset: bytes,
        *,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        confirm: Callable[[], None] = lambda: None,
    ) -> pdu.Response:
        """N-SET with a modification list, as `create`."""
        self._write(pdu.set_rq(context_id, self._next(), sop_class_uid, sop_instance_uid))
        confirm()
        self._write_dataset(dataset, context_id)
        return self._response(pdu.N_SET_RSP, datasets=True)

    def act(
        self,
        dataset: bytes,
        *,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        action_type: int,
        confirm: Callable[[], None] = lambda: None,
    ) -> pdu.Response:
        """N-ACTION with action information, as `create`."""
        command = pdu.action_rq(context_id, self._next(), sop_class_uid, sop_instance_uid, action_type)
        self._write(command)
        confirm()
        self._write_dataset(dataset, context_id)
        return self._response(pdu.N_ACTION_RSP, datasets=True)

    def report_event(
        self,
        dataset: bytes,
        *,
        context_id: int,
        sop_class_uid: str,
        sop_instance_uid: str,
        event_type: int,
        confirm: Callable[[], None] = lambda: None,
    ) -> pdu.Response:
        """N-EVENT-REPORT with event information, as `act`."""
        command = pdu.event_report_rq(context_id, self._next(), sop_class_uid, sop_instance_uid, event_type)
        self._write(command)
        confirm()
        self._write_dataset(dataset, context_id)
        return self._response(pdu.N_EVENT_REPORT_RSP, datasets=True)

    def echo(self, context_id: int) -> int:
        """C-ECHO; the status of the answer."""
        self._write(pdu.echo_rq(context_id, self._next()))
        return self._response(pdu.C_ECHO_RSP).status

    def _next(self) -> int:
        """The Message ID of the next request, another than that of any which is open (PS3.7 9.3.1.1)."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def _received(self, message: Message, receiver: Receiver) -> pdu.Response | None:
        """Answers a C-STORE-RQ; anything else must be a response."""
        said = message.command
        if said.field != command.C_STORE:
            content = bytes(message.dataset.content) if isinstance(message.dataset, Held) else b""
            return pdu.response(said.fields, content)
        answer = said.response(receiver.store(message))
        self._write(command.command_pdus(message.context_id, answer, self._fragment + pdu.PDV_OVERHEAD))
        return None

    def _responses(self, command_field: int, patience: float) -> Iterator[pdu.Response]:
        while True:
            response = self._response(command_field, datasets=True, patience=patience)
            yield response
            if not is_pending(response.status):
                return

    def _response(
        self, command_field: int, *, datasets: bool = False, patience: float | None = None
    ) -> pdu.Response:
        deadline = time.monotonic() + (self._response_timeout if patience is None else patience)
        reader = pdu.ResponseReader(datasets=datasets)
        while True:
            kind, body = self._read_pdu(deadline)
            if kind != pdu.P_DATA:
                raise self._unexpected(kind, body)
            try:
                response = reader.feed(body)
            except RemoteProtocolError as error:
                self.abort()
                raise TransientDeliveryError(str(error)) from error
            if response is not None:
                break
        self._check(response, command_field)
        return response

    def _check(self, response: pdu.Response, command_field: int) -> None:
        if (response.command_field, response.message_id) != (command_field, self._message_id):
            self.abort()
            raise TransientDeliveryError("the peer answered another request than the one sent")
