"""SQLite through apsw: WAL, `synchronous=FULL`, one writer thread that commits many callers' work with one fsync.

Not here: any table's meaning. apsw and not the standard library's sqlite3, because apsw carries an SQLite without
the WAL-reset corruption of 3.7.0 to 3.51.2.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from importlib import resources
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import apsw
import structlog

from broker.errors import StoreError, UnwritableError
from broker.store import days

log = structlog.get_logger("broker.store")

T = TypeVar("T")
Value = str | int | float | bytes | None

MAX_GROUP: Final = 256
"""Jobs that share one fsync; above this, waiting for the group costs more than the fsync saves."""

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


class Transaction:
    """One open transaction, or a reader's snapshot: parameters are always bound, never formatted in.

    Every method raises `StoreError` when the disk or the file failed; work must let it pass.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Value] = ()) -> None:
        self.rows(sql, parameters)

    def rows(self, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except _FAILURES as exc:
            raise _failed(exc) from exc

    def one(self, sql: str, parameters: Sequence[Value] = ()) -> tuple[Any, ...] | None:
        """The first row, or None."""
        return next(iter(self.rows(sql, parameters)), None)

    def insert(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Runs an INSERT and returns the new row's number."""
        self.rows(sql, parameters)
        return self._connection.last_insert_rowid()

    def each(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Runs the statement once for each row of parameters."""
        try:
            self._connection.executemany(sql, rows)
        except _FAILURES as exc:
            raise _failed(exc) from exc

    @property
    def changes(self) -> int:
        """Rows that the last statement changed."""
        return self._connection.changes()


class _Job(Generic[T]):
    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[Transaction], T]) -> None:
        self.work = work
        self.future: Future[T] = Future()


class Database:
    """One SQLite file. `write` returns a future that is done when the work is on disk, or was rolled back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._urgent: deque[_Job[Any]] = deque()
        self._ordinary: deque[_Job[Any]] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._failing = False
        self._wal_pages = 0
        self._restart_at = RESTART_PAGES
        self._readers = threading.local()
        # Weak: a thread's connection goes with its thread (every DICOM association has one of its own).
        self._open_readers: weakref.WeakSet[apsw.Connection] = weakref.WeakSet()

    def open(self) -> None:
        """Opens the file, brings its schema up to date and starts the writer. Raises `StoreError`."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _sync_log(self.path.with_name(f"{self.path.name}-wal"))
            connection = self._connect()
            migrate(connection)
        except (apsw.Error, OSError) as exc:
            raise StoreError(f"{self.path}: cannot open the journal: {type(exc).__name__}") from exc
        self._closing = False
        self._thread = threading.Thread(target=self._run, args=(connection,), name="journal-writer")
        self._thread.start()

    def close(self) -> None:
        """Finishes the work that was handed in, then closes. Idempotent."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        for reader in list(self._open_readers):
            with contextlib.suppress(apsw.ThreadingViolationError):  # still reading: it goes with its thread
                reader.close()

    def write(self, work: Callable[[Transaction], T], *, urgent: bool = False) -> Future[T]:
        """Runs `work` inside the next group commit.

        Urgent work (a sender waits for its acknowledgement) goes before all other; at most one ordinary job shares
        a group, so that routing never makes an acknowledgement wait for more than one of its batches. An exception
        in `work` undoes only that work and is handed on; a failing commit gives every job of the group an
        `UnwritableError`, and the next group is tried as if nothing had been.
        """
        job = _Job(work)
        with self._wake:
            if self._closing:
                raise StoreError("the journal is closed")
            (self._urgent if urgent else self._ordinary).append(job)
            self._wake.notify()
        return job.future

    def read(self) -> Transaction:
        """The calling thread's reader. Each statement sees what was committed when it began. Raises `StoreError`."""
        connection: apsw.Connection | None = getattr(self._readers, "connection", None)
        if connection is None:
            try:
                connection = self._connect()
            except apsw.Error as exc:
                raise StoreError(f"{self.path}: cannot be opened for reading: {type(exc).__name__}") from exc
            self._readers.connection = connection
            self._open_readers.add(connection)
        return Transaction(connection)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        """One moment of the journal, however long it is read. The WAL grows meanwhile: not for ever."""
        try:
            connection = self._connect()
        except apsw.Error as exc:
            raise StoreError(f"{self.path}: cannot be opened for reading: {type(exc).__name__}") from exc
        try:
            connection.execute("BEGIN")
            yield Transaction(connection)
        finally:
            connection.close()

    def _connect(self) -> apsw.Connection:
        connection = apsw.Connection(str(self.path))
        connection.set_busy_timeout(_BUSY_MS)
        # Else SQLite (built with STAT4) plans a statement anew whenever other values are bound: that took longer than
        # to run it.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _run(self, connection: apsw.Connection) -> None:
        transaction = Transaction(connection)
        connection.execute(f"PRAGMA journal_size_limit={WAL_SIZE_LIMIT}")
        connection.set_wal_hook(self._committed)  # in place of SQLite's own checkpoints, inside the commit
        while group := self._next_group():
            self._commit(connection, transaction, group)
            self._checkpoint(connection)
        connection.close()

    def _committed(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self, connection: apsw.Connection) -> None:
        """Keeps the WAL short, after the group was answered. What fails here, a later checkpoint makes good."""
        pages, self._wal_pages = self._wal_pages, 0
        if pages < RESTART_PAGES:
            self._restart_at = RESTART_PAGES
        if pages < CHECKPOINT_PAGES:
            return
        mode = apsw.SQLITE_CHECKPOINT_RESTART if pages >= self._restart_at else apsw.SQLITE_CHECKPOINT_PASSIVE
        connection.set_busy_timeout(RESTART_WAIT_MS)
        try:
            connection.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            self._restart_at = pages + RESTART_PAGES
        except _FAILURES as exc:
            log.warning("the journal's checkpoint failed", file=str(self.path), error=type(exc).__name__)
        finally:
            connection.set_busy_timeout(_BUSY_MS)

    def _next_group(self) -> list[_Job[Any]]:
        """The jobs of the next commit; empty when the database closes and nothing is left."""
        with self._wake:
            while not (self._urgent or self._ordinary or self._closing):
                self._wake.wait()
            group = [self._urgent.popleft() for _ in range(min(len(self._urgent), MAX_GROUP))]
            if self._ordinary:
                group.append(self._ordinary.popleft())
            return group

    def _commit(self, connection: apsw.Connection, transaction: Transaction, group: list[_Job[Any]]) -> None:
        # A caller that went away (asyncio cancels the future) must neither be answered nor end this thread.
        group = [job for job in group if job.future.set_running_or_notify_cancel()]
        results: list[tuple[_Job[Any], Any, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                connection.execute("SAVEPOINT job")
                try:
                    results.append((job, job.work(transaction), None))
                except StoreError:
                    raise
                except Exception as exc:  # noqa: BLE001 - handed to the caller; the others go on
                    connection.execute("ROLLBACK TO job")
                    results.append((job, None, exc))
                connection.execute("RELEASE job")
            connection.execute("COMMIT")
        except Exception as exc:  # noqa: BLE001 - nothing of this group is durable, whatever the reason
            with contextlib.suppress(apsw.Error):  # the next BEGIN tells whether it is over
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            cause = exc.__cause__ if isinstance(exc, StoreError) and exc.__cause__ else exc
            error = UnwritableError(f"the journal cannot be written ({type(cause).__name__})")
            error.__cause__ = cause
            if not self._failing:
                log.error("the journal cannot be written", file=str(self.path), error=type(cause).__name__)
            self._failing = True
            for job in group:
                job.future.set_exception(error)
            return
        if self._failing:
            log.warning("the journal is written again", file=str(self.path))
            self._failing = False
        for job, value, failure in results:
            if failure is None:
                job.future.set_result(value)
            else:
                job.future.set_exception(failure)


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


def journal_file(data: Path) -> Path:
    """Where the journal of a data folder stands."""
    return data / "journal.sqlite"


def is_current(tx: Transaction) -> bool:
    """Whether the schema is the one that this version writes."""
    return tx.one("PRAGMA user_version") == (migrations()[-1][0],)


_MOVES: Final[dict[int, Callable[[Transaction], None]]] = {2: days.distribute}
"""What SQL alone cannot do of a schema change: runs behind it, in its transaction."""


def migrations() -> list[tuple[int, str, str]]:
    """The numbered schema changes (number, file name, SQL), in order."""
    folder = resources.files("broker.store") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name.split("_", 1)[0]), f.name, f.read_text(encoding="utf-8")) for f in files]


def migrate(connection: apsw.Connection) -> None:
    """Applies the schema changes that are missing, each in a transaction of its own (`PRAGMA user_version`)."""
    have = int(connection.pragma("user_version"))
    steps = migrations()
    if have > steps[-1][0]:
        raise StoreError(
            f"schema {have} is newer than this broker knows ({steps[-1][0]}): run the newer broker"
        )
    for number, _name, sql in steps:
        if number > have:
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute(sql)
                if number in _MOVES:
                    _MOVES[number](Transaction(connection))
                connection.execute(f"PRAGMA user_version={number}")
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
