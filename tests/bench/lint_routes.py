"""Reading and linting many route files: what an engineer, and an `apply`, wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import yaml

from broker.routing.lint import lint
from broker.routing.surroundings import Source, Surroundings
from tests.bench.stage import Stage, say
from tests.bench.table import Table, milliseconds, ratio
from tests.bench.targets import within
from tests.support.routes import load_folder

ROUTES = 500
ROUNDS = 5

WORKLIST = """route: rows-{number}
description: Rows of room {number}.
on: [step.*]
where: site == 'STO' && (step.modality == 'CT' || step.modality == 'MR') && step.location == 'ROOM{number}'
to:
  - worklist: worklist
    set:
      ScheduledStationAETitle: ${{ default(first(step.station_aets), 'CT{number}') }}
      RequestedProcedureDescription: Room {number}, ${{ step.description }}
on_failure: {{ retry: {{ first: 1s, factor: 2, max: 5m }}, alert: desk }}
tests:
  - name: a step in room {number}
    given: {{ source: orders, hl7: MSH }}
    expect: {{ worklist: [{{ ScheduledStationAETitle: CT{number} }}] }}
"""

HL7 = """route: told-{number}
description: The unit {number} is told.
on: [patient.*]
where: msg('PV1-3.1') in ['A{number}', 'B{number}'] && patient.sex != 'O'
to:
  - hl7: epj
    send: source
    set: {{ MSH-6: UNIT{number}, PV1-19: "${{ upper(msg('PV1-19')) }}" }}
tests:
  - name: somebody in unit {number}
    given: {{ source: pas, hl7: MSH }}
    expect: {{ epj: [{{ MSH-6: UNIT{number} }}] }}
"""

AROUND = Surroundings(
    sources={
        "pas": Source(site="STO", makes={"ADT^A01": ("patient.registered", "patient.updated")}),
        "orders": Source(site="STO", makes={"ORM^O01": ("step.scheduled", "step.changed", "step.cancelled")}),
    },
    charsets={"worklist": {"ISO_IR 100": "latin_1"}},
)

TEXT = f"""{ROUTES} route files, half of which write rows of one worklist, each for its own room; all are clean. The
floor is PyYAML's C loader over the same files, which knows neither places nor meaning. `broker check` is reading and
linting. The best of {ROUNDS} rounds, in one process."""


def measure(stage: Stage) -> Table:
    """Times to read and to lint, beside a plain load of the same files."""
    folder = stage.made("lint")
    for number in range(ROUTES):
        text = (WORKLIST if number % 2 else HL7).format(number=number)
        (folder / f"r{number:03d}.yaml").write_text(text, encoding="utf-8")
    loaded = load_folder(
        folder, destinations={"worklist": "worklist", "epj": "hl7"}, sources=list(AROUND.sources)
    )
    told = lint(loaded, AROUND).faults
    if told:
        raise RuntimeError(f"the routes are not clean: {told[0]}")
    plain = _best(lambda: _plain(folder))
    reading = _best(
        lambda: load_folder(
            folder, destinations={"worklist": "worklist", "epj": "hl7"}, sources=list(AROUND.sources)
        )
    )
    linting = _best(lambda: lint(loaded, AROUND))
    rows = []
    for name, seconds in (
        ("plain YAML load", plain),
        ("reload: read and checked", reading),
        ("lint", linting),
        ("both: `broker check`", reading + linting),
    ):
        say(f"  {name}: {milliseconds(seconds)}")
        rows.append([name, milliseconds(seconds), ratio(seconds, plain)])
    target = within(
        f"lint of {ROUTES} routes", linting, 1.0, "the routes that write one worklist are compared in pairs"
    )
    return Table(
        title="Reading and linting many routes",
        text=TEXT,
        columns=("", "time", "of a plain load"),
        rows=rows,
        targets=[target],
    )


def _plain(folder: Path) -> None:
    for path in sorted(folder.glob("*.yaml")):
        yaml.load(path.read_bytes(), yaml.CSafeLoader)


def _best(work: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
