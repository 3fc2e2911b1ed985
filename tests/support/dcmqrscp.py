"""DCMTK's dcmqrscp: a small archive that can be asked, and sends to the AE titles that it is told of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.needs import needs
from tests.support.ports import free_port
from tests.support.processes import Program

AE_TITLE = "DCMQR"

_CONFIGURATION = """\
NetworkTCPPort  = {port}
MaxPDUSize      = 65536
MaxAssociations = 16

HostTable BEGIN
{hosts}
HostTable END

VendorTable BEGIN
VendorTable END

AETable BEGIN
{title} {area} RW (100, 1024mb) ANY
AETable END
"""


class Dcmqrscp:
    """Takes JPEG baseline too, and keeps what it got bit for bit. `moves`: AE title to port, on loopback."""

    def __init__(self, folder: Path, moves: Mapping[str, int]) -> None:
        self.port = free_port()
        area = folder / "area"
        area.mkdir(parents=True)
        hosts = "\n".join(
            f"host{number} = ({aet}, 127.0.0.1, {port})" for number, (aet, port) in enumerate(moves.items())
        )
        configuration = folder / "dcmqrscp.cfg"
        configuration.write_text(
            _CONFIGURATION.format(port=self.port, hosts=hosts, title=AE_TITLE, area=area), encoding="ascii"
        )
        self._command = [needs("dcmqrscp"), "-v", "+xy", "+B", "-c", configuration]
        self._log = folder / "dcmqrscp.log"
        self._process: Program | None = None

    def start(self) -> None:
        self._process = Program(self._command, self._log, env={**os.environ, "TCP_NODELAY": "1"})
        self._process.wait_for_port(self.port)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None
