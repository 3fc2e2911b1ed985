"""Deliveries read from the journal several at once, where those behind one leave next: that costs little more than one.

Not here: which may leave. What is read beforehand is as it will leave: nobody changes a delivery that is queued, but
for one that is withdrawn (`ledger.withdraw`), which has all forgotten as soon as that is heard of.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from broker.delivery import stored
from broker.delivery.stored import Open
from broker.store.database import Database

MOST: Final = 256
"""Deliveries that are kept; when they are more, all are read anew."""


class Reading:
    """Threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._read: dict[int, Open] = {}
        self._forgotten = 0
        """How often: what was being read meanwhile may be from before."""
        self._lock = threading.Lock()

    def load(self, number: int, behind: Callable[[], Sequence[int]]) -> Open | None:
        """A queued delivery; None where it is not queued any more. `behind` is asked what else to read with it.

        Raises `StoreError`.
        """
        with self._lock:
            if (found := self._read.pop(number, None)) is not None:
                return found
            forgotten = self._forgotten
        read = {
            opened.delivery.id: opened
            for opened in stored.load_all(self._database.read(), [number, *behind()])
        }
        found = read.pop(number, None)
        with self._lock:
            if forgotten == self._forgotten:
                if len(self._read) + len(read) > MOST:
                    self._read.clear()
                self._read.update(read)
        return found

    def forget(self) -> None:
        """Something came between: all are read anew."""
        with self._lock:
            self._forgotten += 1
            self._read.clear()
