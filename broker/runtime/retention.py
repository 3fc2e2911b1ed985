"""What the journal may forget, and when: bodies first, the ledger much later, by age and by size.

Files of objects that were refused go with the bodies (`refused`); those of objects that were taken are no concern of
this.

A day's bodies leave by dropping its tables. A day's ledger leaves row by row in small transactions between the
traffic's, after its events were folded into the baseline, from which the registers can be rebuilt. What still has to
leave, be routed or be decided keeps its day whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from broker.runtime import rebuild, refused
from broker.runtime.configured import Configured
from broker.runtime.rounds import InterruptedRoundError, Rounds
from broker.settings import Settings
from broker.store import days
from broker.store.database import Database
from broker.store.transaction import BusyError, Transaction

log = structlog.get_logger("broker.retention")

EVERY_SECONDS: Final = 3600.0
FOLD_BATCH: Final = 20
FOLD_PAUSE_SECONDS: Final = 0.02
"""Events that are folded without a pause, some milliseconds, and the pause."""

CHUNK: Final = 200
"""Messages that leave the ledger in one transaction: some milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long, and how much."""

    bodies: timedelta
    ledger: timedelta
    max_size: int | None
    """Bytes of the journal; None: no limit."""


def limits_of(settings: Settings) -> Limits:
    """What the settings say."""
    told = settings.broker.retention
    return Limits(
        bodies=timedelta(seconds=told.bodies), ledger=timedelta(seconds=told.ledger), max_size=told.max_size
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One day of the journal."""

    day: str
    bodies: bool
    open: bool
    """Something of it still has to be routed, to leave or to be decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What may go now, the oldest first."""

    bodies: tuple[str, ...]
    ledger: tuple[str, ...]
    kept: tuple[str, ...]
    """Days that are due, but still have something open."""


def due(known: Sequence[Day], limits: Limits, today: date) -> Due:
    """By age alone. Pure."""
    old = [d for d in known if d.bodies and date.fromisoformat(d.day) < today - limits.bodies]
    older = [d for d in known if date.fromisoformat(d.day) < today - limits.ledger]
    leading = itertools.takewhile(lambda d: not d.open, older)  # the ledger leaves from its oldest end only
    return Due(
        bodies=tuple(d.day for d in old if not d.open),
        ledger=tuple(d.day for d in leading),
        kept=tuple(sorted({d.day for d in (*old, *older) if d.open})),
    )


def known(tx: Transaction) -> list[Day]:
    """Every day of the journal, the oldest first."""
    with_bodies = set(days.known(tx, bodies=True))
    busy = {
        day
        for (day,) in tx.rows(
            "SELECT DISTINCT day FROM delivery WHERE state IN ('queued', 'parked') UNION"
            " SELECT DISTINCT day FROM delivery WHERE state='held' UNION SELECT DISTINCT day FROM event"
            " JOIN message ON message.seq=event.message WHERE routed IS NULL"
        )
    }
    return [Day(day=day, bodies=day in with_bodies, open=day in busy) for day in days.known(tx)]


def _go(tx: Transaction, day: str, drop: Callable[[Transaction, str], None]) -> None:
    """Lets a day's tables go. Raises `BusyError` where somebody uses them, or something of the day is open again: a
    message that came before midnight may be written after it."""
    # First: what another node is writing of the day is there to be seen behind it, or not at all.
    drop(tx, day)
    still_open = (
        "SELECT 1 FROM delivery WHERE day=? AND state IN ('queued', 'parked') LIMIT 1",
        "SELECT 1 FROM delivery WHERE day=? AND state='held' LIMIT 1",
        "SELECT 1 FROM event JOIN message ON message.seq=event.message WHERE routed IS NULL AND day=? LIMIT 1",
    )
    if any(tx.one(sql, (day,)) for sql in still_open):
        raise BusyError(f"something of {day} is open")


