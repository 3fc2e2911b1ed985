"""A backlog of objects forwarded to a PACS: the broker beside DCMTK's storescu, which sends the same files to the same
receiver."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from tests.bench.resources import PeakOfTree, cpu_seconds, megabytes, tree
from tests.bench.stage import Stage, say
from tests.bench.stores import CT, LARGE, ROUNDS, SMALL
from tests.bench.table import Table, milliseconds, rate, ratio
from tests.bench.targets import Target, at_least
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.dimse import Scu
from tests.support.flows import accepted, wait_until_routed
from tests.support.images import dataset_bytes, write_image
from tests.support.messages import Person, adt
from tests.support.needs import needs
from tests.support.orthanc import Orthanc
from tests.support.processes import Program, wait_until
from tests.support.storescp import Storescp

GOAL: Final = 1.0

_LOOK, _LONGEST = 0.003, 300.0
"""Seconds between two looks at what the receiver holds, and until it is given up."""

_PACS: Final = "    adapter: pacs\n    host:"
"""Where the destination begins in the shipped settings."""


TEXT = """CT slices that are at the broker already when the PACS, which was stopped, goes on: the clock runs from then
to the last object at the PACS. storescu (`TCP_NODELAY=1`) sends the same files to the same PACS; for four connections
four of it run, a quarter of the files each. Both take turns in four rounds. storescp runs with `--fork +B`, PDUs of
128 KiB and `TCP_NODELAY=1`, Orthanc as tuned above. Objects of one patient leave in order, one at a time, so that more
connections are of use for several patients only; up to 16 outcomes of a patient are on their way to the disk meanwhile.
"Coerced": PAS knows the patient, so that each object leaves with what PAS says. "Processor" and memory are the
broker's."""

