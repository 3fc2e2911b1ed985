"""An EPJ within the measuring process that notes what it took and when, by the same clock as the sender."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.mllp import Behaviour, MllpSink, field


class Epj(MllpSink):
    """Answers AA, but AE to a message whose PV1-3 holds `refuses`."""

    def __init__(self, refuses: bytes = b"") -> None:
        super().__init__()
        self.came: dict[bytes, float] = {}
        """Control id to when it was first taken, by `time.perf_counter`; in that order."""
        self.times: Counter[bytes] = Counter()
        """How often each was taken."""
        self.refused: Counter[bytes] = Counter()
        """How often each was answered AE."""
        self._refuses = refuses
        self.behaviour = self._note

    def _note(self, message: bytes) -> Behaviour:
        control_id = field(message, b"MSH", 10)
        if self._refuses and self._refuses in field(message, b"PV1", 3):
            self.refused[control_id] += 1
            return "AE"
        self.times[control_id] += 1
        self.came.setdefault(control_id, time.perf_counter())
        return "AA"


@contextmanager
def epj(refuses: bytes = b"") -> Iterator[Epj]:
    """One that runs."""
    server = Epj(refuses)
    server.start()
    try:
        yield server
    finally:
        server.stop()
