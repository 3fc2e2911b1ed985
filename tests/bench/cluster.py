"""Throughput and latency of the same routes: in one process, and on the cluster with one and two workers."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.bench.acks import messages
from tests.bench.delivered import paced
from tests.bench.load import run
from tests.bench.order_to_row import one_order
from tests.bench.resources import cpu_seconds
from tests.bench.servers import CONNECTIONS, Servers, servers
from tests.bench.sink import noted
from tests.bench.stage import Stage, say
from tests.bench.table import Table, median, milliseconds, percentile, rate
from tests.support.broker import Broker
from tests.support.dimse import EXPLICIT, WORKLIST, Scu
from tests.support.flows import wait_until_idle

RATE: Final = 50.0

ALL: Final[tuple[str, ...]] = ()
NODES: Final[tuple[tuple[str, ...], ...]] = (("intake",), ("worklist",), ("router",))
"""And a worker or two."""
WORKER: Final = ("deliver",)

TEXT = f"""The same messages, routes and EPJ ({CONNECTIONS} connections, acknowledges at once) for each layout. The
cluster is five or six processes on one machine: an intake, a router, a worklist, and one or two workers; PostgreSQL
has `fsync` on. "Acknowledged" and "delivered" as above. `AA` to delivered is at {RATE:.0f} messages a second on one
connection; the order's row is asked for at the worklist process. "Processor" is the time that a message of the run with
16 connections took in all processes of that kind; two cores give 2,000 ms a second to all of them, the load
client, and the sink. The load average at the end of each row stands beside it."""


def measure(stage: Stage) -> Table:
    """A row for each layout."""
    rows = []
    with servers(stage, "cluster") as shared:
        rows.append(_row(stage, shared, "embedded, SQLite", [ALL], {}))
        rows.append(_row(stage, shared, "embedded, PostgreSQL", [ALL], _store(shared)))
        for executor, settings in shared.executors.items():
            for workers in (1, 2):
                name = f"cluster, {executor}, {workers} worker{'s' if workers > 1 else ''}"
                nodes = [*NODES, *[WORKER] * workers]
                rows.append(_row(stage, shared, name, nodes, {**_store(shared), **settings}))
    columns = (
        "",
        "acknowledged, 1 connection",
        "16 connections",
        "delivered",
        "`AA` to delivered p50",
        "p99",
        "order's `AA` to row p50",
        "p99",
        "processor a message, 16 connections",
        "load",
    )
    return Table(title="Embedded, and as a cluster", text=TEXT, columns=columns, rows=rows)


def _store(shared: Servers) -> dict[str, str]:
    return shared.store(shared.postgres.database())


def _row(
    stage: Stage, shared: Servers, name: str, roles: Sequence[Sequence[str]], settings: Mapping[str, str]
) -> list[str]:
    folder = name.replace(" ", "-")
    notes = stage.folder / f"{folder}.notes"
    spool = {"BROKER_SPOOL": str(stage.made(f"{folder}-spool"))}
    with (
        stage.program(f"{folder}-sink", "sink.py", "--notes", notes) as sink,
        stage.nodes(folder, roles, sink.port, {**shared.settings, **settings, **spool}) as nodes,
    ):
        intake, worklist = nodes[0], nodes[min(1, len(nodes) - 1)]
        run(intake.pas_port, 1, messages("warm"), 50)
        wait_until_idle(intake)
        one = run(intake.pas_port, 1, messages("one-"), stage.count(1000))
        wait_until_idle(intake, timeout=300)
        before = _taken(shared, nodes, roles)
        many = run(intake.pas_port, CONNECTIONS, messages("many-"), stage.count(2500))
        began = time.perf_counter()
        wait_until_idle(intake, timeout=300)
        delivered = len(many.latencies) / (many.seconds + time.perf_counter() - began)
        after = _taken(shared, nodes, roles)
        latencies = _latencies(intake, notes, stage.count(500))
        waits = _order_waits(intake, worklist, stage.count(100))
    took = {part: (after[part] - before[part]) / len(many.latencies) for part in after}
    say(
        f"  {name}: {rate(one.rate)}, {rate(many.rate)}, delivered {rate(delivered)}; "
        f"{milliseconds(median(latencies))} to the EPJ, {milliseconds(median(waits))} to the row"
    )
    return [
        name,
        *(rate(value) for value in (one.rate, many.rate, delivered)),
        *(milliseconds(percentile(latencies, part)) for part in (0.5, 0.99)),
        *(milliseconds(percentile(waits, part)) for part in (0.5, 0.99)),
        ", ".join(f"{part} {milliseconds(seconds)}" for part, seconds in took.items() if seconds),
        f"{os.getloadavg()[0]:.1f}",
    ]


def _taken(shared: Servers, nodes: Sequence[Broker], roles: Sequence[Sequence[str]]) -> dict[str, float]:
    """Processor seconds so far, by what a process is there for."""
    found: dict[str, float] = {}
    for node, of_one in zip(nodes, roles, strict=True):
        part = of_one[0] if of_one else "broker"
        found[part] = found.get(part, 0.0) + cpu_seconds(node.pid)
    return {**found, "PostgreSQL": shared.cpu_seconds()}


def _latencies(intake: Broker, notes: Path, count: int) -> list[float]:
    """Seconds from the whole AA to the whole message at the EPJ."""
    _, acknowledged, _ = paced(intake, count, RATE)
    wait_until_idle(intake)
    came = noted(notes)
    return [max(0.0, came[control_id] - at) for control_id, at in acknowledged.items()]


def _order_waits(intake: Broker, worklist: Broker, count: int) -> list[float]:
    """Seconds from an order's AA to its row."""
    with Scu(worklist.dicom_port, [(WORKLIST, EXPLICIT)]) as modality, intake.orders() as orders:
        numbers = itertools.islice(itertools.count(100000), count)
        return [one_order(orders, modality, str(number))[1] for number in numbers]
