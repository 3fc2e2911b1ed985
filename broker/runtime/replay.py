"""Sending again what was delivered, or taking a message in again, because a person asked for it.

A replay is a delivery of its own, marked with the one it repeats, in the lane where its patient's deliveries stand
now. Nothing here holds it back as a repeat: that is what the person asked for. It sends nothing itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal

from broker.adapter import Rendered, Target
from broker.delivery import ledger, parked
from broker.delivery.ledger import Cause
from broker.delivery.parked import By
from broker.errors import BrokerError, UnmappableError
from broker.hl7.difference import Change, differences
from broker.ids import message_id
from broker.journal import intake
from broker.journal import log as journal
from broker.reception import BATCH
from broker.registers import patients, protection
from broker.registers.fold import look
from broker.runtime import freeing
from broker.runtime.configured import Configured
from broker.runtime.pipeline import Pipeline, as_it_came, message_of
from broker.store.database import Database, Transaction, Value
from broker.view import View

Mode = Literal["sent", "rendered", "received"]
"""The bytes as they left; made anew by today's routes and registers; or the whole message taken in again."""

PART: Final = 200
"""Replays a transaction: the traffic of a running broker goes on between."""


class ReplayError(BrokerError):
    """What was asked for cannot be sent again; the text says why and what to do."""


class WithheldError(ReplayError):
    """Policy keeps it back by now; others of the same selection go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which deliveries: every field that is given must fit."""

    deliveries: tuple[int, ...] = ()
    messages: tuple[int, ...] = ()
    """Journal numbers of messages."""
    destination: str = ""
    route: str = ""
    source: str = ""
    since: str = ""
    until: str = ""
    """Reception, ISO 8601 in UTC, the latter excluded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One delivery that would leave."""

    replay_of: int | None
    """None: the first time it made no such delivery."""
    message: str
    destination: str
    kind: str
    route: str
    before: bytes
    after: bytes
    problem: str = ""
    """Why it cannot leave; empty where it can."""

    @property
    def changes(self) -> tuple[Change, ...]:
        """What differs from the first time."""
        if self.kind == "hl7" and self.before and self.after:
            return differences(self.before, self.after)
        if self.before == self.after:
            return ()
        return tuple(_json_changes(self.before, self.after))


def plan(
    database: Database, configured: Configured, selection: Selection, mode: Mode, now: datetime
) -> list[Planned]:
    """What a replay would send, and how it differs; nothing of it stays."""
    try:
        database.write(lambda tx: _rehearse(tx, configured, selection, mode, now)).result()
    except _Rehearsal as done:
        return done.planned
    raise AssertionError("a rehearsal always ends by undoing itself")


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
    for part in _parts(database.read(), selection, mode):
        made += database.write(partial(_queue, configured, part, mode, by, now)).result()
        progress(made)
    return made


def count(tx: Transaction, selection: Selection, mode: Mode) -> int:
    """How many deliveries, or messages in mode `received`, fit."""
    return sum(len(part) for part in _parts(tx, selection, mode))


def _parts(tx: Transaction, selection: Selection, mode: Mode) -> Iterator[Sequence[Chosen | int]]:
    found: Sequence[Chosen | int] = _messages(tx, selection) if mode == "received" else chosen(tx, selection)
    for start in range(0, len(found), PART):
        yield found[start : start + PART]


