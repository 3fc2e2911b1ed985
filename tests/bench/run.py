"""`make bench`: measures the broker beside a floor and beside its peers in one run, and writes docs/performance.md.

Absolute numbers are this machine's on this day; the ratios within one run are what can be compared. `--quick` does a
fifth of the work, for CI, and writes nothing unless told where (`--output`). Long runs by hand set the size by the
environment: `ROWS=10000000` (search), `DELIVERIES=1000000` (recovery), `DAY=110000` (retention), `MESSAGES=1000000`
(memory), `BACKLOG=50000` (workers), `PATIENTS=1000000` (pdq), each with `--only`.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

import apsw  # noqa: E402 - the repository's own modules come after the path to them

from broker.telemetry import configure_logging  # noqa: E402
from tests.bench import (  # noqa: E402
    acks,
    associations,
    cluster,
    delivered,
    dropping,
    forwarding,
    lint_routes,
    memory,
    order_to_row,
    pdq,
    read_fields,
    recovery,
    route_event,
    search,
    stores,
    workers,
    worklist_query,
)
from tests.bench.stage import Stage, say  # noqa: E402
from tests.bench.table import Table, milliseconds  # noqa: E402

MEASUREMENTS: Mapping[str, Callable[[Stage], Table]] = {
    "acks": acks.measure,
    "delivered": delivered.measure,
    "order-to-row": order_to_row.measure,
    "read-fields": read_fields.measure,
    "route-event": route_event.measure,
    "lint": lint_routes.measure,
    "worklist": worklist_query.measure,
    "associations": associations.measure,
    "pdq": pdq.measure,
    "stores": stores.measure,
    "large-stores": stores.measure_large,
    "forwarding": forwarding.measure,
    "search": search.measure,
    "retention": dropping.measure,
    "recovery": recovery.measure,
    "memory": memory.measure,
    "cluster": cluster.measure,
    "workers": workers.measure,
}


def main() -> None:
    options = _options()
    configure_logging(level=logging.WARNING)  # of the broker's parts that run in this process
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        stage = Stage(folder=Path(name), quick=options.quick)
        machine = _machine(stage.folder)
        tables = []
        for measurement in options.only or MEASUREMENTS:
            say(f"== {measurement}")
            tables.append(MEASUREMENTS[measurement](stage))
    page = _page(tables, machine)
    say("\n" + page)
    output = options.output or (
        None if options.quick or options.only else REPOSITORY / "docs" / "performance.md"
    )
    if output is not None:
        output.write_text(page, encoding="utf-8")
        say(f"written to {output}")
    say(f"{time.perf_counter() - began:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the broker beside a floor and beside its peers.")
    parser.add_argument("--quick", action="store_true", help="a fifth of the work; writes no page")
    parser.add_argument(
        "--only", action="append", choices=MEASUREMENTS, help="one measurement; may be given again"
    )
    parser.add_argument("--output", type=Path, help="write the page here")
    return parser.parse_args()


def _machine(folder: Path) -> str:
    """What the numbers were measured on, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, SQLite {apsw.sqlite_lib_version()}; writing 4 KiB and `fdatasync` takes "
        f"{milliseconds(_sync_time(folder))} (median). Clients, peers and the broker share the cores, over loopback; "
        f"the load average was {os.getloadavg()[0]:.1f} before the run (0 is a quiet machine)."
    )


def _sync_time(folder: Path) -> float:
    handle = os.open(folder / "sync", os.O_CREAT | os.O_WRONLY)
    seconds = []
    for _ in range(200):
        began = time.perf_counter()
        os.write(handle, bytes(4096))
        os.fdatasync(handle)
        seconds.append(time.perf_counter() - began)
    os.close(handle)
    return sorted(seconds)[100]


def _page(tables: list[Table], machine: str) -> str:
    head = (
        "# Performance\n\n"
        "Written by `make bench` (tests/bench). One run: absolute numbers belong to this machine and this day, ratios\n"
        "within the run can be compared. None of this is a gate.\n\n"
        f"Machine: {machine}\n"
    )
    return "\n".join([head, *_targets(tables), *(table.markdown() for table in tables)])


def _targets(tables: list[Table]) -> list[str]:
    """What shall be reached beside what was, and a sentence on each that was missed."""
    targets = [target for table in tables for target in table.targets]
    if not targets:
        return []
    told = Table(
        title="Targets",
        text="What this run reached of what the design asks for. What limits each that was missed stands below.",
        columns=("", "to reach", "reached", ""),
        rows=[[t.what, t.reach, t.reached, "met" if t.met else "missed"] for t in targets],
    )
    missed: dict[str, list[str]] = {}
    for target in targets:
        if not target.met:
            missed.setdefault(target.limit, []).append(target.what)
    limits = "".join(f"- {'; '.join(what)}: {limit}.\n" for limit, what in missed.items())
    return [told.markdown(), *([limits] if limits else [])]


if __name__ == "__main__":
    main()