LIMIT = (
    "what reads and sends is faster than storescu by itself; besides, an object takes 0.2 ms of processor to be looked"
    " up and its outcome noted, a quarter of a sync each, by a thread that takes turns with the one that sends, and"
    " 0.3 ms more where PAS's words are put in. storescu notes nothing and changes nothing"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    receiver: str
    connections: int = 1
    patients: int = 20
    coerced: bool = False
    size: int = SMALL
    count: int

    @property
    def name(self) -> str:
        whose = "one patient" if self.patients == 1 else f"{self.patients} patients"
        return ", ".join([self.receiver, whose, *(["coerced"] if self.coerced else [])])


class Receiver(Protocol):
    """Storescp or Orthanc."""

    port: int

    @property
    def pid(self) -> int: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


def measure(stage: Stage) -> Table:
    """A row for each receiver, number of patients and of connections."""
    count = stage.count(400)
    large = _Case(receiver="storescp", patients=1, size=LARGE // 10 if stage.quick else LARGE, count=4)
    cases = [
        _Case(receiver="storescp", patients=1, count=count),
        _Case(receiver="storescp", patients=1, count=count, coerced=True),
        _Case(receiver="storescp", count=count),
        _Case(receiver="storescp", connections=4, count=count),
        _Case(receiver="Orthanc", count=count),
        large,
    ]
    rows, targets = [], list[Target]()
    for number, case in enumerate(cases):
        theirs, ours, cpu, peak = _both(stage, f"forwarding-{number}", case)
        say(f"  {case.name}, {case.connections} connections: storescu {rate(theirs)}, broker {rate(ours)}")
        rows.append(
            [
                *(case.name, f"{case.size / 1e6:.1f} MB", str(case.connections)),
                *(rate(theirs), rate(ours), ratio(ours, theirs), f"{ours * case.size / 1e6:.0f}"),
                *(milliseconds(cpu / case.count), megabytes(peak)),
            ]
        )
        if case is not large:
            what = f"objects forwarded / storescu, {case.name}, connections: {case.connections}"
            targets.append(at_least(what, ours / theirs, GOAL, LIMIT))
    columns = (
        *("PACS", "object", "connections", "storescu", "broker", "broker / storescu", "MB/s"),
        *("processor an object", "peak RSS"),
    )
    return Table(title="Images: forwarding", text=TEXT, columns=columns, rows=rows, targets=targets)


def _both(stage: Stage, name: str, case: _Case) -> tuple[float, float, float, int]:
    """Objects a second of storescu and of the broker; the broker's processor seconds, and its memory at most."""
    folder = stage.made(name)
    files = _files(folder, case)
    theirs = ours = used = 0.0
    with ExitStack() as stack:
        receiver, held = _receiver(folder, case)
        receiver.start()
        stack.callback(receiver.stop)
        settings = changed(
            folder, {_PACS: _PACS.replace("host:", f"connections: {case.connections}\n    host:")}
        )
        port = receiver.port
        broker = stack.enter_context(
            stage.broker(f"{name}-broker", pacs_port=port, settings=settings)  # type: ignore[arg-type]
        )
        if case.coerced:
            _announce(broker, case)
        peak = stack.enter_context(PeakOfTree(broker.pid))
        for number in range(ROUNDS):
            part = list(files)[number::ROUNDS]
            open_ones = _connections(port)
            with _Stopped(receiver):
                programs = _storescu(folder / f"storescu-{number}.log", port, part, case.connections)
                for program in programs:
                    stack.callback(program.kill)
                connected = open_ones + len(programs)
                wait_until(lambda: _connections(port) >= connected, "storescu has connected")  # noqa: B023
            theirs += _until(held, len(part))
            _emptied(receiver, held)
            with _Stopped(receiver):
                _feed(broker, {path: files[path] for path in part})
                before = cpu_seconds(broker.pid)
            ours += _until(held, len(part))
            used += cpu_seconds(broker.pid) - before
            _emptied(receiver, held)
    shutil.rmtree(folder)
    return case.count / theirs, case.count / ours, used, peak.bytes


class _Stopped:
    """The receiver takes nothing while this is entered: what connects meanwhile waits in the kernel."""

    def __init__(self, receiver: Receiver) -> None:
        self._pids = tree(receiver.pid)

    def __enter__(self) -> None:
        self._signal(signal.SIGSTOP)

    def __exit__(self, *exc: object) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids:
            with suppress(ProcessLookupError):  # it ended with its association
                os.kill(pid, number)


def _connections(port: int) -> int:
    """Established ones to the port of this machine (proc(5), net/tcp)."""
    fields = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(remote.endswith(f":{port:04X}") and state == "01" for _, _, remote, state, *_ in fields)


def _receiver(folder: Path, case: _Case) -> tuple[Receiver, Callable[[], int]]:
    """It, and how many objects it holds."""
    if case.receiver == "Orthanc":
        (folder / "orthanc").mkdir()
        orthanc = Orthanc(folder / "orthanc", tuned=True)
        return orthanc, lambda: len(orthanc.instances())
    storescp = Storescp(folder / "storescp" / "files", "--max-pdu", "131072")
    storescp.folder.parent.mkdir()
    return storescp, lambda: _whole(storescp.folder, case.size)


def _whole(folder: Path, size: int) -> int:
    with os.scandir(folder) as found:
        return sum(entry.stat().st_size > size for entry in found)


def _emptied(receiver: Receiver, held: Callable[[], int]) -> None:
    if isinstance(receiver, Orthanc):
        receiver.clear()
    elif isinstance(receiver, Storescp):
        for file in receiver.folder.iterdir():
            file.unlink()
    assert held() == 0


def _until(held: Callable[[], int], count: int) -> float:
    began = time.perf_counter()
    while held() < count:
        assert time.perf_counter() - began < _LONGEST, "not everything came to the receiver"
        time.sleep(_LOOK)
    return time.perf_counter() - began


def _files(folder: Path, case: _Case) -> dict[Path, str]:
    """With their SOP Instance UIDs; one patient after the other, as they come from a modality."""
    (folder / "files").mkdir()
    paths: dict[Path, str] = {}
    for number in range(case.count):
        path = folder / "files" / f"{number:05}.dcm"
        image = write_image(path, pixels=512, PatientID=_person(number, case).number)
        assert len(image.PixelData) == SMALL
        if case.size > SMALL:
            _lengthen(path, case.size)
        paths[path] = image.SOPInstanceUID
    return paths


def _lengthen(path: Path, size: int) -> None:
    """The pixel data, which is the last element, becomes so long."""
    content = path.read_bytes()
    with path.open("wb") as file:
        file.write(content[: -SMALL - 4] + size.to_bytes(4, "little"))
        for _ in range(size // SMALL):
            file.write(content[-SMALL:])


def _person(number: int, case: _Case) -> Person:
    return Person(number=f"77{number * case.patients // case.count:04}")


def _storescu(log: Path, port: int, files: Sequence[Path], connections: int) -> list[Program]:
    command = [needs("storescu"), "-R", "-xe", "-aec", "ANY", "127.0.0.1", str(port)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    shares = [files[number::connections] for number in range(connections)]
    return [Program([*command, *share], log, env=environment) for share in shares if share]


def _announce(broker: Broker, case: _Case) -> None:
    """PAS knows the patients."""
    people = {person.number: person for person in (_person(number, case) for number in range(case.count))}
    with broker.pas() as pas:
        accepted(pas, *(adt("A04", f"F{number}", person) for number, person in people.items()))


def _feed(broker: Broker, files: Mapping[Path, str]) -> None:
    """The broker gets the files, with their UIDs, and routes them."""
    with Scu(broker.dicom_port, [CT]) as scu:
        for path, uid in files.items():
            status = scu.store_parts(CT, uid, [dataset_bytes(path.read_bytes())])
            assert status == 0, f"answered {status:04X}"
    wait_until_routed(broker)
