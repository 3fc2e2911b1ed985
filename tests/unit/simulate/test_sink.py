"""The EPJ over real sockets: what it notes, and each behaviour as the broker's sender meets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from broker.errors import TransientDeliveryError
from broker.hl7.ack import read_ack
from broker.net.mllp_client import MllpClient
from broker.simulate.faults import BEHAVIOURS, Behaviour
from broker.simulate.messages import digest
from broker.simulate.records import Arrival
from broker.simulate.sink import Sink
from tests.support.messages import Person, adt, orm

MESSAGE = adt("A04", "S1", Person(number="1"))
Running = Callable[..., tuple[Sink, MllpClient, list[Arrival]]]


@pytest.fixture
def running() -> Iterator[Running]:
    """Starts a sink that behaves so the first time; then a client of it, and what it notes."""
    ends: list[Callable[[], None]] = []

    def start(first: Behaviour = "AA", *, patience: float = 0.5) -> tuple[Sink, MllpClient, list[Arrival]]:
        noted: list[Arrival] = []
        sink = Sink(
            "127.0.0.1", 0, lambda _, before: "AA" if before else first, noted.append, patience=patience
        )
        sink.start()
        client = MllpClient("127.0.0.1", sink.port, ack_timeout=patience)
        ends.extend((client.close, sink.stop))
        return sink, client, noted

    yield start
    for end in ends:
        end()


def test_it_notes_what_came_and_keeps_only_the_digest(running: Running) -> None:
    _, client, noted = running()
    client.send(MESSAGE)
    client.send(orm("S2", Person(number="1"), "77"))

    first, second = noted
    assert (first.control_id, first.key, first.digest, first.clean) == (
        "S1",
        "control S1",
        digest(MESSAGE),
        True,
    )
    assert second.key == "status P77 S77-1 SC 20260310093000"


@pytest.mark.parametrize("behaviour", ["AE", "AR"])
def test_it_refuses_and_then_takes(running: Running, behaviour: Behaviour) -> None:
    _, client, noted = running(behaviour)

    assert [read_ack(client.send(MESSAGE)).code for _ in range(2)] == [behaviour, "AA"]
    assert [arrival.clean for arrival in noted] == [False, True]


@pytest.mark.parametrize("behaviour", ["close", "silent", "wrong-msa2", "late-ack"])
def test_it_takes_without_a_right_ack_and_the_next_time_with_one(
    running: Running, behaviour: Behaviour
) -> None:
    _, client, noted = running(behaviour)
    with pytest.raises(TransientDeliveryError):
        client.send(MESSAGE)

    assert read_ack(client.send(MESSAGE)).control_id == "S1"
    assert [arrival.clean for arrival in noted] == [False, True]


def test_a_slow_answer_is_whole_and_so_is_what_is_read_slowly(running: Running) -> None:
    _, client, noted = running("slow-reader", patience=10.0)
    assert read_ack(client.send(MESSAGE)).positive
    assert read_ack(client.send(MESSAGE)).positive

    assert [arrival.digest for arrival in noted] == [digest(MESSAGE)] * 2
    assert noted[0].clean


def test_it_goes_away_and_comes_back_on_the_same_port_with_its_memory(running: Running) -> None:
    sink, client, noted = running("AE")
    client.send(MESSAGE)
    sink.stop()
    with pytest.raises(TransientDeliveryError):
        client.send(MESSAGE)
    sink.start()

    assert read_ack(client.send(MESSAGE)).code == "AA", "it has come before"
    assert len(noted) == 2


def test_what_is_no_message_is_refused_and_not_noted(running: Running) -> None:
    sink, _, noted = running()
    with pytest.raises(TransientDeliveryError, match="MSA-2"):
        MllpClient("127.0.0.1", sink.port, ack_timeout=5).send(b"MSH|^~\\&|||||||ORM^O01|S9|T|2.5\r")

    assert noted == []


def test_every_behaviour_is_known() -> None:
    assert set(BEHAVIOURS) == {"AA", "AE", "AR", "close", "silent", "wrong-msa2", "late-ack", "slow-reader"}
