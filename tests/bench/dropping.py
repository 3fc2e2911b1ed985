"""Retention dropping a day while receptions are committed: how long it takes, and what an acknowledgement waits.

Without sockets: receptions go through the intake of one process, as a listener's do, and retention through the same
writer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from broker.adapter import Reception
from broker.ids import message_id
from broker.journal.intake import JournalIntake
from broker.runtime.configured import Configured, configure
from broker.runtime.retention import Limits, Retention
from broker.settings import load
from broker.store.database import Database
from broker.store.sqlite import SqliteDatabase, journal_file
from tests.bench.acks import messages
from tests.bench.rows import fill, one_of_a_kind, plan
from tests.bench.stage import Stage, say
from tests.bench.table import Table, milliseconds, percentile, ratio
from tests.bench.targets import Target, at_most, within
from tests.support.shared import REPOSITORY

RATE = 100.0
QUIET_SECONDS = 5.0
KEPT = timedelta(days=30)
FOR_EVER = timedelta(days=36_500)

TEXT = """One day of {count:,} messages of 1 kB, each with an event and a delivery, filled by SQL (`DAY` sets how
many). Meanwhile receptions are committed at 100 a second, each waited for; no socket is in it. "Before" is five quiet
seconds, "during" is from the round's start to its end, and at least five seconds. A day's bodies leave by DROP TABLE.
Its ledger leaves much later, row by row between the traffic, after its events were folded into the baseline."""

BODIES_LIMIT = (
    "SQLite puts every page of the dropped tables on its free list in one transaction, some 0.8 s a gigabyte"
)
LEDGER_LIMIT = (
    "nothing waits for it: a sampling profile gives three quarters of the time to folding the day's events into the"
    " baseline, one by one as commit 2 does, and next to nothing to deleting"
)
ACK_LIMIT = "folding is Python in the broker's own process: it takes turns with what acknowledges"


def measure(stage: Stage) -> Table:
    """Bodies of a day, then its ledger."""
    count = stage.size("DAY", 20_000)
    folder = stage.made("dropping")
    settings = load(REPOSITORY / "config" / "broker.yaml", env={"BROKER_DATA": str(folder)})
    configured = configure(settings, {})
    old = datetime.now(UTC).date() - KEPT - timedelta(days=1)
    filling = fill(
        journal_file(folder), plan(count, 1, old), like=one_of_a_kind(settings), deliveries="delivered"
    )
    say(f"  {count:,} messages on {', '.join(filling)}")
    database = SqliteDatabase(journal_file(folder))
    database.open()
    rows, targets = [], list[Target]()
    try:
        for what, limits, limit in (
            ("bodies", Limits(bodies=KEPT, ledger=FOR_EVER, max_size=None), BODIES_LIMIT),
            ("ledger", Limits(bodies=KEPT, ledger=KEPT, max_size=None), LEDGER_LIMIT),
        ):
            retention = Retention(database, folder, lambda: configured, limits, lambda: datetime.now(UTC))
            with _traffic(database, configured) as waits:
                time.sleep(QUIET_SECONDS)
                before = waits()
                began = time.perf_counter()
                done = retention.run()
                seconds = time.perf_counter() - began
                time.sleep(max(0.0, QUIET_SECONDS - seconds))
                during = waits()
            assert getattr(done, what) == (old.isoformat(),), done
            late, late_before = percentile(during, 0.99), percentile(before, 0.99)
            say(
                f"  {what}: {seconds:.2f} s, p99 {milliseconds(late_before)} before, {milliseconds(late)} during"
            )
            rows.append(
                [
                    what,
                    f"{seconds:.2f} s",
                    *(milliseconds(percentile(before, part)) for part in (0.5, 0.99, 1.0)),
                    *(milliseconds(percentile(during, part)) for part in (0.5, 0.99, 1.0)),
                    ratio(late, late_before),
                ]
            )
            name = f"a day's {what}, {count:,} messages"
            targets.append(within(f"{name}: dropped", seconds, 1.0, limit))
            targets.append(at_most(f"{name}: ACK p99 during / before", late / late_before, 1.25, ACK_LIMIT))
    finally:
        database.close()
    columns = (
        "",
        "time",
        "before: p50",
        "p99",
        "longest",
        "during: p50",
        "p99",
        "longest",
        "p99 during / before",
    )
    return Table(
        title="Journal: retention drops a day",
        text=TEXT.format(count=count),
        columns=columns,
        rows=rows,
        targets=targets,
    )


@contextmanager
def _traffic(database: Database, configured: Configured) -> Iterator[Callable[[], list[float]]]:
    """Commits receptions at a steady rate; gives a function that says what they waited since it was last asked."""
    intake, waits, stopping = JournalIntake(database, lambda: None), list[float](), threading.Event()
    arriving = receptions(configured)

    def send() -> None:
        due = time.perf_counter()
        while not stopping.wait(max(0.0, due - time.perf_counter())):
            reception = next(arriving)
            began = time.perf_counter()
            intake.accept_blocking(reception)
            waits.append(time.perf_counter() - began)
            due = max(due + 1 / RATE, began)

    def since() -> list[float]:
        found = waits[:]
        del waits[: len(found)]
        return found

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield since
    finally:
        stopping.set()
        thread.join()


def receptions(configured: Configured) -> Iterator[Reception]:
    """What the PAS listener makes of one message after the other, now."""
    reader = configured.readers["pas"]
    for message in messages(f"R{time.time_ns()}-"):
        now = datetime.now(UTC)
        yield reader.receive(message, message_id=message_id(now), now=now, peer="127.0.0.1")
