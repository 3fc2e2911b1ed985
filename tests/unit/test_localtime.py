from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.localtime import OSLO, Instant, instant

ARRIVAL = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)  # 02:45 in Oslo, for the first time that day


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("202603091015", utc(2026, 3, 9, 9, 15)),
        ("20260309101530", utc(2026, 3, 9, 9, 15, 30)),
        ("20260309101530.1234", utc(2026, 3, 9, 9, 15, 30, 123400)),
        ("20260309101530+0000", utc(2026, 3, 9, 10, 15, 30)),
        ("202603091015-0530", utc(2026, 3, 9, 15, 45)),
        (" 20260709101530 ", utc(2026, 7, 9, 8, 15, 30)),
        ("2026-03-09T10:15:30Z", utc(2026, 3, 9, 10, 15, 30)),
        ("2026-03-09 10:15", utc(2026, 3, 9, 9, 15)),
        ("2026-03-09 10:15:30,5+01:00", utc(2026, 3, 9, 9, 15, 30, 500000)),
    ],
)
def test_a_time_of_the_site_or_with_an_offset_is_an_instant(text: str, expected: datetime) -> None:
    assert instant(text, OSLO, arrival=ARRIVAL) == Instant(utc=expected)


@pytest.mark.parametrize(
    "text",
    ["", '""', "2026", "20260309", "2026030910", "202602300815", "202603092515", "20260309101530.12345", "000001010000",
     "202603091015+9900", "x202603091015", "٢٠٢٦٠٣٠٩١٠١٥"],
)  # fmt: skip
def test_what_is_not_known_to_the_minute_is_none(text: str) -> None:
    assert instant(text, OSLO, arrival=ARRIVAL) is None


@pytest.mark.parametrize(
    ("arrival", "expected"),
    [
        (utc(2026, 10, 25, 0, 45), utc(2026, 10, 25, 0, 30)),
        (utc(2026, 10, 25, 1, 29), utc(2026, 10, 25, 0, 30)),
        (utc(2026, 10, 25, 1, 30), utc(2026, 10, 25, 1, 30)),
        (utc(2026, 11, 1), utc(2026, 10, 25, 1, 30)),
        (utc(2026, 10, 24), utc(2026, 10, 25, 0, 30)),
    ],
    ids=["before the second", "just before", "at the second", "a week later", "before both"],
)
def test_of_the_hour_that_october_has_twice_the_last_one_that_was_counts(
    arrival: datetime, expected: datetime
) -> None:
    assert instant("202610250230", OSLO, arrival=arrival) == Instant(utc=expected, ambiguous=True)
    assert instant("202610250230+0100", OSLO, arrival=arrival) == Instant(utc=utc(2026, 10, 25, 1, 30))


def test_the_hour_that_march_leaves_out_is_read_as_before_the_change() -> None:
    assert instant("202603290230", OSLO, arrival=ARRIVAL) == Instant(
        utc=utc(2026, 3, 29, 1, 30), missing=True
    )


@given(
    st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2036, 1, 1)),  # noqa: DTZ001 - local times
    st.sampled_from([OSLO, ZoneInfo("America/New_York"), ZoneInfo("UTC")]),
)
def test_an_instant_shows_the_time_that_was_written(naive: datetime, zone: ZoneInfo) -> None:
    naive = naive.replace(microsecond=0)
    found = instant(f"{naive:%Y%m%d%H%M%S}", zone, arrival=utc(2037, 1, 1))

    assert found is not None
    shown = found.utc.astimezone(zone).replace(tzinfo=None)
    assert shown == naive if not found.missing else shown - naive == timedelta(hours=1)
