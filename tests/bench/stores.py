"""Objects stored per second: the broker, which syncs before it answers, beside peers that do not."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.bench.stage import Stage, say
from tests.bench.table import Table, rate, ratio
from tests.bench.targets import at_least
from tests.support.dimse import EXPLICIT, Scu
from tests.support.images import dataset_bytes, write_image
from tests.support.orthanc import Orthanc
from tests.support.storescp import Storescp

CT = ("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)
ASSOCIATIONS = (1, 4)

TEXT = """CT slices of 0.5 MB, each waited for, from a client that adds next to nothing. The floor writes each object to
a file and syncs it (`fdatasync`), one after the other, without any network. The broker answers `0000` when the object
and its journal entry are on disk; Orthanc (its default settings; tuned: PDUs of 128 KiB, `TCP_NODELAY=1`) and storescp
(`--fork +B`, `TCP_NODELAY=1`) do not sync. The PACS behind the broker is switched off here: receiving is what is
measured."""

LIMIT = (
    "a profile of the association's thread gives two fifths of its time to syncing (an object's file and the names in"
    " its folders: three and a half times an object, until each of 256 folders is known), a sixth to waiting for the"
    " journal's commit, an eighth to reading the object's head, and a tenth to receiving"
)


def measure(stage: Stage) -> Table:
    """Objects per second with 1 and 4 associations."""
    count = stage.count(200)
    template = write_image(stage.folder / "ct.dcm", SOPInstanceUID="2.25.5" + "0" * 30, pixels=512)
    content = dataset_bytes((stage.folder / "ct.dcm").read_bytes())
    uid = str(template.SOPInstanceUID)
    floor = _floor(stage.folder, content, count)
    say(f"  floor, write and sync: {rate(floor)}")
    results: dict[str, dict[int, float]] = {}
    with ExitStack() as stack:
        broker = stack.enter_context(stage.broker("stores"))
        orthanc = Orthanc(_made(stage.folder / "orthanc"))
        tuned = Orthanc(_made(stage.folder / "orthanc-tuned"), tuned=True)
        for peer in (orthanc, tuned):
            peer.start()
            stack.callback(peer.stop)
        storescp = Storescp(_made(stage.folder / "storescp") / "files")
        storescp.start()
        stack.callback(storescp.stop)
        peers = {
            "broker": broker.dicom_port,
            "Orthanc": orthanc.port,
            "tuned": tuned.port,
            "storescp": storescp.port,
        }
        for name, port in peers.items():
            for associations in ASSOCIATIONS:
                found = _send(port, associations, count, content, uid, f"{len(results)}{associations}")
                results.setdefault(name, {})[associations] = found
                say(f"  {name}, {associations} associations: {rate(found)}")
    rows = []
    for associations in ASSOCIATIONS:
        ours, orthanc_rate = results["broker"][associations], results["Orthanc"][associations]
        storescp_rate, tuned_rate = results["storescp"][associations], results["tuned"][associations]
        rows.append(
            [
                *(
                    str(associations),
                    rate(floor),
                    rate(orthanc_rate),
                    rate(tuned_rate),
                    rate(storescp_rate),
                    rate(ours),
                ),
                *(
                    ratio(ours, floor),
                    ratio(ours, orthanc_rate),
                    ratio(ours, tuned_rate),
                    ratio(ours, storescp_rate),
                ),
            ]
        )
    columns = (
        *("associations", "floor", "Orthanc", "Orthanc tuned", "storescp", "broker"),
        *("/ floor", "/ Orthanc", "/ tuned", "/ storescp"),
    )
    targets = [
        at_least(
            f"objects stored / {said}, {associations} association{'s' if associations > 1 else ''}",
            results["broker"][associations] / results[name][associations],
            goal,
            LIMIT,
        )
        for name, said, goal in (("Orthanc", "Orthanc as shipped", 5.0), ("tuned", "Orthanc tuned", 1.5))
        for associations in ASSOCIATIONS
    ]
    return Table(title="Images: C-STORE", text=TEXT, columns=columns, rows=rows, targets=targets)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _floor(folder: Path, content: bytes, count: int) -> float:
    began = time.perf_counter()
    for number in range(count):
        handle = os.open(folder / f"floor-{number}", os.O_CREAT | os.O_WRONLY)
        os.write(handle, content)
        os.fdatasync(handle)
        os.close(handle)
    seconds = time.perf_counter() - began
    for number in range(count):
        (folder / f"floor-{number}").unlink()
    return count / seconds


def _send(port: int, associations: int, count: int, content: bytes, uid: str, run: str) -> float:
    """Objects per second. Every object has a UID of its own, of the template's length."""
    with ExitStack() as stack:
        scus = [stack.enter_context(Scu(port, [CT])) for _ in range(associations)]

        def send(scu: Scu, numbers: range) -> None:
            for number in numbers:
                own = f"2.25.5{run}{number:0{30 - len(run)}d}"
                status = scu.store(CT, own, content.replace(uid.encode(), own.encode(), 1))
                assert status == 0, f"answered {status:04X}"

        began = time.perf_counter()
        with ThreadPoolExecutor(associations) as pool:
            shares = [pool.submit(send, scu, range(n, count, associations)) for n, scu in enumerate(scus)]
        seconds = time.perf_counter() - began
        for share in shares:
            share.result()
    return count / seconds
