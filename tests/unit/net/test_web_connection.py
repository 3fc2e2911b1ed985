"""One HTTP connection and its answers, against a server that does what it is told: kept, bounded, judged, discreet."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from broker.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError, UnreachableError
from broker.net import web_answer, web_connection
from broker.net.web_connection import Body, WebConnection
from broker.net.web_peer import WebPeer
from tests.support.certificates import certificate
from tests.support.ports import free_port
from tests.support.webserver import Request, WebServer

NONE: Mapping[str, str] = {}


@contextlib.contextmanager
def connected(
    behave: Callable[[Request], Any], tls: ssl.SSLContext | None = None, **options: Any
) -> Iterator[tuple[WebServer, WebConnection]]:
    with WebServer(behave, tls) as server:
        connection = WebConnection(WebPeer(**{"url": server.url, "response_timeout": "5s", **options}))
        try:
            yield server, connection
        finally:
            connection.close()


def get(connection: WebConnection) -> bytes:
    with connection.exchange("GET", "/x", NONE) as answer:
        if answer.status != 200:
            raise answer.failure()
        return answer.whole()


def post(connection: WebConnection, *chunks: bytes) -> int:
    body = Body(length=sum(map(len, chunks)), chunks=chunks)
    with connection.exchange("POST", "/x", NONE, body) as answer:
        answer.whole()
        return answer.status


def test_a_connection_is_kept_and_used_again() -> None:
    def behave(request: Request) -> None:
        request.answer(200, request.body() or b"there")

    with connected(behave) as (server, connection):
        assert get(connection) == b"there"
        assert post(connection, b"a", b"bc") == 200
        assert get(connection) == b"there"

    assert [r.connection_number for r in server.requests] == [0, 0, 0]
    assert [(r.method, r.path, bytes(r.received)) for r in server.requests[:2]] == [
        ("GET", "/web/x", b""),
        ("POST", "/web/x", b"abc"),
    ]


def test_one_that_the_server_closed_is_opened_again() -> None:
    def behave(request: Request) -> bool:
        request.answer(200)
        return False

    with connected(behave) as (server, connection):
        get(connection)
        server.join()
        get(connection)

    assert [request.connection_number for request in server.requests] == [0, 1]


@pytest.mark.parametrize("more", [{"Connection": "close"}, {}])
def test_what_is_not_read_of_an_answer_meets_nobody(more: dict[str, str]) -> None:
    with connected(lambda request: request.answer(200, b"HTTP/1.1 500 x\r\n\r\n", **more)) as (
        server,
        connection,
    ):
        with connection.exchange("GET", "/x", NONE) as answer:
            assert answer.status == 200
        get(connection)

    assert [request.connection_number for request in server.requests] == [0, 1]


def test_one_that_nobody_used_for_long_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_connection, "_IDLE", -1.0)
    with connected(lambda request: request.answer(200)) as (server, connection):
        get(connection)
        get(connection)

    assert [request.connection_number for request in server.requests] == [0, 1]


@pytest.mark.parametrize(
    ("options", "header"),
    [
        ({}, None),
        ({"token": "abc"}, "Bearer abc"),
        ({"user": "brøker", "password": "a:b"}, "Basic YnLDuGtlcjphOmI="),
    ],
)
def test_credentials(options: dict[str, str], header: str | None) -> None:
    with connected(lambda request: request.answer(200), **options) as (server, connection):
        get(connection)

    assert server.requests[0].headers.get("authorization") == header


# --- what a status means


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, PermanentDeliveryError) for status in (400, 409, 413, 415)),
        *((status, UnreachableError) for status in (301, 307, 401, 403, 404, 405, 429, 501, 502, 503)),
        *((status, TransientDeliveryError) for status in (408, 418, 500, 504)),
    ],
)
def test_a_status_is_of_the_bytes_of_the_place_or_of_the_moment(
    status: int, kind: type[DeliveryError]
) -> None:
    with (
        connected(lambda request: request.answer(status, b"secret")) as (_, connection),
        pytest.raises(DeliveryError) as told,
    ):
        get(connection)

    assert type(told.value) is kind
    assert str(status) in str(told.value)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("120", 120, 120), ("-1", 0, 0), ("soon", 0, 0), ("", 0, 0), ("in 15 minutes", 600, 900)],
)
def test_retry_after_is_told(header: str, least: float, most: float) -> None:
    said = formatdate(time.time() + 900) if header == "in 15 minutes" else header
    with (
        connected(lambda request: request.answer(503, Retry_After=said)) as (_, connection),
        pytest.raises(UnreachableError) as told,
    ):
        get(connection)

    assert least <= told.value.wait <= most


# --- what breaks, and what takes too long


def test_nobody_is_there() -> None:
    port = free_port()
    connection = WebConnection(WebPeer(url=f"http://127.0.0.1:{port}"))

    with pytest.raises(UnreachableError, match=f"no connection to 127.0.0.1:{port}: Connection refused"):
        get(connection)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"secret\r\n\r\n",
        b"HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nsecret",
    ],
)
def test_an_answer_that_is_cut_or_none_is_transient_and_not_told(said: bytes) -> None:
    def behave(request: Request) -> bool:
        request.send(said)
        return False

    with connected(behave) as (_, connection), pytest.raises(TransientDeliveryError) as told:
        get(connection)

    assert not isinstance(told.value, UnreachableError)
    assert "secret" not in str(told.value)


def test_an_answer_that_does_not_come() -> None:
    with (
        connected(lambda request: request.read(1), response_timeout="200ms") as (_, connection),
        pytest.raises(TransientDeliveryError, match="no answer in time"),
    ):
        get(connection)


def test_an_answer_that_trickles_does_not_extend_its_time() -> None:
    def behave(request: Request) -> None:
        request.send(b"HTTP/1.1 200 x\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            request.send(b"x")

    with (
        connected(behave, response_timeout="300ms") as (_, connection),
        pytest.raises(TransientDeliveryError, match="no answer in time"),
    ):
        get(connection)


def test_of_a_stream_each_read_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock leaps while it is read: what comes is taken all the same."""
    now = [0.0]
    monkeypatch.setattr(web_connection.time, "monotonic", lambda: now[0])
    with connected(lambda request: request.answer(200, bytes(500_000))) as (_, connection):
        with connection.exchange("GET", "/x", NONE, stream=True) as answer:
            size = 0
            while chunk := answer.read(65536):
                size += len(chunk)
                now[0] += 3600.0
        with connection.exchange("GET", "/x", NONE) as answer:
            now[0] += 3600.0
            with pytest.raises(TransientDeliveryError, match="no answer in time"):
                answer.whole()

    assert size == 500_000


