"""What a device asked, from the broker that remembers it: here a server of the test's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from broker.runtime.configured import Configured
from broker.runtime.web import ASKED
from broker.settings import Settings, load
from broker.why.device import asking
from broker.why.facts import Device
from tests.support.ports import free_port
from tests.support.shared import REPOSITORY

QUERY = {
    "at": "2026-03-09T08:00:00+00:00",
    "answers": 2,
    "whole": True,
    "lossy": 0,
    "charset": "",
    "limited": False,
    "asked": [],
    "keys": [],
}


class Server:
    """Answers every POST alike, and keeps the last one's path and body."""

    def __init__(self) -> None:
        self.status, self.answer = 200, json.dumps({"queries": [QUERY]}).encode()
        self.path, self.body = "", b""
        test = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                test.path, test.body = self.path, self.rfile.read(int(self.headers["content-length"]))
                self.send_response(test.status)
                self.end_headers()
                self.wfile.write(test.answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.server.shutdown()
    server.thread.join(10)
    server.server.server_close()


def settings(port: int) -> Settings:
    return load(
        REPOSITORY / "config" / "broker.yaml", env={"BROKER_HTTP_PORT": str(port), "BROKER_BIND": "0.0.0.0"}
    )


def test_the_row_goes_in_the_body_and_the_queries_come_back(server: Server, configured: Configured) -> None:
    ask = asking(settings(server.server.server_port))

    assert ask("CT2", {"PatientID": "700123"}) == ((Device(at=QUERY["at"], answers=2),), "")
    assert server.path == ASKED
    assert json.loads(server.body) == {"ae": "CT2", "row": {"PatientID": "700123"}}


def test_of_a_past_moment_only_what_had_been_asked_by_then(server: Server) -> None:
    port = server.server.server_port

    assert asking(settings(port), "2026-03-09T07:59:00+00:00")("CT2", None) == ((), "")
    assert len(asking(settings(port), "2026-03-09T08:01:00+00:00")("CT2", None)[0]) == 1


@pytest.mark.parametrize(("status", "answer"), [(403, b"only from here"), (200, b"no JSON")])
def test_an_answer_that_is_none_is_said_so(server: Server, status: int, answer: bytes) -> None:
    server.status, server.answer = status, answer
    found, why = asking(settings(server.server.server_port))("CT2", None)

    assert found == ()
    assert "no broker answers on http://127.0.0.1:" in why


def test_without_a_broker_it_is_not_known() -> None:
    assert "what CT2 asked is not known" in asking(settings(free_port()))("CT2", None)[1]
