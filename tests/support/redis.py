"""A real Redis on a free port, its data (an append-only file) in a temporary folder."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from tests.support.needs import needs
from tests.support.ports import free_port
from tests.support.processes import Program


class Redis:
    """The same port and data after `kill` and `start`; `wipe` between them takes the data away.

    `before`: what its command begins with, to start it in another network where it has the address `host`.
    """

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", before: Sequence[str] = ()) -> None:
        self._program = [*before, needs("redis-server")]
        self._folder = folder
        self.host, self.port = host, free_port()
        self.url = f"redis://{self.host}:{self.port}/0"
        self._process: Program | None = None

    def start(self) -> None:
        """Returns when it answers."""
        data = self._folder / "redis"
        data.mkdir(exist_ok=True)
        options = {
            "port": self.port,
            "bind": self.host,
            "protected-mode": "no",
            "dir": data,
            "appendonly": "yes",
        }
        command = [
            *self._program,
            *(str(part) for name, value in options.items() for part in (f"--{name}", value)),
        ]
        self._process = Program(command, self._folder / "redis.log")
        self._process.wait_until(self._answers, "it answers PING")

    def kill(self) -> None:
        """SIGKILL. Harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def wipe(self) -> None:
        """Its data is gone. It must not run."""
        assert self._process is None, "it runs"
        shutil.rmtree(self._folder / "redis")

    def flush(self) -> None:
        """FLUSHALL: its data is gone while it runs."""
        assert self._ask(b"FLUSHALL\r\n").startswith(b"+OK")

    def _answers(self) -> bool:
        try:
            return self._ask(b"PING\r\n").startswith(b"+PONG")
        except OSError:
            return False

    stop = kill

    def _ask(self, command: bytes) -> bytes:
        with socket.create_connection((self.host, self.port), timeout=10) as connection:
            connection.sendall(command)
            return connection.recv(100)
