"""Durable acknowledgements per second: the broker's whole way beside a floor that only stores."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from tests.bench.load import Load, run
from tests.bench.stage import Stage, say
from tests.bench.table import Table, milliseconds, rate, ratio
from tests.support.flows import wait_until_idle
from tests.support.messages import Person, adt

CONNECTIONS = (1, 4, 16)

TEXT = """ADT^A04 of 1.2 kB, sent and waited for on each connection. The floor is a minimal asyncio MLLP server that
stores each message in one SQLite table (WAL, `synchronous=FULL`, one writer, group commit) and does nothing else.
The broker reads, maps and journals the message, folds it into the registers, routes it, and delivers it to an EPJ
that acknowledges at once; all of that runs while the next messages come in. "Delivered" is the rate at which
everything was at the EPJ, the time after the last acknowledgement included."""


def measure(stage: Stage) -> Table:
    """Acknowledged and delivered rates with 1, 4 and 16 connections."""
    floor: dict[int, Load] = {}
    folder = stage.folder / "floor"
    folder.mkdir()
    with stage.program("floor", "floor.py", folder) as port:
        run(port, 1, messages("warm"), 50)
        for connections in CONNECTIONS:
            floor[connections] = run(port, connections, messages(f"f{connections}-"), stage.count(5000))
            say(f"  floor, {connections} connections: {rate(floor[connections].rate)}")
    rows = []
    with stage.broker("acks") as broker:
        run(broker.pas_port, 1, messages("warm"), 50)
        wait_until_idle(broker)
        for connections in CONNECTIONS:
            load = run(broker.pas_port, connections, messages(f"b{connections}-"), stage.count(2000))
            began = time.perf_counter()
            wait_until_idle(broker, timeout=300)
            delivered = len(load.latencies) / (load.seconds + time.perf_counter() - began)
            rows.append(_row(connections, floor[connections], load, delivered))
            say(f"  broker, {connections} connections: {rate(load.rate)}")
    columns = (
        "connections",
        "floor",
        "broker",
        "broker / floor",
        "delivered",
        "floor p50",
        "p50",
        "floor p99",
        "p99",
    )
    return Table(title="HL7: acknowledged when durable", text=TEXT, columns=columns, rows=rows)


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
        rate(delivered),
        milliseconds(floor.percentile(0.5)),
        milliseconds(load.percentile(0.5)),
        milliseconds(floor.percentile(0.99)),
        milliseconds(load.percentile(0.99)),
    ]
