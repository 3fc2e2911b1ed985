"""What a replay would send, and how it differs from the first time: done as `replay` does it, and undone on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.delivery import stored
from broker.errors import UnmappableError
from broker.hl7.difference import Change, differences
from broker.journal import log as journal
from broker.runtime.configured import Configured
from broker.runtime.pipeline import Pipeline
from broker.runtime.replay import ReplayError, anew, as_sent, check_file, receive_again
from broker.runtime.selection import Chosen, Mode, Selection, chosen, messages
from broker.store.database import Database
from broker.store.transaction import Transaction


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


class _Rehearsal(Exception):  # noqa: N818 - control flow: undoes the job that it ends
    def __init__(self, planned: list[Planned]) -> None:
        super().__init__("undone on purpose")
        self.planned = planned


def _rehearse(
    tx: Transaction, configured: Configured, selection: Selection, mode: Mode, now: datetime
) -> None:
    if mode == "received":
        numbers = messages(tx, selection)
        raise _Rehearsal([one for n in numbers for one in _rehearse_message(tx, configured, n, now)])
    raise _Rehearsal([_rehearse_one(tx, configured, row, mode) for row in chosen(tx, selection)])


def _rehearse_one(tx: Transaction, configured: Configured, row: Chosen, mode: Mode) -> Planned:
    before = stored.payload(tx, row.id, row.day) or b""
    after, problem = b"", ""
    try:
        check_file(tx, row)
        after = (as_sent(tx, row) if mode == "sent" else anew(tx, configured, row)[2]).payload
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
    again = receive_again(tx, configured, number, now)
    pipeline = Pipeline(configured.routes, configured.renderers)
    for logged in journal.events_of(tx, again):
        pipeline.route(tx, logged)
    firsts: dict[tuple[str, str], list[tuple[int, bytes]]] = {}
    for row in chosen(tx, Selection(messages=(number,))):
        payload = stored.payload(tx, row.id, row.day) or b""
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
            after=stored.payload(tx, identity, day) or b"",
            problem=detail if state in ("held", "withheld") else "",
        )


def _json_changes(before: bytes, after: bytes) -> Iterator[Change]:
    old, new = _flat(before), _flat(after)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield Change(place=key, before=old.get(key), after=new.get(key))


def _flat(payload: bytes) -> dict[str, str]:
    found: dict[str, Any] = json.loads(payload) if payload else {}
    coerced = found.pop("coerce", None) or {}
    return {str(key): json.dumps(value, ensure_ascii=False) for key, value in (found | coerced).items()}
