"""A journal with a table to write into; two nodes at one journal, for what they do to each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.store.database import Database
from broker.store.postgres import PostgresDatabase
from tests.support.engines import notebook
from tests.support.postgres import Postgres


@pytest.fixture
def note_table(database: Database) -> None:
    """The open journal has one table more, `note`."""
    notebook(database)


@pytest.fixture
def nodes(postgres: Postgres, journal_template: str) -> Iterator[list[PostgresDatabase]]:
    """Two processes that share a journal."""
    url = postgres.url(postgres.database(journal_template))
    both = [PostgresDatabase(url, name) for name in ("node-a", "node-b")]
    for database in both:
        database.open()
    yield both
    for database in both:
        database.close()
