from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from kombu.transport.memory import Transport as Memory
from structlog.testing import capture_logs

from broker.bus.publisher import Publisher, Unconfirmed
from broker.event import Event
from broker.journal import cursor
from broker.runtime import feed as module
from broker.runtime.feed import Feed
from broker.settings import Settings
from tests.support import events
from tests.support.processes import wait_until
from tests.support.subscriber import Subscriber

if TYPE_CHECKING:
    from tests.unit.runtime.conftest import House

SECONDS = 30.0
_NUMBERS = itertools.count()
NOW = datetime(2026, 3, 9, 12, tzinfo=UTC)


class Ears:
    """Hears everything that comes to one queue."""

    def __init__(self, settings: Settings) -> None:
        self._changed = threading.Condition()
        self._heard: list[str] = []
        # A name of its own: kombu's memory is the process's, and nobody of an earlier test may hear for us.
        self.queue = f"ears-{next(_NUMBERS)}"
        self.subscriber = Subscriber(settings.bus, self.queue, ["#"], self._hear)

    def _hear(self, event: dict[str, Any]) -> None:
        with self._changed:
            self._heard.append(event["id"])
            self._changed.notify_all()

    def wait_for(self, *ids: str) -> None:
        """Exactly these, in this order."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._heard) >= len(ids), SECONDS), self._heard
            assert self._heard == list(ids)


class Works:
    """A journal, the feed that follows it over kombu's memory transport, and somebody who listens."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.settings = house.configured.settings
        self.ears = Ears(self.settings)
        self.feeds: list[Feed] = []

    def receive(self, *numbers: int) -> None:
        """Takes messages in, and routes them."""
        for number in numbers:
            self.take(number)
        self.house.route()

    def take(self, number: int) -> None:
        """Commit 1 alone."""
        self.house.intake.accept_blocking(events.reception(number, events.event("patient.updated", number)))

    def feed(self, published: Callable[[int], None] = lambda _: None) -> Feed:
        feed = Feed(self.house.database, self.settings, lambda: NOW, published)
        self.feeds.append(feed)
        feed.start()
        return feed

    def place(self) -> int | None:
        found = cursor.get(self.house.database.read())
        return found.event if found is not None else None

    def rewind(self, event: int) -> None:
        self.house.database.write(partial(cursor.rewind, event=event)).result(SECONDS)


@pytest.fixture
def works(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[Works]:
    Memory.global_state.clear()
    for name in ("LOOK_SECONDS", "GATHER_SECONDS", "SAVE_SECONDS", "CHECK_SECONDS", "FIRST_PAUSE"):
        monkeypatch.setattr(module, name, 0.01)
    works = Works(house)
    works.ears.subscriber.start()
    assert works.ears.subscriber.wait_ready(SECONDS)
    yield works
    for feed in works.feeds:
        feed.stop(SECONDS)
    works.ears.subscriber.stop(SECONDS)


def test_the_log_is_published_in_order_what_stood_there_and_what_comes(works: Works) -> None:
    published: list[int] = []
    works.receive(1, 2)
    feed = works.feed(published.append)
    works.ears.wait_for("M00001.0", "M00002.0")

    works.receive(3)
    feed.wake()

    works.ears.wait_for("M00001.0", "M00002.0", "M00003.0")
    feed.stop(SECONDS)
    assert works.place() == sum(published) == 3


def test_what_is_not_routed_yet_is_not_published(works: Works) -> None:
    works.take(1)
    works.feed()
    works.house.route()
    works.receive(2)

    works.ears.wait_for("M00001.0", "M00002.0")


def test_a_missed_wake_costs_nothing(works: Works) -> None:
    works.feed()

    works.receive(1)

    works.ears.wait_for("M00001.0")


def test_it_goes_on_where_it_was(works: Works) -> None:
    works.receive(1)
    feed = works.feed()
    works.ears.wait_for("M00001.0")
    feed.stop(SECONDS)
    works.receive(2)

    works.feed()

    works.ears.wait_for("M00001.0", "M00002.0")


def test_a_person_sets_it_back_while_it_runs(works: Works) -> None:
    works.receive(1, 2)
    works.feed()
    works.ears.wait_for("M00001.0", "M00002.0")

    first, last = (
        cursor.number(works.house.database.read(), event) or 0 for event in ("M00001.0", "M00002.0")
    )
    wait_until(lambda: works.place() == last, "the place is saved: never forward of it")

    works.rewind(first)

    works.ears.wait_for("M00001.0", "M00002.0", "M00002.0")


def test_a_bus_that_lost_its_data_gets_the_last_day_again(works: Works) -> None:
    works.receive(1)
    feed = works.feed()
    works.ears.wait_for("M00001.0")

    with capture_logs() as lines:
        Memory.global_state.exchanges["broker.events"]["table"][:] = [
            row
            for row in Memory.global_state.exchanges["broker.events"]["table"]
            if row[2] == works.ears.queue
        ]
        Memory.global_state.bindings.clear()
        works.ears.wait_for("M00001.0", "M00001.0")

    assert {line["event"] for line in lines} == {
        "the bus is new or lost its data: publishing again",
        "the bus is connected",
    }
    feed.stop(SECONDS)
    assert works.place() == 1


def test_a_new_bus_gets_no_more_than_that(works: Works) -> None:
    works.receive(1, 200)  # received at 08:01 and 11:20; now it is 12:00
    broker = works.settings.broker.model_copy(update={"bus_repeat": 3600.0})
    works.settings = replace(works.settings, broker=broker)

    works.feed()

    works.ears.wait_for("M00200.0")


def test_what_was_not_confirmed_is_published_again(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    publish = Publisher.publish
    failures = iter([True, False])

    def flaky(self: Publisher, batch: list[Event]) -> None:
        publish(self, batch)
        if next(failures, False):
            raise Unconfirmed("patient's name")

    monkeypatch.setattr(Publisher, "publish", flaky)
    works.receive(1)
    with capture_logs() as lines:
        works.feed()
        works.ears.wait_for("M00001.0", "M00001.0")

    (line,) = [line for line in lines if line["log_level"] == "warning" and "answer" in line["event"]]
    assert (line["error"], line["bus"]) == ("Unconfirmed", "memory://")


def test_a_bus_that_is_away_is_told_of_once(works: Works, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Semaphore(0)

    def away(*_: object) -> None:
        tried.release()
        raise ConnectionRefusedError

    monkeypatch.setattr(module, "publishing", away)
    with capture_logs() as lines:
        feed = works.feed()
        assert all(tried.acquire(timeout=SECONDS) for _ in range(3))
        feed.stop(SECONDS)

    assert not feed.connected
    assert [line["event"] for line in lines] == ["the bus does not answer"]
