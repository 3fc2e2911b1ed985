from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from broker.delivery.retry import delay
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
