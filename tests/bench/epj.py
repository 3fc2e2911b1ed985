"""An EPJ within the measuring process that notes when each message came: control id to seconds of the same clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.mllp import Behaviour, MllpSink, field


class Epj(MllpSink):
    """Answers AA, except that a message whose PV1-3 holds `refuses` gets AE."""

    def __init__(self, port: int = 0, refuses: bytes = b"") -> None:
        super().__init__(port)
        self.came: dict[bytes, float] = {}
        """Control id to when it came first, by `time.perf_counter`."""
        self.times = 0
        """How many messages came, repeats too."""
        self._refuses = refuses
        self.behaviour = self._note

    def _note(self, message: bytes) -> Behaviour:
        self.times += 1
        self.came.setdefault(field(message, b"MSH", 10), time.perf_counter())
        return "AE" if self._refuses and self._refuses in field(message, b"PV1", 3) else "AA"


@contextmanager
def epj(port: int = 0, refuses: bytes = b"") -> Iterator[Epj]:
    """One that runs."""
    server = Epj(port, refuses)
    server.start()
    try:
        yield server
    finally:
        server.stop()
