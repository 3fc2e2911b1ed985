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
from typing import Final

from broker.errors import StoreError
from broker.store.database import Database
from broker.store.transaction import Transaction

MANY: Final = 8
"""So many are worth a transaction of their own."""

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
        self._last: Future[None] | None = None
        """Of the transaction that was handed in last, until it ends."""
        self._taken = -1
        """How many of those that are waiting that took with it; -1: it has not begun, and takes what comes too."""
        self._patient = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many are not on disk."""
        return len(self._waiting)

    def add(self, write: Write, settle: Callable[[bool], None], *, patient: bool = False) -> Future[None]:
        """Hands it in behind the others; see `hand_in`. `patient`: nothing waits for it, and more may come soon.

        `settle` is called in the journal's thread once it is on disk, with what `write` returned.
        """
        with self._lock:
            self._waiting.append(_Outcome(write, settle))
        return self.hand_in(patient=patient and len(self._waiting) < MANY)

    def hand_in(self, *, patient: bool = False) -> Future[None]:
        """Hands in all that are waiting. Done when they are on disk and settled, or with why the journal took none."""
        with self._lock:
            if self._last is not None and (self._taken < 0 or self._taken >= len(self._waiting)):
                if self._patient and not patient:
                    self._patient = False
                    self._database.hurry()
                return self._last
            stored = self._last = Future[None]()
            self._taken, self._patient = -1, patient
        taken: list[_Outcome] = []
        written: list[bool] = []

        def work(tx: Transaction) -> None:
            # May run more than once, each time with those that have come since.
            with self._lock:
                taken[:] = self._waiting
                if self._last is stored:
                    self._taken = len(taken)
            written[:] = [outcome.write(tx) for outcome in taken]

        def ended(job: Future[None]) -> None:
            error = job.exception()
            for outcome, was_written in zip(taken, written, strict=True) if error is None else ():
                with self._lock:
                    self._waiting.popleft()
                    if self._last is stored:
                        self._taken -= 1  # what comes from now on is not among those
                outcome.settle(was_written)
            with self._lock:
                if self._last is stored:
                    self._last = None
            if error is None:
                stored.set_result(None)
            else:
                stored.set_exception(error)

        try:
            write = self._database.write
            job = write(work, patient=True) if patient else write(work, urgent=True)
        except StoreError as exc:
            job = Future()
            job.set_exception(exc)
        job.add_done_callback(ended)
        return stored
