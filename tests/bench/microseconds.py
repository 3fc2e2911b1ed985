"""Time of something that takes microseconds, in this process: the best of many rounds, which others disturb least."""

from __future__ import annotations

import timeit
from collections.abc import Callable

ROUNDS = 15


def best(work: Callable[[], object], *, seconds: float = 0.02) -> float:
    """Seconds per call, in the fastest of the rounds; a round takes about `seconds`."""
    timer = timeit.Timer(work)
    number = max(1, int(seconds / max(timer.timeit(1), timer.timeit(1), 1e-9)))
    return min(timer.repeat(ROUNDS, number)) / number


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} µs" if seconds < 1e-4 else f"{seconds * 1e6:,.0f} µs"
