"""The broker as a process of its own: shipped configuration, free ports, a data folder to itself."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.dcmtk import Dcmtk
from tests.support.mllp import MllpClient
from tests.support.ports import free_port
from tests.support.processes import Program
from tests.support.shared import REPOSITORY


class Broker:
    """One broker. Ports and data folder stay the same over `stop`, `kill` and `start`.

    `settings` are environment variables beyond the ones below; an empty text unsets one. Without a PACS or an
    EPJ port the broker is pointed at a port where nobody listens. `roles`: of `broker run`, all of them when empty.
    `before`: what its command begins with, to start it in another network where it has the address `host`.
    `place`: the folder that it is started in, where its settings file is looked for when none is set.
    """

    def __init__(
        self,
        folder: Path,
        *,
        pacs_port: int | None = None,
        pacs_aet: str = "ORTHANC",
        epj_port: int | None = None,
        settings: Mapping[str, str] | None = None,
        roles: Sequence[str] = (),
        host: str = "127.0.0.1",
        before: Sequence[str] = (),
        place: Path = REPOSITORY,
    ) -> None:
        self.host = host
        self.place = place
        parts = [part for role in roles for part in ("--role", role)]
        self._run = [*before, sys.executable, "-m", "broker", "run", *parts]
        self.data = folder / "data"
        self.log = folder / "broker.log"
        self.pas_port = free_port()
        self.orders_port = free_port()
        self.results_port = free_port()
        self.pdq_port = free_port()
        self.dicom_port = free_port()
        self.http_port = free_port()
        self.pacs_port = pacs_port or free_port()
        self.epj_port = epj_port or free_port()
        self._env = {
            "BROKER_DATA": str(self.data),
            "BROKER_BIND": host,
            "BROKER_PAS_PORT": str(self.pas_port),
            "BROKER_ORDERS_PORT": str(self.orders_port),
            "BROKER_RESULTS_PORT": str(self.results_port),
            "BROKER_PDQ_PORT": str(self.pdq_port),
            "BROKER_DICOM_PORT": str(self.dicom_port),
            "BROKER_OPEN_AE": "1",
            "BROKER_HTTP_PORT": str(self.http_port),
            "BROKER_PACS_HOST": "127.0.0.1",
            "BROKER_PACS_PORT": str(self.pacs_port),
            "BROKER_PACS_AET": pacs_aet,
            "BROKER_EPJ_HOST": "127.0.0.1",
            "BROKER_EPJ_PORT": str(self.epj_port),
            **(settings or {}),
        }
        self._process: Program | None = None

    def configure(self, settings: Mapping[str, str]) -> None:
        """More settings, from the next start on."""
        self._env |= settings

    def start(self, timeout: float = 30.0) -> None:
        """Returns when `/readyz` answers 200."""
        self.launch()
        self.wait_until_ready(timeout)

    def launch(self) -> None:
        """Starts it and returns at once."""
        self._process = Program(self._run, self.log, folder=self.place, env=self._environment())

    def wait_until_ready(self, timeout: float = 30.0) -> None:
        """Until `/readyz` answers 200; fails at once when the process ends."""
        assert self._process is not None, "the broker is not running"
        self._process.wait_until(self.ready, "/readyz answers 200", timeout)

    def stop(self) -> None:
        """SIGTERM; fails unless it ends with 0 within the promised 10 s. Harmless when it does not run."""
        if self._process is not None:
            process, self._process = self._process, None
            code = process.terminate(timeout=10.0)
            assert code == 0, f"the broker ended with {code}\n{process.output()[-4000:]}"

    def kill(self) -> None:
        """SIGKILL: what a power cut leaves of a process. Harmless when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Any other signal (SIGSTOP, SIGCONT …)."""
        os.kill(self.pid, number)

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def ready(self) -> bool:
        try:
            return self.http("/readyz")[0] == 200
        except OSError:
            return False

    def http(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        """(status, body) of a request to the broker's web port."""
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=10)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def command(self, *arguments: str | Path, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """`broker <arguments>` with the same settings; any exit code."""
        return subprocess.run(
            [sys.executable, "-m", "broker", *map(str, arguments)],
            cwd=self.place,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )

    def command_json(self, *arguments: str | Path) -> Any:
        """`broker <arguments> --format json`, parsed; fails on any exit code but 0."""
        finished = self.command(*arguments, "--format", "json")
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return json.loads(finished.stdout)

    def pas(self) -> MllpClient:
        return MllpClient(self.pas_port, self.host)

    def orders(self) -> MllpClient:
        return MllpClient(self.orders_port, self.host)

    def results(self) -> MllpClient:
        return MllpClient(self.results_port, self.host)

    def demographics(self) -> MllpClient:
        return MllpClient(self.pdq_port, self.host)

    def modality(self, calling: str = "TESTSCU") -> Dcmtk:
        """DCMTK's clients calling under this AE title; give them `dicom_port`."""
        return Dcmtk(calling=calling)

    def _environment(self) -> dict[str, str]:
        # The caller's own BROKER_ variables must not reach a test.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")}
        return {**inherited, **self.environment}

    @property
    def environment(self) -> dict[str, str]:
        """What is set for it, whatever else the environment says."""
        chosen = {name: value for name, value in self._env.items() if value}
        return {**chosen, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
