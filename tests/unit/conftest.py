"""The journal of a unit test, on both engines: what is asked for here runs on SQLite and on PostgreSQL.

PostgreSQL's databases are copies of one that has the schema already; a transaction of one is never committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.store.database import Database
from broker.store.postgres import PostgresDatabase
from broker.store.sqlite import SqliteDatabase, in_memory
from broker.store.transaction import Transaction
from tests.support.commitment import Device
from tests.support.postgres import Postgres

NODE = "node-a"

NewDatabase = Callable[[], Database]
NewTransaction = Callable[[], Transaction]

ENGINES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def journal_template(postgres: Postgres) -> str:
    """Name of a PostgreSQL database that has the schema and nothing in it."""
    name = postgres.database()
    database = PostgresDatabase(postgres.url(name), NODE)
    database.open()
    database.close()
    return name


@pytest.fixture(params=ENGINES)
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """Makes handles of one journal, not opened: on PostgreSQL each may be another node's. All are closed at the end."""
    made: list[Database] = []
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.url(server.database(request.getfixturevalue("journal_template")))

    def another() -> Database:
        if request.param == "sqlite":
            made.append(SqliteDatabase(tmp_path / "data" / "journal.sqlite"))
        else:
            made.append(PostgresDatabase(url, f"node-{len(made)}"))
        return made[-1]

    yield another
    for database in made:
        database.close()


@pytest.fixture
def database(new_database: NewDatabase) -> Database:
    """An open journal without a message."""
    database = new_database()
    database.open()
    return database


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    """For what only SQLite can be made to do: a disk that is full."""
    database = SqliteDatabase(tmp_path / "data" / "journal.sqlite")
    database.open()
    yield database
    database.close()


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


@pytest.fixture(params=ENGINES)
def new_transaction(request: pytest.FixtureRequest) -> Iterator[NewTransaction]:
    """Begins a transaction of an empty journal, whose numbers begin at 1, in place of the one before."""
    if request.param == "sqlite":
        yield in_memory
        return
    server: Postgres = request.getfixturevalue("postgres")
    session = PostgresDatabase(server.url(request.getfixturevalue("journal_template")), NODE)._start()

    def another() -> Transaction:
        session.rollback()
        transaction = session.begin()
        for table, column in (
            ("message", "seq"),
            ("event", "seq"),
            ("delivery", "id"),
            ("intervention", "id"),
        ):
            transaction.execute(f"ALTER TABLE {table} ALTER COLUMN {column} RESTART")  # undone with the rest
        return transaction

    yield another
    session.rollback()
    session.close()


@pytest.fixture
def tx(new_transaction: NewTransaction) -> Transaction:
    """An open transaction of an empty journal, whose numbers begin at 1."""
    return new_transaction()


@pytest.fixture(scope="module")
def listening() -> Iterator[Device]:
    """The one device that `device` hands out without its memory: starting it takes longer than most tests."""
    found = Device()
    found.start()
    yield found
    found.stop()


@pytest.fixture
def device(listening: Device) -> Device:
    """A device that takes storage commitment reports and has heard none."""
    listening.forget()
    return listening
