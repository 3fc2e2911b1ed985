"""HTTP: health, readiness, metrics, the state as JSON, and what devices asked last, which is told on loopback only.

The console will live here too; it is not built yet.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from broker.dicom.attributes import from_json
from broker.telemetry import Telemetry

ASKED: Final = "/api/worklist/asked"
"""POST: the AE title and a row, for what the device asked last, held against that row (`broker why`)."""

LARGEST: Final = 256 * 1024
"""Bytes of a request's body; a row is a few KiB."""

Asked = Callable[[str, Mapping[str, Any] | None], list[dict[str, Any]]]


def application(
    ready: Callable[[], str],
    telemetry: Telemetry,
    status: Callable[[], dict[str, Any]],
    asked: Asked = lambda _aet, _row: [],
) -> Starlette:
    """`ready` says what keeps the broker from being ready, empty when nothing does; `asked` is `Queries.told`."""

    async def healthz(_request: Request) -> Response:
        # On the event loop: the others may all wait in their threads for a disk that does not answer.
        return PlainTextResponse("ok\n")

    def readyz(_request: Request) -> Response:
        why = ready()
        return PlainTextResponse(f"{why or 'ready'}\n", status_code=503 if why else 200)

    def metrics(_request: Request) -> Response:
        return Response(telemetry.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def api_status(_request: Request) -> Response:
        return JSONResponse(status())

    async def api_asked(request: Request) -> Response:
        # A row is a patient's: it comes in the body, from this machine, and nothing of it is kept or logged.
        if not _is_local(request):
            return PlainTextResponse("only from the broker's own machine\n", status_code=403)
        try:
            aet, row = _aet_and_row(await _body(request))
            return JSONResponse({"queries": await run_in_threadpool(asked, aet, row)})
        except (AttributeError, TypeError, ValueError):  # not JSON, or not shaped like a row
            return PlainTextResponse('send {"ae": "…", "row": {…} or null}\n', status_code=400)

    def index(_request: Request) -> Response:
        return PlainTextResponse("HL7/DICOM broker: /healthz /readyz /metrics /api/status\n")

    return Starlette(
        routes=[
            Route("/", index),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/api/status", api_status),
            Route(ASKED, api_asked, methods=["POST"]),
        ]
    )


def _is_local(request: Request) -> bool:
    try:
        return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


async def _body(request: Request) -> bytes:
    """The body. Raises `ValueError` for one that is too large, before it is read."""
    read = bytearray()
    async for part in request.stream():
        read += part
        if len(read) > LARGEST:
            raise ValueError("too large")
    return bytes(read)


def _aet_and_row(body: bytes) -> tuple[str, Mapping[str, Any] | None]:
    """Raises `ValueError` or `AttributeError` for what is neither."""
    said = json.loads(body)
    if not isinstance(said, dict) or not isinstance(said.get("ae"), str):
        raise ValueError("no AE title")
    row = said.get("row")
    return said["ae"], None if row is None else from_json(json.dumps(row))


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the broker stops it, in its order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class WebServer:
    """The HTTP server, on the broker's own event loop."""

    def __init__(self, host: str, port: int, app: Starlette) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config)
        self._host, self._port = host, port

    @property
    def address(self) -> str:
        """`http://127.0.0.1:8080`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Opens the port. Raises `OSError` when it cannot be had."""
        if not self._server.config.loaded:
            self._server.config.load()
        self._server.lifespan = self._server.config.lifespan_class(self._server.config)
        bound = self._bind()
        self._port = bound.getsockname()[1]
        await self._server.startup(sockets=[bound])

    async def serve(self) -> None:
        """Runs until `stop`."""
        await self._server.main_loop()
        await self._server.shutdown()

    def stop(self) -> None:
        """Ends `serve`."""
        self._server.should_exit = True

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((self._host, self._port))
        except OSError:
            found.close()
            raise
        found.set_inheritable(True)
        return found
