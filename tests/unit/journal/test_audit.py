from __future__ import annotations

from broker.journal import audit
from broker.journal.audit import Entry
from broker.store.transaction import Transaction
from tests.support.events import START


def test_lines_are_added_and_read_in_their_order(tx: Transaction) -> None:
    numbers = [
        audit.note(
            tx, at=START, who="kari", action="tap", reason=f"because {n}", detail={"n": n, "å": [None]}
        )
        for n in range(3)
    ]

    assert [entry.id for entry in audit.listed(tx)] == numbers
    assert audit.listed(tx, limit=1) == [
        Entry(
            id=numbers[2],
            at="2026-03-09T08:00:00+00:00",
            who="kari",
            action="tap",
            reason="because 2",
            detail={"n": 2, "å": [None]},
        )
    ]
