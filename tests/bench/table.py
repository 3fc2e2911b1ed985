"""A table of results, and how it is written in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.bench.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One measurement: what was done, and its numbers with the floor or the peers in the same rows."""

    title: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target] = ()

    def markdown(self) -> str:
        lines = [
            f"## {self.title}",
            "",
            self.text,
            "",
            _line(self.columns),
            _line(["---"] * len(self.columns)),
        ]
        return "\n".join([*lines, *(_line(row) for row in self.rows), ""])


def rate(per_second: float) -> str:
    """A rate in three figures: what a single run on a shared machine can tell."""
    return f"{float(f'{per_second:.3g}'):,.0f}/s" if per_second >= 10 else f"{per_second:.1f}/s"


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"


def ratio(ours: float, other: float) -> str:
    """`×` of the other: above 1 we are more."""
    return f"{ours / other:.2f} ×" if other else "–"


def median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def percentile(values: Sequence[float], part: float) -> float:
    """`part` from 0 to 1."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
