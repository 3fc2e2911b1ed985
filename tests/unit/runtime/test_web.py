from __future__ import annotations

import asyncio
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from broker.runtime.web import ASKED, LARGEST, WebServer, application
from broker.telemetry import Telemetry


def state() -> dict[str, Any]:
    return {"received": [], "name": "Åse"}


def asked(aet: str, row: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [{"ae": aet, "row": dict(row) if row is not None else None}]


class Site:
    """A started web server on a free port, and what it is told of the broker."""

    def __init__(self) -> None:
        self.why_not_ready = ""
        self.telemetry = Telemetry(lambda: [("broker_ready", {}, 1.0)])
        self.status = state
        app = application(lambda: self.why_not_ready, self.telemetry, lambda: self.status(), asked)
        self.server = WebServer("127.0.0.1", 0, app)
        started = threading.Event()

        async def run() -> None:
            await self.server.start()
            started.set()
            await self.server.serve()

        self._thread = threading.Thread(target=lambda: asyncio.run(run()))
        self._thread.start()
        assert started.wait(10)

    def get(self, path: str) -> tuple[int, str, str]:
        """(status, content type, body)."""
        try:
            with urllib.request.urlopen(self.server.address + path, timeout=10) as answer:
                return answer.status, answer.headers["content-type"], answer.read().decode()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.headers["content-type"], exc.read().decode()

    def post(self, path: str, body: bytes) -> tuple[int, str]:
        """(status, body)."""
        try:
            with urllib.request.urlopen(self.server.address + path, body, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read().decode()

    def stop(self) -> None:
        self.server.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.stop()


def test_health_is_that_it_answers(site: Site) -> None:
    site.why_not_ready = "the journal cannot be written"

    assert site.get("/healthz") == (200, "text/plain; charset=utf-8", "ok\n")


def test_health_needs_none_of_the_threads_that_wait_for_a_disk(site: Site) -> None:
    asked, goes_on = threading.Semaphore(0), threading.Event()

    def hangs() -> dict[str, Any]:
        asked.release()
        assert goes_on.wait(10)
        return {}

    site.status = hangs
    waiting = [threading.Thread(target=site.get, args=("/api/status",)) for _ in range(50)]
    for thread in waiting:
        thread.start()
    for _ in range(40):  # as many threads as there are for such pages
        assert asked.acquire(timeout=10)
    try:
        assert site.get("/healthz")[0] == 200
    finally:
        goes_on.set()
        for thread in waiting:
            thread.join(10)
        site.status = state


@pytest.mark.parametrize(
    ("why", "status", "said"), [("", 200, "ready\n"), ("starting or stopping", 503, "starting or stopping\n")]
)
def test_readiness_says_what_is_missing(site: Site, why: str, status: int, said: str) -> None:
    site.why_not_ready = why

    assert site.get("/readyz") == (status, "text/plain; charset=utf-8", said)


def test_metrics_are_prometheus_text(site: Site) -> None:
    site.telemetry.count("broker_deliveries_total", {"destination": "epj", "outcome": "delivered"})
    status, kind, page = site.get("/metrics")

    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert 'broker_deliveries_total{destination="epj",outcome="delivered"} 1.0' in page
    assert "broker_ready 1.0" in page


def test_the_state_is_json(site: Site) -> None:
    status, kind, body = site.get("/api/status")

    assert (status, kind) == (200, "application/json")
    assert json.loads(body) == {"received": [], "name": "Åse"}


def test_what_a_device_asked_is_told_of_a_row_in_the_body(site: Site) -> None:
    with_row = site.post(ASKED, b'{"ae": "CT2", "row": {"AccessionNumber": ["A1", "A2"]}}')
    without = site.post(ASKED, b'{"ae": "CT2"}')

    assert (with_row[0], without[0]) == (200, 200)
    assert json.loads(with_row[1]) == {"queries": [{"ae": "CT2", "row": {"AccessionNumber": ["A1", "A2"]}}]}
    assert json.loads(without[1]) == {"queries": [{"ae": "CT2", "row": None}]}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"ae": 1}', b'{"ae": "CT2", "row": [1]}', b'{"ae": "' + b"x" * LARGEST]
)
def test_what_is_no_question_is_a_bad_request(site: Site, body: bytes) -> None:
    assert site.post(ASKED, body or b" ")[0] == 400


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403), ("a-socket", 403)]
)
def test_only_the_own_machine_is_told_what_devices_asked(host: str, status: int) -> None:
    app = application(lambda: "", Telemetry(list), state, asked)
    scope = {"type": "http", "method": "POST", "path": ASKED, "headers": [], "query_string": b""}
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b'{"ae": "CT2"}'}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app({**scope, "client": (host, 5000)}, receive, send))

    assert sent[0]["status"] == status


def test_the_front_page_names_the_others(site: Site) -> None:
    status, _, body = site.get("/")

    assert status == 200
    for path in ("/healthz", "/readyz", "/metrics", "/api/status"):
        assert path in body


def test_anything_else_is_not_there(site: Site) -> None:
    assert site.get("/etc/passwd")[0] == 404


def test_a_failing_page_tells_nothing_of_why() -> None:
    site = Site()

    def broken() -> dict[str, Any]:
        raise ValueError("Sørby 30908299902")

    site.stop()
    app = application(lambda: "", Telemetry(list), broken)
    site.server = WebServer("127.0.0.1", 0, app)

    async def ask() -> tuple[int, str]:
        await site.server.start()
        serving = asyncio.create_task(site.server.serve())
        status, _, body = await asyncio.to_thread(site.get, "/api/status")
        site.server.stop()
        await serving
        return status, body

    status, body = asyncio.run(ask())
    assert status == 500
    assert "30908299902" not in body


def test_a_port_that_is_taken_is_an_os_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = WebServer(
            "127.0.0.1", taken.getsockname()[1], application(lambda: "", Telemetry(list), dict)
        )
        with pytest.raises(OSError, match="in use"):
            asyncio.run(server.start())


def test_an_ipv6_address_stands_in_brackets() -> None:
    server = WebServer("::1", 8080, application(lambda: "", Telemetry(list), dict))

    assert server.address == "http://[::1]:8080"
