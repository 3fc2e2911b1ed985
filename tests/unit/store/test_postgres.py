"""What only PostgreSQL has: a server that goes away, other nodes, sequences, and text that may hold no NUL."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest

from broker.errors import StoreError, UnwritableError
from broker.journal import intake, log, search
from broker.store import days, tally
from broker.store.postgres import PostgresDatabase
from broker.store.postgres_session import PostgresSession, translated
from broker.store.readers import READERS
from broker.store.schema import CURRENT
from broker.store.transaction import ConflictError, InDoubtError, Transaction
from tests.support.engines import BROKEN_RULE, SECONDS, Held, note, notebook, notes
from tests.support.events import event, local, patient, reception
from tests.support.postgres import Postgres, waiting_for_lock


@pytest.fixture
def name(postgres: Postgres, journal_template: str) -> str:
    """A database with an empty journal."""
    return postgres.database(journal_template)


@pytest.fixture
def nodes(postgres: Postgres, name: str) -> Iterator[list[PostgresDatabase]]:
    """Two nodes on one journal, with a table more, `note`."""
    both = [PostgresDatabase(postgres.url(name), node) for node in ("node-a", "node-b")]
    for database in both:
        database.open()
    notebook(both[0])
    yield both
    for database in both:
        database.close()


@pytest.fixture
def database(nodes: list[PostgresDatabase]) -> PostgresDatabase:
    return nodes[0]


def test_each_value_gets_its_number() -> None:
    assert translated("SELECT 1") == "SELECT 1"
    assert translated("a=? AND b IN (?,?) AND c LIKE '50%'") == "a=$1 AND b IN ($2,$3) AND c LIKE '50%'"


# --- the server goes away ---


def test_the_writer_goes_on_when_its_session_was_ended(
    postgres: Postgres, name: str, database: PostgresDatabase
) -> None:
    note(database, "before").result(SECONDS)
    assert notes(database) == ["before"]
    postgres.end_sessions(name)

    with pytest.raises(UnwritableError):
        note(database, "lost").result(SECONDS)
    note(database, "after").result(SECONDS)
    assert notes(database) == ["before", "after"], "and readers too, without an error"


def test_a_session_that_ends_in_the_middle_of_work_undoes_all_of_the_group(
    postgres: Postgres, name: str, database: PostgresDatabase
) -> None:
    def ended(tx: Transaction) -> None:
        tx.execute("INSERT INTO note (text) VALUES ('half')")
        postgres.end_sessions(name)
        tx.rows("SELECT 1")

    held = Held(database)
    group = [note(database, "one"), database.write(ended)]
    held.release()
    with pytest.raises(UnwritableError):
        group[0].result(SECONDS)
    with pytest.raises(UnwritableError):
        group[1].result(SECONDS)
    note(database, "after").result(SECONDS)
    assert notes(database) == ["after"]


@pytest.mark.parametrize("took_place", [True, False])
def test_a_commit_whose_answer_was_lost_is_looked_up(
    postgres: Postgres,
    name: str,
    database: PostgresDatabase,
    monkeypatch: pytest.MonkeyPatch,
    took_place: bool,
) -> None:
    """Commit 2 of the router: taken for lost, its deliveries would stand in the journal and in no lane."""
    whole = PostgresSession.commit

    def cut(session: PostgresSession) -> None:
        monkeypatch.setattr(PostgresSession, "commit", whole)
        if took_place:
            whole(session)
            postgres.end_sessions(name)
            raise InDoubtError("the answer is lost")
        postgres.end_sessions(name)
        whole(session)

    monkeypatch.setattr(PostgresSession, "commit", cut)
    written = database.write(lambda tx: tx.insert("INSERT INTO note (text) VALUES ('x') RETURNING number"))

    if took_place:
        assert written.result(SECONDS) == 1
    else:
        with pytest.raises(UnwritableError):
            written.result(SECONDS)
    note(database, "after").result(SECONDS)
    assert notes(database) == (["x", "after"] if took_place else ["after"])


def test_a_commit_over_a_connection_that_is_gone_is_never_taken_for_one(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new connection would answer COMMIT, having nothing to commit."""
    whole = PostgresSession.commit

    def gone(session: PostgresSession) -> None:
        monkeypatch.setattr(PostgresSession, "commit", whole)
        assert session._connection is not None
        session._connection.close()
        whole(session)

    monkeypatch.setattr(PostgresSession, "commit", gone)
    with pytest.raises(UnwritableError):
        note(database, "x").result(SECONDS)
    assert notes(database) == []


