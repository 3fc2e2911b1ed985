"""Invariant 6: the bus is killed under load and its data wiped; every acknowledged event reaches an outside subscriber.

The subscriber is the one of docs/bus.md, run as a program. Meanwhile acknowledgements and deliveries go on.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.flows import accepted, wait_until_idle
from tests.support.messages import Person, adt
from tests.support.mllp import MllpClient, MllpSink, field
from tests.support.processes import Program, wait_until
from tests.support.rabbitmq import RabbitMq
from tests.support.redis import Redis
from tests.support.shared import REPOSITORY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

QUEUE = "outside"
SECONDS = 90.0

Server = Redis | RabbitMq
Subscribe = Callable[[Server], Program]


@pytest.fixture(params=["redis", "rabbitmq"])
def server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """The shipped configuration with a queue for an outside subscriber."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / "routes").symlink_to(REPOSITORY / "routes")
    file = tmp_path / "config" / "broker.yaml"
    text = file.read_text(encoding="utf-8")
    assert "bus_queues: {} " in text
    file.write_text(text.replace("bus_queues: {} ", f'bus_queues: {{{QUEUE}: ["#"]}} '), encoding="utf-8")
    return file


@pytest.fixture
def subscribe(tmp_path: Path) -> Iterator[Subscribe]:
    """Starts the program of docs/bus.md; its output goes on in the same file."""
    (program,) = re.findall(
        r"```python\n(.*?)```", (REPOSITORY / "docs/bus.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (tmp_path / "subscriber.py").write_text(program, encoding="utf-8")
    started: list[Program] = []

    def start(server: Server) -> Program:
        environment = {**os.environ, "BUS": server.url, "QUEUE": QUEUE}
        command = [sys.executable, tmp_path / "subscriber.py"]
        started.append(Program(command, tmp_path / "subscriber.log", env=environment))
        return started[-1]

    yield start
    for program in started:
        program.kill()


class Sender:
    """One PAS that sends as fast as it is answered."""

    def __init__(self, broker: Broker) -> None:
        self._port = broker.pas_port
        self.acknowledged: list[str] = []
        self.refused: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(SECONDS)

    def _run(self) -> None:
        number = 0
        with MllpClient(self._port) as client:
            while not self._stop.wait(0.005):
                number += 1
                control_id = f"L{number:06}"
                answer = client.ask(adt("A08", control_id, Person(number=f"74{number % 50:03}")))
                if field(answer, b"MSA", 1) == b"AA":
                    self.acknowledged.append(control_id)
                else:
                    self.refused.append(answer)


def in_journal(broker: Broker) -> set[str]:
    """The id of every event."""
    with closing(sqlite3.connect(broker.data / "journal.sqlite")) as journal:
        return {event for (event,) in journal.execute("SELECT id FROM event")}


def seen(subscriber: Program) -> list[str]:
    """Ids that the subscriber printed, in order."""
    return re.findall(r"^(\S+) no\.broker\.\S+ 20", subscriber.output(), re.MULTILINE)


def metric(broker: Broker, name: str) -> float:
    text = broker.http("/metrics")[1].decode()
    (value,) = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(value)


def place(broker: Broker) -> int:
    """The number of the last event that was published, as the journal has it."""
    with closing(sqlite3.connect(broker.data / "journal.sqlite")) as journal:
        ((event,),) = journal.execute("SELECT coalesce(event, 0) FROM bus_cursor")
        return int(event)


def published(broker: Broker) -> bool:
    """Everything went to the bus, and the place was written down."""
    return metric(broker, "broker_bus_connected") == 1 and metric(broker, "broker_bus_lag_events") == 0


def test_every_acknowledged_event_reaches_an_outside_subscriber(
    server: Server,
    configuration: Path,
    start_broker: StartBroker,
    subscribe: Subscribe,
    epj_sink: MllpSink,
) -> None:
    settings = {"BROKER_BUS": server.url, "BROKER_CONFIG": str(configuration)}
    broker = start_broker(epj_port=epj_sink.port, settings=settings)
    subscriber = subscribe(server)
    sender = Sender(broker)
    sender.start()
    try:
        wait_until(lambda: len(set(seen(subscriber))) > 50, "events come", SECONDS)
        # What the bus confirms from here on nobody has consumed, and the journal says that it is done: the feed would
        # not publish it again of itself. This is what a wipe takes away.
        subscriber.kill()
        confirmed = place(broker)
        wait_until(lambda: place(broker) > confirmed + 50, "more is confirmed", SECONDS)

        server.kill()
        wait_until(lambda: metric(broker, "broker_bus_connected") == 0, "the broker noticed", SECONDS)
        answered, delivered = len(sender.acknowledged), len(epj_sink.messages)
        wait_until(lambda: len(sender.acknowledged) > answered + 100, "acknowledgements go on", SECONDS)
        wait_until(lambda: len(epj_sink.messages) > delivered + 100, "deliveries go on", SECONDS)
        server.wipe()
        server.start()

        subscriber = subscribe(server)
        wait_until(lambda: metric(broker, "broker_bus_connected") == 1, "the feed is back", SECONDS)
    finally:
        sender.stop()

    assert sender.refused == []
    wait_until(lambda: published(broker), "all is published", SECONDS)
    events = in_journal(broker)
    assert len(events) >= len(sender.acknowledged) > 0
    wait_until(lambda: events <= set(seen(subscriber)), "every event came", SECONDS)
    wait_until_idle(broker)
    delivered_ids = {field(message, b"MSH", 10) for message in epj_sink.messages}
    assert len(delivered_ids) == len(sender.acknowledged), (
        "nothing of the way through the house was disturbed"
    )
    assert "guest:guest" not in broker.log.read_text(encoding="utf-8")


def test_a_person_has_it_published_again(
    redis: Redis, configuration: Path, start_broker: StartBroker, subscribe: Subscribe
) -> None:
    """A subscriber that lost its own data names the last event that it has."""
    broker = start_broker(settings={"BROKER_BUS": redis.url, "BROKER_CONFIG": str(configuration)})
    with broker.pas() as pas:
        accepted(pas, *(adt("A08", f"R{n:03}", Person(number=f"75{n:03}")) for n in range(5)))
    subscriber = subscribe(redis)
    wait_until(lambda: len(set(seen(subscriber))) == 5, "all came", SECONDS)
    wait_until(lambda: published(broker), "the place is written down")
    before = seen(subscriber)

    finished = broker.command("bus", "rewind", "--to", before[2], "--reason", "the registry lost its disk")

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("3 events will be published")
    assert "the registry lost its disk" in finished.stderr, "audited"
    wait_until(lambda: seen(subscriber)[len(before) :] == before[2:], "these came again", SECONDS)
    wait_until(lambda: published(broker), "the place is written down")
    status = broker.command_json("bus", "status")
    assert (status["answers"], status["lag"], status["event"]) == (True, 0, 5)


def test_embedded_nothing_is_published_and_nothing_is_behind(start_broker: StartBroker) -> None:
    broker = start_broker()
    with broker.pas() as pas:
        accepted(pas, adt("A04", "E001", Person(number="76001")))

    status = broker.command_json("bus", "status")

    assert (status["bus"], status["published"], status["event"], status["lag"]) == (
        "memory://",
        False,
        None,
        0,
    )
    assert "nothing is published" in broker.command("bus", "status").stdout
    assert not re.search(
        r"^broker_bus_(connected|lag_events) ", broker.http("/metrics")[1].decode(), re.MULTILINE
    )


def test_status_says_when_the_bus_does_not_answer(redis: Redis, start_broker: StartBroker) -> None:
    broker = start_broker(settings={"BROKER_BUS": redis.url.replace("//", "//:s3cret-word@")})
    redis.kill()

    finished, doctor = broker.command("bus", "status"), broker.command("doctor")

    assert finished.returncode == 1
    assert "does not answer" in finished.stdout
    assert re.search(r"^warning +bus: redis://.* does not answer", doctor.stdout, re.MULTILINE)
    broker.stop()
    for text in (
        finished.stdout,
        finished.stderr,
        doctor.stdout,
        doctor.stderr,
        broker.log.read_text(encoding="utf-8"),
    ):
        assert "s3cret-word" not in text
