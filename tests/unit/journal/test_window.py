"""The newest part of the journal: so many messages, since when, or what a day of traffic holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.journal.window import MESSAGES, Window, between, window
from broker.store.transaction import Transaction

BEGAN = datetime(2026, 3, 9, 8, tzinfo=UTC)


@pytest.fixture
def journal(tx: Transaction) -> Transaction:
    """Six messages, twelve hours apart, each with two events; the last one's are not routed yet."""
    for number in range(6):
        received = (BEGAN + timedelta(hours=12 * number)).isoformat()
        seq = tx.insert(
            "INSERT INTO message (id, day, received, source, site, peer, protocol, type, control_id, sender, digest,"
            " verdict, reason, answer_code, answer, charset, flags, events, blob)"
            " VALUES (?,?,?,'pas','','','hl7','','','',?,'accepted','','',?,'','',2,'') RETURNING seq",
            (f"M{number}", received[:10], received, b"", b""),
        )
        for event in range(2):
            place = 2 * number + event + 1 if number < 5 else None
            tx.execute(
                "INSERT INTO event (id, message, type, body, routed, place) VALUES (?,?,'','',?,?)",
                (f"E{number}{event}", seq, "v" if place else None, place),
            )
    return tx


def test_so_many_messages(journal: Transaction) -> None:
    found = window(journal, last=3)

    assert (found.messages, found.start, found.end, found.events) == (3, 6, 10, 4)
    assert found.since == (BEGAN + timedelta(hours=36)).isoformat()
    assert window(journal, last=MESSAGES).events == 10


def test_since_then(journal: Transaction) -> None:
    since = (BEGAN + timedelta(hours=12)).isoformat()

    assert window(journal, since=since).start == 2
    assert window(journal, since=since, last=2).messages == 2, "of both the shorter stretch"


def test_without_a_choice_it_is_the_last_day_of_traffic(journal: Transaction) -> None:
    assert window(journal).messages == 3, "the newest, and those within a day before it"


def test_where_nothing_came_or_nothing_was_routed(journal: Transaction, tx: Transaction) -> None:
    later = (BEGAN + timedelta(days=9)).isoformat()

    assert window(journal, since=later) == Window(messages=0, since="", start=0, end=0, events=0)
    assert window(journal, since=later, last=3).messages == 0
    assert window(journal, last=1).events == 0
    assert between(tx, 2, 4) == 2


def test_of_an_empty_journal(tx: Transaction) -> None:
    assert window(tx) == Window(messages=0, since="", start=0, end=0, events=0)
