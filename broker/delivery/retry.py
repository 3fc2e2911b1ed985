"""What follows a failed attempt: wait and try again, or park for a person. Pure: no clock and no dice of its own.

The class of the error decides, never its text (`broker.errors`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from broker.errors import (
    AskPersonError,
    BrokerError,
    PermanentDeliveryError,
    TransientDeliveryError,
    UnreachableError,
)

Outcome = Literal["unreachable", "failed", "refused", "ask"]


class Policy(Protocol):
    """Exponential backoff with a cap."""

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
    def park_after(self) -> float:
        """Seconds that a delivery itself may fail, at a destination that is there, until it is parked."""

    @property
    def refusals(self) -> int:
        """Refusals after which a delivery is parked."""

    @property
    def max_age(self) -> float | None:
        """Seconds since reception after which a delivery is parked instead of sent; None: it is never too old."""

    @property
    def alert(self) -> str:
        """Who is to be told; goes into the log line, empty for nobody in particular."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed attempt, and what follows from it."""

    outcome: Outcome
    park: bool
    refusals: int
    """So far, this one included."""


def judge(
    error: BrokerError, wanted: OnFailure, *, refusals: int, failing_for: float, ill: bool = False
) -> Failure:
    """`refusals` in a row so far; `failing_for` seconds since this delivery's own first failure; `ill`: see `Breaker`.

    A destination that cannot be reached says nothing about a delivery, however long that lasts: nothing is parked
    for it. What was refused is tried again a few times, because receivers also refuse while their own database is
    away.
    """
    outcome = outcome_of(error)
    if outcome == "refused" and not ill:
        refusals += 1
    too_often = outcome == "refused" and refusals >= wanted.refusals
    too_long = outcome in ("refused", "failed") and failing_for >= wanted.park_after
    return Failure(outcome=outcome, park=outcome == "ask" or too_often or too_long, refusals=refusals)


def outcome_of(error: BrokerError) -> Outcome:
    """The kind of a failure; one that is none of the destination's counts as transient."""
    if isinstance(error, UnreachableError):
        return "unreachable"
    if isinstance(error, PermanentDeliveryError):
        return "refused"
    if isinstance(error, AskPersonError):
        return "ask"
    return "failed"


def delay(policy: Policy, failures: int, jitter: float, asked: float = 0.0) -> float:
    """Seconds to wait after the `failures`-th failure in a row (1, 2 …); `jitter` in [0, 1) takes off up to a fifth.

    `asked`: what the destination itself asked for. It may lengthen a wait, but not beyond the policy's longest.
    """
    exponent = min(failures - 1, 64)  # 2.0**64 is far above any cap, and a larger power would overflow
    own = min(policy.max, policy.first * policy.factor**exponent) * (1 - 0.2 * jitter)
    return max(own, min(policy.max, asked))


def asked_for(error: BrokerError) -> float:
    """Seconds that the destination asked to be left alone for; 0: it said nothing."""
    return error.wait if isinstance(error, TransientDeliveryError) else 0.0
