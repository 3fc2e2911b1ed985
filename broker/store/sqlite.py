"""SQLite through apsw: WAL, `synchronous=FULL`, checkpoints between the groups, migrations by `PRAGMA user_version`.

Not here: any table's meaning, and the writer itself (`writer`). apsw and not the standard library's sqlite3, because
apsw carries an SQLite without the WAL-reset corruption of 3.7.0 to 3.51.2.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import structlog

from broker.errors import StoreError
from broker.store.database import Database
from broker.store.readers import Readers
from broker.store.schema import MOVES, migrations, missing
from broker.store.transaction import Session, Transaction, Value

log = structlog.get_logger("broker.store")

CHECKPOINT_PAGES: Final = 1000
"""Pages in the WAL from which each group is followed by a checkpoint that waits for nobody."""

RESTART_PAGES: Final = 4096
"""Pages (16 MiB) from which the writer waits for the readers of the moment.

Where reads overlap without a pause the WAL is never free of readers, and would grow as long as there are any.
"""

RESTART_WAIT_MS: Final = 100
"""What a group may have to wait for such readers; one that stays open longer costs it once in `RESTART_PAGES`."""

WAL_SIZE_LIMIT: Final = 32 << 20
"""Bytes that the file keeps after a checkpoint: what a very large message or a full disk made of it is given back."""

_BUSY_MS: Final = 10_000

_FAILURES: Final = (
    apsw.BusyError,
    apsw.CantOpenError,
    apsw.CorruptError,
    apsw.FullError,
    apsw.IOError,
    apsw.NoMemError,
    apsw.NotADBError,
    apsw.ReadOnlyError,
)
"""What SQLite says when the disk or the file failed, and not the work that met it."""


def _failed(exc: apsw.Error) -> StoreError:
    return StoreError(f"the journal's disk or file failed: {type(exc).__name__}")


class SqliteTransaction(Transaction):
    """Statements over one connection: a transaction of the writer's, or a snapshot."""

    gapless = True
    locking = ""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.standing = set()

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except _FAILURES as exc:
            raise _failed(exc) from exc

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> None:
        try:
            self._connection.execute(sql, parameters)  # done in its first step: it has no rows
        except _FAILURES as exc:
            raise _failed(exc) from exc

    def each(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        try:
            self._connection.executemany(sql, rows)
        except _FAILURES as exc:
            raise _failed(exc) from exc

    def change(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        self.rows(sql, parameters)
        return self._connection.changes()

    def alone(self, what: str) -> None:
        """A transaction of SQLite's is alone from its beginning."""

    def create(self, table: str, columns: str, *, clustered: bool = False) -> None:
        self.rows(f"CREATE TABLE {table} ({columns}) STRICT{', WITHOUT ROWID' if clustered else ''}")

    def drop(self, table: str) -> None:
        self.rows(f"DROP TABLE IF EXISTS {table}")  # who reads goes on reading what was there

    def now(self) -> float:
        return time.time()

    def touch(self) -> None:
        self.rows(f"PRAGMA user_version={self._pragma('user_version')}")

    def used(self) -> int:
        pages, free = self._pragma("page_count"), self._pragma("freelist_count")
        return (pages - free) * self._pragma("page_size")

    def _pragma(self, name: str) -> int:
        return int(self.rows(f"PRAGMA {name}")[0][0])


class SqliteSession(Session):
    """The writer's connection, with its checkpoints."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._transaction = SqliteTransaction(connection)
        self._wal_pages = 0
        self._restart_at = RESTART_PAGES
        connection.execute(f"PRAGMA journal_size_limit={WAL_SIZE_LIMIT}")
        connection.set_wal_hook(self._committed)  # in place of SQLite's own checkpoints, inside the commit

    def begin(self) -> Transaction:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._transaction

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        self._transaction.standing.clear()
        with contextlib.suppress(apsw.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def rest(self) -> None:
        """Keeps the WAL short. What fails here, a later checkpoint makes good."""
        pages, self._wal_pages = self._wal_pages, 0
        if pages < RESTART_PAGES:
            self._restart_at = RESTART_PAGES
        if pages < CHECKPOINT_PAGES:
            return
        mode = apsw.SQLITE_CHECKPOINT_RESTART if pages >= self._restart_at else apsw.SQLITE_CHECKPOINT_PASSIVE
        self._connection.set_busy_timeout(RESTART_WAIT_MS)
        try:
            self._connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            self._restart_at = pages + RESTART_PAGES
        except _FAILURES as exc:
            log.warning("the journal's checkpoint failed", store=str(self._path), error=type(exc).__name__)
        finally:
            self._connection.set_busy_timeout(_BUSY_MS)

    def close(self) -> None:
        self._connection.close()

    def _committed(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK


class _Reading(SqliteTransaction):
    """Each statement over whichever shared connection is free; nothing can be written."""

    def __init__(self, readers: Readers[apsw.Connection]) -> None:
        self._readers = readers
        self.standing = set()

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._readers.use(lambda connection: connection.execute(sql, parameters).fetchall())
        except _FAILURES as exc:
            raise _failed(exc) from exc


class SqliteDatabase(Database):
    """One SQLite file."""

    shared = False

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        self._readers = Readers(self._reader, lambda _connection: False)

    def _start(self) -> Session:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _sync_log(self.path.with_name(f"{self.path.name}-wal"))
            connection = _connect(self.path)
            migrate(connection)
            return SqliteSession(connection, self.path)
        except (apsw.Error, OSError) as exc:
            raise StoreError(f"{self.path}: cannot open the journal: {type(exc).__name__}") from exc

    def version(self) -> int:
        return int(self.read().rows("PRAGMA user_version")[0][0]) if self.path.is_file() else 0

    def beside(self, name: str) -> SqliteDatabase:
        return SqliteDatabase(self.path.with_name(f"{name}.sqlite"))

    def read(self) -> Transaction:
        return _Reading(self._readers)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        connection = self._reader()
        try:
            connection.execute("BEGIN")
            yield SqliteTransaction(connection)
        finally:
            connection.close()

    def _reader(self) -> apsw.Connection:
        try:
            connection = _connect(self.path)
            connection.execute("PRAGMA query_only=ON")
            return connection
        except apsw.Error as exc:
            raise StoreError(f"{self.path}: cannot be opened for reading: {type(exc).__name__}") from exc

    def _close_readers(self) -> None:
        self._readers.close()


_STATEMENTS: Final = 400
"""Statements that a connection keeps prepared, which costs more than to run most of them: the writer runs more of them
in turn than the 100 that apsw keeps."""


def _connect(path: Path) -> apsw.Connection:
    connection = apsw.Connection(str(path), statementcachesize=_STATEMENTS)
    connection.set_busy_timeout(_BUSY_MS)
    # Else SQLite (built with STAT4) plans a statement anew whenever other values are bound: that took longer than
    # to run it.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _sync_log(log: Path) -> None:
    """Makes durable what a killed process wrote and had not synced yet.

    SQLite reads such commits as good, and a sender who repeats one is told so, but a power cut would still lose them.
    """
    if not log.exists():
        return
    for path in (log, log.parent):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def in_memory() -> Transaction:
    """An empty journal that is gone with its last reference, for one thread."""
    connection = apsw.Connection(":memory:")
    connection.execute("PRAGMA foreign_keys=ON")
    migrate(connection)
    return SqliteTransaction(connection)


def journal_file(data: Path) -> Path:
    """Where the journal of a data folder stands."""
    return data / "journal.sqlite"


def migrate(connection: apsw.Connection) -> None:
    """Applies the schema changes that are missing, each in a transaction of its own (`PRAGMA user_version`)."""
    for number, _name, sql in missing(migrations("sqlite"), int(connection.pragma("user_version"))):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(sql)
            if number in MOVES:
                MOVES[number](SqliteTransaction(connection))
            connection.execute(f"PRAGMA user_version={number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
