"""What a follower must remember to see each thing once: numbers that may still come, deliveries that are open.

Pure, and bounded; it reads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from typing import Final

WATCHED: Final = 200_000
"""Open deliveries whose ending is waited for; where more are open, the oldest are left out."""

WINDOW: Final = 1000
"""Numbers below the newest that may still be written when following begins."""

LATE_SECONDS: Final = 60.0
"""How long a number that is missing may still come: several nodes write at once, and some numbers are never used."""


class Gaps:
    """Numbers that were passed over because they were not there yet, for as long as they may still come."""

    def __init__(self, limit: int = WINDOW) -> None:
        self._limit = limit
        self._missing: dict[int, float] = {}

    def passed(self, numbers: Sequence[int], now: float) -> None:
        """`numbers` were seen, ascending; what lies between them was not. `now`: seconds of any clock."""
        for low, high in pairwise(numbers):
            for number in range(max(low + 1, high - self._limit), high):
                self._missing.setdefault(number, now)
        while len(self._missing) > self._limit:
            del self._missing[next(iter(self._missing))]

    def missing(self) -> list[int]:
        """What may still come: each is looked for at least once more."""
        return sorted(self._missing)

    def looked(self, found: Iterable[int], now: float) -> None:
        """The missing ones were looked for, and these were there; those that stayed away too long are given up."""
        for number in found:
            del self._missing[number]
        self._missing = {n: since for n, since in self._missing.items() if now - since < LATE_SECONDS}


class Watch:
    """Open deliveries, each with the state and number of attempts that were seen last."""

    def __init__(self, limit: int = WATCHED) -> None:
        self._limit = limit
        self._open: dict[int, tuple[str, int]] = {}
        self.left_out = 0
        """How many had to be let go because there are too many."""

    def see(self, number: int, state: str, attempt: int) -> str:
        """What became of it since it was seen last: one of `OUTCOMES`; empty where nothing did."""
        was, attempts = self._open.pop(number, ("queued", 0))
        if state in ("queued", "parked", "held"):
            self._open[number] = (state, attempt)
            if len(self._open) > self._limit:
                del self._open[next(iter(self._open))]
                self.left_out += 1
        if state != "queued":
            return state if (state, attempt) != (was, attempts) else ""
        return "retry" if attempt > attempts else "released" if was == "parked" else ""

    def next(self, number: int) -> list[int]:
        """Those that were not looked at for the longest time."""
        return list(islice(self._open, number))

    def changed(self, rows: Iterable[tuple[int, str, int]], looked: Sequence[int]) -> list[int]:
        """Those of `looked` that are not any more as they were seen; the others go behind all that wait."""
        now = {number: (state, attempt) for number, state, attempt in rows}
        found = []
        for number in looked:
            if number not in now:  # retention took it
                del self._open[number]
            elif now[number] != self._open[number]:
                found.append(number)
            else:
                self._open[number] = self._open.pop(number)
        return found
