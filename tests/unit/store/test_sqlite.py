from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from broker.errors import StoreError, UnwritableError
from broker.store import sqlite
from broker.store.schema import migrations
from broker.store.sqlite import WAL_SIZE_LIMIT, SqliteDatabase, migrate
from broker.store.transaction import Transaction
from tests.support.engines import Held, note, notebook, notes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "journal.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[SqliteDatabase]:
    """An open database with one table of its own, `note`."""
    database = SqliteDatabase(path)
    database.open()
    notebook(database)
    yield database
    database.close()


def test_a_full_disk_fails_the_whole_group_and_heals(database: SqliteDatabase) -> None:
    def pages(tx: Transaction, limit: int) -> None:
        tx.execute(f"PRAGMA max_page_count={limit}")

    note(database, "before").result(10)
    database.write(lambda tx: pages(tx, 1)).result(10)
    held = Held(database)
    group = [note(database, "small"), note(database, "x" * 1_000_000), note(database, "behind it")]
    held.release()

    for future in group:
        with pytest.raises(StoreError) as failure:
            future.result(10)
        assert "xxx" not in str(failure.value)
    assert notes(database) == ["before"], "nothing of the group, not even what fitted"
    database.write(lambda tx: pages(tx, 1_000_000)).result(10)
    note(database, "x" * 1_000_000).result(10)
    assert len(notes(database)) == 2


def test_a_full_disk_is_no_fault_of_the_work_that_met_it(database: SqliteDatabase) -> None:
    """Work that takes its own exceptions for its own failure must be able to tell."""
    seen: list[type[BaseException]] = []

    def careful(tx: Transaction) -> None:
        try:
            tx.execute("INSERT INTO note (text) VALUES (?)", ("x" * 1_000_000,))
        except Exception as exc:
            seen.append(type(exc))
            raise

    database.write(lambda tx: tx.execute("PRAGMA max_page_count=1")).result(10)
    with pytest.raises(StoreError):
        database.write(careful).result(10)
    assert seen == [StoreError]


