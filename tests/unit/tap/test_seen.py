from __future__ import annotations

from broker.tap.seen import LATE_SECONDS, Gaps, Watch


def test_gaps_are_looked_for_once_more_and_then_given_up() -> None:
    gaps = Gaps()
    gaps.passed([1, 2, 5, 7], now=0.0)
    assert gaps.missing() == [3, 4, 6]
    gaps.looked([4], now=LATE_SECONDS - 1)
    assert gaps.missing() == [3, 6]
    gaps.passed([7, 9], now=LATE_SECONDS)
    assert gaps.missing() == [3, 6, 8]
    gaps.looked([], now=LATE_SECONDS + 1)
    assert gaps.missing() == [8]


def test_a_wide_gap_takes_no_memory() -> None:
    gaps = Gaps(limit=10)
    gaps.passed([1, 10**12, 10**12 + 2], now=0.0)

    assert gaps.missing() == [*range(10**12 - 9, 10**12), 10**12 + 1]


def test_of_too_many_open_deliveries_the_oldest_are_let_go() -> None:
    watch = Watch(limit=3)
    for number in range(1, 6):
        assert watch.see(number, "queued", 0) == ""

    assert (watch.next(9), watch.left_out) == ([3, 4, 5], 2)
    assert watch.changed([(3, "queued", 0), (4, "parked", 1)], [3, 4, 5]) == [4]
    assert watch.next(9) == [4, 3], "5 left with its day; 3 was looked at"
    assert watch.see(4, "parked", 1) == "parked"
