"""What the runtime tests share: the shipped configuration, and a broker without sockets in front of a real journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.adapter import Reception, Renderer
from broker.delivery import stored
from broker.journal import log as journal
from broker.journal.intake import JournalIntake
from broker.registers import exceptions, worklist
from broker.routing.engine import RouteSet
from broker.runtime.configured import Configured, configure
from broker.runtime.pipeline import Pipeline, Routed, drain
from broker.settings import load
from broker.store.database import Database
from broker.store.sqlite import SqliteDatabase
from tests.support import ward as wards
from tests.support.shared import REPOSITORY
from tests.support.ward import Ward

ENV = {"BROKER_PACS_HL7_PORT": "2599"}


@pytest.fixture(scope="session")
def configured() -> Configured:
    """The shipped settings and routes, the PACS's HL7 listener among them."""
    return configure(load(REPOSITORY / "config" / "broker.yaml", env=ENV), ENV)


@pytest.fixture(scope="session")
def committing(configured: Configured) -> Configured:
    """The same with an archive that is asked to commit."""
    return wards.committing(configured, ENV)


class House:
    """An open journal, the shipped listeners in front of it and the shipped routes behind it."""

    def __init__(self, configured: Configured, database: Database) -> None:
        self.configured = configured
        self.database = database
        self.intake = JournalIntake(self.database, lambda: None)
        self.pipeline = Pipeline(configured.routes, configured.renderers)
        self._number = 0

    def receive(self, source: str, raw: bytes | str) -> Reception:
        """Commit 1 of a message, or of a file of the shipped route tests."""
        if isinstance(raw, str):
            raw = (REPOSITORY / "routes" / "tests" / raw).read_bytes()
        self._number += 1
        now = datetime(2026, 3, 9, 8, tzinfo=UTC) + timedelta(minutes=self._number)
        reception = self.configured.readers[source].receive(raw, message_id=f"M{self._number:05}", now=now)
        self.intake.accept_blocking(reception)
        return reception

    def with_(
        self, *, routes: RouteSet | None = None, renderers: Mapping[str, Renderer] | None = None
    ) -> None:
        """Other routes, or other renderers for some destinations."""
        self.pipeline = Pipeline(
            routes or self.configured.routes, {**self.configured.renderers, **(renderers or {})}
        )

    def route(self, limit: int = 100) -> list[Routed]:
        """Commit 2 of everything that waits."""
        return self.database.write(lambda tx: list(drain(tx, self.pipeline, limit))).result(10)

    def waiting(self) -> int:
        return journal.waiting(self.database.read())

    def deliveries(self) -> list[tuple[str, str, str]]:
        """(destination, state, lane) of each delivery."""
        return self.database.read().rows("SELECT destination, state, lane FROM delivery ORDER BY id")  # type: ignore[return-value]

    def made(self) -> list[tuple[str, str]]:
        """(destination, state) of each delivery."""
        return [(destination, state) for destination, state, _ in self.deliveries()]

    def rows(self) -> list[Mapping[str, Any]]:
        """The attributes of every row that modalities see."""
        return [row.attributes for row in worklist.Reader(self.database.read).candidates()]

    def reported(self) -> list[str]:
        return [entry["kind"] for entry in exceptions.listed(self.database.read())]

    def payloads(self, destination: str) -> list[bytes]:
        tx = self.database.read()
        found = tx.rows("SELECT id FROM delivery WHERE destination=? ORDER BY id", (destination,))
        return [stored.payload_of(tx, number) or b"" for (number,) in found]


@pytest.fixture
def house(configured: Configured, database: Database) -> House:
    """On both engines."""
    return House(configured, database)


@pytest.fixture
def sqlite_house(configured: Configured, sqlite_database: SqliteDatabase) -> House:
    return House(configured, sqlite_database)


@pytest.fixture
def ward(house: House, committing: Configured, tmp_path: Path) -> Ward:
    """On both engines."""
    return Ward(house, committing, tmp_path)
