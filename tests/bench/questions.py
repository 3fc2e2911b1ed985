"""Times of questions that a seed draws, asked one after the other."""

from __future__ import annotations

import random
import time
from collections.abc import Callable


def times_of(count: int, ask: Callable[[random.Random], object]) -> list[float]:
    """Seconds of each; every series draws the same."""
    dice, seconds = random.Random(1), []
    for _ in range(count):
        began = time.perf_counter()
        ask(dice)
        seconds.append(time.perf_counter() - began)
    return seconds
