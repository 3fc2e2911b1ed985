"""One association as its requestor: opens it, sends requests, takes what they bring, releases it. Blocking, no threads.

Deliberately not pynetdicom's requestor: that one queues the whole object in memory when the peer is slower
than the disk (its chunked sending bounds only the reading), never times out on a peer that stops reading, and
polls between two threads. Here one buffer of one PDU is read from the file and written to the socket.

PS3.8 7 and 9.2 (upper layer service, as requestor); PS3.7 9.1 (C-STORE, C-FIND, C-GET, C-MOVE, C-ECHO), 10.1.1
(N-EVENT-REPORT), 10.1.3 (N-SET), 10.1.4 (N-ACTION), 10.1.5 (N-CREATE), D.3.3.4 (roles).
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

from broker.dicom import command, pdu
from broker.dicom.command import Command, Message, MessageReader, Place
from broker.dicom.status import is_pending
from broker.errors import RemoteProtocolError, TransientDeliveryError, UnreachableError
from broker.net.heard import heard, reason
from broker.net.incoming import Held
from broker.net.unsent import forget_unsent

MAX_CONTEXTS = 128
"""PS3.8 9.3.2.2: context ids are the odd numbers of one byte."""

# Responses are a few hundred bytes; a longer PDU is not one.
_LONGEST_RECEIVED = 1 << 20

# Orthanc and DCMTK as shipped write a response in two pieces and hold the second back until the first is
# acknowledged (Nagle); Linux would acknowledge only after 40 ms, for each object. The option does not last.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)

# How long a peer may take to agree to a release; nothing is lost when it does not.
_RELEASE_TIMEOUT = 2.0


class Receiver(Protocol):
    """Takes the objects that a C-GET brings."""

    def place(self, context_id: int, request: Command, /) -> Place:
        """Where the data set of a C-STORE-RQ goes. Raises `RemoteProtocolError`."""

    def store(self, message: Message, /) -> int:
        """The status that a complete C-STORE is answered with."""


class Requestor:
    """An open association. Every failure closes it and raises `TransientDeliveryError`;
    no connection and a rejected association are its `UnreachableError`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        called_aet: str,
        calling_aet: str,
        contexts: Sequence[pdu.Context],
        connect_timeout: float,
        response_timeout: float,
        max_pdu: int,
        serves: Collection[str] = (),
    ) -> None:
        """`serves`: SOP classes of which this side would be the SCP; what was said to that is in `roles`."""
        self.accepted: dict[pdu.Context, int] = {}
        """Accepted contexts and their ids."""
        self.roles: Mapping[str, bool] = {}
        """SOP classes of which the peer answered a role, and whether we may be their SCP."""
        self._response_timeout = response_timeout
        self._message_id = 0
        try:
            self._socket = socket.create_connection((host, port), timeout=connect_timeout)
        except OSError as error:
            raise UnreachableError(f"no connection to {host}:{port}: {reason(error)}") from error
        forget_unsent(self._socket)
        # A PDU leaves when it is written: without this each command waits 40 ms for a delayed ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(response_timeout)
        proposed = {2 * index + 1: context for index, context in enumerate(contexts)}
        self._write(
            pdu.associate_rq(
                called_aet=called_aet,
                calling_aet=calling_aet,
                contexts=proposed,
                max_length=max_pdu,
                serves=serves,
            )
        )
        kind, body = self._read_pdu(time.monotonic() + response_timeout)
        if kind == pdu.ASSOCIATE_RJ:
            self._close()
            why = pdu.describe_rejection(body)
            raise UnreachableError(f"association rejected by {called_aet}: {why}")
        if kind != pdu.ASSOCIATE_AC:
            raise self._unexpected(kind, body)
        answer = pdu.read_associate_ac(body)
        self.accepted = {
            context: number for number, context in proposed.items() if answer.results.get(number) == 0
        }
        self.roles = answer.roles
        longest = min(answer.max_length or max_pdu, max_pdu)
        # Fragments of even length (PS3.8 Annex E.1); a peer that announces less than that cannot be served.
        self._fragment = (longest - pdu.PDV_OVERHEAD) & ~1
        if self._fragment < 2:
            self.abort()
            raise TransientDeliveryError(f"{called_aet} takes PDUs of {answer.max_length} bytes at most")

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
        self._message_id = self._message_id % 0xFFFF + 1
        confirm()
        self._write(pdu.store_rq(context_id, self._message_id, sop_class_uid, sop_instance_uid))
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
        self._message_id = self._message_id % 0xFFFF + 1
        self._write(pdu.find_rq(context_id, self._message_id, sop_class_uid))
        self._write_dataset(identifier, context_id)
        yield from self._responses(pdu.C_FIND_RSP, self._response_timeout)

    def move(
        self, identifier: bytes, *, context_id: int, sop_class_uid: str, destination: str, patience: float
    ) -> Iterator[pdu.Response]:
        """C-MOVE to an AE title: its answers, as `find`. `patience`: the longest silence between them, in seconds; not
        every peer says how far it is."""
        self._message_id = self._message_id % 0xFFFF + 1
        self._write(pdu.move_rq(context_id, self._message_id, sop_class_uid, destination))
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
        self._message_id = self._message_id % 0xFFFF + 1
        self._write(pdu.get_rq(context_id, self._message_id, sop_class_uid))
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
        self, dataset: bytes, *, context_id: int, sop_class_uid: str, sop_instance_uid: str
    ) -> pdu.Response:
        """N-CREATE with an attribute list in the context's transfer syntax; the answer, whatever its status."""
        self._message_id = self._message_id % 0xFFFF + 1
        self._write(pdu.create_rq(context_id, self._message_id, sop_class_uid, sop_instance_uid))
        self._write_dataset(dataset, context_id)
        return self._response(pdu.N_CREATE_RSP, datasets=True)

    def set(
        self, dataset: bytes, *, context_id: int, sop_class_uid: str, sop_instance_uid: str
    ) -> pdu.Response:
        """N-SET with a modification list, as `create`."""
        self._message_id = self._message_id % 0xFFFF + 1
        self._write(pdu.set_rq(context_id, self._message_id, sop_class_uid, sop_instance_uid))
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
        """N-ACTION with action information, as `create`; `confirm` as in `store`."""
        self._message_id = self._message_id % 0xFFFF + 1
        command = pdu.action_rq(context_id, self._message_id, sop_class_uid, sop_instance_uid, action_type)
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
        self._message_id = self._message_id % 0xFFFF + 1
        command = pdu.event_report_rq(
            context_id, self._message_id, sop_class_uid, sop_instance_uid, event_type
        )
        self._write(command)
        confirm()
        self._write_dataset(dataset, context_id)
        return self._response(pdu.N_EVENT_REPORT_RSP, datasets=True)

    def echo(self, context_id: int) -> int:
        """C-ECHO; the status of the answer."""
        self._message_id = self._message_id % 0xFFFF + 1
        self._write(pdu.echo_rq(context_id, self._message_id))
        return self._response(pdu.C_ECHO_RSP).status

    def usable(self) -> bool:
        """Whether the peer left the association alone: release, abort and close, sent unasked, end it."""
        if not heard(self._socket):
            return True
        with contextlib.suppress(TransientDeliveryError):
            kind, _ = self._read_pdu(time.monotonic() + _RELEASE_TIMEOUT)
            if kind == pdu.RELEASE_RQ:
                self._write(pdu.release_rp())
                forget_unsent(self._socket, False)
        self._close()
        return False

    def release(self) -> None:
        """Ends the association in order; closes in any case."""
        with contextlib.suppress(TransientDeliveryError):
            self._write(pdu.release_rq())
            deadline = time.monotonic() + _RELEASE_TIMEOUT
            while True:
                kind, _ = self._read_pdu(deadline)
                if kind != pdu.RELEASE_RQ:
                    break
                # Both sides asked at once: the requestor answers first (PS3.8 7.2.2.7).
                self._write(pdu.release_rp())
            forget_unsent(self._socket, False)
        self._close()

    def abort(self) -> None:
        """Ends the association at once."""
        with contextlib.suppress(OSError):
            self._socket.settimeout(_RELEASE_TIMEOUT)
            self._socket.sendall(pdu.abort())
        self._close()

    def _write_dataset(self, dataset: bytes, context_id: int) -> None:
        for start in range(0, len(dataset), self._fragment):
            part = dataset[start : start + self._fragment]
            last = start + self._fragment >= len(dataset)
            self._write(pdu.fragment_header(context_id, len(part), last=last) + part)

    def _fill(self, file: BinaryIO, space: memoryview) -> None:
        """Reads until `space` is full."""
        filled = 0
        try:
            while filled < len(space):
                count = file.readinto(space[filled:])  # type: ignore[attr-defined]
                if not count:
                    raise OSError("the file is shorter than it was")
                filled += count
        except OSError:
            self.abort()
            raise

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

    def _unexpected(self, kind: int, body: bytes) -> TransientDeliveryError:
        if kind == pdu.ABORT:
            self._close()
            return TransientDeliveryError(f"association aborted {pdu.describe_abort(body)}")
        self.abort()
        return TransientDeliveryError(f"PDU of type {kind} where an answer was due")

    def _write(self, data: bytes | memoryview) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            self._close()
            raise TransientDeliveryError(f"association broke while sending: {reason(error)}") from error

    def _read_pdu(self, deadline: float) -> tuple[int, bytes]:
        head = self._read(pdu.HEADER_LENGTH, deadline)
        length = int.from_bytes(head[2:], "big")
        if length > _LONGEST_RECEIVED:
            self.abort()
            raise TransientDeliveryError(f"the peer sent a PDU of {length} bytes")
        return head[0], self._read(length, deadline)

    def _read(self, count: int, deadline: float) -> bytes:
        data = b""
        try:
            while len(data) < count:
                # One deadline for the whole answer: a peer that trickles bytes does not extend it.
                self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
                if _QUICKACK is not None:
                    self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
                chunk = self._socket.recv(count - len(data))
                if not chunk:
                    raise ConnectionResetError("closed by the peer")
                data += chunk
            self._socket.settimeout(self._response_timeout)
        except TimeoutError as error:
            self.abort()
            raise TransientDeliveryError("no answer in time") from error
        except OSError as error:
            self._close()
            raise TransientDeliveryError(f"association broke while waiting: {reason(error)}") from error
        return data

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()
