"""Sending again what was delivered, or taking a message in again, because a person asked for it.

A replay is a delivery of its own, marked with the one it repeats, in the lane where its patient's deliveries stand
now. Nothing here holds it back as a repeat: that is what the person asked for. It sends nothing itself. Which are meant
is `selection`, what would come of it `rehearsal`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from broker.adapter import Rendered, Target
from broker.delivery import ledger, parked, stored
from broker.delivery.ledger import Cause
from broker.delivery.parked import By
from broker.errors import BrokerError
from broker.ids import message_id
from broker.journal import intake
from broker.journal import log as journal
from broker.reception import BATCH
from broker.registers import patients, protection
from broker.registers.views import look
from broker.runtime import freeing
from broker.runtime.configured import Configured
from broker.runtime.pipeline import as_it_came, message_of
from broker.runtime.selection import Chosen, Mode, Selection, parts
from broker.store.database import Database
from broker.store.transaction import Transaction
from broker.view import View


class ReplayError(BrokerError):
    """What was asked for cannot be sent again; the text says why and what to do."""


class WithheldError(ReplayError):
    """Policy keeps it back by now; others of the same selection go on."""


def run(
    database: Database,
    configured: Configured,
    selection: Selection,
    mode: Mode,
    by: By,
    now: datetime,
    progress: Callable[[int], None] = lambda _done: None,
) -> int:
    """Queues the replays, some a transaction, and returns how many. Raises `ReplayError` at the first that cannot."""
    made = 0
    for part in parts(database.read(), selection, mode):
        made += database.write(partial(_queue, configured, part, mode, by, now)).result()
        progress(made)
    return made


def _queue(
    configured: Configured,
    part: Sequence[Chosen | int],
    mode: Mode,
    by: By,
    now: datetime,
    tx: Transaction,
) -> int:
    tx.alone(ledger.LANES)  # before it is looked whose they are, and whether they may leave
    for row in part:
        if isinstance(row, int):
            parked.note(tx, "replay", None, by, message=receive_again(tx, configured, row, now))
            continue
        cause = Cause(seq=row.event, day=now.isoformat()[:10], source=row.source, at=now.isoformat())
        check_file(tx, row)
        try:
            if mode == "sent":
                lane, target, rendered = _lane(tx, row.lane), row.target, as_sent(tx, row)
            else:
                view, target, rendered = anew(tx, configured, row)
                lane = view.patient_key
        except WithheldError:
            ledger.withhold(tx, cause, _lane(tx, row.lane), row.target, replay_of=row.id)
            continue
        number = ledger.enqueue(tx, cause, lane, target, rendered, replay_of=row.id).id
        parked.note(tx, "replay", number, by)
    return len(part)


def check_file(tx: Transaction, row: Chosen) -> None:
    """Raises `ReplayError` where the object's file was given up; until the replay stands, it cannot be."""
    if row.target.kind != "dicom":
        return
    tx.alone(freeing.ALONE)
    instance = journal.event(tx, row.event).event.data.instance
    at = freeing.given_up(tx, instance.sop_instance_uid) if instance is not None else ""
    if at:
        raise ReplayError(
            f"delivery {row.id}: the file of its object was given up on {at[:10]}, because archives have committed to"
            " it; `broker studies fetch` gets it from one of them (docs/studies.md)"
        )


def as_sent(tx: Transaction, row: Chosen) -> Rendered:
    if row.target.purpose == "contact" and not row.target.cleared and _protected(tx, row):
        raise WithheldError(f"delivery {row.id}: {ledger.WITHHELD}")
    payload = stored.payload(tx, row.id, row.day)
    if not payload:
        raise ReplayError(
            f"delivery {row.id}: its bytes are not kept any more; --mode rendered makes them anew"
        )
    return Rendered(payload=payload, summary=row.summary)


def _protected(tx: Transaction, row: Chosen) -> bool:
    """Whether the delivery may tell an address that is protected by now."""
    logged = journal.event(tx, row.event)
    view = look(tx, logged.event, message_of(logged))
    return view is not None and protection.seen(tx, view).protected


def anew(tx: Transaction, configured: Configured, row: Chosen) -> tuple[View, Target, Rendered]:
    """What today's routes and registers make of the event for the same route and destination."""
    logged = journal.event(tx, row.event)
    view = look(tx, logged.event, message_of(logged))
    if view is None:
        raise ReplayError(f"delivery {row.id}: the registers do not know its patient or step any more")
    routed = configured.routes.route(protection.seen(tx, as_it_came(view, logged)))
    if any((t.route, t.destination) == (row.target.route, row.target.destination) for t in routed.withheld):
        raise WithheldError(f"delivery {row.id}: {ledger.WITHHELD}")
    for target in routed.targets:
        if (target.route, target.destination) == (row.target.route, row.target.destination):
            return view, target, configured.renderers[target.destination](view, target)
    raise ReplayError(f"delivery {row.id}: route {row.target.route} does not make it any more")


def receive_again(tx: Transaction, configured: Configured, number: int, now: datetime) -> int:
    """The message taken in again: judged, journaled beside the first one, not held against it as a repeat."""
    first = journal.received(tx, number)
    reader = configured.readers.get(first.source)
    if first.protocol != "hl7" or reader is None:
        raise ReplayError(
            f"message {first.id}: only HL7 messages can be taken in again; what left of it, --mode sent sends"
            " again, and an object that was refused its device must send again"
        )
    if first.type == BATCH:
        raise ReplayError(f"message {first.id} is a batch's envelope; name its messages")
    if not first.raw:
        raise ReplayError(f"message {first.id}: its bytes are not kept any more")
    reception = reader.receive(first.raw, message_id=message_id(now), now=now, peer="replay")
    flags = (*reception.flags, f"replay:{first.id}")
    again = replace(reception, flags=flags, answers=(), answer_code="")
    return intake.insert(tx, again, key="replay")


def _lane(tx: Transaction, lane: str) -> str:
    """Where the patient's deliveries stand now: a merge may have moved them since."""
    try:
        return patients.get(tx, lane).key
    except KeyError:
        return lane  # of no patient of the register
