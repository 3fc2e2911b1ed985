"""The answer of a DICOMweb server: read within a time, and what its HTTP status means for a delivery.

HTTP statuses beside 2xx (RFC 9110 15; PS3.18 table 10.5.3-1), and what they mean for a delivery:

===========================  ===========  =====================================================================
status                       raised       reason
===========================  ===========  =====================================================================
400 409 410 413 414 415 422  permanent    these bytes are refused
3xx 401 403 404 405 406 407  unreachable  address, credentials or certificate are not as the server wants them:
501                                       so it is with every object, and none is to be blamed
429 502 503                  unreachable  the server asks to be left alone, or is away behind its gateway
anything else                transient    time-outs (408, 504) and failures (500) may be of this object alone
===========================  ===========  =====================================================================
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import io
import socket
import time
from collections.abc import Iterator
from typing import Any, Final

from broker.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError, UnreachableError
from broker.net.heard import reason

PERMANENT: Final = frozenset({400, 409, 410, 413, 414, 415, 422})
ELSEWHERE: Final = frozenset({401, 403, 404, 405, 406, 407, 501})
"""Statuses that speak of address and credentials, beside every redirect."""
BUSY: Final = frozenset({429, 502, 503})

LONGEST_ANSWER: Final = 64 << 20
"""Bytes of an answer that is read whole."""


class Answer:
    """An answer whose body is read where it is wanted."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status

    def header(self, name: str) -> str:
        """The header, empty where it is not there."""
        return self._response.getheader(name) or ""

    def read(self, size: int) -> bytes:
        """At most so many bytes of the body, none at its end. Raises `TransientDeliveryError`."""
        with waiting():
            data = self._response.read(size)
        if len(data) < size and self._response.length:
            raise TransientDeliveryError("broke off while waiting: the answer ends early")
        return data

    def whole(self) -> bytes:
        """The body. Raises `TransientDeliveryError`, also where it is longer than `LONGEST_ANSWER`."""
        text = self.read(LONGEST_ANSWER)
        if self.read(1):
            raise TransientDeliveryError(f"the answer is longer than {LONGEST_ANSWER} bytes")
        return text

    def failure(self) -> DeliveryError:
        """What a status that is no success means: the table above."""
        said = f"HTTP {self.status}"
        if self.status in PERMANENT:
            return PermanentDeliveryError(said)
        if self.status in ELSEWHERE or 300 <= self.status < 400:
            return UnreachableError(f"{said}: url or credentials are not as the server wants them")
        if self.status in BUSY:
            return UnreachableError(said, wait=_seconds(self.header("Retry-After")))
        return TransientDeliveryError(said, wait=_seconds(self.header("Retry-After")))


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """While an answer is read: the exceptions of `http.client` quote what came, and are not told."""
    try:
        yield
    except TimeoutError as error:
        raise TransientDeliveryError("no answer in time") from error
    except OSError as error:
        raise TransientDeliveryError(f"broke off while waiting: {reason(error)}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise TransientDeliveryError(f"the answer is no HTTP: {type(error).__name__}") from error


def read_within(
    sock: socket.socket, patience: float, *, stream: bool, **more: Any
) -> http.client.HTTPResponse:
    """An answer that is read within a time, which `http.client` by itself has for each read only."""
    source: Any = _Source(sock, patience, stream=stream)
    return http.client.HTTPResponse(source, **more)


class _Source:
    """The little of a socket that `HTTPResponse` asks for."""

    def __init__(self, sock: socket.socket, patience: float, *, stream: bool) -> None:
        self._reading = _Reading(sock, patience, stream=stream)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._reading)


class _Reading(io.RawIOBase):
    """What the server says; one that trickles does not extend the time, but of a stream."""

    def __init__(self, sock: socket.socket, patience: float, *, stream: bool) -> None:
        self._socket, self._patience, self._stream = sock, patience, stream
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = time.monotonic() + patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._patience if self._stream else self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _seconds(retry_after: str) -> float:
    """Of a Retry-After header (RFC 9110 10.2.3): seconds, or a date. 0 where it says nothing that can be read."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
