"""What a process holds over time, and whether it grows: samples from /proc, and a slope that outliers do not move.

Pure but for `look`. Only the second half of a run counts: a start fills caches and opens what it needs.
"""

from __future__ import annotations

import itertools
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.resources import rss


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at the broker. `at`: seconds since the run began; `memory` in bytes."""

    at: float
    files: int
    """Open ones, sockets too."""
    threads: int
    memory: int
    incoming: int
    """Files of objects that are being received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One figure over the second half of a run."""

    name: str
    first: float
    last: float
    """Medians of its first and last quarter."""
    growth: float
    """By the median of all slopes (Theil and Sen), over the whole half."""
    allowed: float

    @property
    def flat(self) -> bool:
        return self.growth <= self.allowed


_LEAST: Final = {"files": 12.0, "threads": 12.0, "memory": 24.0 * 2**20, "incoming": 6.0}
"""Growth that counts as none, however short the run: what a few associations more or less make."""
_SHARE: Final = 0.05
"""So much of the level counts as none, too."""


def look(pid: int, incoming: Path, at: float) -> Sample:
    """The broker as it is now."""
    return Sample(
        at=at,
        files=len(os.listdir(f"/proc/{pid}/fd")),
        threads=len(os.listdir(f"/proc/{pid}/task")),
        memory=rss(pid),
        incoming=len(list(incoming.iterdir())) if incoming.is_dir() else 0,
    )


def judged(samples: Sequence[Sample]) -> list[Curve]:
    """The curves of the second half of the samples. `ValueError` where there are fewer than eight."""
    if len(samples) < 8:
        raise ValueError(f"{len(samples)} samples say nothing about a curve")
    half = samples[len(samples) // 2 :]
    return [_curve(name, [(sample.at, getattr(sample, name)) for sample in half]) for name in _LEAST]


def _curve(name: str, points: Sequence[tuple[float, float]]) -> Curve:
    slopes = [(b - a) / (t - s) for (s, a), (t, b) in itertools.combinations(points, 2) if t > s]
    values = [value for _, value in points]
    quarter = max(1, len(values) // 4)
    return Curve(
        name=name,
        first=statistics.median(values[:quarter]),
        last=statistics.median(values[-quarter:]),
        growth=statistics.median(slopes) * (points[-1][0] - points[0][0]),
        allowed=max(_LEAST[name], _SHARE * statistics.median(values)),
    )
