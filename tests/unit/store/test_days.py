from __future__ import annotations

import re

import pytest

from broker.store import days
from broker.store.transaction import Transaction

DAY, NEXT = "2026-03-09", "2026-03-10"


def tables(tx: Transaction) -> list[str]:
    sqlite = "SELECT name FROM sqlite_schema"
    catalogue = sqlite if tx.gapless else "SELECT relname::text FROM pg_class WHERE relkind='r'"
    return sorted(name for (name,) in tx.rows(catalogue) if re.search(r"_2026\d{4}$", name))


def test_a_table_is_named_by_what_it_holds_and_its_day() -> None:
    assert days.table("message_body", DAY) == "message_body_20260309"


@pytest.mark.parametrize(
    "day", ["", "20260309", "2026-3-9", "2026-03-09T08", "2026-03-09; DROP TABLE day", "2026-03-099"]
)
def test_what_is_no_day_never_becomes_a_name(day: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        days.table("message_body", day)


def test_a_day_is_made_once(tx: Transaction) -> None:
    days.ensure(tx, DAY)
    tx.execute(f"INSERT INTO {days.table('message_body', DAY)} VALUES (1, ?)", (b"a",))
    days.ensure(tx, DAY)

    assert tables(tx) == ["delivery_body_20260309", "message_body_20260309", "message_key_20260309"]
    assert tx.rows("SELECT * FROM message_body_20260309") == [(1, b"a")]


def test_days_are_known_in_order(tx: Transaction) -> None:
    for day in (NEXT, DAY, "2025-12-31"):
        days.ensure(tx, day)

    assert days.known(tx) == ["2025-12-31", DAY, NEXT]
    assert days.known(tx, since=DAY) == [DAY, NEXT]
    assert days.known(tx, since="2026-03") == [DAY, NEXT]
    assert days.known(tx, since="2027") == []


def test_the_limits_of_a_day_hold_each_of_its_moments_and_no_other() -> None:
    first, last = days.within(DAY)
    inside = ("2026-03-09T00:00:00+00:00", "2026-03-09T23:59:59.999999+00:00")

    assert all(first <= moment < last for moment in inside)
    assert not first <= "2026-03-08T23:59:59.999999+00:00" < last
    assert not first <= "2026-03-10T00:00:00+00:00" < last


def test_bodies_leave_while_the_keys_stand(tx: Transaction) -> None:
    days.ensure(tx, DAY)
    days.ensure(tx, NEXT)
    days.drop_bodies(tx, DAY)

    assert tables(tx) == [
        "delivery_body_20260310", "message_body_20260310", "message_key_20260309", "message_key_20260310"
    ]  # fmt: skip
    assert (days.known(tx), days.known(tx, bodies=True)) == ([DAY, NEXT], [NEXT])


def test_a_day_that_comes_again_after_its_bodies_left_takes_bodies_again(tx: Transaction) -> None:
    """A clock was ahead for an hour, retention took it at its word, and the clock was set back."""
    days.ensure(tx, DAY)
    days.drop_bodies(tx, DAY)
    days.ensure(tx, DAY)
    tx.execute(f"INSERT INTO {days.table('message_body', DAY)} VALUES (1, ?)", (b"a",))
    assert days.known(tx, bodies=True) == [DAY]


def test_a_day_that_leaves_is_looked_into_no_more_and_forgotten_at_its_end(tx: Transaction) -> None:
    days.ensure(tx, DAY)
    days.ensure(tx, NEXT)
    days.drop_bodies(tx, DAY)
    days.leave(tx, DAY)
    assert (days.known(tx), days.leaving(tx)) == ([NEXT], [DAY])
    days.forget(tx, DAY)

    assert (days.known(tx), days.leaving(tx)) == ([NEXT], [])
    assert all(name.endswith("20260310") for name in tables(tx))
    days.ensure(tx, DAY)
    assert len(tables(tx)) == 6, "and may begin anew"
