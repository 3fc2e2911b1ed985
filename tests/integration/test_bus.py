"""The bus's contract, the same on kombu's memory transport, a real Redis and a real RabbitMQ."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kombu.exceptions import KombuError
from kombu.transport.memory import Transport as Memory
from redis.exceptions import RedisError

from broker.bus.connection import connected
from broker.bus.publisher import Publisher, Unconfirmed, publishing
from broker.bus.topology import DELIVERY_LIMIT, Address, dead
from broker.event import Event
from tests.support import events
from tests.support.processes import wait_until
from tests.support.rabbitmq import RabbitMq
from tests.support.redis import Redis
from tests.support.subscriber import Subscriber

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SECONDS = 30.0
REAL = ["redis", "amqp"]

Server = Redis | RabbitMq
Listen = Callable[..., Subscriber]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Each server is started when it is first asked for, and stays: RabbitMQ takes its time."""
    running: dict[str, Server] = {}

    def get(kind: str) -> Server:
        if kind not in running:
            folder = tmp_path_factory.mktemp(kind)
            running[kind] = Redis(folder) if kind == "redis" else RabbitMq(folder)
            running[kind].start()
        return running[kind]

    yield get
    for server in running.values():
        server.stop()


@pytest.fixture(params=["memory", *REAL])
def address(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Address:
    if request.param == "memory":
        Memory.global_state.clear()
        return Address.parse("memory://")
    return Address.parse(servers(request.param).url)


@pytest.fixture(params=REAL)
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    return servers(request.param)


@pytest.fixture
def queue(request: pytest.FixtureRequest) -> str:
    """A queue of the test's own."""
    return "q-" + "".join(c if c.isalnum() else "-" for c in request.node.name)


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts a subscriber; it is stopped with the test."""
    started: list[Subscriber] = []

    def start(*arguments: Any, **more: Any) -> Subscriber:
        subscriber = Subscriber(*arguments, **more)
        started.append(subscriber)
        subscriber.start()
        assert subscriber.wait_ready(SECONDS)
        return subscriber

    yield start
    for subscriber in started:
        subscriber.stop(SECONDS)
    for subscriber in started:
        # A quorum queue that was made within half a second before a kill -9 never has a leader again (RabbitMQ 3.10):
        # nothing that another test publishes may go to it.
        if subscriber._address.transport == "amqp":
            with connected(subscriber._address) as connection:
                connection.channel().queue_delete(subscriber._queue)


def registered(*numbers: int) -> list[Event]:
    return [
        events.event("patient.registered", n, patient=events.patient(events.local(str(n)))) for n in numbers
    ]


def publish(address: Address, sent: Sequence[Event]) -> None:
    with publishing(address, "test") as publisher:
        publisher.set_up({})
        publisher.publish(sent)


def ids(seen: Sequence[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in seen]


def test_an_event_comes_whole_to_every_queue_whose_topics_it_fits(
    address: Address, queue: str, listen: Listen
) -> None:
    patients: list[dict[str, Any]] = []
    everything: list[dict[str, Any]] = []
    elsewhere: list[dict[str, Any]] = []
    listen(address, f"{queue}.p", ["patient.#", "encounter.#"], patients.append)
    listen(address, f"{queue}.e", ["#"], everything.append)
    listen(address, f"{queue}.x", ["#.BOD", "study.#"], elsewhere.append)
    sent = [*registered(1), events.event("step.scheduled", 2, step=events.step())]

    publish(address, sent)

    wait_until(lambda: len(everything) == 2, "both events came")
    wait_until(lambda: len(patients) == 1, "the patient's came")
    assert everything == [json.loads(json.dumps(event.to_cloudevent())) for event in sent]
    assert ids(patients) == ["M00001.0"]
    assert elsewhere == []


def test_a_queue_keeps_what_comes_while_nobody_listens(address: Address, queue: str, listen: Listen) -> None:
    with publishing(address, "test") as publisher:
        publisher.set_up({queue: ["#"]})
        for first in range(0, 1000, 250):
            publisher.publish(registered(*range(first, first + 250)))
    seen: list[dict[str, Any]] = []

    listen(address, queue, ["#"], seen.append)

    wait_until(lambda: len(seen) == 1000, "all came", SECONDS)
    assert ids(seen) == [f"M{n:05}.0" for n in range(1000)], "in the order of publishing"


def test_what_a_handler_could_not_do_comes_again(address: Address, queue: str, listen: Listen) -> None:
    seen: list[str] = []

    def handle(event: dict[str, Any]) -> None:
        seen.append(event["id"])
        if len(seen) == 1:
            raise RuntimeError("not now")

    listen(address, queue, ["#"], handle, prefetch=1)
    publish(address, registered(1, 2))

    wait_until(lambda: len(seen) == 3, "the first came twice")
    assert sorted(seen) == ["M00001.0", "M00001.0", "M00002.0"]


def test_what_can_never_be_done_is_set_aside_and_holds_nobody_up(
    address: Address, queue: str, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.subscriber.AGAIN_SECONDS", 0.0)
    attempts: list[str] = []
    done: list[str] = []

    def handle(event: dict[str, Any]) -> None:
        attempts.append(event["id"])
        if event["id"] == "M00001.0":
            raise ValueError("poison")
        done.append(event["id"])

    listen(address, queue, ["#"], handle)
    publish(address, registered(1, 2, 3))

    wait_until(lambda: sorted(done) == ["M00002.0", "M00003.0"], "the others were done")
    wait_until(lambda: attempts.count("M00001.0") == DELIVERY_LIMIT, "it was tried as often as it may be")
    if address.transport == "amqp":
        set_aside: list[str] = []
        wait_until(lambda: waiting(address, dead(queue)) == 1, "it is set aside")
        with connected(address) as connection:
            message = connection.default_channel.basic_get(dead(queue))
            set_aside.append(message.properties["message_id"])
            connection.default_channel.basic_ack(message.delivery_tag)
        assert set_aside == ["M00001.0"]
    assert waiting(address, queue) == 0


def waiting(address: Address, name: str) -> int:
    """Messages in a queue that nobody has in hand."""
    with connected(address) as connection:
        channel = connection.channel()
        if address.transport == "redis":
            return int(channel.client.llen(name))
        return int(channel.queue_declare(name, passive=True).message_count)


def test_what_was_in_hand_when_a_subscriber_ended_comes_to_the_next(
    address: Address, queue: str, listen: Listen
) -> None:
    holding, go_on = threading.Event(), threading.Event()
    first: list[str] = []
    second: list[str] = []

    def hold(event: dict[str, Any]) -> None:
        first.append(event["id"])
        holding.set()
        go_on.wait(SECONDS)

    one = listen(address, queue, ["#"], hold)
    publish(address, registered(1, 2, 3))
    assert holding.wait(SECONDS)
    stopping = threading.Thread(target=one.stop, args=(SECONDS,))
    stopping.start()
    wait_until(one._stopping.is_set, "it was told to stop")
    go_on.set()
    stopping.join(SECONDS)
    listen(address, queue, ["#"], lambda event: second.append(event["id"]))

    wait_until(lambda: sorted(first + second) == ["M00001.0", "M00002.0", "M00003.0"], "each came once")
    assert first == ["M00001.0"], "the one in hand was finished and settled"


def test_the_mark_is_there_until_the_data_is_gone(server: Server) -> None:
    address = Address.parse(server.url)

    def look(change: Callable[[Publisher], None] = lambda _publisher: None) -> bool:
        with publishing(address, "mark") as publisher:
            publisher.set_up({})
            change(publisher)
            return publisher.intact()

    assert not look(), "a bus that was never seen"
    assert look(Publisher.mark)
    assert look(), "for the next connection too"
    with publishing(address, "another journal") as other:
        assert not other.intact()

    server.kill()
    server.start()
    assert look() is isinstance(server, RabbitMq), "a Redis that was restarted may hold an older copy"

    look(Publisher.mark)
    server.kill()
    server.wipe()
    server.start()
    assert not look()


def test_a_redis_that_is_emptied_while_it_runs_is_noticed(servers: Callable[[str], Server]) -> None:
    server = servers("redis")
    assert isinstance(server, Redis)
    with publishing(Address.parse(server.url), "flushed") as publisher:
        publisher.set_up({"kept": ["#"]})
        publisher.mark()
        assert publisher.intact()

        server.flush()

        assert not publisher.intact()


def test_a_subscriber_finds_its_way_back(server: Server, queue: str, listen: Listen) -> None:
    address = Address.parse(server.url)
    seen: list[dict[str, Any]] = []
    subscriber = listen(address, queue, ["#"], seen.append)
    publish(address, registered(1))
    wait_until(lambda: len(seen) == 1, "the first came")

    server.kill()
    wait_until(lambda: not subscriber.connected, "the loss was noticed")
    server.wipe()
    server.start()
    wait_until(lambda: subscriber.connected, "it is back", SECONDS)
    publish(address, registered(2))

    wait_until(lambda: "M00002.0" in ids(seen), "the second came too")


def test_a_publisher_says_that_the_bus_is_gone(server: Server) -> None:
    errors = (OSError, RedisError, KombuError, Unconfirmed)
    with pytest.raises(errors), publishing(Address.parse(server.url), "test") as publisher:  # noqa: PT012
        publisher.set_up({})
        publisher.publish(registered(1))
        server.kill()
        for number in range(
            2, 5
        ):  # a write alone may still go into the socket's buffer; a confirmation cannot come
            publisher.publish(registered(number))
    server.start()


def test_what_the_bus_refuses_is_not_taken_for_published(servers: Callable[[str], Server]) -> None:
    address = Address.parse(servers("amqp").url)
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    with connected(address) as connection, publishing(address, "test") as publisher:
        publisher.set_up({})
        channel = connection.channel()
        channel.queue_declare("full", durable=True, auto_delete=False, arguments=full)
        channel.queue_bind("full", "broker.events", "#")
        try:
            with pytest.raises(Unconfirmed):
                publisher.publish(registered(1, 2, 3))
        finally:
            channel.queue_delete("full")


def test_an_event_wakes_who_waits_for_work(address: Address, queue: str, listen: Listen) -> None:
    """How a router in another process learns of commits: the handler is its `wake`, and the event is not looked at.

    All routers share one queue: whichever is woken takes the work that stands in the journal.
    """
    work = threading.Event()

    def wake() -> None:
        work.set()

    listen(address, queue, ["#"], lambda _event: wake())
    publish(address, registered(1))

    assert work.wait(SECONDS)


def test_no_server_no_connection(tmp_path: Path) -> None:
    with pytest.raises(OSError), connected(Address.parse("amqp://127.0.0.1:1//")):  # noqa: PT011
        pass