def _messages(tx: Transaction, selection: Selection) -> list[int]:
    """Journal numbers of the messages that are meant: as they are named, else behind the deliveries."""
    return list(selection.messages) or list(dict.fromkeys(row.message for row in chosen(tx, selection)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A delivery that was made once."""

    id: int
    event: int
    message: int
    day: str
    source: str
    lane: str
    target: Target
    summary: str


def chosen(tx: Transaction, selection: Selection) -> list[Chosen]:
    """The first deliveries that fit, in lane order. What is open, or a row of the broker's own, is not replayed."""
    where, values = (
        ["state IN ('delivered', 'dropped', 'held', 'withheld')", "kind<>'worklist'", "replay_of IS NULL"],
        list[Value](),
    )
    for column, numbers in (("delivery.id", selection.deliveries), ("event.message", selection.messages)):
        if numbers:
            where.append(f"{column} IN ({','.join('?' * len(numbers))})")
            values += numbers
    texts = (
        ("destination=?", selection.destination),
        ("route=?", selection.route),
        ("delivery.source=?", selection.source),
        ("created>=?", selection.since),
        ("created<?", selection.until),
    )
    for condition, value in texts:
        if value:
            where.append(condition)
            values.append(value)
    rows = tx.rows(
        "SELECT delivery.id, event.seq, event.message, day, source, lane, route, version, delivery.place, kind,"
        " destination, summary, purpose FROM delivery JOIN event ON event.seq=delivery.event"
        f" WHERE {' AND '.join(where)} ORDER BY delivery.id",
        values,
    )
    return [
        Chosen(
            id=number,
            event=event,
            message=message,
            day=day,
            source=source,
            lane=lane,
            target=Target(
                route=route,
                version=version,
                place=place,
                kind=kind,
                destination=destination,
                purpose="contact" if ledger.may_tell(may, kind) or may == "cleared" else "care",
                cleared=may == "cleared",
            ),
            summary=summary,
        )
        for number, event, message, day, source, lane, route, version, place, kind, destination, summary, may in rows
    ]


def _queue(
    configured: Configured,
    part: Sequence[Chosen | int],
    mode: Mode,
    by: By,
    now: datetime,
    tx: Transaction,
) -> int:
    for row in part:
        if isinstance(row, int):
            parked.note(tx, "replay", None, by, message=_receive(tx, configured, row, now))
            continue
        cause = Cause(seq=row.event, day=now.isoformat()[:10], source=row.source, at=now.isoformat())
        _check_file(tx, row)
        try:
            if mode == "sent":
                lane, target, rendered = _lane(tx, row.lane), row.target, _as_sent(tx, row)
            else:
                view, target, rendered = _anew(tx, configured, row)
                lane = view.patient_key
        except WithheldError:
            ledger.withhold(tx, cause, _lane(tx, row.lane), row.target, replay_of=row.id)
            continue
        number = ledger.enqueue(tx, cause, lane, target, rendered, replay_of=row.id).id
        parked.note(tx, "replay", number, by)
    return len(part)


def _check_file(tx: Transaction, row: Chosen) -> None:
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


def _as_sent(tx: Transaction, row: Chosen) -> Rendered:
    if row.target.purpose == "contact" and not row.target.cleared and _protected(tx, row):
        raise WithheldError(f"delivery {row.id}: {ledger.WITHHELD}")
    payload = ledger.payload(tx, row.id, row.day)
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


def _anew(tx: Transaction, configured: Configured, row: Chosen) -> tuple[View, Target, Rendered]:
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


def _receive(tx: Transaction, configured: Configured, number: int, now: datetime) -> int:
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


class _Rehearsal(Exception):  # noqa: N818 - control flow: undoes the job that it ends
    def __init__(self, planned: list[Planned]) -> None:
        super().__init__("undone on purpose")
        self.planned = planned


def _rehearse(
    tx: Transaction, configured: Configured, selection: Selection, mode: Mode, now: datetime
) -> None:
    if mode == "received":
        numbers = _messages(tx, selection)
        raise _Rehearsal([one for n in numbers for one in _rehearse_message(tx, configured, n, now)])
    raise _Rehearsal([_rehearse_one(tx, configured, row, mode) for row in chosen(tx, selection)])


def _rehearse_one(tx: Transaction, configured: Configured, row: Chosen, mode: Mode) -> Planned:
    before = ledger.payload(tx, row.id, row.day) or b""
    after, problem = b"", ""
    try:
        _check_file(tx, row)
        after = (_as_sent(tx, row) if mode == "sent" else _anew(tx, configured, row)[2]).payload
    except (ReplayError, UnmappableError) as exc:
        problem = str(exc)
    if not after and not problem:
        problem = "its bytes are not kept any more; --mode rendered makes them anew"
    return Planned(
        replay_of=row.id,
        message=journal.received(tx, row.message).id,
        destination=row.target.destination,
        kind=row.target.kind,
        route=row.target.route,
        before=before,
        after=after,
        problem=problem,
    )


def _rehearse_message(
    tx: Transaction, configured: Configured, number: int, now: datetime
) -> Iterator[Planned]:
    again = _receive(tx, configured, number, now)
    pipeline = Pipeline(configured.routes, configured.renderers)
    for logged in journal.events_of(tx, again):
        pipeline.route(tx, logged)
    firsts: dict[tuple[str, str], list[tuple[int, bytes]]] = {}
    for row in chosen(tx, Selection(messages=(number,))):
        payload = ledger.payload(tx, row.id, row.day) or b""
        firsts.setdefault((row.target.route, row.target.destination), []).append((row.id, payload))
    for identity, day, route, destination, kind, state, detail in tx.rows(
        "SELECT delivery.id, day, route, destination, kind, state, detail FROM delivery"
        " JOIN event ON event.seq=delivery.event WHERE event.message=? AND kind<>'worklist' ORDER BY delivery.id",
        (again,),
    ):
        first = firsts.get((route, destination), [])
        replay_of, before = first.pop(0) if first else (None, b"")
        yield Planned(
            replay_of=replay_of,
            message=journal.received(tx, number).id,
            destination=destination,
            kind=kind,
            route=route,
            before=before,
            after=ledger.payload(tx, identity, day) or b"",
            problem=detail if state in ("held", "withheld") else "",
        )


def _lane(tx: Transaction, lane: str) -> str:
    """Where the patient's deliveries stand now: a merge may have moved them since."""
    try:
        return patients.get(tx, lane).key
    except KeyError:
        return lane  # of no patient of the register


def _json_changes(before: bytes, after: bytes) -> Iterator[Change]:
    old, new = _flat(before), _flat(after)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield Change(place=key, before=old.get(key), after=new.get(key))


def _flat(payload: bytes) -> dict[str, str]:
    found: dict[str, Any] = json.loads(payload) if payload else {}
    coerced = found.pop("coerce", None) or {}
    return {str(key): json.dumps(value, ensure_ascii=False) for key, value in (found | coerced).items()}
