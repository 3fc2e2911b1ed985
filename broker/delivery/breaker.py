"""The circuit breaker of one destination, as a value: closed, open until a moment, or probing. No clock, no thread.

A destination that cannot be reached, or that takes none of several deliveries in a row, gets one probe at a time until
one of them gets through; retrying every lane against it would only make it worse. Where it refuses everybody, no
refusal is held against the delivery that met it: the destination is ill, not the message.
"""

from __future__ import annotations

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
        self._probing = False

    @property
    def state(self) -> State:
        if not self.failures:
            return "closed"
        return "probing" if self._probing else "open"

    def may_send(self, now: float) -> bool:
        """Whether a delivery may leave: any while closed, one probe once the pause is over."""
        return not self.failures or (now >= self.until and not self._probing)

    def sending(self) -> None:
        """A delivery leaves; while open, it is the probe."""
        self._probing = self.failures > 0

    def reached(self) -> bool:
        """The destination took a delivery. Returns whether that closed it."""
        closed = self.failures > 0
        self.failures, self.until, self._suspect, self._probing = 0, 0.0, 0, False
        self._refused.clear()
        return closed

    def refused(self, delivery: int) -> bool:
        """The destination is there, and refused a delivery. Returns whether it refuses everybody: it is open then."""
        self._suspect, self._probing = 0, False
        self._refused.add(delivery)
        ill = len(self._refused) >= TRIP
        self.failures = self.failures + 1 if ill else 0
        if not ill:
            self.until = 0.0
        return ill

    def abandoned(self) -> None:
        """The delivery did not leave after all: it tells nothing of the destination."""
        self._probing = False

    def failed(self, *, unreachable: bool) -> bool:
        """A transient failure. Returns whether it is open now: the caller gives it a pause with `pause`."""
        self._probing = False
        self._suspect += 1
        if unreachable or self.failures or self._suspect >= TRIP:
            self.failures += 1
        return self.failures > 0

    def pause(self, until: float) -> None:
        """Nothing leaves before `until`."""
        self.until = max(self.until, until)
