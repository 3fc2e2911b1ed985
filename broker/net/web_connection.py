"""One HTTP connection to a DICOMweb server: kept and used again, every wait bounded, a body that leaves as it is made.

On the standard library's `http.client`: what must be had of a connection here (reset what was given up, one deadline
for a whole answer, a last look before the last bytes) the larger clients keep to themselves. Redirects are not
followed, proxies of the environment not used: objects go where the settings say. What is asked is `web_client`'s.

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

import base64
import contextlib
import email.utils
import http.client
import io
import select
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, model_validator

from broker.adapter import Options
from broker.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError, UnreachableError
from broker.net.unsent import forget_unsent
from broker.scalars import Duration, Secret, Text, as_written

PERMANENT: Final = frozenset({400, 409, 410, 413, 414, 415, 422})
ELSEWHERE: Final = frozenset({401, 403, 404, 405, 406, 407, 501})
"""Statuses that speak of address and credentials, beside every redirect."""
BUSY: Final = frozenset({429, 502, 503})

LONGEST_ANSWER: Final = 64 << 20
"""Bytes of an answer that is read whole."""

_IDLE: Final = 30.0
"""Seconds after which a connection is not trusted any more: what stands between may have forgotten it."""


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        named = False
    if not named or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("must be a URL such as https://pacs.example/dicom-web")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("must be the address only: secrets have options of their own")
    return value.rstrip("/")


def _file(value: str, info: ValidationInfo) -> str:
    """Relative to the settings file."""
    if not value:
        return value
    path = Path((info.context or {}).get("folder", "."), value)
    if not path.is_file():
        raise ValueError("the file is not there")
    return str(path)


def _in_header(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be letters, digits and signs of ASCII")
    return value


class WebPeer(Options):
    """Options of a DICOMweb server."""

    url: Annotated[str, BeforeValidator(as_written), AfterValidator(_url)] = Field(
        description="Where its DICOMweb services begin (what stands before `/studies`):"
        " `https://pacs.example/dicom-web`."
    )
    token: Annotated[Secret, AfterValidator(_in_header)] = Field(
        default=SecretStr(""), description="Bearer token, where it wants one."
    )
    user: Text = Field(default="", description="User name, where it wants name and password.")
    password: Secret = Field(default=SecretStr(""), description="The user's password.")
    ca_file: Annotated[Text, AfterValidator(_file)] = Field(
        default="",
        description="PEM file of the authorities that may sign its certificate, relative to this file. Empty: those"
        " that the machine trusts.",
    )
    connect_timeout: Duration = Field(default=5.0, description="Longest wait for a connection.")
    response_timeout: Duration = Field(
        default=60.0, description="Longest wait for an answer, and for it to read on."
    )

    @model_validator(mode="after")
    def _secrets(self) -> WebPeer:
        token, password = self.token.get_secret_value(), self.password.get_secret_value()
        if bool(self.user) != bool(password) or (token and self.user):
            raise ValueError("either `token`, or `user` with `password`, or neither")
        if ":" in self.user:
            raise ValueError("user: no colon (RFC 7617 2)")
        local = urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")
        if (token or password) and not self.url.startswith("https:") and not local:
            raise ValueError("token, password: over https only")
        return self

    @property
    def place(self) -> str:
        """Host and port, for errors."""
        parts = urlsplit(self.url)
        return parts.netloc if parts.port else f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What leaves with a request: so many bytes, made while it leaves. Nothing has left before the first is made."""

    length: int
    chunks: Iterable[bytes]


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
        with _waiting():
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


