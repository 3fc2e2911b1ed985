"""A DICOM client on a bare socket: C-ECHO, C-FIND, C-STORE, N-CREATE and N-SET, bytes in and bytes out.

It shares no code with the broker and adds next to nothing to the time that it measures. PS3.8 9.3 (PDUs), PS3.7 6.3
and annex E (command sets, implicit VR little endian).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterable, Mapping, Sequence

from pydicom import Dataset

from broker.dicom import dataset as datasets

VERIFICATION = "1.2.840.10008.1.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"

_IMPLEMENTATION = b"1.2.826.0.1.3680043.9.9999.1"
_LAST_COMMAND, _DATA, _LAST_DATA = 3, 0, 2
_NO_DATA_SET = 0x0101
_PENDING, _CANCELLED = (0xFF00, 0xFF01), 0xFE00


class RejectedError(Exception):
    """A-ASSOCIATE-RJ: `(result, source, reason)` of PS3.8 9.3.4."""


class Scu:
    """One association. Use it as a context manager: it is released at the end.

    `contexts`: (abstract syntax, transfer syntax) to propose. `accepted` tells which were taken.
    """

    def __init__(
        self,
        port: int,
        contexts: Sequence[tuple[str, str]],
        *,
        calling: str = "TESTSCU",
        called: str = "BROKER",
        host: str = "127.0.0.1",
        timeout: float = 30.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._buffer, self._taken = b"", 0
        self._message_id = 0
        self._last: tuple[bytes, dict[int, bytes]] = (b"", {})
        self._socket = socket.create_connection((host, port), timeout=timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname="localhost")
            self._socket.sendall(associate_rq(contexts, calling, called))
            kind, body = self._pdu()
            if kind != 2:
                raise RejectedError(tuple(body[1:4]) if kind == 3 else kind)
        except BaseException:
            self._socket.close()
            raise
        taken, self._longest = _accepted(body)
        self.accepted = {context: number for number, context in _numbered(contexts) if number in taken}

    def send_raw(self, data: bytes) -> None:
        """Bytes as they are: the beginning of a PDU, for instance."""
        self._socket.sendall(data)

    def read_pdu(self) -> tuple[int, bytes]:
        """Type and body of the next PDU. `ConnectionError` when there is none any more."""
        return self._pdu()

    def drop(self) -> None:
        """Closes the connection without a word."""
        self._socket.close()

    def __enter__(self) -> Scu:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()

    def echo(self) -> int:
        """The status."""
        number = self.accepted[VERIFICATION, IMPLICIT]
        self._send(number, {0x0002: VERIFICATION, 0x0100: 0x0030}, None)
        return self._response()[0]

    def find(
        self, identifier: bytes, context: tuple[str, str] = (WORKLIST, EXPLICIT), *, cancel_after: int = 0
    ) -> list[bytes]:
        """The identifiers of the pending answers, encoded. Raises `AssertionError` unless the last status is 0000.

        `cancel_after`: so many of them, then a C-CANCEL; what is on its way still comes, and FE00 may end it too.
        """
        number = self.accepted[context]
        self._send(number, {0x0002: context[0], 0x0100: 0x0020, 0x0700: 0}, identifier)
        found = []
        while True:
            status, content = self._response()
            if status not in _PENDING:
                assert status == 0 or (cancel_after and status == _CANCELLED), (
                    f"C-FIND ended with {status:04X}"
                )
                return found
            found.append(content)
            if len(found) == cancel_after:
                cancel = {0x0100: 0x0FFF, 0x0120: self._message_id, 0x0800: _NO_DATA_SET}
                self._socket.sendall(p_data(number, _LAST_COMMAND, command_set(cancel)))

    def store(self, context: tuple[str, str], sop_instance_uid: str, dataset: bytes) -> int:
        """The status of a C-STORE of these very bytes."""
        command = {0x0002: context[0], 0x0100: 0x0001, 0x0700: 0, 0x1000: sop_instance_uid}
        self._send(self.accepted[context], command, dataset)
        return self._response()[0]

    def store_parts(self, context: tuple[str, str], sop_instance_uid: str, parts: Iterable[bytes]) -> int:
        """As `store`, of a data set that is never whole in memory. Parts are of even length and not empty."""
        command = {0x0002: context[0], 0x0100: 0x0001, 0x0700: 0, 0x1000: sop_instance_uid}
        number, size = self.accepted[context], self._longest - 6
        self._message_id = self._message_id % 0xFFFF + 1
        fields = {**command, 0x0110: self._message_id, 0x0800: 1}
        self._socket.sendall(p_data(number, _LAST_COMMAND, command_set(fields)))
        last = b""
        for part in parts:
            view = memoryview(part)
            pdus = [p_data(number, _DATA, view[start : start + size]) for start in range(0, len(view), size)]
            self._socket.sendall(b"".join([last, *pdus[:-1]]))
            last = pdus[-1]
        self._socket.sendall(last[:11] + bytes([_LAST_DATA]) + last[12:])
        return self._response()[0]

    def begin_store(self, context: tuple[str, str], sop_instance_uid: str, part: bytes) -> None:
        """A C-STORE whose data set goes on after this part."""
        command = {
            0x0002: context[0],
            0x0100: 0x0001,
            0x0110: 1,
            0x0700: 0,
            0x0800: 1,
            0x1000: sop_instance_uid,
        }
        number = self.accepted[context]
        self._socket.sendall(
            p_data(number, _LAST_COMMAND, command_set(command)) + p_data(number, _DATA, part)
        )

    def create(self, context: tuple[str, str], sop_instance_uid: str, attributes: bytes) -> int:
        """The status of an N-CREATE."""
        command = {0x0002: context[0], 0x0100: 0x0140, 0x1000: sop_instance_uid}
        self._send(self.accepted[context], command, attributes)
        return self._response()[0]

    def set(self, context: tuple[str, str], sop_instance_uid: str, attributes: bytes) -> int:
        """The status of an N-SET."""
        command = {0x0003: context[0], 0x0100: 0x0120, 0x1001: sop_instance_uid}
        self._send(self.accepted[context], command, attributes)
        return self._response()[0]

    def abort(self) -> None:
        """A-ABORT, and hangs up."""
        with contextlib.suppress(OSError):
            self._socket.sendall(struct.pack(">BBII", 7, 0, 4, 0))
        self._socket.close()

    def release(self) -> None:
        """A-RELEASE, as far as the peer plays along."""
        with contextlib.suppress(OSError, ConnectionError):
            self._socket.sendall(struct.pack(">BBII", 5, 0, 4, 0))
            self._pdu()
        self._socket.close()

    def close(self) -> None:
        """Hangs up without a word."""
        self._socket.close()

    def _send(self, context: int, command: Mapping[int, str | int], content: bytes | None) -> None:
        self._message_id = self._message_id % 0xFFFF + 1
        fields = {**command, 0x0110: self._message_id, 0x0800: _NO_DATA_SET if content is None else 1}
        parts = [p_data(context, _LAST_COMMAND, command_set(fields))]
        size = self._longest - 6
        view = memoryview(content or b"")
        for start in range(0, len(view), size):
            last = start + size >= len(view)
            parts.append(p_data(context, _LAST_DATA if last else _DATA, view[start : start + size]))
        self._socket.sendall(b"".join(parts))

    def _response(self) -> tuple[int, bytes]:
        """(status, identifier) of the next response."""
        command, content, whole = b"", b"", False
        fields: dict[int, bytes] = {}
        while not whole:
            kind, body = self._pdu()
            if kind != 4:
                raise ConnectionError(f"PDU {kind} instead of a response")
            while body:
                length, flags = struct.unpack_from(">IxB", body)
                value, body = body[6 : 4 + length], body[4 + length :]
                if flags & 1:
                    command += value
                else:
                    content += value
                if flags & 2:
                    if flags & 1:
                        if command != self._last[0]:  # the pending ones of a query are all the same
                            self._last = (command, _fields(command))
                        fields = self._last[1]
                    whole = not flags & 1 or _number(fields[0x0800]) == _NO_DATA_SET
        return _number(fields[0x0900]), content

    def _pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self._read(6))
        return kind, self._read(length)

    def _read(self, size: int) -> bytes:
        while len(self._buffer) - self._taken < size:
            data = self._socket.recv(max(65536, size))
            if not data:
                raise ConnectionError("the peer closed the association")
            self._buffer, self._taken = self._buffer[self._taken :] + data, 0
        start, self._taken = self._taken, self._taken + size
        return self._buffer[start : self._taken]


class Wire:
    """The bytes of an association with one C-FIND, for a client that is too busy to make them."""

    release = struct.pack(">BBII", 5, 0, 4, 0)

    def __init__(self, contexts: Sequence[tuple[str, str]], identifier: bytes) -> None:
        self.associate = associate_rq(contexts, "TESTSCU", "BROKER")
        command = command_set({0x0002: contexts[0][0], 0x0100: 0x0020, 0x0110: 1, 0x0700: 0, 0x0800: 1})
        self.find = p_data(1, _LAST_COMMAND, command) + p_data(1, _LAST_DATA, identifier)

    @staticmethod
    def is_final(body: bytes) -> bool:
        """Whether a P-DATA-TF begins with the command of a response that is not pending."""
        length, flags = struct.unpack_from(">IxB", body)
        if not flags & 1:
            return False
        return _number(_fields(body[6 : 4 + length])[0x0900]) not in (0xFF00, 0xFF01)


def encoded(dataset: Dataset) -> bytes:
    """A data set in explicit VR little endian."""
    return datasets.write(dataset, EXPLICIT)


def decoded(content: bytes) -> Dataset:
    """A data set from explicit VR little endian."""
    return datasets.read(content, EXPLICIT)


def _numbered(contexts: Sequence[tuple[str, str]]) -> list[tuple[int, tuple[str, str]]]:
    return [(2 * index + 1, context) for index, context in enumerate(contexts)]


def associate_rq(
    contexts: Sequence[tuple[str, str]], calling: str = "TESTSCU", called: str = "BROKER"
) -> bytes:
    """An A-ASSOCIATE-RQ."""
    items = [_item(0x10, b"1.2.840.10008.3.1.1.1")]
    for number, (abstract, transfer) in _numbered(contexts):
        syntaxes = _item(0x30, abstract.encode()) + _item(0x40, transfer.encode())
        items.append(_item(0x20, struct.pack(">Bxxx", number) + syntaxes))
    user = _item(0x51, struct.pack(">I", 131072)) + _item(0x52, _IMPLEMENTATION) + _item(0x55, b"TESTS")
    items.append(_item(0x50, user))
    head = struct.pack(">Hxx16s16s32x", 1, called.encode().ljust(16), calling.encode().ljust(16))
    body = head + b"".join(items)
    return struct.pack(">BxI", 1, len(body)) + body


def _accepted(body: bytes) -> tuple[set[int], int]:
    """Numbers of the accepted contexts, and the longest PDU that the peer takes."""
    taken, longest, rest = set(), 16384, body[68:]
    while rest:
        kind, length = struct.unpack_from(">BxH", rest)
        value, rest = rest[4 : 4 + length], rest[4 + length :]
        if kind == 0x21 and value[2] == 0:
            taken.add(value[0])
        if kind == 0x50 and value[0] == 0x51:
            longest = min(struct.unpack_from(">I", value, 4)[0] or 131072, 131072)
    return taken, longest


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def p_data(context: int, flags: int, value: bytes | memoryview) -> bytes:
    """A P-DATA-TF of one fragment; flags: 1 command, 2 last."""
    return struct.pack(">BxIIBB", 4, len(value) + 6, len(value) + 2, context, flags) + value


def command_set(fields: Mapping[int, str | int]) -> bytes:
    """With its group length; UIDs as text, numbers as unsigned shorts."""
    content = b""
    for element, value in sorted(fields.items()):
        text = (
            struct.pack("<H", value) if isinstance(value, int) else value.encode() + b"\0" * (len(value) % 2)
        )
        content += struct.pack("<HHI", 0, element, len(text)) + text
    return struct.pack("<HHII", 0, 0, 4, len(content)) + content


def _fields(command: bytes) -> dict[int, bytes]:
    found = {}
    while command:
        element, length = struct.unpack_from("<2xHI", command)
        found[element], command = command[8 : 8 + length], command[8 + length :]
    return found


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")
