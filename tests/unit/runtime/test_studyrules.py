"""What time makes of studies and commitments, as values."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.dicom import status
from broker.registers.studies import Counted
from broker.runtime.studyrules import (
    SETTLES,
    TIMES,
    Asked,
    Item,
    Limits,
    Tried,
    after_failure,
    asks_again,
    completes,
    decided,
    limits_of,
    owes_since,
)
from broker.settings import StudiesSettings

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
QUIET = 5 * MINUTE
LIMITS = Limits(quiet=QUIET, copies=1, keep=None, retry=HOUR, overdue=24 * HOUR)


def counted(instances: int, expected: int = 0, missing: int = 0, *, performing: bool = False) -> Counted:
    return Counted(instances=instances, expected=expected, missing=missing, performing=performing)


@pytest.mark.parametrize(
    ("found", "silent", "basis"),
    [
        (counted(3, 3), SETTLES, "mpps"),
        (counted(3, 3), SETTLES - timedelta(seconds=1), ""),
        (counted(4, 3), SETTLES, "mpps"),
        (counted(3, 3, performing=True), QUIET, ""),
        (counted(3, 3, performing=True), HOUR, "quiet"),
        (counted(2, 3, 1), QUIET - timedelta(seconds=1), ""),
        (counted(2, 3, 1), QUIET, "quiet"),
        (counted(3), QUIET - timedelta(seconds=1), ""),
        (counted(3), QUIET, "quiet"),
        (counted(3, performing=True), QUIET, ""),
    ],
)
def test_when_a_study_is_complete(found: Counted, silent: timedelta, basis: str) -> None:
    assert completes(found, silent, QUIET) == basis


def taken(*ago: timedelta) -> list[Asked]:
    return [Asked(at=NOW - one, open=False) for one in ago]


@pytest.mark.parametrize(
    ("asked", "again"),
    [
        ([], False),
        (taken(HOUR), True),
        (taken(HOUR - MINUTE), False),
        (taken(2 * HOUR, HOUR), True),
        (taken(5 * HOUR, 3 * HOUR), True),
        (taken(5 * HOUR, 2 * HOUR), False),
        ([*taken(5 * HOUR), Asked(at=None, open=True)], False),
        ([Asked(at=None, open=False)], False),
    ],
)
def test_when_an_archive_is_asked_again(asked: list[Asked], again: bool) -> None:
    assert asks_again(asked, NOW, HOUR) is again


def test_an_archive_owes_since_it_took_the_first_request() -> None:
    assert owes_since([*taken(HOUR, 3 * HOUR), Asked(at=None, open=True)]) == NOW - 3 * HOUR
    assert owes_since([Asked(at=None, open=True)]) is None


@given(st.integers(min_value=1, max_value=400))
def test_who_never_answers_is_asked_ever_more_seldom(hours: int) -> None:
    asked: list[datetime] = []
    for hour in range(hours):
        now = NOW + hour * HOUR
        if not asked or asks_again([Asked(at=at, open=False) for at in asked], now, HOUR):
            asked.append(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]

    assert gaps == sorted(gaps)
    assert len(asked) <= hours.bit_length() + 1


def tried(first: int = 7, again: int = 0, *, open_: bool = False, delivered: str = "2026-03-09T07") -> Tried:
    return Tried(first=first, again=again, open=open_, delivered=delivered)


@pytest.mark.parametrize(
    ("failure", "found", "wanted"),
    [
        (status.NO_SUCH_SOP_INSTANCE, tried(), "send"),
        (status.NO_SUCH_SOP_INSTANCE, tried(again=TIMES - 1), "send"),
        (status.NO_SUCH_SOP_INSTANCE, tried(again=TIMES), "tell"),
        (status.NO_SUCH_SOP_INSTANCE, tried(first=0, delivered=""), "tell"),
        (status.NO_SUCH_SOP_INSTANCE, tried(open_=True), "wait"),
        (status.NO_SUCH_SOP_INSTANCE, tried(again=1, delivered="2026-03-09T09"), "ask"),
        (status.PROCESSING_FAILURE, tried(), "tell"),
        (status.PROCESSING_FAILURE, tried(again=1, delivered="2026-03-09T09"), "ask"),
    ],
)
def test_what_is_done_about_an_object_that_an_archive_will_not_keep(
    failure: int, found: Tried, wanted: str
) -> None:
    assert after_failure(failure, "2026-03-09T08:00:00+00:00", found) == wanted


def item(uid: str = "2.25.1", **fields: Any) -> Item:
    given: dict[str, Any] = {"here": True, "received_class": "1.2", "committed": 1}
    return Item(sop_instance_uid=uid, sop_class_uid="1.2", **(given | fields))


NEVER = {"here": False, "received_class": "", "committed": 0}


@pytest.mark.parametrize(
    ("one", "waited", "failure"),
    [
        (item(), timedelta(), 0),
        (item(committed=0), 23 * HOUR, None),
        (item(committed=0), 24 * HOUR, status.PROCESSING_FAILURE),
        (item(**NEVER), QUIET, None),
        (item(**NEVER), QUIET + MINUTE, status.NO_SUCH_SOP_INSTANCE),
        (item(received_class="1.3"), timedelta(), status.CLASS_INSTANCE_CONFLICT),
        (item(received_class=""), timedelta(), 0),
    ],
)
def test_what_a_device_is_told_of_an_object(one: Item, waited: timedelta, failure: int | None) -> None:
    told = decided([one], waited, LIMITS)

    assert (None if told is None else told[0].failure) == failure


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.booleans())),
    st.integers(0, 48),
    st.integers(1, 3),
)
def test_a_device_is_told_of_all_or_nothing_and_of_nothing_as_safe_that_is_not(
    found: list[tuple[bool, int, bool]], hours: int, copies: int
) -> None:
    items = [
        item(f"2.25.{n}", here=here, received_class="1.2" if here and same else "1.3" * here, committed=kept)
        for n, (here, kept, same) in enumerate(found)
    ]
    limits = Limits(quiet=QUIET, copies=copies, keep=None, retry=HOUR, overdue=24 * HOUR)
    told = decided(items, hours * HOUR, limits)

    if told is None:
        assert hours < 24, "when the wait is over everything is decided"
        return
    assert [one.sop_instance_uid for one in told] == [one.sop_instance_uid for one in items]
    for one, of in zip(told, items, strict=True):
        assert one.failure or of.committed >= copies


def test_the_settings_say_how_long() -> None:
    assert limits_of(StudiesSettings()) == Limits(
        quiet=QUIET, copies=1, keep=timedelta(days=7), retry=HOUR, overdue=24 * HOUR
    )
    assert limits_of(StudiesSettings.model_validate({"keep": None, "copies": 2})).keep is None
