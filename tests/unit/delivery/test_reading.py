"""Deliveries that are read together: the real ledger."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from broker.adapter import Receipt, Rendered, Target
from broker.delivery import endings, ledger, stored
from broker.delivery import reading as module
from broker.delivery.reading import Reading
from broker.delivery.stored import Open
from broker.store.sqlite import SqliteDatabase
from tests.support.events import cause


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "journal.sqlite")
    database.open()
    target = Target(route="r", version="v1", place="r.yaml:1", kind="dicom", destination="pacs")
    for text in "abcd":
        database.write(
            lambda tx, text=text: ledger.enqueue(tx, cause(), "p", target, Rendered(payload=text.encode()))  # type: ignore[misc]
        ).result()
    yield database
    database.close()


class Asked:
    """What stands behind each, and how often that was asked: each time the journal is read."""

    def __init__(self, *behind: int) -> None:
        self._behind = behind
        self.times = 0

    def __call__(self) -> Sequence[int]:
        self.times += 1
        return self._behind


def payload(reading: Reading, number: int, asked: Asked) -> bytes | None:
    opened = reading.load(number, asked)
    return opened.delivery.payload if opened else None


def test_those_behind_are_read_together_and_each_is_given_once(database: SqliteDatabase) -> None:
    reading, asked = Reading(database), Asked(2, 3)

    assert [payload(reading, number, asked) for number in (1, 2, 3)] == [b"a", b"b", b"c"]
    assert asked.times == 1
    assert payload(reading, 2, asked) == b"b"
    assert asked.times == 2, "tried once more, it is read once more"


def test_what_came_between_is_seen(database: SqliteDatabase) -> None:
    reading, asked = Reading(database), Asked(2)
    first = reading.load(1, asked)
    other = stored.load(database.read(), 2)
    assert first is not None
    assert other is not None
    database.write(lambda tx: endings.finish(tx, other, Receipt(detail="0000"), "t1")).result()
    reading.forget()

    assert payload(reading, 2, asked) is None


def test_what_came_between_while_they_were_read_is_seen(
    database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, asked, load_all = Reading(database), Asked(2), stored.load_all

    def withdrawn_meanwhile(*args: Any) -> list[Open]:
        found = load_all(*args)
        database.write(lambda tx: tx.execute("UPDATE delivery SET state='withheld' WHERE id=2")).result()
        reading.forget()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(stored, "load_all", withdrawn_meanwhile)
        assert payload(reading, 1, asked) == b"a"

    assert payload(reading, 2, asked) is None


def test_no_more_is_kept_than_a_few(database: SqliteDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    reading, asked = Reading(database), Asked()
    assert payload(reading, 1, Asked(2)) == b"a"
    assert payload(reading, 3, Asked(4)) == b"c"
    assert (payload(reading, 4, asked), asked.times) == (b"d", 0)
    assert (payload(reading, 2, asked), asked.times) == (b"b", 1)
