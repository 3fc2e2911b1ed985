"""What people decide about patients: a wrong merge undone, a held one released or refused. Two must agree.

A decision is a message of its own in the journal, whose event is folded like any other, so that a rebuild keeps it.
A split is done only as long as its plan (`splitplan`) is what was shown. Nothing is sent: no standard message takes a
merge back.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from broker.adapter import Reception, Verdict
from broker.errors import BrokerError
from broker.event import OPERATOR, Decision, Event, EventData
from broker.hl7.er7 import Header
from broker.ids import message_id
from broker.journal import audit, intake
from broker.journal import log as journal
from broker.registers import ledger
from broker.registers.changes import Change
from broker.runtime import splitplan
from broker.store.database import Database
from broker.store.transaction import Transaction

KEY: Final = "change"
"""Kind of search key under which a decision is found by the change that it is about."""

Verb = Literal["split", "release", "refuse"]


class DecisionError(BrokerError):
    """What was decided cannot be done; the text says why and what to do."""


def decide(
    database: Database,
    verb: Verb,
    name: str,
    *,
    by: str,
    approved_by: str,
    reason: str,
    now: datetime,
    who: str,
    plan_id: str = "",
) -> str:
    """Writes the decision into the journal, and returns its message's id; empty where it stands already.

    `who`: the login that typed it, for the audit. Raises `DecisionError`.
    """
    by, approved_by = " ".join(by.split()), " ".join(approved_by.split())
    if not by or not approved_by or by.casefold() == approved_by.casefold():
        raise DecisionError("two different people must decide: --by and --approved-by")
    if not reason.strip():
        raise DecisionError("--reason must say why")
    decision = Decision(change=name, by=by, approved_by=approved_by, reason=reason.strip(), plan=plan_id)
    return database.write(lambda tx: _decide(tx, verb, decision, now, who)).result()


_WANTED: Final = {"split": "applied", "release": "held", "refuse": "held"}
_DONE: Final = {"split": "undone", "release": "released", "refuse": "refused"}


def _decide(tx: Transaction, verb: Verb, decision: Decision, now: datetime, who: str) -> str:
    tx.alone("broker: decisions")
    pending = _pending(tx, decision.change)  # first: one that is folded meanwhile shows in the change
    change = ledger.get(tx, decision.change)
    if change is None:
        raise DecisionError(
            f"there is no change {decision.change}; `broker patients merge-status` lists them"
        )
    if pending or change.state == _DONE[verb]:
        return ""
    if change.state != _WANTED[verb]:
        raise DecisionError(f"change {change.id} is {change.state}, not {_WANTED[verb]}")
    if verb == "split":
        current = splitplan.plan(tx, change)
        if current.obstacle:
            raise DecisionError(f"change {change.id}: {current.obstacle}")
        if decision.plan != current.id:
            raise DecisionError("the plan is out of date: look at `--plan` again, something came since")
    identity = message_id(now)
    reception = (
        _released(tx, change, decision, identity, now)
        if verb == "release"
        else _operator(change, decision, identity, now)
    )
    intake.insert(tx, reception, key=KEY)
    detail: dict[str, Any] = {**decision.model_dump(exclude={"reason"}), "message": identity}
    audit.note(tx, at=now, who=who, action=f"patients {verb}", reason=decision.reason, detail=detail)
    return identity


def _pending(tx: Transaction, change: str) -> bool:
    """Whether a decision about it waits to be folded: it was typed twice."""
    rows = tx.rows(
        "SELECT body FROM event WHERE routed IS NULL AND type IN ('patient.split', 'patient.merged',"
        " 'patient.id-changed')"
    )
    waiting = [Event.model_validate_json(body).data.decision for (body,) in rows]
    return any(one is not None and one.change == change for one in waiting)


def _operator(change: Change, decision: Decision, identity: str, now: datetime) -> Reception:
    event = Event(
        id=f"{identity}.0",
        type="patient.split",
        source=OPERATOR,
        site=OPERATOR,
        time=now,
        message_id=identity,
        data=EventData(decision=decision),
    )
    return Reception(
        message_id=identity,
        source=OPERATOR,
        site=OPERATOR,
        peer="",
        protocol="operator",
        received=now,
        message_type="patient.split",
        control_id=change.id,
        sender="",
        verdict=Verdict.ACCEPTED,
        raw=decision.model_dump_json().encode(),
        charset="utf_8",
        events=(event,),
    )


def _released(tx: Transaction, change: Change, decision: Decision, identity: str, now: datetime) -> Reception:
    """The message that was held, taken in again with the decision: destinations get it as its sender wrote it."""
    logged = journal.event_named(tx, change.event)
    if logged is None or not logged.raw:
        raise DecisionError(f"change {change.id}: its message is not kept any more; PAS must send it again")
    first, header = logged.event, Header.read(logged.raw)
    event = first.model_copy(
        update={
            "id": f"{identity}.0",
            "time": now,
            "message_id": identity,
            "as_of": first.as_of or first.time,  # what it says of the patient is no newer for having waited
            "data": first.data.model_copy(update={"decision": decision}),
        }
    )
    return Reception(
        message_id=identity,
        source=first.source,
        site=first.site,
        peer=OPERATOR,
        protocol="hl7",
        received=now,
        message_type=header.message_type,
        control_id=header.control_id,
        sender=f"{header.sending_application}|{header.sending_facility}",
        verdict=Verdict.ACCEPTED,
        raw=logged.raw,
        charset=logged.charset,
        flags=(f"released:{change.id}",),
        keys=((KEY, change.id),),
        events=(event,),
    )
