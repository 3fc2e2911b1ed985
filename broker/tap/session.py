"""One look at what passes, from its beginning to its end: reads, chooses, shows, waits, and says how it went.

It holds one page of each stream and goes on reading only when that was written: who reads slowly gets everything,
later. The journal is not kept waiting meanwhile. Who may look, and the audit, are the command's.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from broker.errors import StoreError
from broker.tap import mask
from broker.tap.choice import Choice, Item
from broker.tap.follow import Follow
from broker.tap.show import Show

BUSY_SECONDS: Final = 0.25
IDLE_SECONDS: Final = 0.5
"""Until the next look, after one that found something and one that found nothing."""

BACK_OFF_SECONDS: Final = 10.0
"""At most so long until the next look while the journal cannot be read."""

SLOW_SECONDS: Final = 1.0
"""What writing an item may take before it is said that the reader is slow."""

BACK_PAGES: Final = 20
"""Pages that are searched back for the last ones that fit."""

Why = Literal["stopped", "quota", "time", "closed", "unwritable"]


@dataclass(slots=True, kw_only=True)
class Summary:
    """How it went."""

    why: Why = "stopped"
    seen: int = 0
    shown: int = 0
    seconds: float = 0.0


class Session:
    """`run` ends when the quota or the time is reached, or with Ctrl-C, or when nobody reads any more."""

    def __init__(
        self,
        follow: Follow,
        choice: Choice,
        show: Show,
        write: Callable[[str], None],
        note: Callable[[str], None],
        *,
        quota: int = 0,
        seconds: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`write` takes data, a whole item at once, and may raise `OSError`; `note` what is said beside it.

        `quota`: items that are shown at most; `seconds`: how long it goes on; 0: no limit.
        """
        self._follow, self._choice, self._show = follow, choice, show
        self._write, self._note = write, note
        self._quota, self._seconds = quota, seconds
        self._clock, self._wait = clock, wait
        self._waiting: deque[Item] = deque()
        self._slow = False
        self._left_out = False
        self.summary = Summary()

    def run(self, *, since: datetime | None = None, last: int = 0) -> Summary:
        """Shows what is new; before it, what came `since` then, or the `last` so many that fit.

        Raises `StoreError` where the journal cannot be read at the beginning; later it waits until it can.
        """
        begun = self._clock()
        try:
            self._follow.begin(begun, since)
            if last:
                self._waiting.extend(self._before(last))
            self.summary.why = self._go(begun)
        except KeyboardInterrupt:
            self.summary.why = "stopped"
        except BrokenPipeError:
            self.summary.why = "closed"
        except OSError as exc:
            self.summary.why = "unwritable"
            self._note(f"the output cannot be written: {exc.strerror}")
        self.summary.seconds = self._clock() - begun
        return self.summary

    def _go(self, begun: float) -> Why:
        failing = 0.0
        while True:
            try:
                found, more = ([], True) if self._waiting else self._follow.round(self._clock())
                self._waiting.extend(found)
                if self._show_waiting():
                    return "quota"
                delay = 0.0 if more else BUSY_SECONDS if found else IDLE_SECONDS
                if failing:
                    self._note("the journal can be read again")
                failing = 0.0
            except StoreError as exc:
                if not failing:
                    self._note(f"{exc}; it is tried again, and nothing is left out")
                delay = failing = min(BACK_OFF_SECONDS, 2 * failing or IDLE_SECONDS)
            if self._follow.left_out and not self._left_out:
                self._note(
                    "more deliveries are open than can be followed: what becomes of the oldest is not shown"
                )
                self._left_out = True
            if self._seconds:
                left = begun + self._seconds - self._clock()
                if left <= 0:
                    return "time"
                delay = min(delay, left)
            if delay:
                self._wait(delay)

    def _show_waiting(self) -> bool:
        """Whether the quota is reached. What fails stays in hand."""
        while self._waiting:
            item = self._waiting[0]
            lines = self._lines(item)
            self._waiting.popleft()
            self.summary.seen += 1
            if lines:
                self._put("".join(f"{line}\n" for line in lines))
                self.summary.shown += 1
                if self.summary.shown == self._quota:
                    return True
        return False

    def _put(self, text: str) -> None:
        before = self._clock()
        self._write(text)
        if self._clock() - before > SLOW_SECONDS and not self._slow:
            self._note("what reads this is slower than what passes: nothing is left out, but it comes late")
            self._slow = True

    def _lines(self, item: Item) -> list[str]:
        """Empty where it does not fit."""
        choice, show = self._choice, self._show
        if not choice.fits(item):
            return []
        content = self._follow.content(
            item,
            events=choice.reads_events or (show.raw and item.stream == "events"),
            raw=choice.reads_message or show.reads_message,
            payload=show.reads_message,
        )
        source = content.raw if choice.reads_message and item.protocol == "hl7" else None
        if not choice.fits_content(content, mask.read(source, item.charset) if source else None):
            return []
        return show.lines(item, content)

    def _before(self, number: int) -> list[Item]:
        """The last ones that fit, of all streams together, the oldest first."""
        found: list[Item] = []
        for stream in self._choice.seen:
            fitting: list[Item] = []
            for page in self._follow.back(stream, BACK_PAGES):
                fitting += [item for item in reversed(page) if self._lines(item)]
                if len(fitting) >= number:
                    break
            found += fitting[:number]
        return sorted(found, key=lambda item: (item.at, item.message, item.event))[-number:]