class Retention:
    """Does what is due. `run` is one round; `rounds` makes one an hour."""

    def __init__(
        self,
        database: Database,
        spool: Path,
        configured: Callable[[], Configured],
        limits: Limits,
        clock: Callable[[], datetime],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        """`configured`: with the routes that are in force when it is asked. `leads`: whether this node does it."""
        self._database = database
        self._spool = spool
        self._configured = configured
        self._limits = limits
        self._clock = clock
        self.rounds = Rounds("retention", self.run, EVERY_SECONDS, leads)

    def run(self, progress: Callable[[str], None] = lambda _what: None) -> Due:
        """One round: what is due by age, the oldest bodies while the journal is too large, then their files."""
        tx = self._database.read()
        for day in days.leaving(tx):  # an earlier round was interrupted
            self._delete(day, progress)
        found = due(known(tx), self._limits, self._clock().date())
        dropped = [day for day in found.bodies if self._drop_bodies(day, progress)]
        left = list(self._leave(found.ledger, progress))
        dropped += self._shrink(progress)
        refused.remove(self._database, self._spool, self._clock(), self.rounds.stopping)
        if found.kept:
            log.warning("days are kept because something of them is still open", days=len(found.kept))
        return Due(bodies=tuple(dropped), ledger=tuple(left), kept=found.kept)

    def _leave(self, which: Sequence[str], progress: Callable[[str], None]) -> Iterator[str]:
        for day in which:
            if self.rounds.stopping.is_set():
                return
            self._fold_baseline(day)
            if not self._gone(day, days.leave):
                return  # the ledger leaves from its oldest end only
            self._delete(day, progress)
            yield day

    def _gone(self, day: str, drop: Callable[[Transaction, str], None]) -> bool:
        """Whether a day's tables went; else they do so in a later round."""
        try:
            self._database.write(partial(_go, day=day, drop=drop)).result()
        except BusyError as exc:
            log.info("a day is kept until the next round", day=day, reason=str(exc))
            return False
        return True

    def _drop_bodies(self, day: str, progress: Callable[[str], None]) -> bool:
        if not self._gone(day, days.drop_bodies):
            return False
        progress(f"bodies of {day}")
        log.info("bodies dropped", day=day)
        return True

    def _shrink(self, progress: Callable[[str], None]) -> list[str]:
        """Never today's: they are what repeats and searches of the moment are about."""
        dropped: list[str] = []
        tx, today = self._database.read(), self._clock().date().isoformat()
        while self._limits.max_size is not None and tx.used() > self._limits.max_size:
            day = next((d.day for d in known(tx) if d.bodies and not d.open and d.day < today), None)
            if day is None or self.rounds.stopping.is_set() or not self._drop_bodies(day, progress):
                log.warning("the journal is larger than retention.max_size, and nothing more may go")
                break
            dropped.append(day)
        return dropped

    def _delete(self, day: str, progress: Callable[[str], None]) -> None:
        while not self.rounds.stopping.is_set():
            if not self._database.write(partial(_delete, day=day)).result():
                self._database.write(partial(days.forget, day=day)).result()
                log.info("ledger dropped", day=day)
                return
            progress(f"ledger of {day}")

    def _breathe(self) -> None:
        """Folding is the same work as routing, in the same process: acknowledgements go first."""
        if self.rounds.stopping.wait(FOLD_PAUSE_SECONDS):
            raise InterruptedRoundError

    def _fold_baseline(self, day: str) -> None:
        baseline = self._database.beside(rebuild.BASELINE)
        baseline.open()
        try:
            with self._database.snapshot() as tx:
                last = tx.one(
                    "SELECT max(event.place) FROM event JOIN message ON message.seq=event.message WHERE received<?",
                    (days.within(day)[1],),
                )
                if last is not None and last[0] is not None:
                    start = rebuild.folded(baseline.read())
                    rebuild.fold_into(
                        baseline,
                        tx,
                        self._configured(),
                        start,
                        end=last[0],
                        batch=FOLD_BATCH,
                        progress=lambda _done: self._breathe(),
                    )
        finally:
            baseline.close()


def _delete(tx: Transaction, day: str) -> int:
    """Some of a day's rows, deliveries first; how many. Their tally stays: it is the history."""
    numbers = [n for (n,) in tx.rows("SELECT id FROM delivery WHERE day=? ORDER BY id LIMIT ?", (day, CHUNK))]
    marks = ",".join("?" * len(numbers))
    if numbers:
        tx.execute(f"DELETE FROM delivery_attempt WHERE delivery IN ({marks})", numbers)
        tx.execute(f"DELETE FROM delivery WHERE id IN ({marks})", numbers)
        return len(numbers)
    numbers = [
        n
        for (n,) in tx.rows(
            "SELECT seq FROM message WHERE received>=? AND received<? ORDER BY received LIMIT ?",
            (*days.within(day), CHUNK),
        )
    ]
    if not numbers:
        return 0
    marks = ",".join("?" * len(numbers))
    tx.execute(f"DELETE FROM object_state WHERE message IN ({marks})", numbers)
    tx.execute(f"DELETE FROM event WHERE message IN ({marks})", numbers)
    tx.execute(f"DELETE FROM message WHERE seq IN ({marks})", numbers)
    return len(numbers)
