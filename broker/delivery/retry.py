"""How long to wait before the next attempt: pure functions, no clock and no dice of their own."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RetryPolicy(BaseModel):
    """Exponential backoff with a cap and jitter; without an end, because nothing disappears (invariant 2)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)

    first: float = Field(default=1.0, gt=0, description="Seconds before the second attempt.")
    factor: float = Field(default=2.0, ge=1, description="Each wait is this many times the one before.")
    max: float = Field(default=300.0, gt=0, description="Longest wait in seconds.")


def delay(policy: RetryPolicy, failures: int, jitter: float) -> float:
    """Seconds to wait after the `failures`-th failure in a row (1, 2 …); `jitter` in [0, 1) takes off up to a fifth."""
    exponent = min(failures - 1, 64)  # 2.0**64 is far above any cap, and a larger power would overflow
    return min(policy.max, policy.first * policy.factor**exponent) * (1 - 0.2 * jitter)
