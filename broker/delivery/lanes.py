"""Lanes as a value: which delivery may leave next for one destination. No clock, no thread, no database.

Order holds per patient (invariant 4): only the head of a lane may leave, and a lane has at most one in flight: being
sent, or taken and not on disk as that yet. One that may be repeated is in flight until it is taken: up to `AHEAD` of
them may be on their way to the disk while the next one leaves, which a crash then repeats, in order.
A merge joins two lanes: what the survivor's lane does next waits for what both had before. A parked delivery keeps
its place: what came earlier may still leave, what came later waits for a person.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final

AHEAD: Final = 16
"""Deliveries of a lane that were taken and are not on disk as that, while the next one leaves; a crash repeats them."""


@dataclass(slots=True)
class _Lane:
    waiting: list[int] = field(
        default_factory=list
    )  # heap of delivery ids: journal order; the parked ones too
    in_flight: int = 0  # two only while lanes that both had one were joined
    ahead: int = 0  # taken, while the next may leave before that is on disk
    together: bool = False  # its head waits until none is ahead
    due: float = 0.0
    failed: int = 0  # when its head failed last, counted in failures; 0: it did not


class LaneBook:
    """The open deliveries of one destination, by lane."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._in_flight: dict[int, str] = {}  # delivery id to its lane; those that are ahead too
        self._ahead: set[int] = set()
        self._parked: dict[int, str] = {}  # delivery id to its lane
        self._ready: list[tuple[int, str]] = []  # heap of (head's id, lane); stale entries are skipped
        self._later: list[tuple[float, str]] = []  # heap of (due, lane); stale entries are harmless
        self._failures = 0

    def __len__(self) -> int:
        return sum(len(lane.waiting) for lane in self._lanes.values()) + len(self._in_flight)

    def add(self, delivery: int, lane: str, due: float = 0.0, *, parked: bool = False) -> None:
        """A new open delivery; `due` delays the whole lane, as a retry does."""
        entry = self._lanes.get(lane)
        if entry is None:
            entry = self._lanes[lane] = _Lane()
        heapq.heappush(entry.waiting, delivery)
        if due > entry.due:
            entry.due = due
        if parked:
            self._parked[delivery] = lane
        if entry.waiting[0] == delivery:  # behind another head nothing changes, and a start adds a million
            self._offer(lane)

    def take(self, now: float, *, probe: bool = False) -> int | None:
        """The next delivery that may leave, oldest first; it is in flight from now on.

        A probe is one that did not fail yet, else the one whose failure is longest ago: a few that can never leave
        must not be all that is tried.
        """
        failed: list[tuple[int, str]] = []
        while (found := self._next(now)) is not None and probe and self._lanes[found[1]].failed:
            failed.append(found)
        if found is None and failed:
            found = min(failed, key=lambda one: self._lanes[one[1]].failed)
        for passed in failed:
            if passed != found:
                heapq.heappush(self._ready, passed)
        if found is None:
            return None
        head, lane = found
        entry = self._lanes[lane]
        heapq.heappop(entry.waiting)
        entry.in_flight += 1
        entry.together = False
        self._in_flight[head] = lane
        return head

    def lane_of(self, delivery: int) -> str:
        """The lane of one that was taken."""
        return self._in_flight[delivery]

    def behind(self, delivery: int) -> list[int]:
        """About what leaves next behind one that was taken, where its lane runs ahead; nothing where it does not."""
        entry = self._lanes[self._in_flight[delivery]]
        if not entry.ahead:
            return []
        return [n for n in heapq.nsmallest(AHEAD, entry.waiting[: 8 * AHEAD]) if n not in self._parked]

    def waits(self, delivery: int) -> bool:
        """Has one that was taken, and may not be repeated, wait where others are ahead of it; whether it has to.

        It is the head of its lane again, until they are done.
        """
        if not self._lanes[self._in_flight[delivery]].ahead:
            return False
        _, entry = self._landed(delivery)
        heapq.heappush(entry.waiting, delivery)
        entry.together = True
        return True

    def sent(self, delivery: int) -> None:
        """The destination took the delivery, and may get it again: the next may leave before this one is done."""
        lane = self._in_flight[delivery]
        entry = self._lanes[lane]
        entry.in_flight -= 1
        entry.ahead += 1
        entry.due, entry.failed = 0.0, 0
        self._ahead.add(delivery)
        self._offer(lane)

    def done(self, delivery: int) -> None:
        """The delivery left, and that is on disk."""
        ahead = delivery in self._ahead
        lane, entry = self._landed(delivery)
        if not ahead:
            entry.due, entry.failed = 0.0, 0
        self._settle(lane, entry)

    def again(self, delivery: int, due: float) -> None:
        """The delivery failed: it is the head of its lane again, at `due`."""
        lane, entry = self._landed(delivery)
        heapq.heappush(entry.waiting, delivery)
        self._failures += 1
        entry.due, entry.failed = due, self._failures
        self._offer(lane)

    def park(self, delivery: int) -> None:
        """The delivery that was in flight keeps its place until a person decides."""
        lane, entry = self._landed(delivery)
        heapq.heappush(entry.waiting, delivery)
        entry.due, entry.failed = 0.0, 0
        self._parked[delivery] = lane
        self._offer(lane)  # lanes that were joined may hold something older

    def release(self, delivery: int) -> None:
        """A parked delivery may leave again. Harmless for one that is not parked."""
        if (lane := self._parked.pop(delivery, None)) is not None:
            self._offer(lane)

    def drop(self, delivery: int) -> None:
        """A parked delivery is taken out of its lane. Harmless for one that is not parked."""
        if (lane := self._parked.pop(delivery, None)) is not None:
            entry = self._lanes[lane]
            entry.waiting.remove(delivery)
            heapq.heapify(entry.waiting)
            self._settle(lane, entry)

    def join(self, absorbed: str, survivor: str) -> None:
        """A merge: one lane from now on, in the order of the journal."""
        gone = self._lanes.pop(absorbed, None) if absorbed != survivor else None
        if gone is None:
            return
        entry = self._lanes.setdefault(survivor, _Lane())
        entry.waiting = sorted(entry.waiting + gone.waiting)
        entry.in_flight += gone.in_flight
        entry.ahead += gone.ahead
        entry.together = True  # outcomes are on disk in order only within the lane that each left in
        entry.due, entry.failed = max(entry.due, gone.due), max(entry.failed, gone.failed)
        for kept in (self._in_flight, self._parked):
            for delivery, lane in kept.items():
                if lane == absorbed:
                    kept[delivery] = survivor
        self._offer(survivor)

    def wake_at(self) -> float | None:
        """When the earliest delayed lane is due; None when nothing waits for time."""
        return self._later[0][0] if self._later else None

    def _next(self, now: float) -> tuple[int, str] | None:
        """The oldest head that may leave now, with its lane."""
        while self._later and self._later[0][0] <= now:
            self._offer(heapq.heappop(self._later)[1])
        while self._ready:
            head, lane = heapq.heappop(self._ready)
            entry = self._lanes.get(lane)
            if entry is None or not self._may_leave(entry) or entry.waiting[0] != head:
                continue
            if entry.due <= now:
                return head, lane
            heapq.heappush(self._later, (entry.due, lane))
        return None

    def _landed(self, delivery: int) -> tuple[str, _Lane]:
        lane = self._in_flight.pop(delivery)
        entry = self._lanes[lane]
        if delivery in self._ahead:
            self._ahead.remove(delivery)
            entry.ahead -= 1
        else:
            entry.in_flight -= 1
        return lane, entry

    def _settle(self, lane: str, entry: _Lane) -> None:
        if entry.waiting:
            self._offer(lane)
        elif not entry.in_flight and not entry.ahead:
            del self._lanes[lane]

    def _offer(self, lane: str) -> None:
        entry = self._lanes.get(lane)
        if entry is not None and self._may_leave(entry):
            heapq.heappush(self._ready, (entry.waiting[0], lane))

    def _may_leave(self, entry: _Lane) -> bool:
        if not entry.waiting or entry.in_flight or entry.waiting[0] in self._parked:
            return False
        return not entry.ahead if entry.together else entry.ahead < AHEAD
