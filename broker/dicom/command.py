"""DIMSE command sets, and the messages that their fragments make: bytes in, values out, and back.

What a data set holds is not looked at: its fragments go as they come to whoever opened a place for them. No socket.

PS3.7 6.3 (command set: implicit VR little endian, group 0000), 9.3, 10.3, Annex E; PS3.8 9.3.5, Annex E (fragments).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from broker.errors import RemoteProtocolError

C_STORE = 0x0001
C_GET = 0x0010
C_FIND = 0x0020
C_MOVE = 0x0021
C_ECHO = 0x0030
N_EVENT_REPORT = 0x0100
N_GET = 0x0110
N_SET = 0x0120
N_ACTION = 0x0130
N_CREATE = 0x0140
C_CANCEL = 0x0FFF
RESPONSE = 0x8000
"""Added to a request's command field it is its response's."""

_SOP_CLASS, _REQUESTED_CLASS = 0x0002, 0x0003
_COMMAND_FIELD = 0x0100
_MESSAGE_ID, _RESPONDED_ID = 0x0110, 0x0120
_DATASET_TYPE = 0x0800
_STATUS, _COMMENT, _ERROR_ID = 0x0900, 0x0902, 0x0903
_SOP_INSTANCE, _REQUESTED_INSTANCE = 0x1000, 0x1001
_EVENT_TYPE, _ATTRIBUTES, _ACTION_TYPE = 0x1002, 0x1005, 0x1008

NO_DATASET, DATASET_FOLLOWS = 0x0101, 0x0001

_LONGEST_COMMAND = 1 << 15
"""Bytes. A command set takes some hundred; an N-GET that names a thousand attributes, 4 KiB."""

_P_DATA = 0x04
_PDV_OVERHEAD = 6
_COMMAND, _LAST = 1, 2
_UNLIMITED = 1 << 17
"""How long a P-DATA-TF gets for a peer that sets no maximum."""


def encode(fields: Mapping[int, bytes]) -> bytes:
    """A command set with its group length; `fields` by element number, ascending, values of even length."""
    body = b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in fields.items())
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def decode(data: bytes) -> dict[int, bytes]:
    """The values of a command set by element number. Raises `RemoteProtocolError` unless it is one from end to end.

    The group length is passed over: what it says adds nothing, and not every device says it right.
    """
    fields: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        if position + 8 > len(data):
            raise RemoteProtocolError("command set with an incomplete element")
        group, element, length = struct.unpack_from("<HHL", data, position)
        position += 8
        if group or position + length > len(data):
            raise RemoteProtocolError("command set with an element of another group, or of a wrong length")
        fields[element] = data[position : position + length]
        position += length
    return fields


def uid(value: str) -> bytes:
    """A UID as a value: padded with NUL to even length."""
    raw = value.encode("ascii")
    return raw + b"\0" * (len(raw) % 2)


def us(value: int) -> bytes:
    """An unsigned short as a value."""
    return struct.pack("<H", value)


@dataclass(frozen=True, slots=True)
class Command:
    """A command set by its elements. The properties raise `RemoteProtocolError` where a value is not of its form."""

    fields: Mapping[int, bytes]

    @classmethod
    def read(cls, data: bytes) -> Command:
        """Of a command set with a command field, a message id, and whether a data set follows."""
        command = cls(decode(data))
        command._number(_DATASET_TYPE)
        _ = command.message_id
        if command.is_response:
            _ = command.status
        return command

    @property
    def field(self) -> int:
        """Command Field (0000,0100)."""
        return self._number(_COMMAND_FIELD)

    @property
    def message_id(self) -> int:
        """Message ID (0000,0110); of C-CANCEL and of a response, the one that it is about (0000,0120)."""
        about = self.field == C_CANCEL or self.is_response
        return self._number(_RESPONDED_ID if about else _MESSAGE_ID)

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.field & RESPONSE)

    @property
    def status(self) -> int:
        """Status (0000,0900), of a response."""
        return self._number(_STATUS)

    @property
    def has_dataset(self) -> bool:
        """Whether a data set follows (0000,0800)."""
        return self._number(_DATASET_TYPE) != NO_DATASET

    @property
    def sop_class_uid(self) -> str:
        """Affected SOP Class UID, else the requested one, else empty."""
        return self._uid(_SOP_CLASS) or self._uid(_REQUESTED_CLASS)

    @property
    def sop_instance_uid(self) -> str:
        """Affected SOP Instance UID, else the requested one, else empty."""
        return self._uid(_SOP_INSTANCE) or self._uid(_REQUESTED_INSTANCE)

    @property
    def type_id(self) -> int:
        """Event Type ID of an N-EVENT-REPORT, Action Type ID of an N-ACTION, 0 of all others."""
        element = {N_EVENT_REPORT: _EVENT_TYPE, N_ACTION: _ACTION_TYPE}.get(self.field)
        return 0 if element is None else self._number(element)

    @property
    def attributes(self) -> tuple[int, ...]:
        """Tags that an N-GET names (0000,1005); none: all of them."""
        raw = self.fields.get(_ATTRIBUTES, b"")
        if len(raw) % 4:
            raise RemoteProtocolError("attribute identifier list of a wrong length")
        return tuple(group << 16 | element for group, element in struct.iter_unpack("<HH", raw))

    def response(
        self,
        status: int,
        *,
        has_dataset: bool = False,
        comment: str = "",
        error_id: int | None = None,
        sop_instance_uid: str = "",
    ) -> bytes:
        """The command set of its response. `comment` is cut at 64 characters."""
        fields: dict[int, bytes] = {}
        if sop_class := self.sop_class_uid:
            fields[_SOP_CLASS] = uid(sop_class)
        fields[_COMMAND_FIELD] = us(self.field | RESPONSE)
        fields[_RESPONDED_ID] = us(self.message_id)
        fields[_DATASET_TYPE] = us(DATASET_FOLLOWS if has_dataset else NO_DATASET)
        fields[_STATUS] = us(status)
        if comment:
            text = comment[:64].encode("ascii", "replace")
            fields[_COMMENT] = text + b" " * (len(text) % 2)
        if error_id is not None:
            fields[_ERROR_ID] = us(error_id)
        if instance := sop_instance_uid or self.sop_instance_uid:
            fields[_SOP_INSTANCE] = uid(instance)
        for element in (_EVENT_TYPE, _ACTION_TYPE):
            if element in self.fields:
                fields[element] = self.fields[element]
        return encode(fields)

    def _number(self, element: int) -> int:
        raw = self.fields.get(element)
        if raw is None or len(raw) != 2:
            raise RemoteProtocolError(f"command set without (0000,{element:04X}), or with a wrong one")
        return int.from_bytes(raw, "little")

    def _uid(self, element: int) -> str:
        try:
            return self.fields.get(element, b"").rstrip(b"\0 ").decode("ascii")
        except UnicodeDecodeError:
            raise RemoteProtocolError(f"(0000,{element:04X}) is no UID") from None


class Place(Protocol):
    """Where a data set goes, fragment by fragment. It copies what it keeps: the memory is used again."""

    def write(self, data: memoryview, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Message:
    """One DIMSE message, complete."""

    context_id: int
    command: Command
    dataset: Place | None


class MessageReader:
    """Makes messages of P-DATA-TFs. `open_place` is asked for each data set before its first fragment is taken.

    Everything that a peer may not do raises `RemoteProtocolError`; nothing can be read after that.
    """

    def __init__(self, open_place: Callable[[int, Command], Place]) -> None:
        self._open_place = open_place
        self._context_id = 0
        self._raw = b""
        self._command: Command | None = None
        self._dataset: Place | None = None

    @property
    def midway(self) -> bool:
        """A message has begun, and is not complete."""
        return bool(self._raw) or self._command is not None

    def feed(self, body: memoryview) -> list[Message]:
        """Takes what follows a P-DATA-TF's header; the messages that are complete with it."""
        found: list[Message] = []
        position = 0
        while position < len(body):
            if position + _PDV_OVERHEAD > len(body):
                raise RemoteProtocolError("P-DATA-TF with an incomplete PDV")
            length, context_id, control = struct.unpack_from(">LBB", body, position)
            end = position + 4 + length
            if length < 2 or end > len(body):
                raise RemoteProtocolError("P-DATA-TF with a PDV of a wrong length")
            if self.midway and context_id != self._context_id:
                raise RemoteProtocolError("message in two presentation contexts")
            self._context_id = context_id
            message = self._take(body[position + _PDV_OVERHEAD : end], control)
            if message is not None:
                found.append(message)
            position = end
        return found

    def _take(self, fragment: memoryview, control: int) -> Message | None:
        if bool(control & _COMMAND) != (self._command is None):
            raise RemoteProtocolError("data set fragment where a command was due, or the reverse")
        if self._command is None:
            self._raw += fragment
            if len(self._raw) > _LONGEST_COMMAND:
                raise RemoteProtocolError("command set too long")
            if not control & _LAST:
                return None
            command = Command.read(self._raw)
            self._raw = b""
            if not command.has_dataset:
                return Message(self._context_id, command, None)
            self._dataset = self._open_place(self._context_id, command)
            self._command = command
            return None
        assert self._dataset is not None
        self._dataset.write(fragment)
        if not control & _LAST:
            return None
        message = Message(self._context_id, self._command, self._dataset)
        self._command = self._dataset = None
        return message


def command_pdus(context_id: int, command: bytes, max_length: int) -> bytes:
    """A command set as P-DATA-TFs one after the other, none longer than the peer's `max_length` (0: no limit)."""
    return _pdus(context_id, command, _COMMAND, max_length)


def dataset_pdus(context_id: int, dataset: bytes, max_length: int) -> bytes:
    """A data set, as `command_pdus`."""
    return _pdus(context_id, dataset, 0, max_length)


def _pdus(context_id: int, content: bytes, control: int, max_length: int) -> bytes:
    # Of even length (PS3.8 Annex E.1).
    size = max((max_length or _UNLIMITED) - _PDV_OVERHEAD & ~1, 2)
    if len(content) <= size:  # next to all are
        return _pdu(context_id, content, control | _LAST)
    starts = range(0, len(content), size)
    return b"".join(
        _pdu(context_id, content[start : start + size], control | (_LAST if start == starts[-1] else 0))
        for start in starts
    )


def _pdu(context_id: int, part: bytes, control: int) -> bytes:
    return struct.pack(">BBLLBB", _P_DATA, 0, len(part) + 6, len(part) + 2, context_id, control) + part
