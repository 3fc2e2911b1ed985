"""A real RabbitMQ on free ports with a folder, a node name and an epmd of its own; nothing of it outlives the test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.support.needs import absent, needs
from tests.support.ports import free_port
from tests.support.processes import Program, wait_until

# Debian's /usr/sbin/rabbitmq-server changes to the service's user and folder; this is the server itself.
_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class RabbitMq:
    """The same ports and data after `kill` and `start`; `wipe` between them takes the data away.

    `before`: what its commands begin with, to start it in another network where it has the address `host`.
    """

    def __init__(self, folder: Path, *, host: str = "127.0.0.1", before: Sequence[str] = ()) -> None:
        needs("rabbitmq-server")
        self._epmd_program = needs("epmd")
        if not _SERVER.is_file():
            absent(f"{_SERVER} is not there; deploy/test-packages.sh installs it")
        self._folder, self._before = folder, before
        self.host, self.port = host, free_port()
        self.url = f"amqp://guest:guest@{self.host}:{self.port}//"
        self._epmd_port = free_port()
        self._env = {
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            "HOME": str(folder),  # the Erlang cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": self.host,
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "rabbitmq"),
            "RABBITMQ_LOG_BASE": str(folder / "rabbitmq-log"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none",  # idle is idle
            "RUNNING_UNDER_SYSTEMD": "1",  # the script becomes the server: one pid to stop
        }
        self._epmd: Program | None = None
        self._process: Program | None = None

    def start(self) -> None:
        """Returns when it listens: some seconds."""
        (self._folder / "rabbitmq.conf").write_text(
            "disk_free_limit.absolute = 50MB\nloopback_users = none\n"
        )
        if self._epmd is None:
            self._epmd = Program(
                [*self._before, self._epmd_program], self._folder / "epmd.log", env=self._env
            )
            self._epmd.wait_for_port(self._epmd_port, host=self.host)
        self._process = Program(
            [*self._before, _SERVER], self._folder / "rabbitmq.log", folder=self._folder, env=self._env
        )
        self._process.wait_for_port(self.port, timeout=90, host=self.host)

    def kill(self) -> None:
        """SIGKILL. Harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def wipe(self) -> None:
        """Its data is gone. It must not run."""
        assert self._process is None, "it runs"
        wait_until(self._removed, "the files are gone")

    def stop(self) -> None:
        """Ends it, and its epmd."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd = None

    def _removed(self) -> bool:
        """Erlang's helper processes may write for a moment after the node died."""
        shutil.rmtree(self._folder / "rabbitmq", ignore_errors=True)
        return not (self._folder / "rabbitmq").exists()