def test_an_answer_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_answer, "LONGEST_ANSWER", 1000)
    with (
        connected(lambda request: request.answer(200, bytes(1001))) as (_, connection),
        pytest.raises(TransientDeliveryError, match="longer than 1000"),
    ):
        get(connection)


def test_a_server_that_does_not_read_on() -> None:
    done = threading.Event()

    def behave(request: Request) -> None:
        done.wait(30)

    with connected(behave, response_timeout="300ms") as (_, connection):
        with pytest.raises(TransientDeliveryError, match="does not read on"):
            post(connection, *[bytes(1 << 20)] * 40)
        done.set()


def test_what_a_server_says_before_it_has_read_all_is_heard() -> None:
    def behave(request: Request) -> bool:
        request.answer(413)
        return False

    with connected(behave) as (_, connection):
        assert post(connection, *[bytes(1 << 20)] * 40) == 413


def test_that_all_is_well_is_not_believed_before_all_has_left() -> None:
    def behave(request: Request) -> bool:
        request.answer(200)
        return False

    with connected(behave) as (_, connection), pytest.raises(TransientDeliveryError, match="broke off"):
        post(connection, *[bytes(1 << 20)] * 40)


def test_what_was_given_up_is_not_sent_late() -> None:
    """The connection is reset: the server does not get what the kernel had (`broker.net.unsent`)."""
    ends: list[OSError] = []
    begun = threading.Event()

    def behave(request: Request) -> None:
        begun.set()
        try:
            request.read(1 << 30)
        except OSError as error:
            ends.append(error)
            raise

    def body() -> Iterator[bytes]:
        yield bytes(1 << 16)
        begun.wait(10)
        raise KeyError

    with connected(behave) as (server, connection):
        request = connection.exchange("POST", "/x", NONE, Body(length=1 << 30, chunks=body()))
        with pytest.raises(KeyError), request:
            pytest.fail("there is no answer")
        server.join()

    assert [error.strerror for error in ends] == ["Connection reset by peer"]


# --- TLS


def test_a_certificate_that_is_trusted_and_one_that_is_not(tmp_path: Path) -> None:
    tls, file = certificate(tmp_path)
    with connected(lambda request: request.answer(200, b"there"), tls, ca_file=str(file)) as (
        server,
        trusting,
    ):
        assert [get(trusting), get(trusting)] == [b"there", b"there"]
        with pytest.raises(UnreachableError, match=rf"certificate of localhost:{server.port} is not trusted"):
            get(WebConnection(WebPeer(url=server.url)))
        assert [request.connection_number for request in server.requests] == [0, 0]


def test_a_server_without_tls() -> None:
    with WebServer(lambda request: False) as server:
        connection = WebConnection(
            WebPeer(url=server.url.replace("http:", "https:"), connect_timeout="200ms")
        )
        with pytest.raises(UnreachableError, match="no connection to localhost"):
            get(connection)
