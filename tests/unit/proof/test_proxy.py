"""The proxy hands on all it gets, and harms a connection as it is told to."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.proof.proxy import Proxy
from tests.support.mllp import MllpClient, MllpSink, framed

MESSAGE = b"MSH|^~\\&|A|B|C|D|20260309||ADT^A08|1|T|2.5.1\r"


class Loaded(random.Random):
    """Dice that always say the same fault, and that half of a piece passes."""

    def __init__(self, fault: str) -> None:
        super().__init__(0)
        self.fault = fault

    def choice(self, _faults: object) -> str:  # type: ignore[override]
        return self.fault

    def randrange(self, size: int) -> int:  # type: ignore[override]
        return size // 2


@pytest.fixture
def sink() -> Iterator[MllpSink]:
    sink = MllpSink()
    sink.start()
    yield sink
    sink.stop()


@pytest.fixture
def proxy(sink: MllpSink) -> Iterator[Callable[[str], Proxy]]:
    proxies: list[Proxy] = []

    def start(fault: str) -> Proxy:
        proxies.append(Proxy([("127.0.0.1", sink.port)], Loaded(fault)))
        return proxies[-1]

    yield start
    for each in proxies:
        each.close()


def test_without_trouble_everything_passes(proxy: Callable[[str], Proxy], sink: MllpSink) -> None:
    calm = proxy("cut")
    with MllpClient(calm.port) as client:
        assert [client.ask(MESSAGE), client.ask(MESSAGE)] == [client.ask(MESSAGE)] * 2
    assert sink.messages == [MESSAGE] * 3
    assert calm.faults == 0


@pytest.mark.parametrize("fault", ["cut", "reset"])
def test_a_connection_is_ended_in_the_middle_of_a_message(
    proxy: Callable[[str], Proxy], sink: MllpSink, fault: str
) -> None:
    bad = proxy(fault)
    with MllpClient(bad.port) as client:
        client.ask(MESSAGE)
        bad.trouble = 1.0
        with pytest.raises(ConnectionError):
            client.ask(MESSAGE)
    assert sink.messages == [MESSAGE]


def test_a_deaf_connection_stays_open_and_says_nothing(proxy: Callable[[str], Proxy], sink: MllpSink) -> None:
    bad = proxy("deaf")
    with MllpClient(bad.port, timeout=0.2) as client:
        client.ask(MESSAGE)
        bad.trouble = 1.0
        with pytest.raises(TimeoutError):
            client.ask(MESSAGE)
    assert sink.messages == [MESSAGE]


def test_new_connections_are_hung_up_on(proxy: Callable[[str], Proxy]) -> None:
    bad = proxy("cut")
    bad.trouble = 1.0
    with MllpClient(bad.port) as client, pytest.raises(ConnectionError):
        client.receive()


def test_nobody_behind_it_is_a_connection_that_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    alone = Proxy([("127.0.0.1", free)], random.Random(0))
    with MllpClient(alone.port) as client, pytest.raises(ConnectionError):
        client.receive()
    alone.close()


def test_each_connection_gets_the_next_server_that_lives(sink: MllpSink) -> None:
    other = MllpSink()
    other.start()
    front = Proxy([("127.0.0.1", sink.port), ("127.0.0.1", other.port)], random.Random(0))
    for _ in range(4):
        with MllpClient(front.port) as client:
            client.ask(MESSAGE)
    assert (len(sink.messages), len(other.messages)) == (2, 2)
    other.stop()
    for _ in range(2):
        with MllpClient(front.port) as client:
            client.ask(MESSAGE)
    assert len(sink.messages) == 4
    front.close()


def test_a_cut_cable_passes_nothing_until_it_is_whole(proxy: Callable[[str], Proxy], sink: MllpSink) -> None:
    cable = proxy("cut")
    with MllpClient(cable.port, timeout=0.2) as client:
        client.ask(MESSAGE)
        cable.cut()
        with pytest.raises(TimeoutError):
            client.ask(MESSAGE)
        assert sink.messages == [MESSAGE]
        cable.heal()
        client.receive()
    assert sink.messages == [MESSAGE] * 2


def test_a_cut_cable_forgets_what_was_written_by_one_who_hung_up(
    proxy: Callable[[str], Proxy], sink: MllpSink
) -> None:
    cable = proxy("cut")
    with MllpClient(cable.port) as client:
        client.ask(MESSAGE)
        cable.cut()
        client.send_raw(framed(MESSAGE))
    cable.heal()
    with MllpClient(cable.port) as client:
        client.ask(MESSAGE)
    cable.close()
    assert sink.messages == [MESSAGE] * 2