class WebConnection:
    """Opens nothing before the first request. One serves one thread."""

    def __init__(self, peer: WebPeer) -> None:
        self._peer = peer
        self._parts: SplitResult = urlsplit(peer.url)
        self._tls: ssl.SSLContext | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._last_use = 0.0

    @contextlib.contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        *,
        stream: bool = False,
    ) -> Iterator[Answer]:
        """The answer to a request, whatever its status; a failure inside closes the connection.

        `path`: behind the `url`. The whole answer must be here within `response_timeout`; of a `stream` each read.
        Raises `UnreachableError` (no connection) or `TransientDeliveryError` (broken off, too slow). What making the
        body raises passes.
        """
        chunks = iter(body.chunks) if body is not None else iter(())
        connection = self._open()
        sock = connection.sock
        response: http.client.HTTPResponse | None = None
        try:
            first = next(chunks, b"")
            forget_unsent(sock)
            response = self._send(connection, method, path, headers, body, first, chunks, stream=stream)
            yield Answer(response)
        except BaseException:
            if response is not None:
                response.close()  # it holds the socket open
            self.close()
            raise
        if (
            response.will_close or not response.isclosed()
        ):  # the next answer would begin with the rest of this one
            response.close()
            self.close()
            return
        forget_unsent(sock, False)
        self._last_use = time.monotonic()

    def close(self) -> None:
        """Closes the connection. Idempotent; a later request opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Body | None,
        first: bytes,
        rest: Iterator[bytes],
        *,
        stream: bool,
    ) -> http.client.HTTPResponse:
        patience = self._peer.response_timeout
        connection.sock.settimeout(patience)
        connection.response_class = partial(_response, patience=patience, stream=stream)  # type: ignore[assignment]
        connection.putrequest(method, f"{self._parts.path}{path}")
        for name, value in {**headers, **self._authorization()}.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(body.length))
        try:
            _write(connection, first, begin=True)
            for chunk in rest:
                _write(connection, chunk)
        except _BrokenWriteError as broken:
            # It may have answered, and closed, before it had read all: 401, 413.
            with contextlib.suppress(TransientDeliveryError), _waiting():
                early = connection.getresponse()
                if early.status >= 300:
                    return early
            raise TransientDeliveryError(str(broken)) from broken
        with _waiting():
            return connection.getresponse()

    def _authorization(self) -> Mapping[str, str]:
        if token := self._peer.token.get_secret_value():
            return {"Authorization": f"Bearer {token}"}
        if self._peer.user:
            both = f"{self._peer.user}:{self._peer.password.get_secret_value()}"
            return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode('ascii')}"}
        return {}

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is not None:
            if self._usable(self._connection):
                return self._connection
            self.close()
        try:
            self._connection = self._new()
            self._connection.connect()
        except ssl.SSLCertVerificationError as error:
            self.close()
            why = f"the certificate of {self._peer.place} is not trusted: {error.verify_message}"
            raise UnreachableError(why) from error
        except OSError as error:
            self.close()
            raise UnreachableError(f"no connection to {self._peer.place}: {_reason(error)}") from error
        self._connection.auto_open = (
            0  # http.client would open another one in silence, in the midst of a body
        )
        return self._connection

    def _new(self) -> http.client.HTTPConnection:
        host, port, patience = self._parts.hostname or "", self._parts.port, self._peer.connect_timeout
        if self._parts.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=patience)
        if self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._peer.ca_file or None)
            self._tls.set_alpn_protocols(["http/1.1"])
        return http.client.HTTPSConnection(host, port, timeout=patience, context=self._tls)

    def _usable(self, connection: http.client.HTTPConnection) -> bool:
        """Whether it was used lately, and the server has neither closed it nor said anything unasked."""
        if connection.sock is None or time.monotonic() - self._last_use > _IDLE:
            return False
        heard = select.poll()  # not `select`, which has no place for a file number above 1023
        heard.register(connection.sock, select.POLLIN)
        return not heard.poll(0)


class _BrokenWriteError(Exception):
    """The server does not read on; it may have said why."""


def _write(connection: http.client.HTTPConnection, data: bytes, *, begin: bool = False) -> None:
    try:
        connection.endheaders(data or None) if begin else connection.send(data)
    except TimeoutError as error:
        raise TransientDeliveryError("the server does not read on") from error
    except OSError as error:
        raise _BrokenWriteError(f"broke off while sending: {_reason(error)}") from error


@contextlib.contextmanager
def _waiting() -> Iterator[None]:
    """While an answer is read: the exceptions of `http.client` quote what came, and are not told."""
    try:
        yield
    except TimeoutError as error:
        raise TransientDeliveryError("no answer in time") from error
    except OSError as error:
        raise TransientDeliveryError(f"broke off while waiting: {_reason(error)}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise TransientDeliveryError(f"the answer is no HTTP: {type(error).__name__}") from error


def _response(sock: socket.socket, patience: float, *, stream: bool, **more: Any) -> http.client.HTTPResponse:
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


def _reason(error: OSError) -> str:
    """The system's words for it, which never carry data."""
    return error.strerror or type(error).__name__
