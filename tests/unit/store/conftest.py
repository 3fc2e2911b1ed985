"""Two nodes at one journal, for what they do to each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from broker.store.postgres import PostgresDatabase
from tests.support.postgres import Postgres


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
