from __future__ import annotations

import errno
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from broker.errors import StoreError
from broker.store import postgres_signals as module
from broker.store.database import CHANNELS, Channel
from broker.store.postgres import PostgresDatabase
from broker.store.postgres_session import Connection
from broker.store.postgres_signals import Signals
from tests.support.engines import note, notebook, notes
from tests.support.postgres import Postgres
from tests.support.processes import wait_until

SECONDS = 30.0

BEGUN = [(channel, "") for channel in CHANNELS]
"""What is heard when listening begins."""


class Ears:
    """Remembers what was heard."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._changed = threading.Condition()
        self.heard: list[tuple[Channel, str]] = []
        database.listen(self._hear)

    def _hear(self, channel: Channel, payload: str) -> None:
        with self._changed:
            self.heard.append((channel, payload))
            self._changed.notify_all()

    def wait_for(self, *signals: tuple[str, str], begun: int = 1) -> None:
        """Until all of these were heard, and listening began so many times."""
        wanted = Counter(signals) + Counter(dict.fromkeys(BEGUN, begun))
        with self._changed:
            assert self._changed.wait_for(lambda: wanted <= Counter(self.heard), SECONDS), self.heard


def wait_for_line(lines: Sequence[Mapping[str, Any]], text: str) -> None:
    wait_until(lambda: any(line["event"] == text for line in lines), f"it is told: {text}", SECONDS)


@pytest.fixture
def url(postgres: Postgres, journal_template: str) -> str:
    return postgres.url(postgres.database(journal_template))


@pytest.fixture
def nodes(url: str) -> Iterator[list[PostgresDatabase]]:
    """Two processes that share a journal."""
    both = [PostgresDatabase(url, name) for name in ("node-a", "node-b")]
    for database in both:
        database.open()
    yield both
    for database in both:
        database.close()


def threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "journal-signals"]


def test_what_one_process_signals_another_hears(nodes: list[PostgresDatabase]) -> None:
    ears = Ears(nodes[1])
    ears.wait_for()

    nodes[0].signal("events")
    nodes[0].signal("ways", "røntgen arkiv")

    ears.wait_for(("events", ""), ("ways", "røntgen arkiv"))
    assert ears.heard == [*BEGUN, ("events", ""), ("ways", "røntgen arkiv")]


def test_nobody_hears_itself(nodes: list[PostgresDatabase]) -> None:
    """As on SQLite: who signals wakes its own process itself."""
    first, second = Ears(nodes[0]), Ears(nodes[1])
    first.wait_for()
    second.wait_for()

    nodes[0].signal("ways", "epj")
    second.wait_for(("ways", "epj"))
    nodes[1].signal("ways", "7")
    first.wait_for(("ways", "7"))

    assert ("ways", "epj") not in first.heard
    assert ("ways", "7") not in second.heard


def test_a_process_that_has_no_more_files_for_a_while_hears_and_is_heard_again(
    nodes: list[PostgresDatabase], monkeypatch: pytest.MonkeyPatch
) -> None:
    selector, tried = module.selectors.DefaultSelector, threading.Event()

    def none_left() -> object:
        tried.set()
        monkeypatch.setattr(module.selectors, "DefaultSelector", selector)
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(module.selectors, "DefaultSelector", none_left)
    with capture_logs() as lines:
        first = Ears(nodes[0])
        assert tried.wait(SECONDS)
        wait_for_line(lines, "other nodes are heard again")
        second = Ears(nodes[1])
        second.wait_for()
        nodes[0].signal("ways", "epj")
        second.wait_for(("ways", "epj"))
        nodes[1].signal("ways", "7")
        first.wait_for(("ways", "7"), begun=2)


def test_several_may_listen_and_one_that_fails_disturbs_no_other(nodes: list[PostgresDatabase]) -> None:
    def broken(channel: Channel, payload: str) -> None:
        raise RuntimeError("a listener's fault")

    with capture_logs() as lines:
        nodes[1].listen(broken)
        ears = Ears(nodes[1])  # it may come too late for the beginning: the thread runs already
        wait_for_line(lines, "a signal could not be passed on")
        nodes[0].signal("ways", "epj")
        ears.wait_for(("ways", "epj"), begun=0)

    assert {line["event"] for line in lines} == {"a signal could not be passed on"}


def test_signals_are_no_part_of_the_journals_transactions(nodes: list[PostgresDatabase]) -> None:
    """The writer is in the middle of one, and what is signalled meanwhile leaves at once."""
    notebook(nodes[0])
    ears, entered, release = Ears(nodes[1]), threading.Event(), threading.Event()
    ears.wait_for()

    def work(_tx: object) -> None:
        entered.set()
        assert release.wait(SECONDS)

    written = nodes[0].write(work)
    assert entered.wait(SECONDS)
    nodes[0].signal("ways", "epj")
    ears.wait_for(("ways", "epj"))
    release.set()
    written.result(SECONDS)


# --- what waits to be sent ---


class Gate:
    """Connects only once it is opened: until then everything that is handed in waits."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._open = threading.Event()

    def connect(self) -> Connection:
        assert self._open.wait(SECONDS)
        return self._database._connect()

    def open(self) -> None:
        self._open.set()


