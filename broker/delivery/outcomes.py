"""Outcomes of one lane on their way to disk: in the order in which they came about, as many at once as are waiting.

A crash finds those that are on disk to be the first ones, whatever the journal refused meanwhile. Not here: when the
journal is asked again, and which lane may go on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from broker.errors import StoreError
from broker.store.database import Database, Transaction

Write = Callable[[Transaction], bool]
"""Stores an outcome. False, and nothing is written, where the delivery is no longer the writer's to end."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    write: Write
    settle: Callable[[bool], None]


class Outcomes:
    """Those of one lane. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Outcome] = deque()
        self._next: Future[None] | None = None
        """Of the transaction that was handed in and has not begun: what comes meanwhile goes with it."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many are not on disk."""
        return len(self._waiting)

    def add(self, write: Write, settle: Callable[[bool], None]) -> Future[None]:
        """Hands it in behind the others; see `hand_in`.

        `settle` is called in the journal's thread once it is on disk, with what `write` returned.
        """
        with self._lock:
            self._waiting.append(_Outcome(write, settle))
        return self.hand_in()

    def hand_in(self) -> Future[None]:
        """Hands in all that are waiting. Done when they are on disk and settled, or with why the journal took none."""
        with self._lock:
            if self._next is not None:
                return self._next
            stored = self._next = Future[None]()
        begun: list[_Outcome] = []
        written: list[bool] = []

        def work(tx: Transaction) -> None:
            # May run more than once, each time with those that have come since.
            self._begun(stored)
            with self._lock:
                begun[:] = self._waiting
            written[:] = [outcome.write(tx) for outcome in begun]

        def ended(job: Future[None]) -> None:
            self._begun(stored)
            if (error := job.exception()) is not None:
                stored.set_exception(error)
                return
            for outcome, taken in zip(begun, written, strict=True):
                with self._lock:
                    self._waiting.popleft()
                outcome.settle(taken)
            stored.set_result(None)

        try:
            job = self._database.write(work, urgent=True)
        except StoreError as exc:
            job = Future()
            job.set_exception(exc)
        job.add_done_callback(ended)
        return stored

    def _begun(self, stored: Future[None]) -> None:
        with self._lock:
            if self._next is stored:
                self._next = None
