"""One association that this side opened, and its PDUs: negotiated, written, read within a time, released. Blocking, no
threads, no DIMSE: what is asked is `broker.net.requestor`'s.

PS3.8 7 and 9.2 (upper layer service, as requestor); PS3.7 D.3.3.4 (roles).
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Collection, Mapping, Sequence
from typing import BinaryIO

from broker.dicom import pdu
from broker.errors import TransientDeliveryError, UnreachableError
from broker.net.heard import heard, reason
from broker.net.tls import PeerTls, say_goodbye
from broker.net.unsent import forget_unsent

# Responses are a few hundred bytes; a longer PDU is not one.
_LONGEST_RECEIVED = 1 << 20

# Orthanc and DCMTK as shipped write a response in two pieces and hold the second back until the first is
# acknowledged (Nagle); Linux would acknowledge only after 40 ms, for each object. The option does not last.
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)

# How long a peer may take to agree to a release; nothing is lost when it does not.
_RELEASE_TIMEOUT = 2.0


class Requested:
    """Every failure closes it and raises `TransientDeliveryError`; no connection and a rejected association are its
    `UnreachableError`."""

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
        tls: PeerTls | None = None,
    ) -> None:
        """`serves`: SOP classes of which this side would be the SCP; what was said to that is in `roles`. `tls`: unless
        it is None, nothing is said before the peer has shown a certificate that is trusted; `connect_timeout` bounds
        that too."""
        self.accepted: dict[pdu.Context, int] = {}
        """Accepted contexts and their ids."""
        self.roles: Mapping[str, bool] = {}
        """SOP classes of which the peer answered a role, and whether we may be their SCP."""
        self._response_timeout = response_timeout
        try:
            self._socket = socket.create_connection((host, port), timeout=connect_timeout)
            if tls is not None:
                self._socket = tls.secured(self._socket, host)
        except ssl.SSLCertVerificationError as error:
            why = f"the certificate of {host}:{port} is not trusted: {error.verify_message}"
            raise UnreachableError(why) from error
        except OSError as error:
            raise UnreachableError(f"no connection to {host}:{port}: {reason(error)}") from error
        forget_unsent(self._socket)
        # A PDU leaves when it is written: without this each command waits 40 ms for a delayed ACK.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(response_timeout)
        proposed = {2 * index + 1: context for index, context in enumerate(contexts)}
        request = pdu.associate_rq(
            called_aet=called_aet,
            calling_aet=calling_aet,
            contexts=proposed,
            max_length=max_pdu,
            serves=serves,
        )
        try:
            if tls is None:
                self._write(request)
            else:
                # In TLS 1.3 a server says only now that it wants another certificate, or one at all. It may have hung
                # up by then, so that nothing can be written: what it said is there to be read all the same.
                with contextlib.suppress(OSError):
                    self._socket.sendall(request)
            kind, body = self._read_pdu(time.monotonic() + response_timeout)
        except TransientDeliveryError as error:
            if isinstance(error.__cause__, ssl.SSLError):
                why = f"no connection to {host}:{port}: {reason(error.__cause__)}"
                raise UnreachableError(why) from error
            raise
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

    def usable(self) -> bool:
        """Whether the peer left the association alone: release, abort and close, sent unasked, end it."""
        if not heard(self._socket):
            return True
        with contextlib.suppress(TransientDeliveryError):
            kind, _ = self._read_pdu(time.monotonic() + _RELEASE_TIMEOUT)
            if kind == pdu.RELEASE_RQ:
                self._write(pdu.release_rp())
                self._part()
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
            self._part()
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

    def _part(self) -> None:
        """Before the close of what ended in order."""
        forget_unsent(self._socket, False)
        say_goodbye(self._socket)

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()
