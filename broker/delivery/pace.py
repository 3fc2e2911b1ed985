"""When a destination wants to be sent to: so many deliveries a second, and only between certain hours. Pure.

Hours are the machine's local time, because people set them; the doubled and the missing hour follow the wall clock.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of a day, `22:00-06:00`: from the first moment, up to but not including the last."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Window:
        """`ValueError` for anything but two different times of day."""
        match = _WINDOW.fullmatch(text)
        if match is None:
            raise ValueError("must be two times of day, as in 22:00-06:00")
        hours = [int(part) for part in match.groups()]
        window = cls(time(hours[0], hours[1]), time(hours[2], hours[3]))
        if window.start == window.end:
            raise ValueError("must be two different times of day; leave it out for the whole day")
        return window

    def opens(self, now: datetime) -> datetime:
        """The moment from which it is open: `now` itself when it is open already. `now` is aware."""
        local = now.astimezone()
        clock = local.time()
        if self.start < self.end:
            is_open, later_today = self.start <= clock < self.end, clock < self.start
        else:
            is_open, later_today = clock >= self.start or clock < self.end, True
        if is_open:
            return now
        day = local.date() if later_today else local.date() + timedelta(days=1)
        # By way of a timestamp: `astimezone` puts a time that the clocks leave out in spring an hour too early.
        return datetime.fromtimestamp(datetime.combine(day, self.start).timestamp(), UTC).astimezone()


class Pace:
    """At most `rate` deliveries a second, evenly spaced; None: as fast as they come."""

    def __init__(self, rate: float | None) -> None:
        self._gap = 0.0 if rate is None else 1.0 / rate
        self.next_at = 0.0
        """Seconds since the epoch: before this nothing leaves."""

    def sent(self, now: float) -> None:
        """A delivery leaves."""
        if self._gap:
            self.next_at = max(self.next_at, now) + self._gap
