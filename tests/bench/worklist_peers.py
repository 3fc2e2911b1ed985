"""The worklist servers that Debian has, with the same rows as files: as they are shipped, and told not to delay.

Both read every file for every query, so that they are measured up to 10,000 rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.bench.stage import Stage
from tests.support.broker import Broker
from tests.support.dcmtk import worklist_query
from tests.support.dimse import EXPLICIT, WORKLIST, Scu, decoded, encoded
from tests.support.needs import needs
from tests.support.orthanc import Orthanc
from tests.support.ports import free_port
from tests.support.processes import Program

CONTEXTS: Final = [(WORKLIST, EXPLICIT)]
"""What every client of these measurements proposes."""

SHIPPED: Final = ("wlmscpfs", "Orthanc")
TOLD: Final = ("wlmscpfs, no delay", "Orthanc, no delay")
"""With `TCP_NODELAY=1` in the environment, which DCMTK reads: Orthanc is built on it."""
PEERS: Final = (SHIPPED[0], TOLD[0], SHIPPED[1], TOLD[1])

ROWS: Final = 10_000
"""The most that a peer is given: each query of one reads all files, and takes half a second with so many."""


def written(stage: Stage, name: str, broker: Broker) -> Path:
    """Every row of the broker's as a file in `<folder>/BROKER`."""
    folder = stage.folder / name / "BROKER"
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    for number, row in enumerate(_rows(broker), start=1):
        row.file_meta = FileMetaDataset()
        row.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        row.file_meta.MediaStorageSOPClassUID = WORKLIST
        row.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number}"
        dcmwrite(folder / f"{number}.wl", row, enforce_file_format=True)
    return folder.parent


def _rows(broker: Broker) -> Sequence[Dataset]:
    with Scu(broker.dicom_port, CONTEXTS) as scu:
        return [decoded(answer) for answer in scu.find(encoded(worklist_query()))]


@contextmanager
def serving(stage: Stage, peer: str, folder: Path) -> Iterator[int]:
    """One of `PEERS` on these files; its port."""
    told = peer in TOLD
    if peer.startswith("Orthanc"):
        orthanc = Orthanc(stage.made(f"{folder.name}-{peer}"), tuned=told, worklists=folder / "BROKER")
        orthanc.start()
        try:
            yield orthanc.port
        finally:
            orthanc.stop()
        return
    port = free_port()
    environment = {**os.environ, **({"TCP_NODELAY": "1"} if told else {})}
    command = [needs("wlmscpfs"), "-csk", "-nse", "-dfp", folder, str(port)]
    server = Program(command, folder / f"{peer}.log", env=environment)
    server.wait_for_port(port)
    try:
        yield port
    finally:
        server.kill()
