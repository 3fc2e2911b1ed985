from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.delivery.breaker import TRIP, Breaker


@pytest.fixture
def breaker() -> Breaker:
    return Breaker()


def opened(breaker: Breaker, until: float = 100.0) -> Breaker:
    """Open by a first delivery that did not get through."""
    breaker.sending(1)
    assert breaker.failed(1, unreachable=True)
    breaker.pause(until)
    return breaker


def test_closed_anything_may_leave(breaker: Breaker) -> None:
    breaker.sending(1)
    breaker.sending(2)

    assert (breaker.state, breaker.may_send(0.0)) == ("closed", True)
    assert breaker.reached() is False, "it was closed already"


def test_one_failure_to_reach_it_opens_it_until_its_pause_is_over(breaker: Breaker) -> None:
    opened(breaker, until=100.0)

    assert breaker.state == "open"
    assert [breaker.may_send(now) for now in (0.0, 99.9, 100.0)] == [False, False, True]


def test_a_pause_is_never_made_shorter(breaker: Breaker) -> None:
    opened(breaker, until=100.0)
    breaker.pause(50.0)

    assert breaker.until == 100.0


def test_after_the_pause_one_probe_leaves(breaker: Breaker) -> None:
    opened(breaker)
    breaker.sending(2)

    assert (breaker.state, breaker.may_send(1e9)) == ("probing", False)


def test_a_probe_that_gets_through_closes_it(breaker: Breaker) -> None:
    opened(breaker)
    breaker.sending(2)

    assert breaker.reached() is True
    assert (breaker.state, breaker.failures, breaker.may_send(0.0)) == ("closed", 0, True)


def test_a_probe_that_fails_earns_another_pause(breaker: Breaker) -> None:
    opened(breaker)
    for failures in (2, 3, 4):
        breaker.sending(failures)
        assert breaker.failed(failures, unreachable=False), "any failure of a probe"
        assert (breaker.state, breaker.failures) == ("open", failures)


def test_what_left_before_the_pause_neither_earns_another_nor_ends_the_probe(breaker: Breaker) -> None:
    """Sixteen connections that fail together are one outage."""
    for delivery in (1, 2, 3):
        breaker.sending(delivery)
    for delivery in (1, 2):
        assert breaker.failed(delivery, unreachable=True)
    assert breaker.failures == 1
    breaker.sending(9)
    assert breaker.failed(3, unreachable=True)

    assert (breaker.failures, breaker.state) == (1, "probing")


def test_what_left_before_the_pause_closes_it_where_it_got_through(breaker: Breaker) -> None:
    opened(breaker)

    assert breaker.reached() is True
    assert breaker.may_send(0.0)


def test_a_probe_that_did_not_leave_makes_room_for_another(breaker: Breaker) -> None:
    opened(breaker)
    breaker.sending(2)
    breaker.abandoned(7)
    assert breaker.state == "probing"
    breaker.abandoned(2)

    assert (breaker.state, breaker.may_send(100.0), breaker.failures) == ("open", True, 1)


def test_transient_failures_open_it_only_after_several_in_a_row(breaker: Breaker) -> None:
    assert [breaker.failed(1, unreachable=False) for _ in range(TRIP)] == [False] * (TRIP - 1) + [True]


def test_one_that_gets_through_or_is_refused_begins_the_count_anew(breaker: Breaker) -> None:
    for meanwhile in (breaker.reached, lambda: breaker.refused(99)):
        for number in range(TRIP - 1):
            assert not breaker.failed(number, unreachable=False)
        meanwhile()
    assert not breaker.failed(1, unreachable=False)


def test_a_refusal_shows_that_it_is_there(breaker: Breaker) -> None:
    opened(breaker)
    breaker.sending(2)

    assert breaker.refused(2) is False
    assert (breaker.state, breaker.may_send(0.0)) == ("closed", True)


def test_one_delivery_that_is_refused_for_ever_never_opens_it(breaker: Breaker) -> None:
    assert not any(breaker.refused(1) for _ in range(10 * TRIP))
    assert breaker.state == "closed"


def test_who_refuses_everybody_is_ill_until_one_gets_through(breaker: Breaker) -> None:
    assert [breaker.refused(number) for number in range(TRIP)] == [False] * (TRIP - 1) + [True]
    breaker.pause(10.0)
    for failures in (2, 3):
        breaker.sending(0)
        assert breaker.refused(0) is True, "refused already, and still no word for anybody"
        assert breaker.failures == failures
    breaker.sending(77)
    assert breaker.reached() is True

    assert breaker.refused(1) is False, "the count begins anew"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["send", "reached", "refused", "failed", "unreachable", "abandoned"]),
        st.integers(1, 7),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_one_probe_at_most_is_under_way_and_a_pause_ends(
    steps: list[tuple[str, int]],
) -> None:
    breaker, now, flying, probes = Breaker(), 0.0, set[int](), set[int]()
    for what, delivery in steps:
        now += 1.0
        if what == "send":
            if delivery not in flying and breaker.may_send(now):
                if breaker.state == "open":
                    probes.add(delivery)
                flying.add(delivery)
                breaker.sending(delivery)
        elif delivery in flying:
            flying.discard(delivery)
            probes.discard(delivery)
            if what == "abandoned":
                breaker.abandoned(delivery)
                continue
            if what == "reached":
                breaker.reached()
                open_now = False
            elif what == "refused":
                open_now = breaker.refused(delivery)
            else:
                open_now = breaker.failed(delivery, unreachable=what == "unreachable")
            assert open_now == (breaker.state != "closed")
            if open_now:
                breaker.pause(now + 5.0)
            else:
                probes.clear()
        assert len(probes) <= 1
        assert breaker.may_send(now + 5.0) or breaker.state == "probing", "it is never closed to all for ever"
        assert breaker.state != "probing" or flying, "and who probes is under way"
