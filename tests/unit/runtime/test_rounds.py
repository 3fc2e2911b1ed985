"""A thread that makes rounds: where this node leads, again after a failure, not after the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from broker.errors import UnwritableError
from broker.runtime import rounds
from broker.runtime.rounds import InterruptedRoundError, Rounds

SECONDS = 10


@contextmanager
def running(run: Callable[[], object], leads: Callable[[], bool] = lambda: True) -> Iterator[Rounds]:
    made = Rounds("test", run, 0.001, leads)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def test_the_next_round_is_made_whatever_became_of_the_last() -> None:
    failures = iter([UnwritableError("full"), ValueError("wrong")])
    done = threading.Event()

    def run() -> None:
        for failure in failures:
            raise failure
        done.set()

    with running(run):
        assert done.wait(SECONDS)


def test_only_who_leads_makes_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "LOOK_SECONDS", 0.001)
    looked, made = threading.Semaphore(0), list[bool]()

    def leads() -> bool:
        looked.release()
        return False

    with running(lambda: made.append(True), leads):
        for _ in range(4):
            assert looked.acquire(timeout=SECONDS)
    assert made == []


def test_a_round_that_was_interrupted_is_the_last() -> None:
    begun = threading.Event()
    made: list[int] = []

    def run() -> None:
        made.append(1)
        begun.set()
        assert one.stopping.wait(SECONDS)
        raise InterruptedRoundError

    one = Rounds("test", run, 0.001)
    one.start()
    assert begun.wait(SECONDS)
    one.stop()
    assert made == [1]


def test_what_was_never_started_can_be_stopped() -> None:
    Rounds("test", lambda: None, 1).stop()
