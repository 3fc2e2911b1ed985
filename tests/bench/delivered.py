"""From AA to the message at the EPJ, at a steady 100 messages a second."""

from __future__ import annotations

import itertools
import time

from tests.bench.acks import messages
from tests.bench.epj import epj
from tests.bench.stage import Stage, say
from tests.bench.table import Table, milliseconds, percentile, rate
from tests.bench.targets import within
from tests.support.broker import Broker
from tests.support.flows import wait_until_idle
from tests.support.mllp import MllpClient, field

RATE = 100.0

TEXT = """ADT^A04 of 1.2 kB on one connection, 100 a second, evenly spaced. The clock runs from the whole `AA` at the
sender to the whole message at the EPJ, which acknowledges at once; a message that is there before the sender has read
its `AA` counts as 0. What the sender waits for its `AA` stands beside it."""

LIMIT = (
    "the cores are shared with what else runs: the broker's own part is commit 2 and its look at the lanes"
)


def measure(stage: Stage) -> Table:
    """p50 and p99 over some seconds."""
    count = stage.count(2000)
    with epj() as sink:
        broker = Broker(stage.made("delivered"), epj_port=sink.port)
        broker.start()
        try:
            waits, acknowledged, seconds = paced(broker, count, RATE)
            wait_until_idle(broker)
        finally:
            broker.kill()
    latencies = [max(0.0, sink.came[control_id] - at) for control_id, at in acknowledged.items()]
    late = percentile(latencies, 0.99)
    say(f"  AA to delivered: p50 {milliseconds(percentile(latencies, 0.5))}, p99 {milliseconds(late)}")
    rows = [
        [
            rate(count / seconds),
            *(milliseconds(percentile(waits, part)) for part in (0.5, 0.99)),
            *(milliseconds(percentile(latencies, part)) for part in (0.5, 0.99, 1.0)),
        ]
    ]
    return Table(
        title="HL7: from `AA` to delivered",
        text=TEXT,
        columns=("sent", "`AA` p50", "`AA` p99", "delivered p50", "p99", "longest"),
        rows=rows,
        targets=[within("`AA` to delivered at 100/s, p99", late, 0.05, LIMIT)],
    )


def paced(broker: Broker, count: int, per_second: float) -> tuple[list[float], dict[bytes, float], float]:
    """(seconds to AA, control id to when AA was there, seconds in all)."""
    waits: list[float] = []
    acknowledged: dict[bytes, float] = {}
    with MllpClient(broker.pas_port) as pas:
        began = time.perf_counter()
        for number, message in enumerate(itertools.islice(messages("paced"), count)):
            time.sleep(max(0.0, began + number / per_second - time.perf_counter()))
            sent = time.perf_counter()
            answer = pas.ask(message)
            at = time.perf_counter()
            assert field(answer, b"MSA", 1) == b"AA", answer
            waits.append(at - sent)
            acknowledged[field(message, b"MSH", 10)] = at
        return waits, acknowledged, time.perf_counter() - began
