"""Newest is what was received last, and an index says which that is, however many rows there are."""

from __future__ import annotations

from datetime import datetime, timedelta

import apsw
import pytest

from broker.journal import search
from broker.journal.intake import append
from broker.store.sqlite import SqliteTransaction, migrate
from broker.store.transaction import Transaction
from tests.support.events import START, reception


@pytest.fixture
def connection() -> apsw.Connection:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    return connection


@pytest.fixture
def tx(connection: apsw.Connection) -> Transaction:
    """Six messages a minute apart over two days, ORM and ADT in turn; the clock was put back before the last."""
    tx = SqliteTransaction(connection)
    for number in range(1, 7):
        received = START + timedelta(days=number > 3, minutes=number if number < 6 else -1)
        append(
            tx,
            reception(
                number,
                received=received,
                message_type="ADT^A04" if number % 2 else "ORM^O01",
                keys=(("patient", "P1"), ("order", f"F{number}")),
            ),
        )
    return tx


def _iso(of: datetime) -> str:
    return of.isoformat()


def test_newest_is_what_was_received_last(tx: Transaction) -> None:
    """Message 6 has the highest number, but its clock says it came before 4 and 5."""
    assert search.find(tx, limit=2) == [4, 5]
    assert search.find(tx, type="ORM^O01", limit=1) == [4]
    assert search.find(
        tx, since=_iso(START + timedelta(minutes=2)), until=_iso(START + timedelta(days=1))
    ) == [
        2,
        3,
        6,
    ]


@pytest.mark.parametrize(
    "asked",
    [{"type": "ADT^A04"}, {"since": "2026-03-09T08"}, {"type": "ADT^A04", "until": "2026-03-09T09"}, {}],
)
def test_an_index_gives_messages_in_order(
    connection: apsw.Connection, tx: Transaction, asked: dict[str, str]
) -> None:
    """No question reads or sorts what is outside its limits: with millions of rows that takes seconds."""
    asked_of_sqlite: list[str] = []
    connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda told: asked_of_sqlite.append(told["sql"]))
    search.find(tx, **asked)
    connection.trace_v2(0, None)

    (sql,) = asked_of_sqlite
    bound = [*asked.values(), 20]
    plan = [detail for _, _, _, detail in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bound)]

    assert len(plan) == 1, plan
    assert "INDEX" in plan[0]
    for limit, used in {"type": "type=?", "since": "received>?", "until": "received<?"}.items():
        assert (limit in asked) == (used in plan[0]), plan
