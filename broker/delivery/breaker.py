"""The circuit breaker of one destination, as a value: closed, open until a moment, or probing. No clock, no thread.

A destination that cannot be reached, or that takes none of several deliveries in a row, gets one probe at a time until
one of them gets through; retrying every lane against it would only make it worse. Where it refuses everybody, no
refusal is held against the delivery that met it: the destination is ill, not the message.
"""

from __future__ import annotations

import json
from typing import Final, Literal

State = Literal["closed", "open", "probing"]

TRIP: Final = 5
"""Transient failures in a row, or different deliveries refused in a row, that open it; one failure to reach it does."""


class Breaker:
    """Times are seconds since the epoch."""

    def __init__(self) -> None:
        self.failures = 0
        """In a row, since it opened."""
        self.until = 0.0
        self._suspect = 0
        self._refused: set[int] = set()
        self._probe: int | None = None

    @classmethod
    def load(cls, text: str) -> Breaker:
        """As `dump` wrote it. Nothing is under way: who sends a probe says so with `sending`."""
        breaker = cls()
        told = json.loads(text)
        breaker.failures, breaker.until, breaker._suspect = told["failures"], told["until"], told["suspect"]
        breaker._refused = set(told["refused"])
        return breaker

    def dump(self) -> str:
        """For a store that several processes share."""
        told = {"failures": self.failures, "until": self.until, "suspect": self._suspect}
        return json.dumps(told | {"refused": sorted(self._refused)})

    @property
    def state(self) -> State:
        if not self.failures:
            return "closed"
        return "open" if self._probe is None else "probing"

    def may_send(self, now: float) -> bool:
        """Whether a delivery may leave: any while closed, one probe once the pause is over."""
        return not self.failures or (now >= self.until and self._probe is None)

    def sending(self, delivery: int) -> None:
        """A delivery leaves; while open, it is the probe."""
        self._probe = delivery if self.failures else None

    def reached(self) -> bool:
        """The destination took a delivery. Returns whether that closed it."""
        closed = self.failures > 0
        self.failures, self.until, self._suspect, self._probe = 0, 0.0, 0, None
        self._refused.clear()
        return closed

    def refused(self, delivery: int) -> bool:
        """The destination is there, and refused a delivery. Returns whether it refuses everybody: it is open then."""
        self._suspect = 0
        self._refused.add(delivery)
        if len(self._refused) >= TRIP:
            self._count(delivery)
            return True
        self.failures, self.until, self._probe = 0, 0.0, None
        return False

    def abandoned(self, delivery: int) -> None:
        """The delivery did not leave after all: it tells nothing of the destination."""
        if self._probe == delivery:
            self._probe = None

    def failed(self, delivery: int, *, unreachable: bool) -> bool:
        """A transient failure. Returns whether it is open now: the caller gives it a pause with `pause`."""
        self._suspect += 1
        if unreachable or self.failures or self._suspect >= TRIP:
            self._count(delivery)
        return self.failures > 0

    def _count(self, delivery: int) -> None:
        """Another pause is earned, unless the delivery left before this one began: several connections fail at once."""
        if not self.failures or self._probe == delivery:
            self.failures += 1
        self.abandoned(delivery)

    def pause(self, until: float) -> None:
        """Nothing leaves before `until`."""
        self.until = max(self.until, until)
