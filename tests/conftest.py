"""Fixtures every test may ask for by name: real peers, each started on free ports and stopped by pid.

A test that needs a peer the machine does not have is skipped at home and fails in CI (`tests.support.needs`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk
from tests.support.mllp import MllpSink
from tests.support.orthanc import Orthanc
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMq
from tests.support.redis import Redis
from tests.support.shared import shared_folder

StartBroker = Callable[..., Broker]

# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Packages of their own with tests of their own, which run where they are installed (test_thirdparty.py).
collect_ignore = ["thirdparty"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`../shared/data`: real input, read in place."""
    return shared_folder()


@pytest.fixture
def dcmtk() -> Dcmtk:
    """DCMTK's clients, calling as `TESTSCU`."""
    return Dcmtk()


@pytest.fixture(scope="session")
def orthanc_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """The one Orthanc that `orthanc` hands out emptied: starting it takes longer than most tests."""
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def orthanc(orthanc_server: Orthanc) -> Orthanc:
    """An empty Orthanc. A test that stops it must start it again, or use an `Orthanc` of its own."""
    orthanc_server.clear()
    return orthanc_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The one PostgreSQL; each test takes a database of its own. A test that stops it uses a `Postgres` of its own."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def epj_sink() -> Iterator[MllpSink]:
    """A running MLLP server that records what it receives and answers AA."""
    sink = MllpSink()
    sink.start()
    yield sink
    sink.stop()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """A running Redis of the test's own: it may be killed, wiped and started again."""
    server = Redis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def rabbitmq(tmp_path: Path) -> Iterator[RabbitMq]:
    """A running RabbitMQ of the test's own: it may be killed, wiped and started again."""
    server = RabbitMq(tmp_path)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Starts brokers with the arguments of `Broker`, each in its own folder; all end with the test."""
    brokers: list[Broker] = []

    def start(**arguments: Any) -> Broker:
        folder = tmp_path / f"broker-{len(brokers)}"
        folder.mkdir()
        broker = Broker(folder, **arguments)
        brokers.append(broker)
        broker.start()
        return broker

    yield start
    for broker in brokers:
        broker.kill()


@pytest.fixture
def broker(start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink) -> Broker:
    """A ready broker with Orthanc as its PACS and `epj_sink` as its EPJ."""
    return start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)
