"""The servers that a cluster shares: PostgreSQL with fsync, RabbitMQ and Redis, for as long as a measurement runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from tests.bench.resources import cpu_seconds_of_tree
from tests.bench.stage import Stage
from tests.support.configuration import changed
from tests.support.postgres import Postgres
from tests.support.rabbitmq import RabbitMq
from tests.support.redis import Redis

CONNECTIONS: Final = 16
"""Of the EPJ: more than one worker takes by itself under Celery (`celery: concurrency`, 8)."""

_PORT: Final = "${env:BROKER_EPJ_PORT:-6661}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """All of them run."""

    postgres: Postgres
    executors: Mapping[str, Mapping[str, str]]
    """What works lanes off, by the name that people read, each as settings."""
    settings: Mapping[str, str]
    """The shipped configuration with more connections to the EPJ."""

    def store(self, database: str) -> dict[str, str]:
        """As a setting."""
        return {"BROKER_STORE": self.postgres.url(database)}

    def cpu_seconds(self) -> float:
        """What PostgreSQL took so far."""
        return cpu_seconds_of_tree(self.postgres.pid)


@contextmanager
def servers(stage: Stage, name: str) -> Iterator[Servers]:
    """Started one after the other."""
    folder = stage.made(name)
    with ExitStack() as stack:
        postgres, rabbitmq, redis = Postgres(fsync=True), RabbitMq(folder), Redis(folder)
        stack.callback(postgres.remove)
        for server in (postgres, rabbitmq, redis):
            server.start()
            if not isinstance(server, Postgres):
                stack.callback(server.stop)
        yield Servers(
            postgres=postgres,
            executors=MappingProxyType(
                {
                    "threads": {},
                    "Celery over RabbitMQ": {"BROKER_EXECUTOR": "celery", "BROKER_BUS": rabbitmq.url},
                    "Celery over Redis": {"BROKER_EXECUTOR": "celery", "BROKER_BUS": redis.url},
                }
            ),
            settings=changed(folder, {_PORT: f"{_PORT}\n    connections: {CONNECTIONS}"}),
        )
