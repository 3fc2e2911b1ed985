from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.delivery.retry import Failure, Outcome, asked_for, delay, judge, outcome_of
from broker.errors import (
    AskPersonError,
    BrokerError,
    DeliveryError,
    LocalProtocolError,
    PermanentDeliveryError,
    RecipientError,
    TransientDeliveryError,
    UnreachableError,
)
from broker.routing.language import OnFailure


@dataclass
class Policy:
    first: float
    factor: float
    max: float


POLICIES = st.builds(Policy, first=st.floats(0.001, 1e6), factor=st.floats(1, 10), max=st.floats(0.001, 1e6))
JITTER = st.floats(0, 1, exclude_max=True)
FAILURES = st.integers(1, 10_000_000)


@given(POLICIES, FAILURES, JITTER)
def test_a_wait_is_some_time_and_never_more_than_the_longest(
    policy: Policy, failures: int, jitter: float
) -> None:
    assert 0 < delay(policy, failures, jitter) <= policy.max


@given(POLICIES, FAILURES)
def test_waits_never_get_shorter(policy: Policy, failures: int) -> None:
    assert delay(policy, failures, 0) <= delay(policy, failures + 1, 0)


@given(POLICIES, FAILURES, JITTER)
def test_jitter_takes_off_a_fifth_at_most(policy: Policy, failures: int, jitter: float) -> None:
    full = delay(policy, failures, 0)

    assert 0.8 * full <= delay(policy, failures, jitter) <= full


def test_the_numbers_of_a_route() -> None:
    policy = Policy(first=1, factor=2, max=300)

    assert [delay(policy, n, 0) for n in (1, 2, 3, 9, 10, 1_000_000)] == [1, 2, 4, 256, 300, 300]
    assert delay(OnFailure().retry, 1, 0) == OnFailure().retry.first, "a route's own policy fits"


@given(POLICIES, FAILURES, JITTER, st.floats(0, 1e9))
def test_what_a_destination_asks_for_lengthens_a_wait_within_the_routes_longest(
    policy: Policy, failures: int, jitter: float, asked: float
) -> None:
    own = delay(policy, failures, jitter)

    assert delay(policy, failures, jitter, asked) == max(own, min(asked, policy.max))


def test_only_a_transient_failure_says_how_long_to_wait() -> None:
    assert asked_for(UnreachableError("HTTP 503", wait=7.0)) == 7.0
    assert [asked_for(error) for error in (TransientDeliveryError("x"), PermanentDeliveryError("x"))] == [
        0.0,
        0.0,
    ]


# --- judge ---

WANTED = OnFailure.model_validate({"refusals": 3, "park_after": "1h"})
ERRORS: list[tuple[BrokerError, Outcome]] = [
    (UnreachableError("no connection"), "unreachable"),
    (TransientDeliveryError("MSA-1 CE"), "failed"),
    (RecipientError("CT1 is away"), "failed"),
    (PermanentDeliveryError("MSA-1 AE"), "refused"),
    (AskPersonError("two patients fit"), "ask"),
    (DeliveryError("of no kind"), "failed"),
    (LocalProtocolError("a bug of ours"), "failed"),
]
each_error = pytest.mark.parametrize(("error", "outcome"), ERRORS, ids=lambda value: type(value).__name__)


@each_error
def test_the_class_of_the_error_decides(error: BrokerError, outcome: Outcome) -> None:
    assert outcome_of(error) == outcome
    assert judge(error, WANTED, refusals=0, failing_for=0.0) == Failure(
        outcome=outcome, park=outcome == "ask", refusals=int(outcome == "refused")
    )


@each_error
def test_the_text_of_the_error_never_decides(error: BrokerError, outcome: Outcome) -> None:
    for text in ("MSA-1 AE", "no connection", "timeout", ""):
        assert outcome_of(type(error)(text)) == outcome


@each_error
def test_who_fails_for_too_long_is_parked_unless_nothing_got_through(
    error: BrokerError, outcome: Outcome
) -> None:
    almost = judge(error, WANTED, refusals=0, failing_for=3599.9)
    long = judge(error, WANTED, refusals=0, failing_for=3600.0)

    assert almost.park == (outcome == "ask")
    assert long.park == (outcome != "unreachable")


def test_refusals_in_a_row_park() -> None:
    refused = PermanentDeliveryError("MSA-1 AE")

    assert [judge(refused, WANTED, refusals=n, failing_for=0.0).park for n in range(3)] == [
        False,
        False,
        True,
    ]
    assert judge(refused, OnFailure(refusals=1), refusals=0, failing_for=0.0).park, (
        "at once, where a route wants it"
    )


@pytest.mark.parametrize("error", [TransientDeliveryError("x"), UnreachableError("x")])
def test_what_is_no_refusal_neither_counts_as_one_nor_forgives_any(error: BrokerError) -> None:
    assert judge(error, WANTED, refusals=2, failing_for=0.0) == Failure(
        outcome=outcome_of(error), park=False, refusals=2
    )


def test_a_refusal_by_who_refuses_everybody_is_not_held_against_the_delivery() -> None:
    refused = PermanentDeliveryError("MSA-1 AE")

    assert judge(refused, WANTED, refusals=2, failing_for=0.0, ill=True) == Failure(
        outcome="refused", park=False, refusals=2
    )


@each_error
def test_an_unreachable_destination_is_for_ever(error: BrokerError, outcome: Outcome) -> None:
    judged = judge(error, WANTED, refusals=2, failing_for=1e9, ill=True)

    assert judged.park == (outcome != "unreachable")
