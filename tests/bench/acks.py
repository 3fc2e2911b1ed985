"""Durable acknowledgements per second: the broker's whole way beside a floor that only stores."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from tests.bench.load import Load, run
from tests.bench.resources import cpu_seconds
from tests.bench.stage import Stage, say
from tests.bench.table import Table, milliseconds, rate, ratio
from tests.bench.targets import Target, at_least
from tests.support.flows import wait_until_idle
from tests.support.messages import Person, adt

CONNECTIONS = (1, 4, 16)
GOALS = {1: 1 / 2, 16: 1 / 3}
"""Acknowledged beside the floor."""

TEXT = """ADT^A04 of 1.2 kB, sent and waited for on each connection. The floor is a minimal asyncio MLLP server that
stores each message in one SQLite table (WAL, `synchronous=FULL`, one writer, group commit) and does nothing else; it
runs before the broker and after it, and the better of the two counts.
The broker reads, maps and journals the message, folds it into the registers, routes it, and delivers it to an EPJ
that acknowledges at once; all of that runs while the next messages come in. "Delivered" is the rate at which
everything was at the EPJ, the time after the last acknowledgement included."""


def measure(stage: Stage) -> Table:
    """Acknowledged and delivered rates with 1, 4 and 16 connections."""
    floors = [_floor(stage, "before")]
    measured: list[tuple[int, Load, float, float]] = []
    with stage.broker("acks") as broker:
        run(broker.pas_port, 1, messages("warm"), 50)
        wait_until_idle(broker)
        for connections in CONNECTIONS:
            cpu = cpu_seconds(broker.pid)
            load = run(broker.pas_port, connections, messages(f"b{connections}-"), stage.count(2000))
            began = time.perf_counter()
            wait_until_idle(broker, timeout=300)
            delivered = len(load.latencies) / (load.seconds + time.perf_counter() - began)
            cpu = (cpu_seconds(broker.pid) - cpu) / len(load.latencies)
            measured.append((connections, load, delivered, cpu))
            say(f"  broker, {connections} connections: {rate(load.rate)}")
    floors.append(_floor(stage, "after"))
    rows, targets = [], list[Target]()
    for connections, load, delivered, cpu in measured:
        floor = max((one[connections] for one in floors), key=lambda one: one.rate)
        rows.append(_row(connections, floor, load, delivered))
        targets += _targets(connections, floor, load, delivered, cpu)
    columns = (
        "connections",
        "floor",
        "broker",
        "broker / floor",
        "to reach",
        "delivered",
        "floor p50",
        "p50",
        "floor p99",
        "p99",
    )
    return Table(
        title="HL7: acknowledged when durable", text=TEXT, columns=columns, rows=rows, targets=targets
    )


def _floor(stage: Stage, when: str) -> dict[int, Load]:
    """Connections to what the floor did: before the broker and after it, because a disturbed floor flatters."""
    found: dict[int, Load] = {}
    with stage.program("floor", "floor.py", stage.made(f"floor-{when}")) as floor:
        run(floor.port, 1, messages("warm"), 50)
        for connections in CONNECTIONS:
            found[connections] = run(floor.port, connections, messages(f"f{connections}-"), stage.count(5000))
            say(f"  floor {when}, {connections} connections: {rate(found[connections].rate)}")
    return found


def messages(prefix: str) -> Iterator[bytes]:
    """ADT of 1,000 patients in turn, no two alike."""
    padding = "ZXX|" + "x" * 640
    for number in itertools.count():
        person = Person(
            number=f"6{number % 1000:05d}",
            national=f"3{number % 1000:010d}",
            family="Sørby",
            given="Áile",
            contact="Øvre Bakklandet 1^^Trondheim^^7013^NO^H||^PRN^PH^^47^99999999",
        )
        yield adt("A04", f"{prefix}{number}", person, "PV1|1|O|OYE^ROM2^^STO||||12345^Lege^Kari", padding)


def _row(connections: int, floor: Load, load: Load, delivered: float) -> list[str]:
    return [
        str(connections),
        rate(floor.rate),
        rate(load.rate),
        ratio(load.rate, floor.rate),
        f"{GOALS[connections]:.2f} ×" if connections in GOALS else "–",
        rate(delivered),
        milliseconds(floor.percentile(0.5)),
        milliseconds(load.percentile(0.5)),
        milliseconds(floor.percentile(0.99)),
        milliseconds(load.percentile(0.99)),
    ]


def _targets(connections: int, floor: Load, load: Load, delivered: float, cpu: float) -> list[Target]:
    name = f"{connections} connection{'s' if connections > 1 else ''}"
    limit = (
        f"one interpreter does all of it, one thread at a time: {milliseconds(cpu)} of processor a message in this run,"
        " of which a profile gives about half to the writer (commit 1, then folding, routing and rendering in commit"
        " 2), a third to reading, judging and answering on the event loop, and a fifth to delivering"
    )
    sustained = at_least(
        f"delivered / acknowledged, {name}",
        delivered / load.rate,
        1 / 2,
        "deliveries share the interpreter with receptions, which go first; the rest is sent afterwards",
    )
    if connections not in GOALS:
        return [sustained]
    return [
        at_least(f"acknowledged / floor, {name}", load.rate / floor.rate, GOALS[connections], limit),
        sustained,
    ]
