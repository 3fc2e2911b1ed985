"""What another node does between two statements of a transaction, at a moment that the test says and no clock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from broker.store.database import Database
from broker.store.transaction import Transaction
from tests.support.postgres import SESSION_WAITS

T = TypeVar("T")


def between(
    tx: Transaction, statement: str, meanwhile: Callable[[], object], *, behind: bool = False
) -> None:
    """Something happens elsewhere just before, or `behind`, this transaction's first statement with a text in it.

    Of the statements that give rows: one that gives none is not waited for.
    """
    rows = tx.rows

    def watched(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        if statement not in sql:
            return rows(sql, *parameters)
        tx.rows = rows  # type: ignore[method-assign]
        if behind:
            found = rows(sql, *parameters)
            meanwhile()
            return found
        meanwhile()
        return rows(sql, *parameters)

    tx.rows = watched  # type: ignore[method-assign]


def as_far_as_it_gets(database: Database, work: Future[T]) -> Future[T]:
    """Once it is done, or waits for what another session of this PostgreSQL database has locked."""
    while not work.done() and not database.read().rows(SESSION_WAITS):
        pass
    return work
