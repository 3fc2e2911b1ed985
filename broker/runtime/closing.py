"""That a person has seen to an exception: a decision in the journal, so that a rebuild keeps it. Puts nothing right."""

from __future__ import annotations

from datetime import datetime

from broker.errors import BrokerError
from broker.event import OPERATOR, Closing, EventData
from broker.journal import audit, intake
from broker.registers import exceptions
from broker.runtime.decided import decided
from broker.store.database import Database
from broker.store.transaction import Transaction


class ClosingError(BrokerError):
    """It cannot be closed; the text says why and what to do."""


def close(
    database: Database, kind: exceptions.Kind, subject: str, *, by: str, reason: str, now: datetime, who: str
) -> str:
    """Writes it into the journal, and returns the message's id; empty where there is no such entry (any more).

    `who`: the login that typed it, for the audit. Raises `ClosingError` for what closes by itself only.
    """
    if kind in exceptions.SETTLED:
        raise ClosingError(
            f"{kind} closes by itself once it is put right, and would be found again; `broker status` says what to do"
        )
    said = Closing(kind=kind, subject=subject, by=by, reason=reason)
    return database.write(lambda tx: _close(tx, said, now, who)).result()


def _close(tx: Transaction, said: Closing, now: datetime, who: str) -> str:
    if tx.one("SELECT 1 FROM exception WHERE kind=? AND subject=?", (said.kind, said.subject)) is None:
        return ""
    reception = decided(
        "exception.closed",
        EventData(closing=said),
        source=OPERATOR,
        site=OPERATOR,
        now=now,
        raw=said.model_dump_json().encode(),
        message_type="CLOSE",
    )
    intake.insert(tx, reception)
    detail = {"kind": said.kind, "subject": said.subject, "by": said.by, "message": reception.message_id}
    audit.note(tx, at=now, who=who, action="exceptions close", reason=said.reason, detail=detail)
    return reception.message_id
