"""Objects received per second, small ones and large ones: the broker, which syncs before it answers, beside peers that
do not."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count as numbers
from pathlib import Path
from typing import Final, Protocol

from tests.bench.resources import PeakOfTree, megabytes
from tests.bench.stage import Stage, say
from tests.bench.table import Table, rate, ratio
from tests.bench.targets import Target, at_least
from tests.support.dimse import EXPLICIT, Scu
from tests.support.images import dataset_bytes, write_image
from tests.support.orthanc import Orthanc
from tests.support.storescp import Storescp

CT: Final = ("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)
ASSOCIATIONS: Final = (1, 4)
ROUNDS: Final = 4
"""The receivers take turns, so that whatever else the machine does falls upon all of them."""

SMALL: Final = 512 * 1024
LARGE: Final = 200 * 1024 * 1024
_PART: Final = 8 * (131072 - 6)
"""Bytes of a large object that are sent at once: eight whole PDUs."""

BROKER: Final = "broker"
FLOOR: Final = "floor: write and sync"
GOALS: Final = {"Orthanc as shipped": 5.0, "Orthanc tuned": 1.5}

TEXT = """CT slices of 0.5 MB, each waited for, from a client that adds next to nothing. The floor writes each object to
a file and syncs it (`fdatasync`), one after the other, without any network. The broker answers `0000` when the object,
its name and its journal entry are on disk; Orthanc (its default settings; tuned: PDUs of 128 KiB, `TCP_NODELAY=1`) and
storescp (`--fork +B`, PDUs of 128 KiB; with and without `TCP_NODELAY=1`) do not sync. The receivers take turns in four
rounds. The memory is the most that a receiver's processes held at once. The PACS behind the broker is switched off
here: receiving is what is measured."""

TEXT_LARGE = """As above, with objects of 200 MB (20 MB in a quick run), one on an association and four at once. What
grows with the object shows here: the broker passes a data set from the socket to its file."""

LIMIT = (
    "an object takes the broker 2 ms of processor where a sync costs nothing (a data folder in memory) and 3.4 ms on"
    " this machine's disk, which is asked for four syncs (its file and beside it its folder, the journal's two commits;"
    " 2.5 ms in a trace, one after the other) and by its peers for none; the rest is waiting for a turn on two busy"
    " cores"
)


class Receiver(Protocol):
    """A program that listens for objects."""

    @property
    def pid(self) -> int: ...


@dataclass(slots=True)
class _Result:
    seconds: float = 0.0
    objects: int = 0
    peak: int = 0

    @property
    def rate(self) -> float:
        return self.objects / self.seconds


Results = Mapping[str, Mapping[int, _Result]]


def measure(stage: Stage) -> Table:
    """Objects of 0.5 MB with 1 and 4 associations."""
    results = _compared(stage, "stores", SMALL, stage.count(200), ROUNDS)
    targets = [
        at_least(
            f"objects stored / {peer}, {associations} association{'s' if associations > 1 else ''}",
            results[BROKER][associations].rate / results[peer][associations].rate,
            goal,
            LIMIT,
        )
        for peer, goal in GOALS.items()
        for associations in ASSOCIATIONS
    ]
    return _table("Images: C-STORE, objects of 0.5 MB", TEXT, SMALL, results, targets)


def measure_large(stage: Stage) -> Table:
    """Objects of 200 MB, one and four at once."""
    size = LARGE // 10 if stage.quick else LARGE
    results = _compared(stage, "large-stores", size, 4, 1)
    return _table(f"Images: C-STORE, objects of {size >> 20} MB", TEXT_LARGE, size, results, ())


def _table(title: str, text: str, size: int, results: Results, targets: Sequence[Target]) -> Table:
    columns = ["receiver"]
    for associations in ASSOCIATIONS:
        columns += [f"{associations} association{'s' if associations > 1 else ''}", "MB/s", "broker / it"]
    rows = []
    for name, of_one in results.items():
        row = [name]
        for associations in ASSOCIATIONS:
            found, ours = of_one[associations], results[BROKER][associations]
            row += [rate(found.rate), f"{found.rate * size / 1e6:.0f}", ratio(ours.rate, found.rate)]
        rows.append([*row, megabytes(peak) if (peak := max(one.peak for one in of_one.values())) else "–"])
    return Table(title=title, text=text, columns=[*columns, "peak RSS"], rows=rows, targets=targets)


def _compared(stage: Stage, name: str, size: int, count: int, rounds: int) -> Results:
    """Every receiver takes `count` objects with each number of associations, in so many turns."""
    folder = stage.made(name)
    images = Images(folder, size)
    results: dict[str, dict[int, _Result]] = {}
    with receivers(stage, folder) as found:
        for associations in ASSOCIATIONS:
            for _ in range(rounds):
                _floor(folder, images, count // rounds, _of(results, FLOOR, associations))
                for receiver, (port, program) in found.items():
                    os.sync()  # what one has not written is not to be written in another's time
                    result = _of(results, receiver, associations)
                    with PeakOfTree(program.pid) as peak:
                        result.seconds += send(port, associations, count // rounds, images)
                    result.objects += count // rounds
                    result.peak = max(result.peak, peak.bytes)
            for receiver in results:
                say(f"  {receiver}, {associations} at once: {rate(results[receiver][associations].rate)}")
    return results


def _of(results: dict[str, dict[int, _Result]], name: str, associations: int) -> _Result:
    return results.setdefault(name, {}).setdefault(associations, _Result())


@contextmanager
def receivers(stage: Stage, folder: Path) -> Iterator[Mapping[str, tuple[int, Receiver]]]:
    """Port and program of each, by the name that people read."""
    with ExitStack() as stack:
        peers: dict[str, Orthanc | Storescp] = {
            "Orthanc as shipped": Orthanc(_made(folder / "orthanc")),
            "Orthanc tuned": Orthanc(_made(folder / "orthanc-tuned"), tuned=True),
            "storescp as shipped": Storescp(_made(folder / "storescp") / "files", nodelay=False),
            "storescp without Nagle": Storescp(
                _made(folder / "storescp-tuned") / "files", "--max-pdu", "131072"
            ),
        }
        for peer in peers.values():
            peer.start()
            stack.callback(peer.stop)
        broker = stack.enter_context(stage.broker(f"{folder.name}-broker"))
        yield {name: (peer.port, peer) for name, peer in peers.items()} | {
            BROKER: (broker.dicom_port, broker)
        }


class Images:
    """CT slices that differ in their SOP Instance UIDs, which all have one length; `size` bytes of pixels each."""

    def __init__(self, folder: Path, size: int) -> None:
        self._template = f"2.25.5{0:030d}"
        write_image(folder / "ct.dcm", SOPInstanceUID=self._template, pixels=512)
        dataset = dataset_bytes((folder / "ct.dcm").read_bytes())
        self._start = dataset[: -SMALL - 4] + size.to_bytes(4, "little")
        self._pixels = (dataset[-SMALL:] * 2)[:_PART]
        self._size = size
        self._numbers = numbers(1)

    def new(self) -> tuple[str, Iterator[bytes]]:
        """UID and data set, in parts, of one that was never sent."""
        uid = f"2.25.5{next(self._numbers):030d}"
        return uid, self._parts(uid)

    def _parts(self, uid: str) -> Iterator[bytes]:
        first = self._size if self._size <= SMALL else 0  # a small one is sent at once
        yield self._start.replace(self._template.encode(), uid.encode()) + self._pixels[:first]
        for start in range(first, self._size, _PART):
            yield self._pixels[: self._size - start]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _floor(folder: Path, images: Images, count: int, result: _Result) -> None:
    paths = [folder / f"floor-{number}" for number in range(count)]
    began = time.perf_counter()
    for path in paths:
        handle = os.open(path, os.O_CREAT | os.O_WRONLY)
        for part in images.new()[1]:
            os.write(handle, part)
        os.fdatasync(handle)
        os.close(handle)
    result.seconds += time.perf_counter() - began
    result.objects += count
    for path in paths:
        path.unlink()


def send(port: int, associations: int, count: int, images: Images) -> float:
    """The seconds that so many objects take, shared between so many associations."""
    with ExitStack() as stack:
        scus = [stack.enter_context(Scu(port, [CT])) for _ in range(associations)]

        def share(scu: Scu, count: int) -> None:
            for _ in range(count):
                status = scu.store_parts(CT, *images.new())
                assert status == 0, f"answered {status:04X}"

        began = time.perf_counter()
        with ThreadPoolExecutor(associations) as pool:
            shares = [
                pool.submit(share, scu, count // associations + (number < count % associations))
                for number, scu in enumerate(scus)
            ]
        seconds = time.perf_counter() - began
        for one in shares:
            one.result()
    return seconds