def test_the_first_transaction_of_a_writer_is_waited_for_too(database: PostgresDatabase) -> None:
    """Its row of `writer` is not there yet while it may still be committed."""
    session = database._start()
    session.begin().execute("INSERT INTO note (text) VALUES ('x')")
    assert isinstance(session, PostgresSession)
    old, session._connection = session._connection, None
    pipelining, session._pipelining = session._pipelining, contextlib.ExitStack()
    told: list[bool] = []
    asking = threading.Thread(target=lambda: told.append(session.committed()))
    asking.start()
    waiting_for_lock(database)
    assert old is not None
    old.execute("COMMIT")
    pipelining.close()
    asking.join(SECONDS)
    old.close()
    session.close()

    assert told == [True]


def test_while_a_commit_is_in_doubt_other_work_is_refused_at_once_and_a_close_ends_it(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubtful(_session: PostgresSession) -> None:
        raise InDoubtError("lost")

    def nobody_can_tell(_session: PostgresSession) -> bool:
        raise StoreError("no server")

    monkeypatch.setattr(PostgresSession, "commit", doubtful)
    monkeypatch.setattr(PostgresSession, "committed", nobody_can_tell)
    begun = threading.Event()
    in_doubt = database.write(lambda tx: begun.set())
    assert begun.wait(SECONDS)  # what is handed in from now on is another group
    with pytest.raises(UnwritableError):
        note(database, "y").result(SECONDS)
    assert not in_doubt.done()
    database.close()

    with pytest.raises(UnwritableError):
        in_doubt.result(SECONDS)


def test_a_server_that_is_not_there_is_told_without_its_password() -> None:
    database = PostgresDatabase("postgresql://broker:hemmelig@127.0.0.1:1/journal", "node-a")
    with pytest.raises(StoreError) as failure:
        database.open()
    assert "postgresql://127.0.0.1:1/journal" in str(failure.value)
    with pytest.raises(StoreError) as failure:
        database.read().rows("SELECT 1")
    assert "hemmelig" not in str(failure.value)


def test_what_is_no_url_is_refused_without_quoting_it() -> None:
    with pytest.raises(StoreError) as failure:
        PostgresDatabase("postgresql://broker:hemmelig@host/db?nonsense=1", "node-a")
    assert "hemmelig" not in str(failure.value)


# --- errors ---


def test_an_error_names_the_rule_and_never_the_value(database: PostgresDatabase) -> None:
    one = reception(1, event("patient.registered", patient=patient(local("700123"))))
    database.write(lambda tx: intake.append(tx, one)).result(SECONDS)
    with pytest.raises(BROKEN_RULE) as failure:
        database.write(lambda tx: intake.insert(tx, one)).result(SECONDS)

    assert str(failure.value) == "23505 message message_id_key"


def test_an_error_that_shows_late_belongs_to_the_job_that_made_it(database: PostgresDatabase) -> None:
    """Statements are handed over without waiting: the next job must not be blamed."""
    held = Held(database)
    before, broken, after = note(database, "1"), note(database, None), note(database, "2")
    held.release()

    before.result(SECONDS)
    after.result(SECONDS)
    with pytest.raises(psycopg.errors.NotNullViolation):
        broken.result(SECONDS)
    assert notes(database) == ["1", "2"]


def test_text_with_nul_is_stored_and_found(database: PostgresDatabase) -> None:
    """A sender may put anything into MSH-10; refused by the database, it would come again for ever."""
    odd = replace(reception(1), control_id="C\x001", keys=(("patient", "7\x00"), ("long", "x" * 4000)))
    said = [database.write(lambda tx: intake.append(tx, odd)).result(SECONDS) for _ in range(2)]

    assert [one.repeat for one in said] == [False, True]
    assert search.find(database.read(), text="7\x00") == search.find(database.read(), text="x" * 4000) == [1]


def test_times_are_compared_by_code_points(tx: Transaction) -> None:
    """Other orders pass over punctuation: a day's limits would hold the wrong messages."""
    first, last = days.within("2026-03-09")
    days.ensure(tx, "2026-03-09")
    tx.execute("INSERT INTO exception VALUES ('k', 's', '', '2026-03-09T23:59:59+00:00', '')")

    assert tx.one("SELECT 1 FROM exception WHERE since>=? AND since<?", (first, last)) == (1,)


# --- several nodes ---


def test_the_same_message_on_two_nodes_at_once_is_stored_once(nodes: list[PostgresDatabase]) -> None:
    """The second looks only when the first is on disk, or undone."""
    appended, release = threading.Event(), threading.Event()
    one = reception(1, event("patient.registered", patient=patient(local("700123"))))

    def slow(tx: Transaction) -> bool:
        stored = intake.append(tx, one)
        appended.set()
        assert release.wait(SECONDS)
        return stored.repeat

    first = nodes[0].write(slow)
    assert appended.wait(SECONDS)
    other = replace(one, message_id="M00002")
    second = nodes[1].write(lambda tx: intake.append(tx, other).repeat)
    waiting_for_lock(nodes[0])
    release.set()

    assert (first.result(SECONDS), second.result(SECONDS)) == (False, True)
    assert log.counts(nodes[0].read()) == [{"source": "pas", "verdict": "accepted", "messages": 1}]


def test_at_midnight_two_nodes_make_the_days_tables_once(nodes: list[PostgresDatabase]) -> None:
    made, release = threading.Event(), threading.Event()

    def slow(tx: Transaction) -> None:
        days.ensure(tx, "2026-03-10")
        made.set()
        assert release.wait(SECONDS)

    first = nodes[0].write(slow)
    assert made.wait(SECONDS)
    second = nodes[1].write(lambda tx: days.ensure(tx, "2026-03-10"))
    waiting_for_lock(nodes[0])
    release.set()
    first.result(SECONDS)
    second.result(SECONDS)

    assert days.known(nodes[0].read()) == ["2026-03-10"]


def test_the_tally_of_one_node_waits_for_no_other(nodes: list[PostgresDatabase]) -> None:
    counted, release = threading.Event(), threading.Event()

    def slow(tx: Transaction) -> None:
        tally.add(tx, "2026-03-09", "pas", "accepted")
        counted.set()
        assert release.wait(SECONDS)

    first = nodes[0].write(slow)
    assert counted.wait(SECONDS)
    nodes[1].write(lambda tx: tally.add(tx, "2026-03-09", "pas", "accepted")).result(SECONDS)
    release.set()
    first.result(SECONDS)

    assert tally.messages(nodes[0].read()) == [("pas", "accepted", 2)]
    assert len(nodes[0].read().rows("SELECT 1 FROM tally")) == 2


def test_two_nodes_that_cross_each_other_both_succeed(nodes: list[PostgresDatabase]) -> None:
    """Each waits for what the other holds: the server ends one of them, and that one is done again."""
    both = threading.Barrier(2)
    runs: list[str] = []

    def crossing(first: str, second: str) -> Callable[[Transaction], None]:
        def work(tx: Transaction) -> None:
            runs.append(first)
            tx.alone(first)
            tx.rows("SELECT 1")
            if len(runs) <= 2:
                both.wait(SECONDS)
            tx.alone(second)
            tx.execute("INSERT INTO note (text) VALUES (?)", (first,))

        return work

    jobs = [nodes[0].write(crossing("a", "b")), nodes[1].write(crossing("b", "a"))]
    for job in jobs:
        job.result(3 * SECONDS)

    assert sorted(notes(nodes[0])) == ["a", "b"]
    assert len(runs) == 3


def test_work_that_is_always_crossed_is_given_up(database: PostgresDatabase) -> None:
    runs: list[int] = []

    def crossed(tx: Transaction) -> None:
        runs.append(1)
        raise ConflictError("again")

    with pytest.raises(UnwritableError):
        database.write(crossed).result(SECONDS)
    assert len(runs) == 5


def test_nodes_that_start_at_once_make_one_schema(postgres: Postgres) -> None:
    url = postgres.url(postgres.database())
    several = [PostgresDatabase(url, f"node-{number}") for number in range(4)]
    starts = [threading.Thread(target=one.open) for one in several]
    for start in starts:
        start.start()
    for start in starts:
        start.join(SECONDS)

    assert [one.version() for one in several] == [CURRENT] * 4
    for one in several:
        one.close()


def test_a_newer_schema_is_refused_and_left_alone(postgres: Postgres, name: str) -> None:
    postgres.execute("UPDATE schema_version SET number=999", name)
    database = PostgresDatabase(postgres.url(name), "node-a")

    with pytest.raises(StoreError, match="newer"):
        database.open()
    assert database.version() == 999
    database.close()


def test_a_writer_leaves_nothing_behind_when_it_is_closed(
    postgres: Postgres, name: str, nodes: list[PostgresDatabase]
) -> None:
    note(nodes[1], "x").result(SECONDS)
    assert len(nodes[0].read().rows("SELECT 1 FROM writer")) == 2
    nodes[1].close()

    assert len(nodes[0].read().rows("SELECT 1 FROM writer")) == 1


def test_many_threads_share_few_connections(database: PostgresDatabase) -> None:
    """Two hundred associations read at once; each connection is a process of the server's."""
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.extend(row[0] for row in database.read().rows("SELECT 1")))
        for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    sessions = database.read().rows(
        "SELECT count(*) FROM pg_stat_activity WHERE datname=current_database() AND application_name='broker'"
    )

    assert found == [1] * 50
    assert sessions[0][0] <= READERS + 2
