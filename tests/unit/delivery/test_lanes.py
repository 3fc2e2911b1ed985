from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.delivery.lanes import LaneBook

LANES = st.sampled_from("abcd")


class Lanes(RuleBasedStateMachine):
    """Any use of a `LaneBook` beside a model that is too simple to be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.book = LaneBook()
        self.waiting: dict[str, set[int]] = {lane: set() for lane in "abcd"}
        self.flying: dict[int, str] = {}
        self.due = dict.fromkeys("abcd", 0.0)
        self.now = 0.0
        self.number = 0

    @rule(lane=LANES, wait=st.sampled_from([0.0, 0.0, 5.0]))
    def add(self, lane: str, wait: float) -> None:
        self.number += 1
        self.waiting[lane].add(self.number)
        due = self.now + wait if wait else 0.0
        self.due[lane] = max(self.due[lane], due)
        self.book.add(self.number, lane, due)

    def heads(self) -> dict[str, int]:
        """The next delivery of every lane that has none in flight."""
        idle = [
            lane for lane, waiting in self.waiting.items() if waiting and lane not in self.flying.values()
        ]
        return {lane: min(self.waiting[lane]) for lane in idle}

    @rule()
    def take(self) -> None:
        may = {head: lane for lane, head in self.heads().items() if self.due[lane] <= self.now}
        taken = self.book.take(self.now)
        assert taken == min(may, default=None), "the oldest that may leave"
        if taken is None:
            later = [self.due[lane] for lane in self.heads()]
            wake = self.book.wake_at()
            assert not later or (wake is not None and self.now < wake <= min(later)), "nothing is overslept"
        else:
            self.waiting[may[taken]].remove(taken)
            self.flying[taken] = may[taken]

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.flying)))
        self.due[self.flying.pop(number)] = 0.0
        self.book.done(number)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), wait=st.floats(0, 20))
    def again(self, data: st.DataObject, wait: float) -> None:
        number = data.draw(st.sampled_from(sorted(self.flying)))
        lane = self.flying.pop(number)
        self.waiting[lane].add(number)
        self.due[lane] = self.now + wait
        self.book.again(number, self.now + wait)

    @rule(absorbed=LANES, survivor=LANES)
    def join(self, absorbed: str, survivor: str) -> None:
        self.book.join(absorbed, survivor)
        if absorbed == survivor or not (self.waiting[absorbed] or absorbed in self.flying.values()):
            return
        self.waiting[survivor] |= self.waiting[absorbed]
        self.waiting[absorbed] = set()
        self.flying = {n: survivor if lane == absorbed else lane for n, lane in self.flying.items()}
        self.due[survivor] = max(self.due[survivor], self.due[absorbed])
        self.due[absorbed] = 0.0

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_lost(self) -> None:
        for lane in self.waiting:  # an empty lane forgets its delay
            if not self.waiting[lane] and lane not in self.flying.values():
                self.due[lane] = 0.0
        assert len(self.book) == sum(map(len, self.waiting.values())) + len(self.flying)

    def teardown(self) -> None:
        """Everything leaves in the end, each lane in its order."""
        for number in sorted(self.flying):
            self.book.done(number)
        left = {n for waiting in self.waiting.values() for n in waiting}
        lane_of = {n: lane for lane, waiting in self.waiting.items() for n in waiting}
        last: dict[str, int] = {}
        while (taken := self.book.take(float("inf"))) is not None:
            assert last.get(lane_of[taken], 0) < taken
            last[lane_of[taken]] = taken
            left.remove(taken)
            self.book.done(taken)
        assert not left
        assert len(self.book) == 0


TestLanes = Lanes.TestCase
TestLanes.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


def test_one_lane_leaves_in_order_one_at_a_time() -> None:
    book = LaneBook()
    for number in (3, 1, 2):
        book.add(number, "a")

    assert (book.take(0), book.take(0)) == (1, None)
    book.done(1)
    assert (book.take(0), book.take(0)) == (2, None)


def test_other_lanes_go_on_while_one_waits() -> None:
    book = LaneBook()
    book.add(1, "a")
    book.add(2, "a")
    book.add(3, "b")
    assert book.take(0) == 1
    book.again(1, due=10)

    assert (book.take(0), book.take(0), book.wake_at()) == (3, None, 10)
    assert book.take(10) == 1, "what failed goes before what stands behind it"


def test_merged_lanes_wait_for_both_and_keep_the_journals_order() -> None:
    book = LaneBook()
    for number, lane in [(1, "old"), (2, "new"), (3, "old"), (4, "new")]:
        book.add(number, lane)
    assert (book.take(0), book.take(0)) == (1, 2)
    book.join("old", "new")
    book.add(5, "new")

    book.done(1)
    assert book.take(0) is None, "the other one is still on its way"
    book.done(2)
    left = []
    while (taken := book.take(0)) is not None:
        left.append(taken)
        book.done(taken)
    assert left == [3, 4, 5]


def test_a_failure_after_a_merge_goes_back_to_the_joined_lane() -> None:
    book = LaneBook()
    book.add(1, "old")
    book.add(2, "new")
    assert book.take(0) == 1
    book.join("old", "new")
    book.again(1, due=0)

    assert [book.take(0), book.take(0)] == [1, None]


def test_a_delivery_that_is_not_in_flight_cannot_be_done() -> None:
    book = LaneBook()
    book.add(1, "a")

    with pytest.raises(KeyError):
        book.done(1)
