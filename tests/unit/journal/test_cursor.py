from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from broker.journal import cursor, intake, log
from broker.store.database import Database
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction, Value
from tests.support import events
from tests.support.crossing import between
from tests.support.events import START


@pytest.fixture
def tx() -> Transaction:
    """Four messages, a minute apart: two events, none, one, two; routed as they came."""
    tx = arrived()
    route(tx, 1, 2, 3, 4, 5)
    return tx


def arrived() -> Transaction:
    """Those messages, and nothing routed yet."""
    tx = in_memory()
    for number, many in enumerate((2, 0, 1, 2), start=1):
        made = [
            events.event("patient.updated", number).model_copy(update={"id": f"M{number}.{n}"})
            for n in range(many)
        ]
        intake.append(tx, events.reception(number, *made))
    return tx


def route(tx: Transaction, *numbers: int) -> None:
    for number in numbers:
        log.mark_routed(tx, [number], "v1")


def test_the_cursor_is_made_once_and_begins_nowhere(tx: Transaction) -> None:
    assert cursor.get(tx) is None
    first = cursor.ensure(tx)

    assert cursor.ensure(tx) == cursor.get(tx) == first
    assert (first.event, first.at, first.rewinds) == (None, "", 0)
    assert len(first.name) == 16


def test_what_lies_behind_comes_in_order_and_in_pieces(tx: Transaction) -> None:
    assert [(n, e.id) for n, e in cursor.behind(tx, 0, 3)] == [(1, "M1.0"), (2, "M1.1"), (3, "M3.0")]
    assert [(n, e.id) for n, e in cursor.behind(tx, 3, 3)] == [(4, "M4.0"), (5, "M4.1")]
    assert cursor.behind(tx, 5, 3) == []


def test_what_was_routed_first_comes_first_and_what_was_not_does_not_come() -> None:
    """Of two nodes that write at once the higher number may be there, and be routed, before the lower one."""
    tx = arrived()
    route(tx, 3, 1)
    assert [(n, e.id) for n, e in cursor.behind(tx, 0, 9)] == [(1, "M3.0"), (2, "M1.0")]

    route(tx, 2)
    assert [(n, e.id) for n, e in cursor.behind(tx, 2, 9)] == [(3, "M1.1")]


def test_what_retention_took_is_passed_over(tx: Transaction) -> None:
    tx.execute("DELETE FROM event WHERE seq<4")

    assert [n for n, _ in cursor.behind(tx, 1, 10)] == [4, 5]


def test_it_moves_on_and_counts_what_is_behind(tx: Transaction) -> None:
    start = cursor.ensure(tx)
    assert cursor.lag(tx, start) == cursor.lag(tx, None) == 5

    moved = cursor.advance(tx, start, 4, START)

    assert moved == cursor.get(tx)
    assert moved is not None
    assert (moved.event, moved.at) == (4, START.isoformat())
    assert cursor.lag(tx, moved) == 1


def test_what_is_not_routed_yet_is_behind_too() -> None:
    tx = arrived()
    route(tx, 3, 1)

    assert cursor.lag(tx, cursor.advance(tx, cursor.ensure(tx), 1, START)) == 4


def test_who_was_rewound_meanwhile_does_not_move(tx: Transaction) -> None:
    start = cursor.advance(tx, cursor.ensure(tx), 4, START)
    assert start is not None
    back = cursor.rewind(tx, 1)

    assert cursor.advance(tx, start, 5, START) is None
    assert cursor.get(tx) == back
    assert (back.event, back.rewinds) == (1, 1)


def test_it_is_never_rewound_forward(tx: Transaction) -> None:
    cursor.advance(tx, cursor.ensure(tx), 2, START)

    assert cursor.rewind(tx, 4).event == 2


def test_of_two_that_rewind_at_once_the_one_that_goes_further_counts(nodes: list[Database]) -> None:
    one, other = nodes
    one.write(lambda tx: cursor.advance(tx, cursor.ensure(tx), 5, START)).result(10)

    def rewind(tx: Transaction) -> cursor.Cursor:
        between(
            tx, "bus_cursor", lambda: other.write(partial(cursor.rewind, event=1)).result(10), behind=True
        )
        return cursor.rewind(tx, 3)

    back = one.write(rewind).result(10)
    assert (back.event, back.rewinds) == (1, 2)
    assert cursor.get(other.read()) == back


def test_the_first_rewind_is_where_it_begins(tx: Transaction) -> None:
    assert cursor.rewind(tx, 3).event == 3


@pytest.mark.parametrize(
    ("minutes", "place"), [(0, 0), (1, 0), (1.5, 2), (2, 2), (3, 2), (3.5, 3), (4, 3), (5, 5)]
)
def test_the_place_before_a_time(tx: Transaction, minutes: float, place: int) -> None:
    assert cursor.before(tx, START + timedelta(minutes=minutes)) == place


def test_a_message_that_came_late_and_was_written_early_is_not_passed_over(tx: Transaction) -> None:
    tx.execute("UPDATE message SET received=? WHERE seq=1", ((START + timedelta(minutes=9)).isoformat(),))

    assert cursor.before(tx, START + timedelta(minutes=8)) == 0


def test_the_place_before_a_time_is_before_whatever_of_it_was_routed_first() -> None:
    """Received from minute 3 on: the events 3, 4 and 5, of which 4 was routed before an older one."""
    tx = arrived()
    route(tx, 1, 4, 2, 3)

    assert cursor.before(tx, START + timedelta(minutes=3)) == 1


def test_what_is_not_routed_yet_lies_behind_every_place() -> None:
    tx = arrived()
    route(tx, 1, 2)

    assert cursor.before(tx, START + timedelta(minutes=3)) == 2


def test_what_is_routed_while_the_place_is_looked_for_is_not_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a bus that is new never gets an event that comes as it is found to be new."""
    tx = in_memory()
    rows = tx.rows

    def meanwhile(sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        found = rows(sql, parameters)
        monkeypatch.undo()
        intake.append(tx, events.reception(1, events.event("patient.updated", 1)))
        route(tx, 1)
        return found

    monkeypatch.setattr(tx, "rows", meanwhile)
    before = cursor.before(tx, START)

    assert [event.id for _, event in cursor.behind(tx, before, 9)] == ["M00001.0"]


def test_an_empty_journal_has_no_place_but_the_beginning() -> None:
    assert cursor.before(in_memory(), START) == 0


def test_an_event_is_found_by_its_id(tx: Transaction) -> None:
    assert cursor.number(tx, "M3.0") == 3
    assert cursor.number(tx, "M2.0") is None


def test_an_event_has_no_place_before_it_was_routed() -> None:
    assert cursor.number(arrived(), "M3.0") is None
