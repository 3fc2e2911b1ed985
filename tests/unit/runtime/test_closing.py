"""A closing is a message of the journal and a line of the audit, once; what cannot be closed is refused."""

from __future__ import annotations

import pytest

from broker.journal import audit, log
from broker.registers import exceptions
from broker.registers.fold import fold
from broker.runtime.closing import ClosingError, close
from broker.store.database import Database
from tests.support.events import START, event


def said(database: Database, kind: str = "clock-skew", subject: str = "pas") -> str:
    return close(database, kind, subject, by="nn", reason="seen to", now=START, who="login")


def test_what_is_open_is_closed_by_an_event(database: Database) -> None:
    database.write(
        lambda tx: exceptions.report(tx, "clock-skew", "pas", "why", event("patient.updated", 1))
    ).result()
    identity = said(database)

    (waiting,) = log.unrouted(database.read(), 9)
    assert (waiting.event.message_id, waiting.event.type) == (identity, "exception.closed")
    assert "closing" not in waiting.event.to_cloudevent()["data"], "its reason stays inside"
    (line,) = audit.listed(database.read())
    assert (line.action, line.who, line.reason) == ("exceptions close", "login", "seen to")
    database.write(lambda tx: fold(tx, waiting.event, None)).result()
    assert exceptions.listed(database.read()) == []


def test_what_is_not_open_leaves_nothing(database: Database) -> None:
    assert said(database) == ""
    assert log.unrouted(database.read(), 9) == []
    assert audit.listed(database.read()) == []


@pytest.mark.parametrize(
    ("kind", "why"), [("merge-held", "closes by itself"), ("merge-hold", "there is no kind")]
)
def test_what_cannot_be_closed_is_refused(database: Database, kind: str, why: str) -> None:
    with pytest.raises(ClosingError, match=why):
        said(database, kind)
