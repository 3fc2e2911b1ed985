"""A backlog of deliveries, worked off by one worker process and by two."""

from __future__ import annotations

import os
import time
from typing import Final, NamedTuple

from broker.delivery import stored
from broker.store.postgres import PostgresDatabase
from tests.bench.acks import messages
from tests.bench.load import run
from tests.bench.resources import cpu_seconds
from tests.bench.servers import CONNECTIONS, Servers, servers
from tests.bench.stage import Stage, say
from tests.bench.table import Table, milliseconds, rate, ratio
from tests.bench.targets import Target, at_least
from tests.support.flows import wait_until_routed
from tests.support.processes import wait_until

GOAL: Final = 1.7

SINKS: Final = {"at once": 0.0, "5 ms": 0.005, "50 ms": 0.05}
"""What the EPJ takes for a message."""

TEXT = f"""ADT of 1,000 patients to the EPJ ({CONNECTIONS} connections), acknowledged and routed while no worker runs
(`BACKLOG` sets how many). Then a router and one worker, or two, are started on a copy of that journal; the rate is what
left from the moment all of them were ready. An EPJ that acknowledges at once leaves only processor time to wait for;
real ones take some milliseconds for each message, on each connection. The EPJ alone is what a load client gets out of
it over as many connections. "Processor" is per delivery, of both workers together."""


class _Drained(NamedTuple):
    """One backlog."""

    rate: float
    """Deliveries a second."""
    worker: float
    """Processor seconds per delivery, of all workers."""
    postgres: float
    sink: float
    cores: float
    """How many of them all of these kept busy."""
    load: float


def measure(stage: Stage) -> Table:
    """A row for each executor and each EPJ."""
    rows, targets = [], list[Target]()
    count = stage.size("BACKLOG", 5000)
    with servers(stage, "workers") as shared:
        template = _backlog(stage, shared, count)
        for takes, seconds in SINKS.items():
            with stage.program(f"alone-{seconds}", "sink.py", "--seconds", str(seconds)) as sink:
                alone = run(sink.port, CONNECTIONS, messages("alone"), stage.count(2000)).rate
            for executor, settings in shared.executors.items():
                name = f"{executor}, EPJ {takes}"
                one, two = (
                    _drain(stage, shared, f"drain-{len(rows)}-{n}", template, settings, n, seconds)
                    for n in (1, 2)
                )
                say(f"  {name}: {rate(one.rate)} with one worker, {rate(two.rate)} with two")
                rows.append(_row(takes, executor, alone, one, two))
                targets.append(_target(name, alone, one, two))
    columns = (
        *("EPJ takes", "executor", "EPJ alone", "1 worker", "2 workers", "2 / 1"),
        *("processor: workers", "PostgreSQL", "EPJ", "cores busy, 1 and 2", "load"),
    )
    return Table(
        title=f"A backlog of {count:,}: one worker and two",
        text=TEXT,
        columns=columns,
        rows=rows,
        targets=targets,
    )


def _backlog(stage: Stage, shared: Servers, count: int) -> str:
    """Name of a database with so many deliveries that wait."""
    database = shared.postgres.database()
    settings = {**shared.settings, **shared.store(database)}
    with stage.nodes("backlog", [("intake", "router")], 1, settings) as (node,):
        run(node.pas_port, CONNECTIONS, messages("B"), count)
        wait_until_routed(node)
    shared.postgres.end_sessions(database)
    say(f"  {count:,} deliveries wait")
    return database


def _drain(
    stage: Stage,
    shared: Servers,
    name: str,
    template: str,
    executor: dict[str, str],
    workers: int,
    seconds: float,
) -> _Drained:
    database = shared.postgres.database(template)
    settings = {**shared.settings, **shared.store(database), **executor}
    roles = [("router",), *[("deliver",)] * workers]
    journal = PostgresDatabase(shared.postgres.url(database), "bench").read()

    def queued() -> int:
        return sum(row["queued"] for row in stored.summary(journal))

    with (
        stage.program(name, "sink.py", "--seconds", str(seconds)) as sink,
        stage.nodes(name, roles, sink.port, settings) as (_router, *nodes),
    ):

        def taken() -> tuple[float, float, float]:
            return sum(cpu_seconds(node.pid) for node in nodes), shared.cpu_seconds(), cpu_seconds(sink.pid)

        waiting, before, began = queued(), taken(), time.perf_counter()
        assert waiting > 0, "it was over before it was measured: give more"
        wait_until(lambda: queued() == 0, "everything is delivered", timeout=300)
        took = time.perf_counter() - began
        used = [after - earlier for after, earlier in zip(taken(), before, strict=True)]
    return _Drained(waiting / took, *(part / waiting for part in used), sum(used) / took, os.getloadavg()[0])


def _row(takes: str, executor: str, alone: float, one: _Drained, two: _Drained) -> list[str]:
    return [
        takes,
        executor,
        rate(alone),
        rate(one.rate),
        rate(two.rate),
        ratio(two.rate, one.rate),
        *(
            " and ".join(milliseconds(value) for value in pair)
            for pair in ((one.worker, two.worker), (one.postgres, two.postgres), (one.sink, two.sink))
        ),
        f"{one.cores:.1f} and {two.cores:.1f}",
        f"{one.load:.1f} and {two.load:.1f}",
    ]


def _target(name: str, alone: float, one: _Drained, two: _Drained) -> Target:
    if one.rate > 0.7 * alone:
        limit = "the EPJ, of whose connections one worker leaves none unused: another worker cannot add any"
    else:
        limit = (
            f"processor time: a delivery takes {milliseconds(two.worker)} of a worker,"
            f" {milliseconds(two.postgres)} of PostgreSQL and {milliseconds(two.sink)} of the EPJ; with one worker they"
            f" kept {one.cores:.1f} of the machine's {os.cpu_count()} cores busy and with two {two.cores:.1f}, at load"
            f" averages of {one.load:.1f} and {two.load:.1f} with whatever else ran"
        )
    return at_least(f"two workers / one: {name}", two.rate / one.rate, GOAL, limit)
