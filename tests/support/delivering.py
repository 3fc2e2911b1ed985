"""Doubles for what delivers: a route's wishes with a test's defaults, and a drain that only notes what it is asked.

The doubles of destinations stay with their tests: each is told something else.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Retry:
    """`broker.delivery.retry.Policy`."""

    first: float = 60.0
    factor: float = 2.0
    max: float = 600.0


@dataclass
class OnFailure:
    """`broker.delivery.retry.OnFailure`."""

    retry: Retry = field(default_factory=Retry)
    park_after: float = 86_400.0
    refusals: int = 3
    max_age: float | None = None
    alert: str = ""


class NotingDrain:
    """Notes what it is asked for; `answers` are what it says, then False. `seconds`: the longest wait."""

    def __init__(self, seconds: float) -> None:
        self._changed = threading.Condition()
        self._seconds = seconds
        self.ran: list[tuple[str, int]] = []
        self.answers: list[bool | Exception] = []

    def run(self, name: str, number: int) -> bool:
        with self._changed:
            self.ran.append((name, number))
            self._changed.notify_all()
            answer = self.answers.pop(0) if self.answers else False
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait_for(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ran) >= number, self._seconds), self.ran
