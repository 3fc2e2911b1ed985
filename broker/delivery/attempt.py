"""One attempt at one delivery: sent, judged where it fails, told, written down. The same under every executor.

Not here: which delivery is next, and whether its destination may be bothered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

import structlog

from broker.adapter import Outbound, Receipt
from broker.delivery import endings
from broker.delivery.breaker import Breaker
from broker.delivery.retry import OnFailure, asked_for, delay, judge, outcome_of
from broker.delivery.stored import Open
from broker.errors import AskPersonError, BrokerError, RecipientError, TransientDeliveryError
from broker.store.transaction import Transaction

log = structlog.get_logger("broker.delivery")

EXPIRED: Final = "expired"


class ExpiredError(AskPersonError):
    """The delivery is older than its route wants it to be; nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended, and what follows."""

    outcome: str
    """`delivered`, `expired`, or one of `retry.Outcome`."""
    state: Literal["delivered", "queued", "parked"]
    detail: str
    at: datetime
    due: float = 0.0
    """When it may be tried again, seconds since the epoch."""
    refusals: int = 0
    receipt: Receipt | None = None

    def write(self, tx: Transaction, opened: Open) -> bool:
        """Stores it. False, and nothing is written, where the delivery is no longer this attempt's to end."""
        at = self.at.isoformat()
        if self.receipt is not None:
            return endings.finish(tx, opened, self.receipt, at)
        if self.state == "parked":
            return endings.park(tx, opened, self.outcome, self.detail, at)
        return endings.retry(tx, opened, self.outcome, self.detail, self.due, at, refusals=self.refusals)


def may_repeat(repeatable: Callable[[bytes], bool], opened: Open) -> bool:
    """What the adapter says of it (`OutboundSpec.repeatable`); no, where it fails to say: then nothing runs ahead."""
    try:
        return repeatable(opened.delivery.payload)
    except Exception:
        # As in `send`, and it must not end what sends for everybody else.
        log.exception(
            "whether a delivery may be repeated cannot be said",
            destination=opened.delivery.destination,
            delivery=opened.delivery.id,
        )
        return False


def send(
    outbound: Outbound, opened: Open, wanted: OnFailure, clock: Callable[[], datetime]
) -> Receipt | BrokerError:
    """Sends it, unless it is too old. Whatever goes wrong is returned, never raised."""
    # What a person released or replayed is wanted, however old it is.
    mortal = wanted.max_age is not None and not opened.by_hand
    if mortal and clock() - opened.created > timedelta(seconds=wanted.max_age or 0):
        return ExpiredError("older than the route's max_age; not sent")
    try:
        return outbound.deliver(opened.delivery)
    except BrokerError as exc:
        return exc
    except Exception as exc:
        # Exception text of foreign code may quote what it handled: only its type is told.
        log.exception(
            "delivery failed unexpectedly",
            destination=opened.delivery.destination,
            delivery=opened.delivery.id,
        )
        return TransientDeliveryError(f"unexpected {type(exc).__name__}; see the log")


def taken(receipt: Receipt, at: datetime) -> Ending:
    """The destination took it."""
    return Ending(outcome="delivered", state="delivered", detail=receipt.detail, at=at, receipt=receipt)


def failed(
    opened: Open, error: BrokerError, wanted: OnFailure, *, pauses: int, at: datetime, jitter: float
) -> Ending:
    """What follows from a failure. `pauses`: how many in a row the destination has earned by now (`Breaker`)."""
    if isinstance(error, ExpiredError):
        return Ending(outcome=EXPIRED, state="parked", detail=str(error), at=at)
    failing_for = (at - opened.failing_since).total_seconds() if opened.failing_since else 0.0
    failure = judge(error, wanted, refusals=opened.refusals, failing_for=failing_for, ill=pauses > 0)
    if failure.park:
        return Ending(outcome=failure.outcome, state="parked", detail=str(error), at=at)
    # An unreachable destination is no fault of the delivery, so that its own attempts do not count.
    failures = pauses if failure.outcome == "unreachable" else max(pauses, opened.delivery.attempt)
    return Ending(
        outcome=failure.outcome,
        state="queued",
        detail=str(error),
        at=at,
        due=at.timestamp() + delay(wanted.retry, failures, jitter, asked_for(error)),
        refusals=failure.refusals,
    )


def blame(breaker: Breaker, opened: Open, error: BrokerError) -> bool:
    """Tells the breaker of a failure; whether the destination is ill now, and has earned a pause."""
    outcome = outcome_of(error)
    if outcome == "refused":
        return breaker.refused(opened.delivery.id)
    if outcome == "ask" or isinstance(error, RecipientError):
        # The destination may not even have been asked, or it is one recipient's own failure.
        breaker.abandoned(opened.delivery.id)
        return False
    return breaker.failed(opened.delivery.id, unreachable=outcome == "unreachable")


def tell_paused(destination: str, detail: str, wanted: OnFailure) -> None:
    """The log line of a destination that is found ill."""
    log.warning("the destination is paused", destination=destination, detail=detail, alert=wanted.alert)


def tell(ending: Ending, opened: Open, wanted: OnFailure) -> None:
    """The log line of an attempt that failed."""
    # The first failure is news; those after it are only counted, or they would drown it. That a destination
    # cannot be reached was told once, when it was paused.
    news = opened.delivery.attempt == 1 and ending.outcome != "unreachable"
    about = {
        "destination": opened.delivery.destination,
        "route": opened.delivery.route,
        "delivery": opened.delivery.id,
        "attempt": opened.delivery.attempt,
        "outcome": ending.outcome,
        "detail": ending.detail,
        "alert": wanted.alert,
    }
    if ending.state == "parked":
        log.error("parked: a person must decide (`broker parked show`)", **about)
    elif ending.state == "queued":
        wait = round(ending.due - ending.at.timestamp(), 1)
        (log.warning if news else log.debug)("not delivered, will be tried again", wait_seconds=wait, **about)
