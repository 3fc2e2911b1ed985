"""The EPJ is dead while messages arrive, then comes back: `python -m tests.bench.dead_destination --messages 20000`.

Promises: every message is acknowledged meanwhile; afterwards each arrives once, in order per patient.
"""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench.drill import CONNECTIONS, Report, Senders, acknowledged, faults, main
from tests.bench.epj import Epj, epj
from tests.bench.load import run
from tests.bench.resources import peak_rss, rss
from tests.support.broker import Broker
from tests.support.processes import wait_until


def drill(folder: Path, messages: int, seed: int) -> Report:
    """A tenth of the messages before, all of them while the EPJ is dead."""
    report = Report(title=f"EPJ dead while {messages} messages arrive, {CONNECTIONS} connections", seed=seed)
    senders = Senders(seed)
    arriving = senders.messages()
    with epj() as destination:
        broker = Broker(folder, epj_port=destination.port)
        broker.start()
        try:
            run(broker.pas_port, CONNECTIONS, arriving, max(CONNECTIONS, messages // 100))
            _drained(senders, destination)
            before = run(broker.pas_port, CONNECTIONS, arriving, max(CONNECTIONS, messages // 10))
            _drained(senders, destination)
            report.lines.append({"": "before", **acknowledged(before), "RSS MB": _megabytes(rss(broker.pid))})

            destination.stop()
            dead = run(broker.pas_port, CONNECTIONS, arriving, messages)
            report.lines.append({"": "EPJ dead", **acknowledged(dead), "RSS MB": _megabytes(rss(broker.pid))})

            known, back = len(destination.came), time.perf_counter()
            destination.start()
            _drained(senders, destination)
            times = list(destination.came.values())[known:]
            report.lines.append(
                {
                    "": "EPJ back",
                    "messages": len(times),
                    "RSS MB": _megabytes(rss(broker.pid)),
                    "first after s": round(times[0] - back, 1),
                    "drained after s": round(times[-1] - back, 1),
                    "delivered/s": round(len(times) / (times[-1] - times[0])),
                    "peak RSS MB": _megabytes(peak_rss(broker.pid)),
                }
            )
        finally:
            broker.kill()
        report.broken += faults(senders.sent, destination)
    return report


def _drained(senders: Senders, destination: Epj) -> None:
    """Everything that was sent is there; what never comes is found by the check."""
    most = 330 + senders.count / 50  # seconds: the longest pause between two probes, and slow delivery
    wait_until(lambda: len(destination.came) >= senders.count, "everything is delivered", most)


def _megabytes(size: int) -> int:
    return round(size / 2**20)


if __name__ == "__main__":
    main(drill, "The EPJ is dead while messages arrive, then comes back.")
