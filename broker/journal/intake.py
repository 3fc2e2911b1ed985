"""Commit 1: one reception, whole, on disk, before its answer leaves (invariant 1). Repeats get the stored answer.

It neither parses nor maps: a `Reception` comes in decided.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

from broker.adapter import Reception, Stored, Verdict
from broker.hl7.framing import END, START, frame
from broker.store import days, tally
from broker.store.sqlite import Database, Transaction

CONTROL: Final = "control"
"""Kind of the search key that is MSH-10."""

REPEAT_WINDOW: Final = timedelta(days=7)


class JournalIntake:
    """Writes receptions through the database's one writer.

    `on_events` is called after each commit with events. `alert` is called in the transaction of a message whose
    control id came with other content, so that a person learns of it. `check_room` is asked before anything is
    written, and raises `StoreError` where nothing may be.
    """

    def __init__(
        self,
        database: Database,
        on_events: Callable[[], None],
        alert: Callable[[Transaction, Reception], None] = lambda *_: None,
        check_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._on_events = on_events
        self._alert = alert
        self._check_room = check_room

    async def accept(self, reception: Reception) -> Stored:
        """See `broker.adapter.Intake`."""
        self._check_room()
        future = self._database.write(lambda tx: self._append(tx, reception), urgent=True)
        stored = await asyncio.wrap_future(future)
        return self._done(reception, stored)

    def accept_blocking(self, reception: Reception) -> Stored:
        """See `broker.adapter.Intake`."""
        self._check_room()
        stored = self._database.write(lambda tx: self._append(tx, reception), urgent=True).result()
        return self._done(reception, stored)

    def _append(self, tx: Transaction, reception: Reception) -> Stored:
        stored = append(tx, reception)
        if stored.refused is not None:
            self._alert(tx, stored.refused)
        return stored

    def _done(self, reception: Reception, stored: Stored) -> Stored:
        if reception.events and not stored.repeat and stored.refused is None:
            self._on_events()
        return stored


def append(tx: Transaction, reception: Reception) -> Stored:
    """Appends a reception, unless it stands already (invariant 3): then nothing is written.

    The same key with other content inside the window is refused instead, as `reception.reused` says.
    """
    digest = hashlib.sha256(reception.raw).digest()
    for stored_digest, stored in _same_key(tx, reception):
        if stored_digest == digest:
            return stored
        if reception.reused is not None:
            refused = reception.reused()
            insert(tx, refused)
            return Stored(answers=refused.answers, answer_code=refused.answer_code, refused=refused)
    insert(tx, reception)
    return Stored(answers=reception.answers, answer_code=reception.answer_code)


def insert(tx: Transaction, reception: Reception, *, key: str = CONTROL) -> int:
    """Writes a reception whatever stands already, and returns its journal number.

    `key` is the kind of search key that its control id becomes: only `CONTROL` answers later repeats.
    """
    received = reception.received.isoformat()
    day = received[:10]
    days.ensure(tx, day)
    seq = tx.insert(
        "INSERT INTO message (id, day, received, source, site, peer, protocol, type, control_id, sender, digest,"
        " verdict, reason, answer_code, answer, charset, flags, events, blob)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            reception.message_id,
            day,
            received,
            reception.source,
            reception.site,
            reception.peer,
            reception.protocol,
            reception.message_type,
            reception.control_id,
            reception.sender,
            hashlib.sha256(reception.raw).digest(),
            reception.verdict,
            reception.reason,
            reception.answer_code,
            _packed(reception.answers),
            reception.charset,
            " ".join(reception.flags),
            len(reception.events),
            reception.blob,
        ),
    )
    tx.execute(
        f"INSERT INTO {days.table('message_body', day)} (message, body) VALUES (?,?)", (seq, reception.raw)
    )
    own = {(key, reception.control_id)} if reception.control_id else set()
    for kind, value in sorted(own | set(reception.keys)):
        tx.execute(
            f"INSERT INTO {days.table('message_key', day)} (value, kind, message) VALUES (?,?,?)",
            (value, kind, seq),
        )
    for event in reception.events:
        tx.execute(
            "INSERT INTO event (id, message, type, body) VALUES (?,?,?,?)",
            (event.id, seq, event.type, event.model_dump_json(exclude_defaults=True)),
        )
    tally.add(tx, day, reception.source, reception.verdict)
    return seq


def _same_key(tx: Transaction, reception: Reception) -> Iterator[tuple[bytes, Stored]]:
    """(digest, stored answer) of what came under the same listener, MSH-3, MSH-4 and MSH-10, the newest first.

    Only what was answered positively: a refusal is not repeated from the store, because the sender may send again
    after a table, a setting or the message was put right.
    """
    if not reception.control_id or reception.protocol != "hl7":
        return
    start = (reception.received - REPEAT_WINDOW).isoformat()
    for day in reversed(days.known(tx, since=start[:10])):
        yield from (
            (digest, Stored(answers=_unpacked(answer), answer_code=code, repeat=True))
            for digest, code, answer in tx.rows(
                f"SELECT digest, answer_code, answer FROM {days.table('message_key', day)} AS known"
                " JOIN message ON seq=known.message"
                " WHERE value=? AND kind=? AND sender=? AND source=? AND verdict IN (?,?) AND received>=?"
                " ORDER BY seq DESC",
                (
                    reception.control_id,
                    CONTROL,
                    reception.sender,
                    reception.source,
                    Verdict.ACCEPTED,
                    Verdict.FILTERED,
                    start,
                ),
            )
        )


def _packed(answers: tuple[bytes, ...]) -> bytes:
    """Several answers in one column, framed as they left."""
    return b"".join(frame(answer) for answer in answers)


def _unpacked(stored: bytes) -> tuple[bytes, ...]:
    return tuple(part.removeprefix(START) for part in stored.split(END)[:-1])