def test_the_same_signal_that_waits_is_sent_once(nodes: list[PostgresDatabase]) -> None:
    ears = Ears(nodes[1])
    ears.wait_for()
    gate = Gate(nodes[0])
    signals = Signals(gate.connect, "store")
    for _ in range(100_000):  # more than a pipe holds: nobody is blocked
        signals.send("ways", "pacs")
    signals.send("ways", "epj")
    signals.send("events", "")
    gate.open()
    ears.wait_for(("ways", "pacs"), ("ways", "epj"), ("events", ""), begun=0)
    signals.close()
    nodes[0].signal("ways", "last")
    ears.wait_for(("ways", "last"))

    assert ears.heard[len(BEGUN) : -1] == [("ways", "pacs"), ("ways", "epj"), ("events", "")]


def test_the_same_signal_is_sent_again_once_it_was_sent(nodes: list[PostgresDatabase]) -> None:
    ears = Ears(nodes[1])
    ears.wait_for()
    for number in range(1, 4):
        nodes[0].signal("ways", "epj")
        ears.wait_for(*[("ways", "epj")] * number)


def test_what_was_handed_in_before_a_close_is_sent(url: str, nodes: list[PostgresDatabase]) -> None:
    """A command signals, and is over."""
    ears = Ears(nodes[1])
    ears.wait_for()
    command = PostgresDatabase(url, "command")
    command.open()
    command.signal("ways", "epj")
    command.close()

    ears.wait_for(("ways", "epj"))


def test_what_cannot_be_sent_is_lost_and_the_next_one_is_not(nodes: list[PostgresDatabase]) -> None:
    """PostgreSQL takes 8,000 bytes."""
    ears = Ears(nodes[1])
    ears.wait_for()
    with capture_logs() as lines:
        Ears(nodes[0]).wait_for()
        nodes[0].signal("ways", "x" * 9000)
        wait_for_line(lines, "other nodes are heard again")
        nodes[0].signal("ways", "epj")
        ears.wait_for(("ways", "epj"))


# --- the server goes away ---


def test_after_a_restart_of_the_server_everything_is_heard_and_signals_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "LONGEST_PAUSE", 0.02)
    server = Postgres()
    try:
        server.start()
        name = server.database()
        both = [PostgresDatabase(server.url(name), node) for node in ("node-a", "node-b")]
        for database in both:
            database.open()
        with capture_logs() as lines:
            ears = [Ears(database) for database in both]
            for one in ears:
                one.wait_for()
            server.stop()
            wait_for_line(lines, "other nodes are not heard")
            both[0].signal("ways", "pacs")  # while it is away: it waits
            server.start()
            for one in ears:
                one.wait_for(begun=2)
            both[0].signal("ways", "epj")
            ears[1].wait_for(("ways", "epj"), begun=2)
        for database in both:
            database.close()
    finally:
        server.remove()

    told = Counter(line["event"] for line in lines)
    assert told == {"other nodes are not heard": 2, "other nodes are heard again": 2}, "once each"


def test_a_session_that_was_ended_is_made_anew(
    postgres: Postgres, url: str, nodes: list[PostgresDatabase]
) -> None:
    ears = Ears(nodes[1])
    ears.wait_for()
    postgres.end_sessions(url.rpartition("/")[2])

    ears.wait_for(begun=2)
    nodes[0].signal("ways", "7")
    ears.wait_for(("ways", "7"), begun=2)


# --- the end ---


def test_a_close_ends_the_thread_and_what_comes_later_begins_none(nodes: list[PostgresDatabase]) -> None:
    Ears(nodes[1]).wait_for()
    assert len(threads()) == 1
    nodes[1].close()
    nodes[1].signal("events")

    assert threads() == []


def test_a_close_does_not_wait_for_a_server_that_is_away() -> None:
    tried = threading.Event()

    def away() -> Connection:
        tried.set()
        raise StoreError("no server")

    signals = Signals(away, "store")
    with capture_logs() as lines:
        signals.send("events", "")
        assert tried.wait(SECONDS)
        signals.close()
        signals.close()
        signals.send("events", "")

    assert threads() == []
    assert [line["event"] for line in lines] == ["other nodes are not heard"]


def test_who_neither_signals_nor_listens_has_no_thread(nodes: list[PostgresDatabase]) -> None:
    notebook(nodes[0])
    note(nodes[0], "x").result(SECONDS)

    assert notes(nodes[0]) == ["x"]
    assert threads() == []


def test_a_database_that_was_closed_may_be_opened_again(nodes: list[PostgresDatabase]) -> None:
    nodes[1].close()
    nodes[1].open()
    ears = Ears(nodes[1])
    ears.wait_for()
    nodes[0].signal("events")

    ears.wait_for(("events", ""))
