"""Over real servers: what Celery does with a wake-up is Celery's, and this holds our settings of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from broker.bus.topology import Address
from broker.errors import UnwritableError
from broker.runtime.wakeups import HEAVY, LIGHT, Wakeups, Worker, application
from tests.support.delivering import NotingDrain
from tests.support.rabbitmq import RabbitMq
from tests.support.redis import Redis

SECONDS = 30.0

Bus = RabbitMq | Redis


class Node:
    def __init__(self, bus: Bus, queues: tuple[str, ...] = ("light", "heavy")) -> None:
        app = application(Address.parse(bus.url))
        self.drain = NotingDrain(SECONDS)
        self.wakeups = Wakeups(app, heavy=["pacs"])
        self.worker = Worker(app, self.drain, self.wakeups.wake, concurrency=2, queues=queues)  # type: ignore[arg-type]
        self.worker.start()


@pytest.fixture(scope="module")
def one_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMq]:
    """The one of these tests: starting it takes longer than all of them."""
    server = RabbitMq(tmp_path_factory.mktemp("rabbitmq"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["one_rabbitmq", "redis"], ids=["rabbitmq", "redis"])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    """Empty: what one test leaves in the queues goes with them."""
    bus: Bus = request.getfixturevalue(request.param)
    yield bus
    app = application(Address.parse(bus.url))
    with app.connection_for_write() as connection:
        for queue in app.conf.task_queues:
            queue(connection.channel()).purge()


@pytest.fixture
def node(bus: Bus) -> Iterator[Node]:
    node = Node(bus)
    yield node
    node.worker.stop(SECONDS)


def test_a_wake_up_is_taken(node: Node) -> None:
    node.wakeups.wake("epj", 0)
    node.wakeups.wake("pacs", 3)
    node.drain.wait_for(2)
    assert sorted(node.drain.ran) == [("epj", 0), ("pacs", 3)]


def test_a_turn_that_ended_before_the_work_is_asked_for_again(node: Node) -> None:
    node.drain.answers = [True, True]
    node.wakeups.wake("epj", 0)
    node.drain.wait_for(3)


def test_what_fails_is_not_tried_again_by_celery(node: Node) -> None:
    node.drain.answers = [UnwritableError("away"), RuntimeError("a bug")]
    node.wakeups.wake("epj", 0)
    node.drain.wait_for(1)
    node.wakeups.wake("epj", 1)
    node.drain.wait_for(2)
    node.wakeups.wake("epj", 2)
    node.drain.wait_for(3)
    assert [number for _, number in node.drain.ran] == [0, 1, 2]


def test_images_wait_in_a_queue_of_their_own(bus: Bus) -> None:
    node = Node(bus, queues=("light",))
    try:
        node.wakeups.wake("pacs", 0)
        node.wakeups.wake("epj", 0)
        node.drain.wait_for(1)
        assert node.drain.ran == [("epj", 0)], "nobody here works for the heavy ones"
    finally:
        node.worker.stop(SECONDS)
    heavy = Node(bus, queues=("heavy",))
    try:
        heavy.drain.wait_for(1)
        assert heavy.drain.ran == [("pacs", 0)]
    finally:
        heavy.worker.stop(SECONDS)


def test_a_wake_up_names_a_destination_and_a_way_and_nothing_else(redis: Redis) -> None:
    app = application(Address.parse(redis.url))
    Wakeups(app, heavy=["pacs"]).wake("epj", 1)
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue(LIGHT).get(timeout=SECONDS)
        message.ack()
    body: list[Any] = json.loads(message.body)
    assert body[:2] == [["epj", 1], {}]
    assert message.headers["task"] == "broker.drain"
    assert message.headers["expires"], "one that nobody takes is dropped"


def test_queues_are_durable_and_on_rabbitmq_limited() -> None:
    queues = application(Address.parse("amqp://broker@bus/")).conf.task_queues
    assert [queue.name for queue in queues] == [LIGHT, HEAVY]
    for queue in queues:
        assert queue.durable
        assert queue.queue_arguments["x-queue-type"] == "quorum"
        assert queue.queue_arguments["x-delivery-limit"] > 0, "RabbitMQ before 4.0 has no limit of its own"
