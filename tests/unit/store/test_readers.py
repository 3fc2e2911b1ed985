from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from broker.store.readers import READERS, Readers


class Line:
    """A connection that can be ended by its server."""

    def __init__(self) -> None:
        self.ended = self.closed = False

    def close(self) -> None:
        self.closed = True


class Lines:
    def __init__(self) -> None:
        self.opened: list[Line] = []

    def __call__(self) -> Line:
        self.opened.append(Line())
        return self.opened[-1]


def reading(lines: Lines) -> Readers[Line]:
    return Readers(lines, lambda line: line.ended)


def said(line: Line) -> Line:
    if line.ended:
        raise ConnectionError
    return line


def test_one_after_the_other_shares_one() -> None:
    lines = Lines()
    readers = reading(lines)

    assert {readers.use(said) for _ in range(5)} == set(lines.opened)
    assert len(lines.opened) == 1


def test_what_is_in_use_is_nobody_elses_and_there_are_never_more_than_may_be() -> None:
    lines, together, most = Lines(), threading.Barrier(READERS), [0]
    readers, busy, lock = reading(lines), set[Line](), threading.Lock()

    def work(line: Line) -> None:
        with lock:
            assert line not in busy
            busy.add(line)
            most[0] = max(most[0], len(busy))
        together.wait(10)  # only if so many may be at work at once
        with lock:
            busy.remove(line)

    with ThreadPoolExecutor(3 * READERS) as pool:
        for done in [pool.submit(readers.use, work) for _ in range(3 * READERS)]:
            done.result(10)

    assert most == [READERS]
    assert len(lines.opened) == READERS


def test_a_fault_of_the_work_is_handed_on_and_costs_no_connection() -> None:
    lines = Lines()
    readers = reading(lines)

    def fails(line: Line) -> None:
        raise ValueError("a fault of the work")

    for _ in range(READERS + 1):  # a place that was not given back would be missing by now
        with pytest.raises(ValueError, match="of the work"):
            readers.use(fails)
    assert len(lines.opened) == 1


def test_what_the_server_ended_is_replaced_with_all_that_it_ended() -> None:
    lines = Lines()
    readers = reading(lines)
    readers.use(lambda one: readers.use(lambda other: (one, other)))  # two are idle now
    for line in lines.opened:
        line.ended = True

    assert readers.use(said) is lines.opened[2]
    assert readers.use(said) is lines.opened[2], "no other is asked"
    assert len(lines.opened) == 3


def test_a_server_that_ends_the_new_one_too_is_told() -> None:
    lines = Lines()
    readers = reading(lines)

    def ended(line: Line) -> None:
        line.ended = True
        raise ConnectionError

    for _ in range(READERS + 1):
        with pytest.raises(ConnectionError):
            readers.use(ended)
    assert readers.use(said).ended is False


def test_close_closes_those_that_nobody_uses() -> None:
    lines = Lines()
    readers = reading(lines)

    def closes(line: Line) -> None:
        readers.use(said)
        readers.close()
        assert not line.closed

    readers.use(closes)
    assert [line.closed for line in lines.opened] == [False, True]
    readers.close()
    assert [line.closed for line in lines.opened] == [True, True]
    assert readers.use(said) is lines.opened[2]
