"""Threads that work ways off: one for each way of each destination, woken by a signal, and looking for themselves.

Under `executor: threads` this is what delivers. Under Celery it makes up for wake-ups that the bus lost, however long
it is away. Not here: the working off itself (`broker.delivery.drain`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from broker.delivery import ways
from broker.delivery.drain import Destination, Drain
from broker.errors import StoreError
from broker.store.database import Database

log = structlog.get_logger("broker.delivery")

LOOK_SECONDS: Final = 5.0
"""How often a thread looks whether its way could be worked off and nobody does."""

RETRY_SECONDS: Final = 1.0
"""Pause after the journal could not be used."""

SHARE_SECONDS: Final = 0.05
"""After its turn a way is left to others for so long."""


class Couriers:
    """`wake` may be called by any thread. `more` tells others that a way's turn ended before its work did."""

    def __init__(
        self,
        database: Database,
        drain: Drain,
        destinations: Sequence[Destination],
        more: Callable[[str, int], None],
    ) -> None:
        self._database = database
        self._drain = drain
        self._more = more
        self._ways = {d.name: d.ways for d in destinations}
        self._woken = {(d.name, n): threading.Event() for d in destinations for n in range(d.ways)}
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=way, name=f"deliver-{way[0]}-{way[1]}", daemon=True)
            for way in self._woken
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def wake(self, name: str, number: int) -> None:
        """That way could be worked off."""
        if (woken := self._woken.get((name, number))) is not None:
            woken.set()

    def heard(self, payload: str) -> None:
        """A signal: `epj 0`, or nothing where some may have been missed."""
        name, _, number = payload.rpartition(" ")
        if name and number.isdigit():
            self.wake(name, int(number))
        elif not payload:
            for way in self._woken:
                self.wake(*way)

    def stop(self, timeout: float) -> None:
        """Ends the threads, all within `timeout` seconds; the drain was told to stop before."""
        deadline = time.monotonic() + timeout
        self._stopping.set()
        for woken in self._woken.values():
            woken.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, name: str, number: int) -> None:
        woken, seen = self._woken[name, number], -1
        while not self._stopping.is_set():
            told = woken.wait(LOOK_SECONDS)
            woken.clear()
            if self._stopping.is_set():
                return
            try:
                if not told:
                    told, seen = self._neglected(name, number, seen)
                if told and self._drain.run(name, number):
                    self._more(name, number)
                    self._stopping.wait(SHARE_SECONDS)
                    woken.set()
            except StoreError:
                self._stopping.wait(RETRY_SECONDS)  # told where it began
                woken.set()
            except Exception:
                log.exception("a way cannot be worked off", destination=name)

    def _neglected(self, name: str, number: int, seen: int) -> tuple[bool, int]:
        """Whether nobody took the way since the last look though something could leave; and its term now."""
        tx = self._database.read()
        term = ways.free(tx, name, self._ways[name]).get(number)
        if term is None or not ways.anything(tx, name, number):
            return False, -1
        return term == seen, term
