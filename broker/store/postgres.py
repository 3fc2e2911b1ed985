"""PostgreSQL through psycopg 3: a writer that pipelines and outlives the server, a few shared readers, migrations.

Several nodes may write at once, which the single writer of SQLite never meets: `alone`, conflicts that are done again,
commits whose answer was lost. Not here: any table's meaning, and the writer itself (`database`).
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.types.numeric import Int8Dumper

from broker.errors import StoreError
from broker.store.database import (
    ConflictError,
    Database,
    InDoubtError,
    Session,
    Transaction,
    Value,
    migrations,
    missing,
)

Connection = psycopg.Connection[tuple[Any, ...]]

READERS: Final = 8
"""Connections that read, at most: each is a process of the server's, and a statement takes less than a millisecond."""

IDLE_SECONDS: Final = 10
"""What a writer that stalls inside a transaction may keep the others waiting; then the server ends its transaction."""

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

_FAILURES: Final = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""What psycopg says when the server, its disk or the way to it failed; `InternalError` covers a server that may not be
written (a standby), and a transaction that goes on behind an error that was swallowed."""


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """The server's failures as `StoreError`; any other error without the values that psycopg quotes in its text."""
    try:
        yield
    except (errors.DeadlockDetected, errors.SerializationFailure) as exc:
        raise ConflictError("another node's transaction crossed this one") from exc
    except psycopg.Error as exc:
        if isinstance(exc, _FAILURES) and not isinstance(exc, errors.ProgramLimitExceeded):
            raise StoreError(f"the journal's server failed: {type(exc).__name__}") from exc
        where = (exc.diag.table_name, exc.diag.column_name, exc.diag.constraint_name)
        raise type(exc)(" ".join(part for part in (exc.sqlstate, *where) if part)) from None


@lru_cache(maxsize=2048)
def translated(sql: str) -> str:
    """`?` for each value becomes PostgreSQL's own `$1`, `$2` …; the statements here hold none in their literals."""
    first, *rest = sql.split("?")
    return first + "".join(f"${n}{part}" for n, part in enumerate(rest, 1))


def _run(connection: Connection, sql: str, parameters: Sequence[Value]) -> psycopg.Cursor[tuple[Any, ...]]:
    """Hands a statement over. PostgreSQL's text has no NUL, so one that a sender put somewhere is replaced."""
    try:
        return connection.execute(cast(Any, translated(sql)), parameters)
    except psycopg.DataError:
        if not any(isinstance(value, str) and "\0" in value for value in parameters):
            raise
        return connection.execute(cast(Any, translated(sql)), _without_nul(parameters))


def _without_nul(parameters: Sequence[Value]) -> list[Value]:
    return [value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in parameters]


class PostgresTransaction(Transaction):
    """What the writer's transaction and readers have in common."""

    gapless = False

    def each(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        for row in rows:
            self.execute(sql, row)

    def alone(self, what: str) -> None:
        self.execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (what,))

    def create(self, table: str, columns: str, *, clustered: bool = False) -> None:  # noqa: ARG002 - no such thing here
        own = (
            columns.replace("INTEGER", "BIGINT").replace("TEXT", 'TEXT COLLATE "C"').replace("BLOB", "BYTEA")
        )
        self.execute(f"CREATE TABLE {table} ({own})")

    def touch(self) -> None:
        self.execute("UPDATE schema_version SET number=number")

    def used(self) -> int:
        sql = (
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
            " WHERE relkind='r' AND relnamespace=current_schema()::regnamespace"
        )
        return int(self.rows(sql)[0][0])


def _fetched(cursor: psycopg.Cursor[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], int]:
    return (cursor.fetchall() if cursor.description else []), cursor.rowcount


