"""Dates and times in queries, alone and as one period."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.matching import STEPS, Query


def asking(**step: str) -> Query:
    return Query.read(to_dataset({STEPS: (step,)}))


def test_a_step_without_a_time_stays_on_its_day() -> None:
    row: Attributes = {STEPS: ({"ScheduledProcedureStepStartDate": "20260105"},)}
    period = {
        "ScheduledProcedureStepStartDate": "20260105-20260105",
        "ScheduledProcedureStepStartTime": "07-16",
    }
    assert asking(**period).matches(row)
    assert not asking(**{**period, "ScheduledProcedureStepStartDate": "20260106-20260107"}).matches(row)


HOURS = [datetime(2026, 1, 5, tzinfo=UTC) + timedelta(hours=hours) for hours in range(0, 72, 7)]


@pytest.mark.parametrize(("first", "last"), list(itertools.combinations_with_replacement(HOURS, 2)))
def test_a_period_is_what_lies_between_two_moments(first: datetime, last: datetime) -> None:
    asked = asking(
        ScheduledProcedureStepStartDate=f"{first:%Y%m%d}-{last:%Y%m%d}",
        ScheduledProcedureStepStartTime=f"{first:%H%M%S}-{last:%H%M%S}",
    )
    for moment in HOURS:
        row: Attributes = {
            STEPS: (
                {
                    "ScheduledProcedureStepStartDate": f"{moment:%Y%m%d}",
                    "ScheduledProcedureStepStartTime": f"{moment:%H%M%S}",
                },
            )
        }
        assert asked.matches(row) is (first <= moment <= last), moment


DATES = st.dates(min_value=date(2026, 1, 1), max_value=date(2026, 1, 9))


@given(DATES, st.none() | DATES, st.none() | DATES)
def test_date_ranges(day: object, first: object, last: object) -> None:
    def text(value: object) -> str:
        return f"{value:%Y%m%d}" if value else ""

    expected = (not first or day >= first) and (not last or day <= last)  # type: ignore[operator]
    asked = Query.read(to_dataset({"PatientBirthDate": f"{text(first)}-{text(last)}"}))
    assert asked.matches({"PatientBirthDate": text(day)}) is expected
