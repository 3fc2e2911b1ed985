"""What a transaction and a reader give, of every engine. Runs on SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

import pytest

from broker.store.database import Database
from broker.store.transaction import Transaction
from tests.support.engines import SECONDS, notes

pytestmark = pytest.mark.usefixtures("note_table")


def test_a_reader_sees_what_is_committed_and_nothing_else(database: Database) -> None:
    inside: list[list[str]] = []

    def work(tx: Transaction) -> None:
        tx.execute("INSERT INTO note (text) VALUES ('new')")
        looked = threading.Event()

        def look() -> None:
            inside.append(notes(database))
            looked.set()

        threading.Thread(target=look).start()
        assert looked.wait(10)

    database.write(work).result(10)

    assert inside == [[]]
    assert notes(database) == ["new"]


def test_a_transaction_gives_rows_numbers_and_changes(database: Database) -> None:
    def work(tx: Transaction) -> tuple[Any, ...]:
        first = tx.insert("INSERT INTO note (text) VALUES (?) RETURNING number", ("a",))
        second = tx.insert("INSERT INTO note (text) VALUES (?) RETURNING number", ("b",))
        changed = tx.change("UPDATE note SET text='c'")
        return first, second, changed, tx.one("SELECT text FROM note"), tx.one("SELECT 1 FROM note WHERE 1=0")

    assert database.write(work).result(10) == (1, 2, 2, ("c",), None)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_one_statement_runs_for_each_row_in_their_order(database: Database, count: int) -> None:
    rows = [(f"n{number}",) for number in range(count)]

    database.write(lambda tx: tx.each("INSERT INTO note (text) VALUES (?)", rows)).result(10)

    assert notes(database) == [text for (text,) in rows]


def test_what_is_kept_ends_with_the_batch_and_with_what_is_undone(database: Database) -> None:
    def work(tx: Transaction) -> list[dict[str, int]]:
        seen = []
        tx.kept("note")["outside"] = 1
        with tx.keeping():
            seen.append(dict(tx.kept("note")))
            tx.kept("note")["read"] = 1
            with tx.attempt():
                seen.append(dict(tx.kept("note")))
            with contextlib.suppress(KeyError), tx.attempt():
                tx.kept("note")["written"] = 1
                raise KeyError
            seen.append(dict(tx.kept("note")))
            tx.kept("note")["again"] = 1
        seen.append(dict(tx.kept("note")))
        return seen

    assert database.write(work).result(SECONDS) == [{}, {"read": 1}, {}, {}]
    assert database.read().kept("note") == {}