class _Waiting(PostgresTransaction):
    """Each statement is waited for."""

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self._fetch(sql, parameters)[0]

    def change(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        return self._fetch(sql, parameters)[1]

    @abstractmethod
    def _fetch(self, sql: str, parameters: Sequence[Value]) -> tuple[list[tuple[Any, ...]], int]:
        """The rows of a statement, and how many it gave or changed."""


class _Snapshot(_Waiting):
    """One connection that stands in a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _fetch(self, sql: str, parameters: Sequence[Value]) -> tuple[list[tuple[Any, ...]], int]:
        with _errors():
            return _fetched(_run(self._connection, sql, parameters))


class _Reading(_Waiting):
    """Each statement over whichever shared connection is free."""

    def __init__(self, readers: _Readers) -> None:
        self._readers = readers

    def _fetch(self, sql: str, parameters: Sequence[Value]) -> tuple[list[tuple[Any, ...]], int]:
        with _errors():
            return self._readers.use(lambda connection: _fetched(_run(connection, sql, parameters)))


class _Writing(PostgresTransaction):
    """The writer's: statements without rows are handed over and not waited for, so a job costs few round trips."""

    def __init__(
        self, connection: Connection, pipeline: psycopg.Pipeline, node: str, standing: set[str]
    ) -> None:
        self._connection = connection
        self._pipeline = pipeline
        self.node = node
        self.standing = standing

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> None:
        with _errors():
            _run(self._connection, sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        with _errors():
            return _run(self._connection, sql, parameters).fetchall()

    def change(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        with _errors():
            cursor = _run(self._connection, sql, parameters)
            self._pipeline.sync()
            return cursor.rowcount

    def _settle(self) -> None:
        with _errors():
            self._pipeline.sync()

    def _undo(self) -> None:
        self.recover()
        super()._undo()

    def recover(self) -> None:
        """Takes in what is left behind a statement that failed. Raises `StoreError` where the connection is lost."""
        while True:
            try:
                self._pipeline.sync()
            except psycopg.Error as exc:
                if self._connection.closed:
                    raise StoreError("the journal's server is gone") from exc
            else:
                return


class PostgresSession(Session):
    """The writer's connection, made anew when it is lost.

    Each transaction writes its number to this writer's own row of `writer` first. Where the answer to a commit is
    lost, that row tells whether it took place; and as long as the old transaction may still end either way, it
    holds the row.
    """

    def __init__(self, connect: Callable[[], Connection], node: str) -> None:
        self._connect = connect
        self._node = node
        self._id = uuid.uuid4().hex
        self._number = 0
        self._standing: set[str] = set()
        self._connection: Connection | None = None
        self._pipelining = contextlib.ExitStack()
        self._transaction: _Writing | None = None

    def begin(self) -> Transaction:
        connection = self._connected()
        pipeline = self._pipelining.enter_context(connection.pipeline())
        self._transaction = _Writing(connection, pipeline, self._node, self._standing)
        self._number += 1
        self._transaction.execute("BEGIN")
        self._transaction.execute(
            "INSERT INTO writer (id, node, number) VALUES (?,?,?) ON CONFLICT (id) DO UPDATE"
            " SET number=excluded.number",
            (self._id, self._node, self._number),
        )
        return self._transaction

    def commit(self) -> None:
        connection, self._transaction = self._connection, None
        assert connection is not None, (
            "begun"
        )  # never a new one: it would have nothing to commit, and say COMMIT
        try:
            with _errors():
                cursor = connection.execute("COMMIT")
                self._pipelining.close()
        except StoreError as exc:
            if connection.closed:
                self._leave_pipeline()
                self._standing.clear()
                raise InDoubtError("the connection was lost in a commit") from exc.__cause__
            raise
        if cursor.statusmessage != "COMMIT":
            raise StoreError("the server undid what was to be committed")

    def rollback(self) -> None:
        transaction, self._transaction = self._transaction, None
        self._standing.clear()
        connection = self._connection
        try:
            if transaction is not None and connection is not None and not connection.closed:
                transaction.recover()
                connection.execute("ROLLBACK")
            self._pipelining.close()
        except (psycopg.Error, StoreError):
            if connection is not None:
                connection.close()
            self._leave_pipeline()

    def committed(self) -> bool:
        # Written, not read: that waits for the old transaction, were it this writer's first, while it may still end.
        row = _Snapshot(self._connected()).one(
            "INSERT INTO writer (id, node, number) VALUES (?,?,0) ON CONFLICT (id) DO UPDATE"
            " SET node=excluded.node RETURNING number",
            (self._id, self._node),
        )
        return row == (self._number,)

    def close(self) -> None:
        if self._connection is not None and not self._connection.closed:
            with contextlib.suppress(psycopg.Error):
                self._connection.execute("DELETE FROM writer WHERE id=$1", (self._id,))
            self._connection.close()

    def _leave_pipeline(self) -> None:
        """Of a connection that is lost: only an error can come of it."""
        with contextlib.suppress(psycopg.Error):
            self._pipelining.close()

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection


class _Readers:
    """Connections that threads share, a statement at a time."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._slots = threading.BoundedSemaphore(READERS)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []

    def use(self, work: Callable[[Connection], tuple[list[tuple[Any, ...]], int]]) -> tuple[list[Any], int]:
        """Runs it over an idle connection; over a new one where the server has ended that meanwhile."""
        with self._slots:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is not None:
                try:
                    return work(connection)
                except _FAILURES:
                    if not connection.closed:
                        raise
                    self.close()  # the others were ended with it
                finally:
                    self._give_back(connection)
            connection = self._connect()
            try:
                return work(connection)
            finally:
                self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        if not connection.closed:
            with self._lock:
                self._idle.append(connection)

    def close(self) -> None:
        """Closes those that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class PostgresDatabase(Database):
    """A schema of a PostgreSQL database, the login's own if none is named. `node` names this writer in the tally."""

    def __init__(self, url: str, node: str, *, schema: str = "") -> None:
        try:
            told = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise StoreError("store: cannot be read as a PostgreSQL URL") from None
        super().__init__(_shown(told) + (f" ({schema})" if schema else ""))
        self._url, self._node, self._schema = url, node, schema
        self._conninfo = make_conninfo(url, **{k: v for k, v in LIVELINESS.items() if k not in told})
        self._readers = _Readers(self._connect)

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
            transaction = _Snapshot(connection)
            transaction.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield transaction
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
                (f"{IDLE_SECONDS}s", self._schema),
            )
        except psycopg.Error as exc:
            reason = str(exc).strip().splitlines()[-1:] or [type(exc).__name__]
            raise StoreError(f"{self.name}: cannot be reached: {reason[0]}") from exc
        return connection

    def _migrate(self, connection: Connection) -> None:
        """Applies the schema changes that are missing, all or none; nodes that start at once do it in turn."""
        if connection.info.parameter_status("server_encoding") != "UTF8":
            raise StoreError(
                f"{self.name}: the database's encoding is not UTF8; create it with ENCODING 'UTF8'"
            )
        with connection.transaction():
            tx = _Snapshot(connection)
            tx.alone(MIGRATING)
            if self._schema:
                tx.execute(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"')
            tx.execute("CREATE TABLE IF NOT EXISTS schema_version (number INTEGER NOT NULL)")
            have = int((tx.one("SELECT max(number) FROM schema_version") or (None,))[0] or 0)
            for number, _name, sql in missing(migrations("postgresql"), have):
                connection.execute(cast(Any, sql))
                tx.execute("DELETE FROM schema_version")
                tx.execute("INSERT INTO schema_version (number) VALUES (?)", (number,))


def _shown(told: dict[str, Any]) -> str:
    """`postgresql://host:port/database`: what people need to recognise it, without its password."""
    port = f":{told['port']}" if told.get("port") else ""
    return f"postgresql://{told.get('host') or ''}{port}/{told.get('dbname') or ''}"
