"""A journal with a table to write into."""

from __future__ import annotations

import pytest

from broker.store.database import Database
from tests.support.engines import notebook


@pytest.fixture
def note_table(database: Database) -> None:
    """The open journal has one table more, `note`."""
    notebook(database)
