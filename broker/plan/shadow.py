"""Shadow replay: past events through two route sets over the same registers, output by output. Sends and keeps nothing.

Registers follow from the events alone and never from routes, so each event is folded once and routed twice. They start
as they stood before the window, made from the baseline and the log in a file that is gone afterwards; where that would
take too long, each event is seen through the registers as they stand now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal, NamedTuple

from broker.errors import StoreError
from broker.journal import log
from broker.journal.log import Logged
from broker.journal.window import Window, between
from broker.plan.outputs import Pair
from broker.plan.shapes import words
from broker.plan.tally import Tally
from broker.registers.fold import fold
from broker.registers.views import look_as_said, step_view
from broker.routing.engine import RouteSet
from broker.runtime import rebuild
from broker.runtime.configured import Configured
from broker.runtime.pipeline import as_it_came, message_of
from broker.store.database import Database
from broker.store.transaction import Transaction
from broker.view import View

Registers = Literal["before", "now"]

BATCH: Final = 200
"""Events in memory at once."""

AFFORDABLE: Final = 100_000
"""Events that are folded to come to the state before the window, where nobody says otherwise."""

LIMITS: Final[dict[Registers, str]] = {
    "before": "registers as they stood before the window, changed by each event as it came",
    "now": "registers as they stand now: each event is seen with today's patient and step; rows that a merge or a new"
    " name would make anew are not compared",
}

Progress = Callable[[str, int], None]
"""Told what is done and how many of it are."""


@dataclass(slots=True, kw_only=True)
class Shadow:
    """What came of it."""

    window: Window
    registers: Registers
    sample: int
    """Only every so many-th event was routed."""
    tally: Tally
    events: int = 0
    """Compared."""
    seconds: float = 0.0
    failed: int = 0
    """Events that commit 2 could not route, or the registers cannot fold again: left out."""
    bodiless: int = 0
    """Events of HL7 messages whose bytes retention took: left out."""

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds if self.seconds else 0.0


class _Seen(NamedTuple):
    view: View
    refresh: bool


@dataclass(slots=True)
class _Batch:
    """Some events as routes see them."""

    seen: list[list[_Seen]] = field(default_factory=list)
    failed: int = 0


def choose(journal: Transaction, baseline: Database, window: Window) -> Registers:
    """The state before the window, where making it is affordable."""
    try:
        reached = rebuild.folded(baseline.read()) if baseline.version() else 0
    finally:
        baseline.close()
    return "before" if between(journal, reached, window.end) <= AFFORDABLE else "now"


def shadow(
    journal: Transaction,
    baseline: Database,
    configured: Configured,
    pair: Pair,
    window: Window,
    *,
    registers: Registers,
    sample: int = 1,
    progress: Progress = lambda _what, _done: None,
) -> Shadow:
    """Routes the events of the window by both sets. Raises `StoreError`."""
    tally = Tally(words=words(pair.live, pair.proposed))
    found = Shadow(window=window, registers=registers, sample=sample, tally=tally)
    looking = _looking(journal, found)
    batches = looking if registers == "now" else _folding(journal, baseline, configured, found, progress)
    begun = time.monotonic()
    for batch in batches:
        for seen in batch.seen:
            for view, refresh in seen:
                message = view.event.message_id
                found.tally.add(message, pair.compare(view, refresh=refresh))
        found.failed += batch.failed
        found.events += len(batch.seen)
        found.seconds = time.monotonic() - begun
        progress("events compared", found.events)
    return found


def _folding(
    journal: Transaction, baseline: Database, configured: Configured, found: Shadow, progress: Progress
) -> Iterator[_Batch]:
    """Each event folded as it was, and seen as it was then."""
    window = found.window
    unrouted = replace(configured, routes=RouteSet((), version="none"))
    with rebuild.begun(baseline) as database:
        start = rebuild.folded(database.read())
        told = partial(progress, "events folded before the window")
        rebuild.fold_into(database, journal, unrouted, start, end=window.start, progress=told)
        number = 0
        for part in _parts(journal, max(start, window.start), window.end):
            wanted = {one.seq for n, one in enumerate(part, number) if n % found.sample == 0}
            number += len(part)
            yield database.write(partial(_fold, part=part, wanted=wanted, found=found)).result()


def _fold(tx: Transaction, part: list[Logged], wanted: set[int], found: Shadow) -> _Batch:
    batch = _Batch()
    for logged in part:
        if logged.routed == "failed":
            batch.failed += 1
            continue
        try:
            with tx.attempt():
                seen = _folded(tx, logged)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001 - as in commit 2: one event holds up nobody; it is counted
            batch.failed += 1
            continue
        if logged.seq in wanted and not _bodiless(logged, found):
            batch.seen.append(seen)
    return batch


def _folded(tx: Transaction, logged: Logged) -> list[_Seen]:
    folded = fold(tx, logged.event, message_of(logged))
    own = () if folded.view is None else (folded.view, *folded.others)
    seen = [_Seen(as_it_came(view, logged), False) for view in own]
    touched = (step_view(tx, logged.event, key) for key in folded.touched)
    return seen + [_Seen(view, True) for view in touched if view is not None]


def _looking(journal: Transaction, found: Shadow) -> Iterator[_Batch]:
    """Each event seen through the registers of now."""
    number = 0
    for part in _parts(journal, found.window.start, found.window.end):
        batch = _Batch()
        for logged in part[-number % found.sample :: found.sample]:
            if logged.routed == "failed":
                batch.failed += 1
            elif not _bodiless(logged, found):
                view = look_as_said(journal, logged.event, message_of(logged))
                batch.seen.append([] if view is None else [_Seen(as_it_came(view, logged), False)])
        number += len(part)
        yield batch


def _parts(journal: Transaction, start: int, end: int) -> Iterator[list[Logged]]:
    while found := [one for one in log.since(journal, start, BATCH) if one.place <= end]:
        start = found[-1].place
        yield found


def _bodiless(logged: Logged, found: Shadow) -> bool:
    """Counts an event of an HL7 message whose bytes are gone: what it would send cannot be made of it."""
    gone = not logged.raw and logged.event.data.instance is None
    found.bodiless += gone
    return gone
