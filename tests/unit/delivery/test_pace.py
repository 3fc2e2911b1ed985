from __future__ import annotations

import time as clock
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.delivery.pace import Pace, Window


@pytest.fixture(autouse=True)
def oslo() -> Iterator[None]:
    """The machine stands in Oslo: summer time begins on 29 March 2026 and ends on 25 October."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Europe/Oslo")
        clock.tzset()
        yield
    clock.tzset()


def at(text: str, *, fold: int = 0) -> datetime:
    """A moment by Oslo's wall clock."""
    return datetime.fromisoformat(text).replace(fold=fold).astimezone()


def opens(window: str, now: datetime) -> datetime:
    return Window.parse(window).opens(now)


def test_a_window_is_two_times_of_day() -> None:
    assert Window.parse("22:00-06:30") == Window(time(22), time(6, 30))


@pytest.mark.parametrize(
    "text",
    ["", "22:00", "22-06", "24:00-06:00", "22:60-06:00", "2:00-06:00", "22:00 - 06:00", "06:00-06:00", "a-b"],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"two (different )?times of day"):
        Window.parse(text)


@pytest.mark.parametrize(
    ("window", "now", "opening"),
    [
        ("08:00-16:00", "2026-03-09T08:00", "2026-03-09T08:00"),
        ("08:00-16:00", "2026-03-09T15:59:59.999", "2026-03-09T15:59:59.999"),
        ("08:00-16:00", "2026-03-09T16:00", "2026-03-10T08:00"),
        ("08:00-16:00", "2026-03-09T07:59:59.999", "2026-03-09T08:00"),
        ("22:00-06:00", "2026-03-09T22:00", "2026-03-09T22:00"),
        ("22:00-06:00", "2026-03-09T23:59", "2026-03-09T23:59"),
        ("22:00-06:00", "2026-03-10T00:00", "2026-03-10T00:00"),
        ("22:00-06:00", "2026-03-10T05:59", "2026-03-10T05:59"),
        ("22:00-06:00", "2026-03-10T06:00", "2026-03-10T22:00"),
        ("22:00-06:00", "2026-03-09T12:00", "2026-03-09T22:00"),
        ("08:00-16:00", "2026-12-31T20:00", "2027-01-01T08:00"),
        ("08:00-16:00", "2028-02-28T20:00", "2028-02-29T08:00"),
    ],
)
def test_from_when_a_window_is_open(window: str, now: str, opening: str) -> None:
    assert opens(window, at(now)) == at(opening)


def test_hours_are_local_whatever_zone_the_clock_speaks() -> None:
    noon = datetime(2026, 7, 1, 10, 0, tzinfo=UTC)

    assert opens("12:00-13:00", noon) == noon
    assert opens("11:00-12:00", noon) == datetime(2026, 7, 2, 9, 0, tzinfo=UTC)


def minutes(window: str, first: str, last: str) -> int:
    """How many minutes between two moments a window is open."""
    now, end, number = at(first), at(last), 0
    while now < end:
        number += opens(window, now) == now
        now = (now.astimezone(UTC) + timedelta(minutes=1)).astimezone()
    return number


@pytest.mark.parametrize(
    ("window", "first", "last", "hours"),
    [
        ("22:00-06:00", "2026-03-28T12:00", "2026-03-29T12:00", 7),  # the night that has no 02:30
        ("22:00-06:00", "2026-10-24T12:00", "2026-10-25T12:00", 9),  # the night that has two
        ("02:00-03:00", "2026-03-29T00:00", "2026-03-30T00:00", 0),
        ("02:00-03:00", "2026-10-25T00:00", "2026-10-26T00:00", 2),
    ],
)
def test_the_wall_clock_decides_on_the_nights_that_it_is_changed(
    window: str, first: str, last: str, hours: int
) -> None:
    assert minutes(window, first, last) == 60 * hours


def test_an_opening_behind_the_change_is_a_local_time_too() -> None:
    assert opens("08:00-16:00", at("2026-03-28T20:00")) == datetime(2026, 3, 29, 6, 0, tzinfo=UTC)
    assert opens("08:00-16:00", at("2026-10-24T20:00")) == datetime(2026, 10, 25, 7, 0, tzinfo=UTC)
    assert opens("03:00-04:00", at("2026-10-25T02:30", fold=1)) == datetime(2026, 10, 25, 2, 0, tzinfo=UTC)


def test_a_window_that_begins_in_the_missing_hour_is_asked_for_again_after_it() -> None:
    opening = opens("02:30-05:00", at("2026-03-29T01:00"))

    assert at("2026-03-29T03:00") <= opening < at("2026-03-29T04:00")
    assert opens("02:30-05:00", opening) == opening


MOMENTS = st.integers(0, 365 * 86_400).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n))
TIMES = st.times().map(lambda t: t.replace(second=0, microsecond=0))


@given(MOMENTS, TIMES, TIMES.filter(bool))
def test_an_opening_is_never_past_and_at_most_a_day_away(now: datetime, start: time, length: time) -> None:
    end = (datetime.combine(now, start) + timedelta(hours=length.hour, minutes=length.minute)).time()
    opening = Window(start, end).opens(now)

    assert now <= opening <= now + timedelta(hours=25)


def test_without_a_rate_nothing_waits() -> None:
    pace = Pace(None)
    pace.sent(100.0)

    assert pace.next_at <= 100.0


def test_a_rate_spaces_deliveries_evenly() -> None:
    pace = Pace(4.0)
    assert pace.next_at <= 100.0, "the first leaves at once"
    pace.sent(100.0)
    assert pace.next_at == 100.25
    pace.sent(100.25)
    assert pace.next_at == 100.5
    pace.sent(200.0)
    assert pace.next_at == 200.25, "idle time is not saved up"


@given(st.floats(0.01, 1000), st.lists(st.floats(0, 10), min_size=1, max_size=50))
def test_no_second_has_more_than_the_rate(rate: float, waits: list[float]) -> None:
    pace, now, sent = Pace(rate), 1000.0, list[float]()
    for wait in waits:
        now = max(now + wait, pace.next_at)
        sent.append(now)
        pace.sent(now)

    for earlier, later in pairwise(sent):
        assert later - earlier >= 1 / rate - 1e-6
