"""What the broker takes over time: resident memory as messages pass, the start, and processor time while idle."""

from __future__ import annotations

import subprocess
import sys
import time

from tests.bench.acks import messages
from tests.bench.load import run
from tests.bench.resources import cpu_seconds, megabytes, rss
from tests.bench.stage import Stage, say
from tests.bench.table import Table, median, ratio
from tests.bench.targets import below, within
from tests.support.broker import Broker
from tests.support.flows import wait_until_idle

SETTLED = 10_000
IDLE_SECONDS = 20.0

LIBRARIES = (
    "apsw, prometheus_client, pydantic, pydicom, rich_click, starlette.applications, structlog, uvicorn, yaml"
)

TEXT = """Memory: resident size of the broker's process once everything is delivered, after the first {settled:,}
messages (16 connections) and after {more:,} more (`MESSAGES` sets how many; the target is meant at a million). Start:
from the start of the process to `/readyz` answering 200, on a data folder of its own, median of five; the floor is a
Python that only imports the libraries. Idle: processor time of the broker over {idle:.0f} s with every listener open,
as a part of one core."""

START_LIMIT = (
    "importing: the libraries take most of it (the floor), the rest is settings, routes and the schema"
)
IDLE_LIMIT = (
    "threads that wake up to look: web server and DICOM acceptor ten times a second, the router twice"
)
MEMORY_LIMIT = (
    "nothing is kept per message; the connections' page caches and the allocator still grow at first"
)


def measure(stage: Stage) -> Table:
    """Three small measurements, a row each."""
    seconds = 5.0 if stage.quick else IDLE_SECONDS
    settled, more = stage.count(SETTLED), stage.size("MESSAGES", 30_000)
    floor = median([_timed_import() for _ in range(5)])
    starts = [_timed_start(stage, number) for number in range(5)]
    say(f"  start: {median(starts):.2f} s, floor {floor:.2f} s")
    with stage.broker("memory") as broker:
        before = cpu_seconds(broker.pid)
        time.sleep(seconds)
        idle = (cpu_seconds(broker.pid) - before) / seconds
        say(f"  idle: {idle * 100:.2f} % of a core")
        sizes = []
        for name, count in (("first", settled), ("more", more)):
            run(broker.pas_port, 16, messages(name), count)
            wait_until_idle(broker, timeout=3600)
            sizes.append(rss(broker.pid))
            say(f"  RSS after {count:,} messages more: {megabytes(sizes[-1])}")
    growth = sizes[1] / sizes[0] - 1
    rows = [
        ["memory", megabytes(sizes[0]), megabytes(sizes[1]), ratio(sizes[1], sizes[0])],
        ["start", f"{floor:.2f} s", f"{median(starts):.2f} s", ratio(median(starts), floor)],
        ["idle", "–", f"{idle * 100:.2f} %", "–"],
    ]
    return Table(
        title="Memory, start, idle",
        text=TEXT.format(settled=settled, more=more, idle=seconds),
        columns=("", f"floor, or after {settled:,}", "broker", "broker / floor"),
        rows=rows,
        targets=[
            below(f"memory: growth over {more:,} messages", growth, 0.10, MEMORY_LIMIT),
            within("start to ready", median(starts), 1.5, START_LIMIT),
            below("processor while idle", idle, 0.01, IDLE_LIMIT),
        ],
    )


def _timed_import() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {LIBRARIES}"], check=True)
    return time.perf_counter() - began


def _timed_start(stage: Stage, number: int) -> float:
    broker = Broker(stage.made(f"start-{number}"))
    began = time.perf_counter()
    broker.start()
    try:
        return time.perf_counter() - began
    finally:
        broker.kill()
