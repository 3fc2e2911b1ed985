"""One HTTP connection to a DICOMweb server: kept and used again, every wait bounded, a body that leaves as it is made.

On the standard library's `http.client`: what must be had of a connection here (reset what was given up, one deadline
for a whole answer, a last look before the last bytes) the larger clients keep to themselves. Redirects are not
followed, proxies of the environment not used: objects go where the settings say. What is asked is `web_client`'s,
what an answer means `web_answer`'s.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from broker.errors import TransientDeliveryError, UnreachableError
from broker.net.heard import heard, reason
from broker.net.unsent import forget_unsent
from broker.net.web_answer import Answer, read_within, waiting
from broker.net.web_peer import WebPeer

_IDLE: Final = 30.0
"""Seconds after which a connection is not trusted any more: what stands between may have forgotten it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What leaves with a request: so many bytes, made while it leaves. Nothing has left before the first is made."""

    length: int
    chunks: Iterable[bytes]


class WebConnection:
    """Opens nothing before the first request. One serves one thread."""

    def __init__(self, peer: WebPeer) -> None:
        self._peer = peer
        self._parts = urlsplit(peer.url)
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
        connection = self._open()
        sock = connection.sock
        response: http.client.HTTPResponse | None = None
        try:
            response = self._send(connection, method, path, headers, body, stream=stream)
            yield Answer(response)
        except BaseException:
            if response is not None:
                response.close()  # it holds the socket open
            self.close()
            raise
        if response.will_close or not response.isclosed():
            response.close()
            self.close()  # the next answer would begin with the rest of this one
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
        *,
        stream: bool,
    ) -> http.client.HTTPResponse:
        chunks = iter(body.chunks if body is not None else ())
        first = next(chunks, b"")
        patience = self._peer.response_timeout
        connection.sock.settimeout(patience)
        forget_unsent(connection.sock)
        connection.response_class = partial(read_within, patience=patience, stream=stream)  # type: ignore[assignment]
        connection.putrequest(method, f"{self._parts.path}{path}")
        for name, value in {**headers, **self._authorization()}.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(body.length))
        try:
            _write(connection, first, begin=True)
            for chunk in chunks:
                _write(connection, chunk)
        except _BrokenWriteError as broken:
            # It may have answered, and closed, before it had read all: 401, 413.
            with contextlib.suppress(TransientDeliveryError), waiting():
                early = connection.getresponse()
                if early.status >= 300:
                    return early
            raise TransientDeliveryError(str(broken)) from broken
        with waiting():
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
            raise UnreachableError(f"no connection to {self._peer.place}: {reason(error)}") from error
        # Else http.client would open another one in silence, in the midst of a body.
        self._connection.auto_open = 0
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
        return not heard(connection.sock)


class _BrokenWriteError(Exception):
    """The server does not read on; it may have said why."""


def _write(connection: http.client.HTTPConnection, data: bytes, *, begin: bool = False) -> None:
    try:
        connection.endheaders(data or None) if begin else connection.send(data)
    except TimeoutError as error:
        raise TransientDeliveryError("the server does not read on") from error
    except OSError as error:
        raise _BrokenWriteError(f"broke off while sending: {reason(error)}") from error
