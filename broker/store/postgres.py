"""PostgreSQL through psycopg 3: connections, a few shared readers, and migrations that nodes make in turn.

The writer's session is `postgres_session`, the writer itself `writer`; signals are `postgres_signals`. Not here: any
table's meaning.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import Int8Dumper

from broker.errors import StoreError
from broker.store.database import Channel, Database, Heard
from broker.store.postgres_session import (
    SNAPSHOTS,
    Connection,
    PostgresSession,
    Snapshot,
    Waiting,
    errors_told,
    fetched,
    run,
)
from broker.store.postgres_signals import Signals
from broker.store.postgres_stalled import STALL_SECONDS
from broker.store.readers import Readers
from broker.store.schema import MOVES, migrations, missing
from broker.store.transaction import Session, Transaction, Value

LIVELINESS: Final[Mapping[str, str | int]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "broker",
}
"""How soon a server that is gone is noticed; what the URL itself says stands."""

MIGRATING: Final = "broker: schema"
"""What nodes that start at once wait for, one after the other."""


class _Reading(Waiting):
    """Each statement over whichever shared connection is free."""

    def __init__(self, readers: Readers[Connection]) -> None:
        self._readers = readers

    def _fetch(self, sql: str, parameters: Sequence[Value]) -> tuple[list[tuple[Any, ...]], int]:
        with errors_told():
            return self._readers.use(lambda connection: fetched(run(connection, sql, parameters)))


class PostgresDatabase(Database):
    """A schema of a PostgreSQL database, the login's own if none is named. `node` names this writer in the tally."""

    shared = True

    def __init__(self, url: str, node: str, *, schema: str = "") -> None:
        try:
            told = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise StoreError("store: cannot be read as a PostgreSQL URL") from None
        super().__init__(_shown(told) + (f" ({schema})" if schema else ""))
        self._url, self._node, self._schema = url, node, schema
        self._conninfo = make_conninfo(url, **{k: v for k, v in LIVELINESS.items() if k not in told})
        self._readers = Readers(self._connect, lambda connection: connection.closed)
        self._signals = Signals(self._connect, self.name)

    def close(self) -> None:
        """See `Database.close`. The last work's signals are sent too."""
        super().close()
        signals, self._signals = self._signals, Signals(self._connect, self.name)  # it may be opened again
        signals.close()

    def signal(self, channel: Channel, payload: str = "") -> None:
        signals = self._signals  # before the look: else it might be the next one's, whom nobody closes
        if not self._writer.closing:
            signals.send(channel, payload)

    def listen(self, heard: Heard) -> None:
        self._signals.listen(heard)

    def _start(self) -> Session:
        with self._connect() as connection:
            try:
                self._migrate(connection)
            except psycopg.Error as exc:
                raise StoreError(f"{self.name}: cannot prepare the journal: {type(exc).__name__}") from exc
        return PostgresSession(self._connect, self._node)

    def version(self) -> int:
        tx = self.read()
        if tx.rows("SELECT to_regclass('schema_version')") == [(None,)]:
            return 0
        return int(tx.rows("SELECT number FROM schema_version")[0][0])

    def beside(self, name: str) -> PostgresDatabase:
        return PostgresDatabase(self._url, self._node, schema=name)

    def read(self) -> Transaction:
        return _Reading(self._readers)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        connection = self._connect()
        try:
            transaction = Snapshot(connection)
            # Before it begins: its first statement is the moment that it sees.
            transaction.execute("SELECT pg_advisory_lock_shared(hashtextextended(?, 0))", (SNAPSHOTS,))
            transaction.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield transaction
            # The server notices a close only later. It may have ended this since the last statement (`STALL_SECONDS`).
            with contextlib.suppress(StoreError):
                transaction.execute("ROLLBACK")
                transaction.execute("SELECT pg_advisory_unlock_all()")
        finally:
            connection.close()

    def _close_readers(self) -> None:
        self._readers.close()

    def _connect(self) -> Connection:
        """Raises `StoreError`; its text names the server and what it said, never the password."""
        try:
            connection = psycopg.connect(self._conninfo, autocommit=True, cursor_factory=psycopg.RawCursor)
            connection.prepared_max = 500
            connection.adapters.register_dumper(int, Int8Dumper)  # one type for all: one plan a statement
            connection.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', $1, false),"
                " set_config('synchronous_commit', CASE current_setting('synchronous_commit')"
                " WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, false),"
                " set_config('search_path', CASE $2 WHEN '' THEN current_setting('search_path') ELSE $2 END, false)",
                (f"{STALL_SECONDS}s", self._schema),
            )
        except psycopg.Error as exc:
            # libpq names the server before the reason, and indents its advice below it.
            said = [line for line in str(exc).splitlines() if line.strip() == line != ""]
            reason = said[-1].rpartition("failed: ")[2] if said else type(exc).__name__
            raise StoreError(f"{self.name}: cannot be reached: {reason}") from exc
        return connection

    def _migrate(self, connection: Connection) -> None:
        """Applies the schema changes that are missing, all or none; nodes that start at once do it in turn."""
        if connection.info.parameter_status("server_encoding") != "UTF8":
            raise StoreError(
                f"{self.name}: the database's encoding is not UTF8; create it with ENCODING 'UTF8'"
            )
        with connection.transaction():
            tx = Snapshot(connection)
            tx.alone(MIGRATING)
            if self._schema:
                tx.execute(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"')
            tx.execute("CREATE TABLE IF NOT EXISTS schema_version (number INTEGER NOT NULL)")
            have = int((tx.one("SELECT max(number) FROM schema_version") or (None,))[0] or 0)
            for number, _name, sql in missing(migrations("postgresql"), have):
                connection.execute(cast(Any, sql))
                if number in MOVES:
                    MOVES[number](tx)
                tx.execute("DELETE FROM schema_version")
                tx.execute("INSERT INTO schema_version (number) VALUES (?)", (number,))


def _shown(told: dict[str, Any]) -> str:
    """`postgresql://host:port/database`: what people need to recognise it, without its password."""
    port = f":{told['port']}" if told.get("port") else ""
    return f"postgresql://{told.get('host') or ''}{port}/{told.get('dbname') or ''}"
