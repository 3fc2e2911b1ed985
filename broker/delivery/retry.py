"""How long to wait before the next attempt: a pure function, without a clock or dice of its own."""

from __future__ import annotations

from typing import Protocol


class Policy(Protocol):
    """Exponential backoff with a cap; without an end, because nothing disappears (invariant 2)."""

    @property
    def first(self) -> float:
        """Seconds to wait after the first failure."""

    @property
    def factor(self) -> float:
        """Each wait is this many times the one before."""

    @property
    def max(self) -> float:
        """Longest wait in seconds."""


class OnFailure(Protocol):
    """What a route wants while a destination does not take its deliveries."""

    @property
    def retry(self) -> Policy:
        """Waits between attempts."""

    @property
    def alert(self) -> str:
        """Who is to be told; goes into the log line, empty for nobody in particular."""


def delay(policy: Policy, failures: int, jitter: float) -> float:
    """Seconds to wait after the `failures`-th failure in a row (1, 2 …); `jitter` in [0, 1) takes off up to a fifth."""
    exponent = min(failures - 1, 64)  # 2.0**64 is far above any cap, and a larger power would overflow
    return min(policy.max, policy.first * policy.factor**exponent) * (1 - 0.2 * jitter)
