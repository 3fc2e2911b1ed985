"""What the drills share: messages of many patients from a seed, the check of their order, the table at the end.

A drill measures nothing against anything: it shows that a promise holds while something is wrong, and ends with 1 when
it does not.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench.epj import Epj
from tests.bench.load import Load
from tests.support.messages import Person, adt

CONNECTIONS: Final = 4

_APART: Final = 8 * CONNECTIONS
"""Messages between two of one patient: with both under way at once, nobody could say which was sent first."""


@dataclass(slots=True)
class Report:
    """Lines for the table, each with its own columns, and every promise that was broken."""

    title: str
    seed: int
    lines: list[Mapping[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def text(self) -> str:
        columns = list(dict.fromkeys(name for line in self.lines for name in line))
        cells = [columns, *([str(line.get(name, "")) for name in columns] for line in self.lines)]
        widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
        table = "\n".join(
            "  ".join(cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in pairs)
            for pairs in (enumerate(zip(row, widths, strict=True)) for row in cells)
        )
        end = "\n".join(f"BROKEN: {what}" for what in self.broken) or "every promise was kept"
        return f"{self.title}, seed {self.seed}\n\n{table}\n\n{end}"


class Senders:
    """ADT of patients whom the dice choose; remembers what was sent to whom, in order."""

    def __init__(self, seed: int, patients: int = 400) -> None:
        self.sent: dict[str, list[bytes]] = {}
        self._dice = random.Random(seed)
        self._patients = [f"4{number:05d}" for number in range(patients)]
        self._last: deque[str] = deque(maxlen=_APART)

    def messages(self) -> Iterator[bytes]:
        """Without end."""
        while True:
            number = self._dice.choice(self._patients)
            if number not in self._last:
                self._last.append(number)
                yield self.message(number)

    def message(self, number: str, ward: str = "OYE") -> bytes:
        """The patient's next one, from this ward (PV1-3.1)."""
        sent = self.sent.setdefault(number, [])
        control_id = f"{number}-{len(sent)}"
        sent.append(control_id.encode())
        return adt("A08", control_id, Person(number=number), f"PV1|1|I|{ward}^12^1^STO", "ZXX|" + "x" * 640)

    @property
    def count(self) -> int:
        return sum(len(sent) for sent in self.sent.values())


def faults(sent: Mapping[str, Sequence[bytes]], epj: Epj) -> list[str]:
    """What is wrong with what the EPJ took: lost, out of order, repeated. Counts only."""
    place = {control_id: at for at, control_id in enumerate(list(epj.came))}
    lost = sum(control_id not in place for of in sent.values() for control_id in of)
    places = [[place[control_id] for control_id in of if control_id in place] for of in sent.values()]
    disorder = sum(of != sorted(of) for of in places)
    repeated = sum(times - 1 for times in epj.times.values())
    found = ((lost, "messages acknowledged and lost"), (disorder, "patients out of order"))
    return [f"{number} {what}" for number, what in (*found, (repeated, "messages repeated")) if number]


def acknowledged(load: Load) -> dict[str, Any]:
    """The columns of one phase."""
    return {
        "messages": len(load.latencies),
        "ACK/s": round(load.rate),
        "ACK p50 ms": round(load.percentile(0.5) * 1000, 1),
        "ACK p99 ms": round(load.percentile(0.99) * 1000, 1),
    }


def main(drill: Callable[[Path, int, int], Report], what: str) -> None:
    """The command line of a drill: `--messages`, `--seed`, `--format`."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--messages", type=int, default=20_000, help="how many (default 20000)")
    parser.add_argument("--seed", type=int, default=None, help="the same seed sends the same messages")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        report = drill(Path(folder), options.messages, seed)
    if options.format == "json":
        lines = {"drill": report.title, "seed": seed, "lines": report.lines, "broken": report.broken}
        print(json.dumps(lines, indent=2, ensure_ascii=False))
    else:
        print(report.text())
    sys.exit(1 if report.broken else 0)
