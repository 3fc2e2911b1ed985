"""A look from its beginning to its end: what ends it, what it says beside the data, and what a failure costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from broker.errors import StoreError
from broker.journal import intake, log
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction
from broker.tap import session as module
from broker.tap.choice import STREAMS, Choice
from broker.tap.follow import Follow
from broker.tap.session import BUSY_SECONDS, IDLE_SECONDS, Session, Summary
from broker.tap.show import Show
from tests.support import events
from tests.support.events import START


class Look:
    """A session over a journal in memory; each wait is a step of what happens meanwhile."""

    def __init__(self, choice: Choice | None = None, *, slow: float = 0.0, **options: Any) -> None:
        self.tx = in_memory()
        self.written: list[str] = []
        self.notes: list[str] = []
        self.waits: list[float] = []
        self.steps: list[Callable[[], None]] = []
        self.now, self.broken, self.slow = 0.0, False, slow
        choice = choice or Choice()
        self.session = Session(
            Follow(self._read, choice.seen),
            choice,
            options.pop("show", Show(as_json=True)),
            self._write,
            self.notes.append,
            clock=lambda: self.now,
            wait=self._wait,
            **options,
        )

    def arrive(self, number: int, *kinds: str) -> None:
        """A message whose events are routed at once."""
        made = [
            events.event(kind, number).model_copy(update={"id": f"M{number}.{n}"})
            for n, kind in enumerate(kinds)
        ]
        intake.append(self.tx, events.reception(number, *made))
        for logged in log.unrouted(self.tx, 10):
            log.mark_routed(self.tx, [logged.seq], "v1")

    def run(self, **options: Any) -> Summary:
        return self.session.run(**options)

    @property
    def shown(self) -> list[tuple[str, int]]:
        return [(told["stream"], told["number"]) for told in map(json.loads, self.written)]

    def _read(self) -> Transaction:
        if self.broken:
            raise StoreError("the journal's server failed: OperationalError")
        return self.tx

    def _write(self, text: str) -> None:
        self.now += self.slow
        self.written.append(text)

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        if not self.steps:
            raise KeyboardInterrupt
        self.steps.pop(0)()


def test_it_shows_what_comes_until_it_is_stopped() -> None:
    look = Look()
    look.arrive(1, "patient.updated")
    look.steps = [lambda: look.arrive(2, "patient.updated"), lambda: None]
    summary = look.run()

    assert look.shown == [("received", 2), ("events", 2)]
    assert look.waits == [IDLE_SECONDS, BUSY_SECONDS, IDLE_SECONDS]
    assert (summary.why, summary.seen, summary.shown, summary.seconds) == ("stopped", 2, 2, 1.25)


def test_a_quota_ends_it_in_the_middle_of_a_page() -> None:
    look = Look(Choice(streams=("received",)), quota=2)
    look.steps = [lambda: [look.arrive(n) for n in range(1, 6)] and None]

    assert look.run().why == "quota"
    assert look.shown == [("received", 1), ("received", 2)]


def test_time_ends_it() -> None:
    look = Look(seconds=0.7)
    look.steps = [lambda: None, lambda: None]
    summary = look.run()

    assert (summary.why, look.waits) == ("time", [IDLE_SECONDS, pytest.approx(0.2)])


@pytest.mark.parametrize(
    ("error", "why", "notes"),
    [
        (BrokenPipeError(32, "Broken pipe"), "closed", 0),
        (OSError(28, "No space left on device"), "unwritable", 1),
    ],
)
def test_an_output_that_fails_ends_it(error: OSError, why: str, notes: int) -> None:
    look = Look(Choice(streams=("received",)))

    def fail(_text: str) -> None:
        raise error

    look.session._write = fail
    look.steps = [lambda: look.arrive(1)]

    assert (look.run().why, len(look.notes)) == (why, notes)


def test_a_journal_that_is_away_is_waited_for_and_nothing_is_lost() -> None:
    look = Look(Choice(streams=("received",)))

    def fail() -> None:
        look.arrive(1)
        look.broken = True

    def mend() -> None:
        look.broken = False

    look.steps = [fail, *[lambda: None] * 6, mend]
    look.run()

    assert look.shown == [("received", 1)]
    assert look.waits[1:9] == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, BUSY_SECONDS]
    assert len(look.notes) == 2
    assert "tried again" in look.notes[0]


def test_an_item_whose_content_cannot_be_read_waits_for_it() -> None:
    look = Look(Choice(streams=("received",), event=("patient.*",)))
    content = look.session._follow.content
    failures = [StoreError("gone"), StoreError("gone")]

    def failing(*args: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return content(*args, **options)

    look.session._follow.content = failing  # type: ignore[method-assign]
    look.steps = [lambda: look.arrive(1, "patient.updated"), lambda: None, lambda: None]
    look.run()

    assert look.shown == [("received", 1)]


def test_a_slow_reader_gets_everything_and_is_told_once() -> None:
    look = Look(Choice(streams=("received",)), slow=2.0)
    look.steps = [lambda: [look.arrive(n) for n in range(1, 4)] and None]
    look.run()

    assert look.shown == [("received", n) for n in (1, 2, 3)]
    assert len(look.notes) == 1


def test_the_last_ones_that_fit_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.tap.follow.PAGE", 2)
    look = Look(Choice(event=("patient.*",)))
    for number in range(1, 8):
        look.arrive(number, "patient.updated" if number in (2, 3) else "encounter.moved")
    look.steps = [lambda: look.arrive(8, "patient.updated")]
    look.run(last=3)

    assert look.shown == [("events", 2), ("received", 3), ("events", 3), ("received", 8), ("events", 8)]


def test_it_searches_back_only_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.tap.follow.PAGE", 1)
    monkeypatch.setattr(module, "BACK_PAGES", 3)
    look = Look(Choice(streams=("received",)))
    for number in range(1, 8):
        look.arrive(number)
    look.run(last=5)

    assert look.shown == [("received", n) for n in (5, 6, 7)]


def test_since() -> None:
    look = Look()
    look.arrive(1, "patient.updated")
    look.run(since=START)

    assert look.shown == [("received", 1), ("events", 1)]


def test_text_is_a_line_for_people_with_what_was_asked_for_below() -> None:
    look = Look(Choice(streams=STREAMS), show=Show(fields=("MSH-3",), raw=True))
    look.arrive(1, "patient.updated")
    look.run(since=START)

    assert "".join(look.written) == (
        "2026-03-09T08:01:00.000Z  received  pas  ADT^A04 C00001  accepted, answered AA\n"
        "    MSH-3 = •9\n"
        "    MSH|^~\\&|•9\n"
        "2026-03-09T08:01:00.000Z  event     pas  ADT^A04 C00001  patient.updated\n"
        "    MSH-3 = •9\n"
        "    time = •14\n"
    )
