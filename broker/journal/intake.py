"""Commit 1: one reception, whole, on disk, before its answer leaves (invariant 1). Repeats get the stored answer.

It neither parses nor maps: a `Reception` comes in decided.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final

from broker.adapter import Reception, Stored, Verdict
from broker.hl7.framing import END, START, frame
from broker.store.sqlite import Database, Transaction

REPEAT_WINDOW: Final = timedelta(days=7)


class JournalIntake:
    """Writes receptions through the database's one writer; `on_events` is called after each commit with events."""

    def __init__(self, database: Database, on_events: Callable[[], None]) -> None:
        self._database = database
        self._on_events = on_events

    async def accept(self, reception: Reception) -> Stored:
        """See `broker.adapter.Intake`."""
        (stored,) = await self.accept_all([reception])
        return stored

    async def accept_all(self, receptions: Sequence[Reception]) -> list[Stored]:
        """See `broker.adapter.Intake`."""
        work = self._database.write(lambda tx: [append(tx, one) for one in receptions], urgent=True)
        stored = await asyncio.wrap_future(work)
        self._done(receptions, stored)
        return stored

    def accept_blocking(self, reception: Reception) -> Stored:
        """See `broker.adapter.Intake`."""
        stored = self._database.write(lambda tx: append(tx, reception), urgent=True).result()
        self._done([reception], [stored])
        return stored

    def _done(self, receptions: Sequence[Reception], stored: Sequence[Stored]) -> None:
        if any(one.events and not said.repeat for one, said in zip(receptions, stored, strict=True)):
            self._on_events()


def append(tx: Transaction, reception: Reception) -> Stored:
    """Appends a reception, or finds that it stands already (invariant 3): then nothing is written."""
    digest = hashlib.sha256(reception.raw).digest()
    if (stored := _repeat(tx, reception, digest)) is not None:
        return stored
    seq = tx.insert(
        "INSERT INTO message (id, received, source, site, peer, protocol, type, control_id, sender, digest,"
        " verdict, reason, answer_code, answer, charset, flags, body, blob)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (
            reception.message_id,
            reception.received.isoformat(),
            reception.source,
            reception.site,
            reception.peer,
            reception.protocol,
            reception.message_type,
            reception.control_id,
            reception.sender,
            digest,
            reception.verdict,
            reception.reason,
            reception.answer_code,
            _packed(reception.answers),
            reception.charset,
            " ".join(reception.flags),
            reception.raw,
            reception.blob,
        ),
    )
    for kind, value in sorted(set(reception.keys)):
        tx.execute("INSERT INTO message_key (value, kind, message) VALUES (?,?,?)", (value, kind, seq))
    for event in reception.events:
        tx.execute(
            "INSERT INTO event (id, message, type, body) VALUES (?,?,?,?)",
            (event.id, seq, event.type, event.model_dump_json(exclude_defaults=True)),
        )
    return Stored(answers=reception.answers, answer_code=reception.answer_code)


def _repeat(tx: Transaction, reception: Reception, digest: bytes) -> Stored | None:
    """The stored answer of the same bytes from the same sender on the same listener, if it was a positive one.

    A refusal is not repeated from the store: the sender may send again after a table or a setting was put right.
    """
    if not reception.control_id or reception.protocol != "hl7":
        return None
    row = tx.one(
        "SELECT answer, answer_code FROM message WHERE control_id=? AND sender=? AND source=? AND digest=?"
        " AND verdict IN (?,?) AND received>=? ORDER BY seq DESC LIMIT 1",
        (
            reception.control_id,
            reception.sender,
            reception.source,
            digest,
            Verdict.ACCEPTED,
            Verdict.FILTERED,
            (reception.received - REPEAT_WINDOW).isoformat(),
        ),
    )
    return None if row is None else Stored(answers=_unpacked(row[0]), answer_code=row[1], repeat=True)


def _packed(answers: tuple[bytes, ...]) -> bytes:
    """Several answers in one column, framed as they left."""
    return b"".join(frame(answer) for answer in answers)


def _unpacked(stored: bytes) -> tuple[bytes, ...]:
    return tuple(part.removeprefix(START) for part in stored.split(END)[:-1])
