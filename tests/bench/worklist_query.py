"""Worklist queries beside DCMTK's wlmscpfs and Orthanc's worklist plugin with the same rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from pydicom import Dataset

from tests.bench.stage import Stage, say
from tests.bench.table import Table, median, milliseconds, ratio
from tests.bench.targets import Target, at_least, at_most
from tests.bench.worklist_peers import CONTEXTS, PEERS, ROWS, SHIPPED, TOLD, serving, written
from tests.bench.worklist_rows import DAY, Site, broker_with, sized
from tests.support.dcmtk import worklist_query
from tests.support.dimse import Scu, encoded

FEW, SOME, MANY, MOST = 100, 1000, ROWS, 200_000

TEXT = """Median time of a C-FIND: `new` opens and releases an association for it, `kept` reuses one. The client adds
next to nothing. wlmscpfs (DCMTK) and Orthanc's worklist plugin read the same rows from files, as shipped and with
`TCP_NODELAY=1` in the environment; they read every file for each query, and are left out beyond 10,000 rows, where a
query would take seconds. "Faster" is against the fastest peer with `TCP_NODELAY`, and against the fastest as shipped.
More rows are more stations and days: a station has seven a day from 1,000 rows on, a fifth of all rows is CT, and one
in forty, but 250 at most, is of a patient called Hansen.
`first` is the first time that a query is asked, when the broker has read and encoded none of its rows; the medians are
of the times after that, as when a device refreshes its list. What has changed meanwhile is read and encoded anew."""

STATION, PATIENT, NAME, WEEK = "station and day", "patient id", "name `HAN*`", "modality and week"
GOALS: Final[Mapping[int, Mapping[str, float]]] = {
    SOME: {STATION: 18.0, PATIENT: 18.0, WEEK: 13.0},
    MANY: {STATION: 140.0, PATIENT: 140.0, WEEK: 55.0},
}
"""Faster than the faster peer by, with a new association."""

LIMIT = "what is left of a query in the broker is two statements, the association and the sockets"
BROAD_LIMIT = (
    "a profile of the association's thread gives a fifth of the time to finding rows and their status in the register,"
    " under a third to handing out kept answers one by one, and the rest to the sockets"
)
LARGE_LIMIT = "finding the rows of a station, a patient or a day is a look into an index of all rows"

Taken = Mapping[tuple[str, str], tuple[float, int]]
"""(query, new or kept) to (median seconds, answers)."""


def measure(stage: Stage) -> Table:
    """Four queries at 100, 1,000, 10,000 and 200,000 rows."""
    rows, targets, selective = [], list[Target](), dict[tuple[int, str], float]()
    for size in (FEW, SOME, MANY, MOST):
        count = size if size <= SOME else stage.count(size)
        ours, first, theirs = _of(stage, sized(count), peers=size <= ROWS)
        for (name, how), (seconds, answers) in ours.items():
            told = min((theirs[peer][name, how][0] for peer in TOLD if peer in theirs), default=0.0)
            shipped = min((theirs[peer][name, how][0] for peer in SHIPPED if peer in theirs), default=0.0)
            rows.append(
                [
                    *(f"{count:,}", name, how, str(answers)),
                    *(milliseconds(theirs[peer][name, how][0]) if peer in theirs else "–" for peer in PEERS),
                    milliseconds(first[name]) if how == "new" else "",
                    milliseconds(seconds),
                    *((ratio(told, seconds), ratio(shipped, seconds)) if told else ("–", "–")),
                ]
            )
            if how == "new" and (goal := GOALS.get(count, {}).get(name)):
                what = f"worklist query by {name} / fastest peer without delay, {count:,} rows"
                targets.append(at_least(what, told / seconds, goal, BROAD_LIMIT if name == WEEK else LIMIT))
            if how == "new" and name in (STATION, PATIENT):
                selective[size, name] = seconds
                if size == MOST:
                    what = f"worklist query by {name}: {count:,} rows / {SOME:,}"
                    targets.append(at_most(what, seconds / selective[SOME, name], 2.0, LARGE_LIMIT))
        say(f"  {count} rows: done")
    columns = (
        *("rows", "query", "association", "answers", *PEERS),
        *("broker: first", "broker", "faster", "than as shipped"),
    )
    return Table(title="Worklist queries", text=TEXT, columns=columns, rows=rows, targets=targets)


def _of(stage: Stage, site: Site, *, peers: bool) -> tuple[Taken, Mapping[str, float], Mapping[str, Taken]]:
    """Ours, ours for the first time, and each peer's."""
    name = f"worklist-{site.rows}"
    with broker_with(stage, name, site) as broker:
        first = {
            name: _seconds(lambda query=query: asked(broker.dicom_port, query))
            for name, query in queries(site).items()
        }  # type: ignore[misc]
        ours = _timed(broker.dicom_port, site, stage.count(50))
        folder = written(stage, f"wl-{site.rows}", broker) if peers else None
    theirs = {}
    for peer in PEERS if folder else ():
        with serving(stage, peer, folder) as port:
            theirs[peer] = _timed(port, site, max(3, min(stage.count(50), stage.count(20_000) // site.rows)))
        for key, (_, answers) in theirs[peer].items():
            assert answers == ours[key][1], f"{key}: {ours[key][1]} rows, {peer} {answers}"
    return ours, first, theirs


def queries(site: Site) -> Mapping[str, bytes]:
    """By name, encoded."""
    station, modality = Dataset(), Dataset()
    station.ScheduledStationAETitle, station.ScheduledProcedureStepStartDate = site.station, DAY
    modality.Modality, modality.ScheduledProcedureStepStartDate = "CT", f"{DAY}-{int(DAY) + 6}"
    return {
        STATION: encoded(worklist_query(step=station)),
        PATIENT: encoded(worklist_query(PatientID="7000042")),
        NAME: encoded(worklist_query(PatientName="HAN*")),
        WEEK: encoded(worklist_query(step=modality)),
    }


def asked(port: int, query: bytes) -> int:
    """Number of answers, over an association of its own."""
    with Scu(port, CONTEXTS) as scu:
        return len(scu.find(query))


def _timed(port: int, site: Site, times: int) -> Taken:
    found = {}
    for name, query in queries(site).items():
        found[name, "new"] = _median_of(lambda query=query: asked(port, query), times)  # type: ignore[misc]
        with Scu(port, CONTEXTS) as kept:
            found[name, "kept"] = _median_of(lambda query=query, kept=kept: len(kept.find(query)), times)  # type: ignore[misc]
    return found


def _median_of(ask: Callable[[], int], times: int) -> tuple[float, int]:
    answers = ask()
    return median([_seconds(ask) for _ in range(times)]), answers


def _seconds(ask: Callable[[], int]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began
