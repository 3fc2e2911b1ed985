"""DCMTK's storescp as a PACS that keeps the very bytes it received."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.needs import needs
from tests.support.ports import free_port
from tests.support.processes import Program, wait_until


class Storescp:
    """Writes each object, bit for bit (`+B`), to a file named by modality and SOP Instance UID.

    `--fork`: a process for each association. Without it a second one waits until the first is released. `nodelay`:
    without Nagle, so that no answer takes 40 ms.
    """

    def __init__(self, folder: Path, *options: str, nodelay: bool = True) -> None:
        self._nodelay = nodelay
        self.port = free_port()
        self.folder = folder
        self._command = [
            needs("storescp"),
            "-aet",
            "STORESCP",
            "--fork",
            "+B",
            "+xa",
            "-od",
            folder,
            *options,
            str(self.port),
        ]
        self._process: Program | None = None

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TCP_NODELAY": "1"} if self._nodelay else None
        self._process = Program(self._command, self.folder.parent / "storescp.log", env=environment)
        self._process.wait_for_port(self.port)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None

    def wait_for_file(self, sop_instance_uid: str, timeout: float = 30.0) -> bytes:
        """The whole file once it stands there. storescp answers after writing, so wait for the sender's word too."""
        wait_until(lambda: bool(self._found(sop_instance_uid)), "storescp holds the instance", timeout)
        (path,) = self._found(sop_instance_uid)
        return path.read_bytes()

    def _found(self, sop_instance_uid: str) -> list[Path]:
        return list(self.folder.glob(f"*.{sop_instance_uid}"))
