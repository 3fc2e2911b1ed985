"""HTTP: health, readiness, metrics and the state as JSON. The console will live here too; it is not built yet."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from broker.telemetry import Telemetry


def application(
    ready: Callable[[], str], telemetry: Telemetry, status: Callable[[], dict[str, Any]]
) -> Starlette:
    """`ready` says what keeps the broker from being ready, empty when nothing does."""

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

    def index(_request: Request) -> Response:
        return PlainTextResponse("HL7/DICOM broker: /healthz /readyz /metrics /api/status\n")

    return Starlette(
        routes=[
            Route("/", index),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/api/status", api_status),
        ]
    )


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
