"""Plays a timeline: every act when it is due and the one before it in its story is done. Threads, no protocol.

Late is late: nothing is left out. A worker that is behind does what is due in its order, and the lag is noted.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from broker.simulate.records import Records
from broker.simulate.stories import AETS
from broker.simulate.story import Act, Part

Play = Callable[[Act], None]


class Conductor:
    """One thread for each worker of each part; acts of one story, and queries of one device, share a worker."""

    def __init__(
        self, acts: Sequence[Act], workers: Mapping[Part, Sequence[Play]], records: Records, *, speed: float
    ) -> None:
        """`acts` by time. `speed`: seconds of the hospital in a second of the wall."""
        self._workers, self._records, self._speed = workers, records, speed
        self._stories: dict[int, deque[Act]] = {}
        for act in acts:
            self._stories.setdefault(act.story, deque()).append(act)
        self._due: list[tuple[float, int]] = [(acts[0].at, story) for story, acts in self._stories.items()]
        heapq.heapify(self._due)
        self._left = len(acts)
        self._changed = threading.Condition()
        self._queues: dict[Part, list[queue.SimpleQueue[tuple[float, Act] | None]]] = {
            part: [queue.SimpleQueue() for _ in plays] for part, plays in workers.items()
        }

    @property
    def left(self) -> int:
        """Acts that are not done."""
        return self._left

    def run(self, stopping: threading.Event) -> None:
        """Plays everything, or until `stopping` is set; what runs then is waited for."""
        threads = [
            threading.Thread(
                target=self._work, args=(waiting, play), name=f"simulate-{part}-{n}", daemon=True
            )
            for part, plays in self._workers.items()
            for n, (waiting, play) in enumerate(zip(self._queues[part], plays, strict=True))
        ]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while not stopping.is_set() and (act := self._next(began, stopping)) is not None:
            waiting = self._queues[act.part]
            lane = AETS.index(act.aet) if act.aet in AETS else act.story
            waiting[lane % len(waiting)].put((began + act.at / self._speed, act))
        for ended in (q for queues in self._queues.values() for q in queues):
            ended.put(None)
        for thread in threads:
            thread.join()

    def _next(self, began: float, stopping: threading.Event) -> Act | None:
        """The next act once it is due; None when all is done."""
        with self._changed:
            while self._left and not stopping.is_set():
                wait = 0.5
                if self._due:
                    at, story = self._due[0]
                    wait = began + at / self._speed - time.monotonic()
                    if wait <= 0:
                        heapq.heappop(self._due)
                        return self._stories[story].popleft()
                self._changed.wait(min(wait, 0.5))
        return None

    def _work(self, waiting: queue.SimpleQueue[tuple[float, Act] | None], play: Play) -> None:
        while (taken := waiting.get()) is not None:
            due, act = taken
            self._records.lags.append(max(0.0, time.monotonic() - due))
            try:
                play(act)
            except Exception as exc:  # noqa: BLE001 - one act's failure must not hold the whole hospital up
                place = traceback.extract_tb(exc.__traceback__)[-1]
                where = f"{Path(place.filename).name}:{place.lineno}"
                self._records.errors.append(f"{act.part}: {type(exc).__name__} at {where}")
            with self._changed:
                self._left -= 1
                following = self._stories[act.story]
                if following:
                    heapq.heappush(self._due, (following[0].at, act.story))
                self._changed.notify()
