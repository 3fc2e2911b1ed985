"""Worklist queries beside DCMTK's wlmscpfs with the same rows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.bench.load import run
from tests.bench.stage import Stage, say
from tests.bench.table import Table, median, milliseconds, ratio
from tests.bench.targets import Target, at_least
from tests.support.broker import Broker
from tests.support.dcmtk import worklist_query
from tests.support.dimse import EXPLICIT, WORKLIST, Scu, decoded, encoded
from tests.support.flows import wait_until_routed
from tests.support.messages import Person, orm
from tests.support.needs import needs
from tests.support.ports import free_port
from tests.support.processes import Program

STATIONS = (
    "CT-LAB1",
    "CT-LAB2",
    "MR-LAB1",
    "UL-LAB1",
    "DX-LAB1",
    "MG-LAB1",
    "XA-LAB1",
    "NM-LAB1",
    "OYE-OCT",
    "ENDO-1",
)
MODALITIES = ("CT", "CT", "MR", "US", "DX", "MG", "XA", "NM", "OPT", "ES")
CONTEXTS = [(WORKLIST, EXPLICIT)]

TEXT = """Median time of a C-FIND: `new` opens and releases an association for it, `kept` reuses one. The client adds
next to nothing. wlmscpfs runs with `TCP_NODELAY=1` (without it each turn takes 40 ms more) and reads the same rows from
files. Rows are spread over ten stations and fourteen days."""

GOALS = {"station and day": 18.0, "patient id": 18.0, "modality and week": 13.0}
"""Faster than the peer by, with a new association and 1,000 rows."""

SELECTIVE_LIMIT = (
    "a profile of the association's thread gives half of its time to reading, choosing and encoding the rows, a fifth"
    " to sending, and a tenth each to waiting for the client and to opening and releasing"
)
BROAD_LIMIT = (
    "a profile of the association's thread gives a third of its time to reading rows from the register, five of them"
    " for each that matches, a quarter to encoding, a fifth to sending, the rest to choosing keys and character sets:"
    " no row is kept encoded"
)


def measure(stage: Stage) -> Table:
    """Four queries at 100 and 1,000 rows."""
    rows, targets = [], list[Target]()
    for count in (100, 1000):
        with stage.broker(f"worklist-{count}") as broker:
            run(broker.orders_port, 8, (order(number) for number in range(count + 8)), count)
            wait_until_routed(broker)
            ours = _timed(broker.dicom_port, "BROKER", stage.count(50))
            found = all_rows(broker)
        assert len(found) == count, f"{len(found)} rows of {count}"
        with wlmscpfs(stage, f"wl-{count}", found) as port:
            theirs = _timed(port, "BROKER", stage.count(50))
        for (name, how), (seconds, answers) in ours.items():
            other, other_answers = theirs[name, how]
            assert answers == other_answers, f"{name}: {answers} rows, wlmscpfs {other_answers}"
            rows.append(
                [
                    str(count),
                    name,
                    how,
                    str(answers),
                    milliseconds(other),
                    milliseconds(seconds),
                    ratio(other, seconds),
                ]
            )
            if count == 1000 and how == "new" and name in GOALS:
                limit = SELECTIVE_LIMIT if answers < 50 else BROAD_LIMIT
                what = f"worklist query by {name} / wlmscpfs, {count:,} rows"
                targets.append(at_least(what, other / seconds, GOALS[name], limit))
        say(f"  {count} rows: done")
    columns = ("rows", "query", "association", "answers", "wlmscpfs", "broker", "faster by")
    return Table(title="Worklist queries", text=TEXT, columns=columns, rows=rows, targets=targets)


def _queries() -> dict[str, bytes]:
    station, modality = Dataset(), Dataset()
    station.ScheduledStationAETitle, station.ScheduledProcedureStepStartDate = "MR1_STO", "20260310"
    modality.Modality, modality.ScheduledProcedureStepStartDate = "CT", "20260310-20260316"
    return {
        "station and day": encoded(worklist_query(step=station)),
        "patient id": encoded(worklist_query(PatientID="500042")),
        "name `HAN*`": encoded(worklist_query(PatientName="HAN*")),
        "modality and week": encoded(worklist_query(step=modality)),
    }


def _timed(port: int, called: str, times: int) -> dict[tuple[str, str], tuple[float, int]]:
    """(query, new or kept) to (median seconds, answers)."""
    found = {}
    for name, query in _queries().items():

        def new(query: bytes = query) -> int:
            with Scu(port, CONTEXTS, called=called) as scu:
                return len(scu.find(query))

        found[name, "new"] = _median_of(new, times)
        with Scu(port, CONTEXTS, called=called) as kept:
            found[name, "kept"] = _median_of(lambda query=query, kept=kept: len(kept.find(query)), times)  # type: ignore[misc]
    return found


def _median_of(ask: Callable[[], int], times: int) -> tuple[float, int]:
    answers = ask()
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - began)
    return median(seconds), answers


def order(number: int) -> bytes:
    """Order `number`: every station and day in turn; one patient in forty is called Hansen."""
    family = "HANSEN" if number % 40 == 0 else f"Prøve{number % 97}"
    person = Person(number=f"5{number:05d}", family=family, given="Åse")
    station = number % len(STATIONS)
    start = f"202603{10 + number // len(STATIONS) % 14:02d}{8 + number % 9:02d}3000"
    return orm(
        f"W{number}",
        person,
        f"5{number:05d}",
        station=STATIONS[station],
        modality=MODALITIES[station],
        start=start,
    )


def all_rows(broker: Broker) -> list[Dataset]:
    with Scu(broker.dicom_port, CONTEXTS) as scu:
        return [decoded(answer) for answer in scu.find(encoded(worklist_query()))]


@contextmanager
def wlmscpfs(stage: Stage, name: str, rows: list[Dataset]) -> Iterator[int]:
    folder = stage.folder / name / "BROKER"
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    for number, row in enumerate(rows):
        row.file_meta = FileMetaDataset()
        row.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        row.file_meta.MediaStorageSOPClassUID = WORKLIST
        row.file_meta.MediaStorageSOPInstanceUID = f"2.25.{number + 1}"
        dcmwrite(folder / f"{number}.wl", row, enforce_file_format=True)
    port = free_port()
    environment = {**os.environ, "TCP_NODELAY": "1"}
    command = [needs("wlmscpfs"), "-csk", "-nse", "-dfp", folder.parent, str(port)]
    server = Program(command, folder.parent / "log", env=environment)
    server.wait_for_port(port)
    try:
        yield port
    finally:
        server.kill()
