"""Starting after kill -9 with many deliveries that still have to leave."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from broker.settings import load
from broker.store.sqlite import journal_file
from tests.bench.epj import epj
from tests.bench.resources import megabytes, peak_rss
from tests.bench.rows import fill, one_of_a_kind, plan
from tests.bench.stage import Stage, say
from tests.bench.table import Table
from tests.bench.targets import within
from tests.support.broker import Broker
from tests.support.flows import queued
from tests.support.processes import wait_until
from tests.support.shared import REPOSITORY

TEXT = """Deliveries to the EPJ, twenty a patient, filled by SQL (`DELIVERIES` sets how many, and the target is meant
at a million). The broker is started, killed with -9 in the middle of delivering, and started again; the clock runs from
the start of the process. The floor is the same with a single delivery to make: what a start costs anyhow."""

LIMIT = (
    "reading the open deliveries and putting each into its lane is Python, 1.6 µs of processor each on a quiet"
    " machine; a start with nothing to do is the floor"
)


def measure(stage: Stage) -> Table:
    """Seconds to ready and to the first delivery, beside a start with next to nothing to do."""
    rows = []
    for name, count in (("floor", 1), ("full", stage.size("DELIVERIES", 100_000))):
        folder = stage.made(f"recovery-{name}")
        with epj() as sink:
            broker = Broker(folder, epj_port=sink.port)
            broker.data.mkdir()
            settings = load(REPOSITORY / "config" / "broker.yaml", env={"BROKER_DATA": str(broker.data)})
            filling = fill(
                journal_file(broker.data),
                plan(count, 1, datetime.now(UTC).date()),
                like=one_of_a_kind(settings),
                deliveries="queued",
            )
            say(f"  {count:,} deliveries on {', '.join(filling)}")
            try:
                if name == "full":
                    broker.start(timeout=300)
                    wait_until(lambda sink=sink: len(sink.came) > 50, "deliveries leave")  # type: ignore[misc]
                    broker.kill()
                sink.came.clear()
                began = time.perf_counter()
                broker.start(timeout=300)
                ready = time.perf_counter() - began
                wait_until(lambda sink=sink: len(sink.came) > 0, "the first delivery is there", 300)  # type: ignore[misc]
                first = min(sink.came.values()) - began
                memory = peak_rss(broker.pid)
                if name == "full":
                    assert queued(broker, "epj") > 0, "it was over before it was measured: give more"
            finally:
                broker.kill()
        say(f"  ready after {ready:.2f} s, first delivery after {first:.2f} s")
        rows.append([f"{count:,}", f"{ready:.2f} s", f"{first:.2f} s", megabytes(memory)])
    target = within(f"recovery with {count:,} deliveries: first delivery", first, 10.0, LIMIT)
    return Table(
        title="Journal: start after kill -9",
        text=TEXT,
        columns=("unfinished deliveries", "ready", "first delivery", "peak RSS by then"),
        rows=rows,
        targets=[target],
    )
