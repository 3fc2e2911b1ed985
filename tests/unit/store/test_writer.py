"""What every engine promises: grouped commits, jobs that fail alone, order. Runs on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait

import pytest

from broker.errors import StoreError
from broker.store import writer
from broker.store.database import Database
from broker.store.transaction import Transaction
from broker.store.writer import MAX_GROUP
from tests.support.engines import BROKEN_RULE, WRONG_SQL, Held, note, notes, watched
from tests.unit.conftest import NewDatabase

pytestmark = pytest.mark.usefixtures("note_table")


def test_writes_of_many_threads_share_commits_and_all_are_durable(
    database: Database, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = watched(database, monkeypatch)
    held = Held(database)
    futures: list[Future[None]] = []

    def client(name: int) -> None:
        futures.extend(note(database, f"{name}-{n}") for n in range(25))

    threads = [threading.Thread(target=client, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held.release()
    done, left = wait(futures, timeout=10)
    for future in done:
        future.result()
    database.close()

    assert not left
    assert groups == [1, 200], "200 writes, one fsync"
    again = new_database()
    again.open()
    assert sorted(notes(again)) == sorted(f"{name}-{n}" for name in range(8) for n in range(25))
    again.close()


def test_each_threads_own_writes_keep_their_order(database: Database) -> None:
    held = Held(database)
    futures = [note(database, str(n)) for n in range(50)]
    held.release()
    wait(futures, timeout=10)

    assert notes(database) == [str(n) for n in range(50)]


def test_a_group_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = watched(database, monkeypatch)
    held = Held(database)
    futures = [note(database, str(n)) for n in range(MAX_GROUP + 1)]
    held.release()
    wait(futures, timeout=10)

    assert groups == [1, MAX_GROUP, 1]


def test_urgent_work_goes_first_and_a_group_holds_one_ordinary_job(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = watched(database, monkeypatch)
    held = Held(database)
    ordinary = [note(database, f"ordinary {n}", urgent=False) for n in range(3)]
    urgent = [note(database, f"urgent {n}") for n in range(2)]
    held.release()
    wait([*ordinary, *urgent], timeout=10)

    assert notes(database) == ["urgent 0", "urgent 1", "ordinary 0", "ordinary 1", "ordinary 2"]
    assert groups == [1, 3, 1, 1]


def test_patient_work_goes_with_the_next_group_as_its_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 1e6)
    groups = watched(database, monkeypatch)
    patient = [note(database, f"patient {n}", urgent=False, patient=True) for n in range(3)]
    assert not any(future.done() for future in patient)
    urgent = note(database, "urgent")
    wait([*patient, urgent], timeout=10)

    assert notes(database) == ["patient 0", "patient 1", "patient 2", "urgent"]
    assert groups == [4]


@pytest.mark.parametrize("ends", ["alone", "hurry", "close"])
def test_patient_work_waits_for_no_group_that_does_not_come(
    database: Database, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 0.0 if ends == "alone" else 1e6)
    written = note(database, "patient", urgent=False, patient=True)
    if ends == "hurry":
        database.hurry()
    if ends == "close":
        database.close()
    written.result(10)
    database.close()

    again = new_database()
    again.open()
    assert notes(again) == ["patient"]
    again.close()


def test_a_failing_job_undoes_only_itself(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = watched(database, monkeypatch)

    def broken(tx: Transaction) -> None:
        tx.execute("INSERT INTO note (text) VALUES ('half')")
        raise ValueError("not a database error")

    held = Held(database)
    before, failing, after = (
        note(database, "before"),
        database.write(broken, urgent=True),
        note(database, "after"),
    )
    held.release()

    before.result(10)
    after.result(10)
    with pytest.raises(ValueError, match="not a database error"):
        failing.result(10)
    assert notes(database) == ["before", "after"]
    assert groups == [1, 3]


def test_a_mistake_in_sql_is_the_jobs_own(database: Database) -> None:
    with pytest.raises(WRONG_SQL):
        database.write(lambda tx: tx.execute("INSERT INTO nowhere VALUES (1)")).result(10)
    with pytest.raises(BROKEN_RULE):
        database.write(lambda tx: tx.execute("INSERT INTO note (text) VALUES (NULL)")).result(10)

    note(database, "goes on").result(10)
    assert notes(database) == ["goes on"]


def test_work_whose_caller_went_away_is_skipped_and_hurts_nobody(database: Database) -> None:
    """asyncio cancels the future when a connection's task is cancelled at a stop."""
    held = Held(database)
    abandoned, other = note(database, "abandoned"), note(database, "other")
    assert abandoned.cancel()
    held.release()

    other.result(10)
    note(database, "later").result(10)
    assert notes(database) == ["other", "later"]


def test_work_that_has_begun_is_not_cancelled_any_more(database: Database) -> None:
    begun: list[bool] = []
    job: list[Future[None]] = []
    ready = threading.Event()

    def work(tx: Transaction) -> None:
        assert ready.wait(10)
        begun.append(job[0].cancel())
        tx.execute("INSERT INTO note (text) VALUES ('kept')")

    job.append(database.write(work))
    ready.set()
    job[0].result(10)

    assert begun == [False]
    assert notes(database) == ["kept"]


def test_close_finishes_what_was_handed_in(database: Database, new_database: NewDatabase) -> None:
    held = Held(database)
    futures = [note(database, str(n), urgent=n % 2 == 0) for n in range(20)]
    closer = threading.Thread(target=database.close)
    closer.start()
    held.release()
    closer.join(10)

    assert [future.done() and future.exception() is None for future in futures] == [True] * 20
    again = new_database()
    again.open()
    assert len(notes(again)) == 20
    again.close()


def test_after_close_nothing_is_taken(database: Database) -> None:
    database.close()
    database.close()

    with pytest.raises(StoreError, match="closed"):
        note(database, "late")
