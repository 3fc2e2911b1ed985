"""The proxy hands on all it gets, and harms a connection as it is told to."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.proof.proxy import Proxy
from tests.support.mllp import MllpClient, MllpSink

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
        proxies.append(Proxy(sink.port, Loaded(fault)))
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
    alone = Proxy(free, random.Random(0))
    with MllpClient(alone.port) as client, pytest.raises(ConnectionError):
        client.receive()
    alone.close()
