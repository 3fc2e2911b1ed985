"""Outcomes of one lane: the real journal."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from broker.delivery.outcomes import Outcomes
from broker.store.sqlite import SqliteDatabase

SECONDS = 20.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "journal.sqlite")
    database.open()
    yield database
    database.close()


@pytest.mark.parametrize("patient", [False, True])
def test_what_comes_while_those_before_are_settled_is_stored_too(
    database: SqliteDatabase, patient: bool
) -> None:
    outcomes, told = Outcomes(database), list[str]()
    later: Future[Future[None]] = Future()

    def first(_written: bool) -> None:
        told.append("first")
        later.set_result(
            outcomes.add(lambda _tx: True, lambda _written: told.append("second"), patient=patient)
        )

    outcomes.add(lambda _tx: True, first).result(SECONDS)
    later.result(SECONDS).result(SECONDS)

    assert told == ["first", "second"]
    assert len(outcomes) == 0
