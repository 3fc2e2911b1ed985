"""PostgreSQL's side of a transaction: statements, their errors, and the writer's session, which outlives the server.

Several nodes may write at once, which the single writer of SQLite never meets: `alone`, conflicts that are done again,
commits whose answer was lost. Not here: connections, readers and the schema (`postgres`).
"""

from __future__ import annotations

import contextlib
import uuid
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, cast

import psycopg
from psycopg import errors

from broker.errors import StoreError
from broker.store.transaction import BusyError, ConflictError, InDoubtError, Session, Transaction, Value

Connection = psycopg.Connection[tuple[Any, ...]]

FAILURES: Final = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""What psycopg says when the server, its disk or the way to it failed; `InternalError` covers a server that may not be
written (a standby), and a transaction that goes on behind an error that was swallowed."""


SNAPSHOTS: Final = "broker: snapshots"
"""Shared by all that are open. A table that is dropped is gone for them too, whatever they saw at their beginning."""

DROP_WAIT_MS: Final = 100
"""What a table that is to be dropped is waited for; meanwhile who wants to read it waits too."""


@contextlib.contextmanager
def errors_told() -> Iterator[None]:
    """The server's failures as `StoreError`; any other error without the values that psycopg quotes in its text."""
    try:
        yield
    except (errors.DeadlockDetected, errors.SerializationFailure) as exc:
        raise ConflictError("another node's transaction crossed this one") from exc
    except psycopg.Error as exc:
        if isinstance(exc, FAILURES) and not isinstance(exc, errors.ProgramLimitExceeded):
            raise StoreError(f"the journal's server failed: {type(exc).__name__}") from exc
        where = (exc.diag.table_name, exc.diag.column_name, exc.diag.constraint_name)
        raise type(exc)(" ".join(part for part in (exc.sqlstate, *where) if part)) from None


@lru_cache(maxsize=2048)
def translated(sql: str) -> str:
    """`?` for each value becomes PostgreSQL's own `$1`, `$2` …; the statements here hold none in their literals."""
    first, *rest = sql.split("?")
    return first + "".join(f"${n}{part}" for n, part in enumerate(rest, 1))


def run(connection: Connection, sql: str, parameters: Sequence[Value]) -> psycopg.Cursor[tuple[Any, ...]]:
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
    locking = "FOR UPDATE OF d SKIP LOCKED"

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

    def drop(self, table: str) -> None:
        # A snapshot may be open for an hour: waiting for that, this node would answer nobody.
        if self.one("SELECT pg_try_advisory_xact_lock(hashtextextended(?, 0))", (SNAPSHOTS,)) == (False,):
            raise BusyError("a snapshot is being read")
        self.execute(f"SET LOCAL lock_timeout='{DROP_WAIT_MS}ms'")
        try:
            self.change(f"DROP TABLE IF EXISTS {table}")
        except StoreError as exc:
            if isinstance(exc.__cause__, errors.LockNotAvailable):
                raise BusyError(f"{table} is being used") from exc
            raise
        self.execute("SET LOCAL lock_timeout TO DEFAULT")

    def now(self) -> float:
        return float(self.rows("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0])

    def touch(self) -> None:
        self.execute("UPDATE schema_version SET number=number")

    def used(self) -> int:
        sql = (
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
            " WHERE relkind='r' AND relnamespace=current_schema()::regnamespace"
        )
        return int(self.rows(sql)[0][0])


def fetched(cursor: psycopg.Cursor[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], int]:
    return (cursor.fetchall() if cursor.description else []), cursor.rowcount


class Waiting(PostgresTransaction):
    """Each statement is waited for."""

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        return self._fetch(sql, parameters)[0]

    def change(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        return self._fetch(sql, parameters)[1]

    @abstractmethod
    def _fetch(self, sql: str, parameters: Sequence[Value]) -> tuple[list[tuple[Any, ...]], int]:
        """The rows of a statement, and how many it gave or changed."""


class Snapshot(Waiting):
    """One connection that stands in a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def _fetch(self, sql: str, parameters: Sequence[Value]) -> tuple[list[tuple[Any, ...]], int]:
        with errors_told():
            return fetched(run(self._connection, sql, parameters))


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
        with errors_told():
            run(self._connection, sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        with errors_told():
            return run(self._connection, sql, parameters).fetchall()

    def change(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        with errors_told():
            cursor = run(self._connection, sql, parameters)
            self._pipeline.sync()
            return cursor.rowcount

    def settle(self) -> None:
        with errors_told():
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
            with errors_told():
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
        row = Snapshot(self._connected()).one(
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
