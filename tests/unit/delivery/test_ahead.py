"""Lanes that run ahead of their outcomes: the real executor, ledger and outcomes; journal, wire and crash are played.

Whatever the journal takes or refuses and whenever the process dies, the archive gets a lane's objects in order, after
a crash the last of them once more; and a note never before or behind what it is about.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.adapter import Delivery, Receipt, Rendered, Target
from broker.delivery import lanes, ledger, stored
from broker.delivery.executor import Executor
from broker.delivery.ledger import Queued
from broker.errors import TransientDeliveryError, UnwritableError
from broker.journal.intake import append
from broker.store.database import Database
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction
from tests.support.delivering import OnFailure
from tests.support.events import cause, event, reception

PATIENTS = st.sampled_from("ab")
AHEAD = 3


class _UndoneError(Exception):
    pass


@dataclass
class Journal:
    """A `Database` that commits, or refuses, what was handed in when it is told to."""

    tx: Transaction = field(default_factory=in_memory)
    jobs: list[tuple[Callable[[Transaction], Any], Future[Any]]] = field(default_factory=list)

    def read(self) -> Transaction:
        return self.tx

    def write(
        self, work: Callable[[Transaction], Any], *, urgent: bool = False, patient: bool = False
    ) -> Future[Any]:
        assert urgent != patient
        self.jobs.append((work, Future()))
        return self.jobs[-1][1]

    def hurry(self) -> None:
        """It is played: nobody can hurry it."""

    def commit(self) -> None:
        group, self.jobs = self.jobs, []
        for (_, future), found in zip(group, [work(self.tx) for work, _ in group], strict=True):
            future.set_result(found)

    def refuse(self, *, begun: bool) -> None:
        group, self.jobs = self.jobs, []
        with suppress(_UndoneError), self.tx.attempt():
            for work, _ in group if begun else []:
                work(self.tx)
            raise _UndoneError
        for _, future in group:
            future.set_exception(UnwritableError("the journal cannot be written (FullError)"))


class Ahead(RuleBasedStateMachine):
    """Payloads are `<patient><number>`, a note's ends with an exclamation mark."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal()
        append(self.journal.tx, reception(1, event("patient.registered")))
        self.now = datetime(2026, 3, 9, 8, tzinfo=UTC)
        self.into = {"a": "a", "b": "b"}
        self.before: dict[int, set[int]] = {}
        """Delivery to those that were about the same patient when it was made."""
        self.patient: dict[int, str] = {}
        self.notes: set[int] = set()
        self.seen: list[int] = []
        """What the archive took, repetitions included."""
        self.wrong: list[str] = []
        """Asserted where it is not caught: what an outbound raises is a failed attempt."""
        self.fails = False
        self.during: Callable[[], None] = lambda: None
        self.start()

    def start(self) -> None:
        self.journal.jobs.clear()
        self.since = len(self.seen)
        self.untold: list[tuple[str, str]] = []
        self.executor = Executor(
            "pacs",
            cast(Database, self.journal),
            lambda: self,
            lambda _: OnFailure(),
            lambda: self.now,
            connections=0,
            repeatable=lambda payload: not payload.endswith(b"!"),
        )
        self.executor.load(stored.open_deliveries(self.journal.tx))

    # --- the archive ---

    def deliver(self, delivery: Delivery) -> Receipt:
        during, self.during = self.during, lambda: None
        during()
        if self.fails:
            self.fails = False
            raise TransientDeliveryError("out of resources")
        number, delivered = delivery.id, self.delivered()
        here = set(self.seen[self.since :])
        before = self.before[number]
        open_ones = before - delivered
        wrong = {
            f"before {before - delivered - here}": not before <= delivered | here,
            f"with {len(open_ones)} ahead": len(open_ones) > AHEAD,
            "ahead of a note's outcome": bool(open_ones & self.notes),
            "a note, ahead of an outcome": number in self.notes and bool(open_ones),
            "behind its note": any(number in self.before[note] for note in self.notes & set(self.seen)),
        }
        self.wrong += [f"{number} left {what}" for what, is_so in wrong.items() if is_so]
        self.seen.append(number)
        return Receipt(detail="0000")

    def close(self) -> None:
        """There is no connection."""

    def delivered(self) -> set[int]:
        return {n for (n,) in self.journal.tx.rows("SELECT id FROM delivery WHERE state='delivered'")}

    # --- the router ---

    @rule(patients=st.lists(PATIENTS, min_size=1, max_size=5), note=st.booleans())
    def routes(self, patients: list[str], note: bool) -> None:
        for place, patient in enumerate(patients):
            self.route(patient, note=note and place == len(patients) - 1)

    def route(self, patient: str, *, note: bool = False) -> None:
        self.tells()
        self.executor.add(self.enqueued(self.into[patient], note))

    def enqueued(self, patient: str, note: bool) -> Queued:
        target = Target(route="r", version="v1", place="r.yaml:1", kind="dicom", destination="pacs")
        payload = f"{patient}{len(self.before)}{'!' if note else ''}".encode()
        queued = ledger.enqueue(self.journal.tx, cause(), patient, target, Rendered(payload=payload))
        self.before[queued.id] = {n for n, whose in self.patient.items() if self.into[whose] == patient}
        self.patient[queued.id] = patient
        if note:
            self.notes.add(queued.id)
        return queued

    @precondition(lambda self: self.into["a"] == "a")
    @rule(told=st.booleans())
    def merges(self, told: bool) -> None:
        self.merge()
        if told:
            self.tells()

    def merge(self) -> None:
        if self.into["a"] == "a":
            ledger.join(self.journal.tx, "a", "b")
            self.into["a"] = "b"
            self.untold.append(("a", "b"))

    def tells(self) -> None:
        for absorbed, survivor in self.untold:
            self.executor.join_lanes(absorbed, survivor)
        self.untold.clear()

    # --- the executor's threads, the journal's, and the end of all of them ---

    @rule(
        times=st.integers(1, 6),
        fails=st.sampled_from([False, False, True]),
        during=st.sampled_from(["", "", "another", "merge", "commit", "refuse"]),
    )
    def sends(self, times: int, fails: bool, during: str) -> None:
        """`during`: what happens while the last one is under way."""
        for _ in range(times - 1):
            self.send()
        self.fails = fails
        self.during = {
            "": lambda: None,
            "another": self.send,
            "merge": lambda: (self.merge(), self.tells())[0],
            "commit": self.journal.commit,
            "refuse": lambda: self.journal.refuse(begun=True),
        }[during]
        self.send()
        self.fails, self.during = False, lambda: None

    def send(self) -> bool:
        """One thread's turn: what it would do next, where there is anything."""
        book, now = self.executor._book, self.now.timestamp()
        self.executor._store_again(now)
        number = book.take(now)
        if number is None:
            return False
        self.executor._deliver(self, number, book.lane_of(number))
        return True

    @rule()
    def commits(self) -> None:
        self.journal.commit()

    @rule(begun=st.booleans())
    def refuses(self, begun: bool) -> None:
        self.journal.refuse(begun=begun)

    @rule(seconds=st.sampled_from([1, 100]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def crashes(self) -> None:
        self.start()

    # --- what holds at any moment, and in the end ---

    @invariant()
    def nothing_left_too_early(self) -> None:
        assert self.wrong == []

    @invariant()
    def what_is_on_disk_is_what_left_first(self) -> None:
        delivered = self.delivered()
        for number in delivered:
            assert self.before[number] <= delivered

    @invariant()
    def what_is_on_disk_was_taken(self) -> None:
        assert self.delivered() <= set(self.seen)

    def teardown(self) -> None:
        self.tells()
        for _ in range(4 * len(self.before) + 4):
            while self.send():
                pass
            self.journal.commit()
            self.now += timedelta(hours=2)
        assert self.delivered() == set(self.before), "nothing is lost, nothing waits for ever"
        assert len(self.executor._book) == 0
        assert not self.executor._outcomes
        last = {number: place for place, number in enumerate(self.seen)}
        for number, before in self.before.items():
            assert all(last[one] < last[number] for one in before), "what came last stands"


TestAhead = Ahead.TestCase
TestAhead.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.parametrize("told", [True, False])
def test_a_merge_lets_nothing_come_to_the_disk_before_what_left_before_it(told: bool) -> None:
    """The first one's outcome is refused; the second one left in the same lane, whatever it was called by then."""
    story = Ahead()
    story.route("a")
    if not told:
        story.route("a")
    story.send()
    story.journal.refuse(begun=True)
    story.merge()
    if told:
        story.route("b")
    story.send()
    story.journal.commit()

    story.what_is_on_disk_is_what_left_first()
    story.teardown()


@pytest.fixture(autouse=True, scope="module")
def _few_ahead() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lanes, "AHEAD", AHEAD)
        yield