def test_a_failing_write_to_the_file_fails_the_group_and_heals(database: SqliteDatabase) -> None:
    """The kernel refuses to make the file longer: what a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        held = Held(database)
        group = [note(database, "small"), note(database, "x" * 2_000_000)]
        held.release()
        for future in group:
            with pytest.raises(StoreError):
                future.result(10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    note(database, "healed").result(10)

    assert notes(database) == ["healed"]


def test_a_commit_that_fails_at_its_end_fails_every_job(database: SqliteDatabase) -> None:
    refuse = True
    connection = database.write(lambda tx: tx._connection).result(10)
    connection.set_commit_hook(lambda: refuse)
    held = Held(database)
    group = [note(database, "one"), note(database, "two")]
    with pytest.raises(StoreError):
        held.release()
    for future in group:
        with pytest.raises(StoreError):
            future.result(10)
    refuse = False
    note(database, "three").result(10)

    assert notes(database) == ["three"]


def test_a_file_that_must_not_be_written_is_a_store_error(database: SqliteDatabase) -> None:
    connection = database.write(lambda tx: tx._connection).result(10)
    connection.execute("PRAGMA query_only=ON")
    with pytest.raises(StoreError, match="ReadOnlyError"):
        note(database, "x").result(10)
    connection.execute("PRAGMA query_only=OFF")
    note(database, "y").result(10)

    assert notes(database) == ["y"]


def test_a_failure_is_logged_when_it_begins_and_when_it_ends(
    database: SqliteDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = database.write(lambda tx: tx._connection).result(10)
    connection.execute("PRAGMA query_only=ON")
    for _ in range(3):
        with pytest.raises(UnwritableError) as failure:
            note(database, "x").result(10)
        assert str(database.path) not in str(failure.value), "a peer may read it"
    connection.execute("PRAGMA query_only=OFF")
    for _ in range(3):
        note(database, "y").result(10)

    began, ended = capsys.readouterr().out.splitlines()
    assert "the journal cannot be written" in began
    assert "ReadOnlyError" in began
    assert "the journal is written again" in ended


def test_close_without_open_does_nothing(path: Path) -> None:
    SqliteDatabase(path).close()

    assert not path.exists()


def test_a_thread_that_ended_leaves_no_open_files(database: SqliteDatabase) -> None:
    """Every DICOM association reads in a thread of its own."""
    notes(database)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        thread = threading.Thread(target=notes, args=(database,))
        thread.start()
        thread.join()

    assert len(os.listdir("/proc/self/fd")) <= before + 3


def test_every_commit_is_synced_and_bodies_are_checked_against_their_tables(database: SqliteDatabase) -> None:
    def pragmas(tx: Transaction) -> list[Any]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [(tx.one(f"PRAGMA {name}") or (None,))[0] for name in names]

    assert database.write(pragmas).result(10) == ["wal", 2, 1]


@pytest.mark.parametrize(
    "content", [b"this is a letter, not a database. " * 100, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_file_that_is_no_database_is_refused_without_quoting_it(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(StoreError) as failure:
        SqliteDatabase(path).open()
    assert str(path) in str(failure.value)
    assert "letter" not in str(failure.value)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError):
        SqliteDatabase(tmp_path / "file" / "journal.sqlite").open()


# --- the WAL ---


def wal_bytes(database: SqliteDatabase) -> int:
    return Path(f"{database.path}-wal").stat().st_size


def grow(database: SqliteDatabase, megabytes: int) -> None:
    for _ in range(megabytes):
        note(database, "x" * 1_000_000).result(60)


def test_the_wal_stays_short_while_nobody_reads(database: SqliteDatabase) -> None:
    notes(database)  # a reader that was there, and stays open
    grow(database, 40)

    assert wal_bytes(database) < 8_000_000


def test_the_wal_stays_short_under_reads_without_a_pause(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is always one reader in it: a checkpoint that waits for nobody never gets to begin the WAL anew."""
    monkeypatch.setattr(sqlite, "RESTART_PAGES", 2000)
    monkeypatch.setattr(sqlite, "RESTART_WAIT_MS", 10_000)  # the machine may be slow; the readers end at once
    ended, reading = threading.Event(), threading.Barrier(3)

    def read() -> None:
        reading.wait(10)
        while not ended.is_set():
            database.read().rows("SELECT length(text) FROM note ORDER BY number DESC LIMIT 3")

    readers = [threading.Thread(target=read, daemon=True) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        reading.wait(10)
        grow(database, 60)
    finally:
        ended.set()
    for reader in readers:
        reader.join(10)

    assert wal_bytes(database) < 30_000_000


def test_a_reader_that_never_ends_does_not_stop_the_writer_and_the_wal_shrinks_behind_it(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "RESTART_WAIT_MS", 1)
    note(database, "first").result(10)
    backup = apsw.Connection(str(database.path))
    backup.execute("BEGIN")
    backup.execute("SELECT * FROM note").fetchall()
    grow(database, 60)
    assert wal_bytes(database) > 60_000_000, "it must keep what the reader may still ask for"
    backup.close()
    grow(database, 2)

    assert wal_bytes(database) <= WAL_SIZE_LIMIT
    assert len(notes(database)) == 63


def test_a_statement_of_a_reader_ends_its_snapshot(database: SqliteDatabase) -> None:
    """Otherwise each thread that has ever read would keep the WAL from beginning anew."""
    database.read().rows("SELECT * FROM note")
    database.read().one("SELECT 1 FROM note")
    note(database, "x").result(10)
    busy, frames, done = (
        database.write(lambda tx: tx._connection).result(10).execute("PRAGMA wal_checkpoint(RESTART)").get
    )

    assert (busy, frames) == (0, done)


def test_a_checkpoint_that_fails_loses_nothing_and_is_made_good(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk has room for the WAL and none for the file: what the kernel's limit on a file's length does here."""
    grow(database, 20)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (database.path.stat().st_size + 4096, hard))
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 1)
    try:
        note(database, "y" * 100_000).result(10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    grow(database, 10)

    assert [len(text) for text in notes(database)] == [1_000_000] * 20 + [100_000] + [1_000_000] * 10
    assert wal_bytes(database) < 8_000_000


# --- migrations ---


def schema(connection: apsw.Connection) -> list[tuple[str, ...]]:
    return list(connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name"))


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [number for number, _, _ in migrations("sqlite")] == list(range(1, len(migrations("sqlite")) + 1))


def test_an_empty_file_gets_every_migration_and_a_second_run_none() -> None:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    first = schema(connection)
    migrate(connection)

    assert {"message", "event", "delivery", "patient", "step", "worklist", "instance"} <= {
        n for _, n, _ in first
    }
    assert connection.pragma("user_version") == migrations("sqlite")[-1][0]
    assert schema(connection) == first


def test_only_missing_migrations_run(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    known = migrations("sqlite")
    more = (known[-1][0] + 1, "more.sql", "CREATE TABLE more (x TEXT); INSERT INTO more VALUES ('once');")
    monkeypatch.setattr(sqlite, "migrations", lambda _dialect: [*known, more])
    migrate(connection)
    migrate(connection)

    assert list(connection.execute("SELECT x FROM more")) == [("once",)]
    assert connection.pragma("user_version") == more[0]


def test_a_migration_that_fails_leaves_nothing_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    before, known = schema(connection), migrations("sqlite")
    broken = (known[-1][0] + 1, "broken.sql", "CREATE TABLE half (x TEXT); CREATE TABLE half (x TEXT);")
    monkeypatch.setattr(sqlite, "migrations", lambda _dialect: [*known, broken])

    with pytest.raises(apsw.SQLError):
        migrate(connection)
    assert schema(connection) == before
    assert connection.pragma("user_version") == known[-1][0]
    assert not connection.in_transaction


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    database = SqliteDatabase(path)
    database.open()
    database.write(lambda tx: tx.execute("PRAGMA user_version=999")).result(10)
    database.close()

    with pytest.raises(StoreError, match="newer"):
        SqliteDatabase(path).open()
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == 999
    connection.close()


def test_a_failing_group_may_hold_work_whose_caller_went_away(database: SqliteDatabase) -> None:
    connection = database.write(lambda tx: tx._connection).result(10)
    held = Held(database)
    abandoned, other = note(database, "abandoned"), note(database, "other")
    assert abandoned.cancel()
    connection.execute("PRAGMA query_only=ON")
    held.release()
    with pytest.raises(StoreError):
        other.result(10)
    connection.execute("PRAGMA query_only=OFF")
    note(database, "later").result(10)

    assert notes(database) == ["later"]


def test_a_disk_that_fails_under_many_rows_is_a_store_error(database: SqliteDatabase) -> None:
    database.write(lambda tx: tx.execute("PRAGMA max_page_count=1")).result(10)

    with pytest.raises(StoreError):
        database.write(lambda tx: tx.each("INSERT INTO note (text) VALUES (?)", [("x" * 100_000,)])).result(
            10
        )


def test_a_statement_keeps_its_plan_whatever_is_bound(database: SqliteDatabase) -> None:
    def asked(connection: apsw.Connection) -> int:
        return int(connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, -1))

    assert database.write(lambda tx: asked(tx._connection)).result(10) == 1
    assert database._readers.use(asked) == 1


def test_who_reads_writes_nothing(database: SqliteDatabase) -> None:
    with pytest.raises(StoreError, match="ReadOnlyError"):
        database.read().rows("DELETE FROM note")


def test_signals_go_nowhere_because_nobody_else_is_there(sqlite_database: SqliteDatabase) -> None:
    heard: list[object] = []
    sqlite_database.listen(lambda channel, payload: heard.append((channel, payload)))
    sqlite_database.signal("ways", "epj")
    sqlite_database.close()

    assert heard == []
