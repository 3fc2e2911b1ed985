from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.delivery.lanes import AHEAD, LaneBook

LANES = st.sampled_from("abcd")


class Lanes(RuleBasedStateMachine):
    """Any use of a `LaneBook` beside a model that is too simple to be wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.book = LaneBook()
        self.waiting: dict[str, set[int]] = {lane: set() for lane in "abcd"}
        self.flying: dict[int, str] = {}
        self.parked: set[int] = set()
        """Of those that wait."""
        self.failed = dict.fromkeys("abcd", 0)
        self.failures = 0
        self.due = dict.fromkeys("abcd", 0.0)
        self.now = 0.0
        self.number = 0

    @rule(lane=LANES, wait=st.sampled_from([0.0, 0.0, 5.0]), parked=st.sampled_from([False, False, True]))
    def add(self, lane: str, wait: float, parked: bool) -> None:
        self.number += 1
        self.waiting[lane].add(self.number)
        due = self.now + wait if wait else 0.0
        self.due[lane] = max(self.due[lane], due)
        if parked:
            self.parked.add(self.number)
        self.book.add(self.number, lane, due, parked=parked)

    def heads(self) -> dict[str, int]:
        """The next delivery of every lane that has none in flight and whose head no person must decide on."""
        idle = [
            lane for lane, waiting in self.waiting.items() if waiting and lane not in self.flying.values()
        ]
        heads = {lane: min(self.waiting[lane]) for lane in idle}
        return {lane: head for lane, head in heads.items() if head not in self.parked}

    @rule(probe=st.booleans())
    def take(self, probe: bool) -> None:
        may = {head: lane for lane, head in self.heads().items() if self.due[lane] <= self.now}
        taken = self.book.take(self.now, probe=probe)
        oldest = min(may, default=None)
        if probe:
            oldest = min(may, key=lambda head: (self.failed[may[head]], head), default=None)
        assert taken == oldest, "the oldest that may leave; as a probe the one whose failure is longest ago"
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
        lane = self.flying.pop(number)
        self.due[lane], self.failed[lane] = 0.0, 0
        self.book.done(number)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), wait=st.floats(0, 20))
    def again(self, data: st.DataObject, wait: float) -> None:
        number = data.draw(st.sampled_from(sorted(self.flying)))
        lane = self.flying.pop(number)
        self.waiting[lane].add(number)
        self.failures += 1
        self.due[lane], self.failed[lane] = self.now + wait, self.failures
        self.book.again(number, self.now + wait)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def park(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.flying)))
        lane = self.flying.pop(number)
        self.waiting[lane].add(number)
        self.parked.add(number)
        self.due[lane], self.failed[lane] = 0.0, 0
        self.book.park(number)

    @precondition(lambda self: self.parked)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.parked)))
        self.parked.remove(number)
        self.book.release(number)

    @precondition(lambda self: self.parked)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.parked)))
        self.parked.remove(number)
        for waiting in self.waiting.values():
            waiting.discard(number)
        self.book.drop(number)

    @rule(number=st.integers(1, 30))
    def a_person_who_is_too_late(self, number: int) -> None:
        """What is not parked any more is neither released nor dropped."""
        if number not in self.parked:
            self.book.release(number)
            self.book.drop(number)

    @rule(absorbed=LANES, survivor=LANES)
    def join(self, absorbed: str, survivor: str) -> None:
        self.book.join(absorbed, survivor)
        if absorbed == survivor or not (self.waiting[absorbed] or absorbed in self.flying.values()):
            return
        self.waiting[survivor] |= self.waiting[absorbed]
        self.waiting[absorbed] = set()
        self.flying = {n: survivor if lane == absorbed else lane for n, lane in self.flying.items()}
        self.due[survivor] = max(self.due[survivor], self.due[absorbed])
        self.failed[survivor] = max(self.failed[survivor], self.failed[absorbed])
        self.due[absorbed], self.failed[absorbed] = 0.0, 0

    @rule(seconds=st.floats(0, 30))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_lost(self) -> None:
        for lane in self.waiting:  # an empty lane forgets its delay
            if not self.waiting[lane] and lane not in self.flying.values():
                self.due[lane], self.failed[lane] = 0.0, 0
        assert len(self.book) == sum(map(len, self.waiting.values())) + len(self.flying)

    def teardown(self) -> None:
        """Everything leaves in the end, each lane in its order."""
        for number in sorted(self.flying):
            self.book.done(number)
        while (taken := self.book.take(float("inf"))) is not None:  # what stands before parked ones
            assert not any(
                taken in waiting and any(number < taken for number in waiting & self.parked)
                for waiting in self.waiting.values()
            ), "nothing passes a parked one of its lane"
            for waiting in self.waiting.values():
                waiting.discard(taken)
            self.book.done(taken)
        for number in self.parked:
            self.book.release(number)
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
TestLanes.settings = settings(max_examples=80, stateful_step_count=40)


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


def left(book: LaneBook) -> list[int]:
    """What leaves now, in order, each before the next."""
    found = []
    while (taken := book.take(0)) is not None:
        found.append(taken)
        book.done(taken)
    return found


def test_a_parked_delivery_holds_what_came_later_and_nothing_else() -> None:
    book = LaneBook()
    for number, lane in [(1, "a"), (2, "a"), (3, "b"), (4, "a")]:
        book.add(number, lane)
    assert book.take(0) == 1
    book.park(1)

    assert left(book) == [3]
    book.release(1)
    assert left(book) == [1, 2, 4]


def test_what_is_dropped_lets_those_behind_it_go() -> None:
    book = LaneBook()
    for number in (1, 2, 3):
        book.add(number, "a", parked=number < 3)
    book.drop(2)
    assert left(book) == []
    book.drop(1)

    assert left(book) == [3]
    assert len(book) == 0


def test_what_came_before_a_parked_one_leaves_after_a_merge() -> None:
    book = LaneBook()
    book.add(1, "old")
    book.add(2, "new", parked=True)
    book.add(3, "old")
    book.join("old", "new")

    assert left(book) == [1]
    book.release(2)
    assert left(book) == [2, 3]


def test_a_parked_one_is_released_in_the_lane_that_a_merge_moved_it_to() -> None:
    book = LaneBook()
    book.add(1, "old", parked=True)
    book.add(2, "new")
    book.join("old", "new")
    assert left(book) == []
    book.release(1)

    assert left(book) == [1, 2]


def test_probes_go_round() -> None:
    book = LaneBook()
    for number, lane in [(1, "a"), (2, "b"), (3, "c"), (4, "c")]:
        book.add(number, lane)
    tried = []
    for _ in range(5):
        taken = book.take(0, probe=True)
        assert taken is not None
        tried.append(taken)
        book.again(taken, due=0)

    assert tried == [1, 2, 3, 1, 2]
    assert book.take(0) == 1, "where it is no probe the oldest leaves"


def test_what_failed_before_a_merge_leaves_though_the_other_one_was_parked() -> None:
    book = LaneBook()
    book.add(1, "old")
    book.add(2, "new")
    assert [book.take(0), book.take(0)] == [1, 2]
    book.join("old", "new")
    book.again(1, due=0)
    assert book.take(0) is None, "the other one is still on its way"
    book.park(2)

    assert left(book) == [1]


def test_what_may_be_repeated_lets_a_few_leave_behind_it() -> None:
    book = LaneBook()
    for number in range(AHEAD + 2):
        book.add(number, "a")
    for number in range(AHEAD):
        assert book.take(0) == number
        assert book.take(0) is None, "while it is being sent nothing else is"
        book.sent(number)
    assert book.take(0) is None
    book.done(0)

    assert book.take(0) == AHEAD
    book.sent(AHEAD)
    assert len(book) == AHEAD + 1
    for number in range(1, AHEAD + 1):
        book.done(number)
    assert left(book) == [AHEAD + 1]
    assert len(book) == 0


def test_one_that_may_not_be_repeated_waits_until_none_is_ahead() -> None:
    book = LaneBook()
    for number in (1, 2, 3, 4):
        book.add(number, "a")
    assert book.take(0) == 1
    assert not book.waits(1)
    book.sent(1)
    assert book.take(0) == 2
    book.sent(2)
    assert book.take(0) == 3
    assert book.waits(3)
    book.done(1)
    assert book.take(0) is None
    book.done(2)

    assert left(book) == [3, 4]


def test_a_failure_behind_what_is_ahead_keeps_its_delay() -> None:
    book = LaneBook()
    for number in (1, 2, 3):
        book.add(number, "a")
    assert book.take(0) == 1
    book.sent(1)
    assert book.take(0) == 2
    book.again(2, due=10)
    book.done(1)

    assert (book.take(0), book.wake_at()) == (None, 10)
    assert book.take(10) == 2


def test_a_merge_waits_until_none_of_both_lanes_is_ahead() -> None:
    book = LaneBook()
    for number, lane in [(1, "old"), (2, "new"), (3, "new")]:
        book.add(number, lane)
    for _ in range(2):
        taken = book.take(0)
        assert taken is not None
        book.sent(taken)
    book.join("old", "new")
    book.done(2)
    assert book.take(0) is None
    book.done(1)

    assert left(book) == [3]


def test_what_leaves_next_is_known_of_a_lane_that_runs_ahead() -> None:
    book = LaneBook()
    for number, lane in [(1, "a"), (2, "b"), (4, "a"), (3, "a")]:
        book.add(number, lane)
    assert book.take(0) == 1
    assert (book.lane_of(1), book.behind(1)) == ("a", [])
    book.sent(1)
    assert book.take(0) == 2
    assert book.take(0) == 3

    assert (book.lane_of(3), book.behind(3)) == ("a", [4])
