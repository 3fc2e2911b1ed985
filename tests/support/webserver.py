"""A DICOMweb server that does what it is told, over HTTP or TLS: no real archive can be made to fail at will."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any


class Request:
    """A request whose head has been read."""

    def __init__(self, connection: socket.socket, number: int, head: bytes, begun: bytes) -> None:
        line, *headers = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = line.split(" ")
        self.headers = {n.lower(): v.strip() for n, _, v in (header.partition(":") for header in headers)}
        self.connection_number = number
        """Which connection it came over, counted from 0."""
        self.received = bytearray(begun)
        self._connection = connection

    def read(self, size: int) -> None:
        """Reads until so many bytes of the body are here."""
        while len(self.received) < size:
            chunk = self._connection.recv(65536)
            if not chunk:
                raise ConnectionResetError
            self.received += chunk

    def body(self) -> bytes:
        self.read(int(self.headers.get("content-length", "0")))
        return bytes(self.received)

    def object(self) -> bytes:
        """The DICOM file of a Store request with one part."""
        boundary = self.headers["content-type"].rpartition("boundary=")[2].encode()
        body = self.body()
        assert body.startswith(b"--" + boundary + b"\r\nContent-Type: application/dicom\r\n\r\n")
        assert body.endswith(b"\r\n--" + boundary + b"--\r\n")
        return body[body.index(b"\r\n\r\n") + 4 : -len(boundary) - 8]

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """`Retry_After="3"` is the header Retry-After."""
        more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.send(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body)

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)


class WebServer:
    """Does with each request what `behave` does: what raises `OSError`, or returns False, closes the connection."""

    def __init__(self, behave: Callable[[Request], Any], tls: ssl.SSLContext | None = None) -> None:
        self.behave = behave
        self.requests: list[Request] = []
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen, daemon=True)]

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}/web"

    def join(self) -> None:
        """Returns when every connection has ended by itself."""
        for thread in self._threads[1:]:
            thread.join(10)

    def __enter__(self) -> WebServer:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                thread = threading.Thread(
                    target=self._serve, args=(connection, len(self._connections) - 1), daemon=True
                )
                self._threads.append(thread)  # first: `join` must not miss one that has answered
                thread.start()

    def _serve(self, raw: socket.socket, number: int) -> None:
        with raw, contextlib.suppress(OSError):
            connection = self._tls.wrap_socket(raw, server_side=True) if self._tls else raw
            with connection:
                self._connections[number] = connection
                while (request := self._request(connection, number)) is not None:
                    self.requests.append(request)
                    if self.behave(request) is False:
                        return

    def _request(self, connection: socket.socket, number: int) -> Request | None:
        begun = b""
        while b"\r\n\r\n" not in begun:
            chunk = connection.recv(65536)
            if not chunk:
                return None
            begun += chunk
        head, _, rest = begun.partition(b"\r\n\r\n")
        return Request(connection, number, head, rest)


def stored(
    *uids: str, failed: Mapping[str, int] | None = None, warned: Mapping[str, int] | None = None
) -> bytes:
    """The Store Instances Response Module in JSON (PS3.18 I.2)."""

    def item(uid: str, reason: str = "", code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}} if uid else {}
        return found | ({reason: {"vr": "US", "Value": [code]}} if reason else {})

    taken = [item(uid) for uid in uids] + [
        item(uid, "00081196", code) for uid, code in (warned or {}).items()
    ]
    refused = [item(uid, "00081197", code) for uid, code in (failed or {}).items()]
    sequences = {"00081199": taken, "00081198": refused}
    return json.dumps(
        {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}
    ).encode()
