"""Commit 1: one reception, whole, on disk, before its answer leaves (invariant 1). Repeats get the stored answer.

It neither parses nor maps: a `Reception` comes in decided.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from broker.adapter import Claim, Reception, Stored, Verdict
from broker.errors import StoreError
from broker.hl7.framing import END, START, frame
from broker.hl7.garbled import MOJIBAKE
from broker.reception import BATCH
from broker.store import days, tally
from broker.store.database import Database
from broker.store.transaction import Transaction

CONTROL: Final = "control"
"""Kind of the search key that is MSH-10."""

DAYS: Final = 100
"""Days that one statement looks through for a repeat; SQLite takes 500 parts."""

BATCH_CONTROL: Final = "batch-control"
"""Kind of the search key that is FHS-11 or BHS-11: a message may well have the number that its batch has."""

INSTANCE: Final = "instance"
"""Kind of the search key that is a SOP Instance UID (`broker.reception.search_keys`)."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Receptions whose sender waits: written all or none."""

    receptions: Sequence[Reception]
    stored: asyncio.Future[list[Stored]]


class JournalIntake:
    """Writes receptions through the database's one writer.

    `on_events` is called after each commit with events. `alert` is called in the transaction of a message whose
    control id or SOP Instance UID came with other content, or whose text is garbled, so that a person learns of it.
    `check_room` is asked before anything is written, and raises `StoreError` where nothing may be.

    What asyncio listeners accept in one turn of their event loop goes to the writer together, and comes back with one
    wake-up: each hand-over between threads costs about as much as reading a message.
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
        self._turn: list[_Waiting] = []

    async def accept(self, reception: Reception) -> Stored:
        """See `broker.adapter.Intake`."""
        (stored,) = await self.accept_all([reception])
        return stored

    async def accept_all(self, receptions: Sequence[Reception]) -> list[Stored]:
        """See `broker.adapter.Intake`."""
        self._check_room()
        loop = asyncio.get_running_loop()
        if not self._turn:
            loop.call_soon(self._hand_over, loop)
        waiting = _Waiting(receptions, loop.create_future())
        self._turn.append(waiting)
        return await waiting.stored

    def accept_blocking(self, reception: Reception) -> Stored:
        """See `broker.adapter.Intake`."""
        self._check_room()
        stored = self._database.write(lambda tx: self._append(tx, reception), urgent=True).result()
        self._done([reception], [stored])
        return stored

    def _append(self, tx: Transaction, reception: Reception) -> Stored:
        stored = append(tx, reception)
        if stored.refused is not None and (reception.claim is None or reception.claim.alert):
            self._alert(tx, stored.refused)
        elif MOJIBAKE in reception.flags and not stored.repeat:
            self._alert(tx, reception)
        return stored

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        turn, self._turn = self._turn, []
        self._write(loop, turn)

    def _write(self, loop: asyncio.AbstractEventLoop, turn: list[_Waiting]) -> None:
        def work(tx: Transaction) -> list[list[Stored]]:
            return [[self._append(tx, one) for one in waiting.receptions] for waiting in turn]

        def written(done: Future[list[list[Stored]]]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._take_back, loop, turn, done)

        try:
            self._database.write(work, urgent=True).add_done_callback(written)
        except StoreError as exc:
            self._fail(turn, exc)

    def _take_back(
        self, loop: asyncio.AbstractEventLoop, turn: list[_Waiting], done: Future[list[list[Stored]]]
    ) -> None:
        error = done.exception()
        if error is None:
            for waiting, stored in zip(turn, done.result(), strict=True):
                self._done(waiting.receptions, stored)
                if not waiting.stored.done():  # else its connection went away
                    waiting.stored.set_result(stored)
        elif isinstance(error, StoreError) or len(turn) == 1:
            self._fail(turn, error)
        else:
            for waiting in turn:  # one of them cannot be written: the others must not suffer from it
                self._write(loop, [waiting])

    def _fail(self, turn: list[_Waiting], error: BaseException) -> None:
        for waiting in turn:
            if not waiting.stored.done():
                waiting.stored.set_exception(error)

    def _done(self, receptions: Sequence[Reception], stored: Sequence[Stored]) -> None:
        both = zip(receptions, stored, strict=True)
        if any(one.events and not said.repeat and said.refused is None for one, said in both):
            self._on_events()


def append(tx: Transaction, reception: Reception) -> Stored:
    """Appends a reception, unless it stands already (invariant 3): then nothing is written.

    The same key with other content inside the window is refused instead, as `reception.reused` says.
    """
    digest = hashlib.sha256(reception.raw).digest()
    if reception.claim is not None:
        return _claimed(tx, reception, reception.claim, digest)
    key = BATCH_CONTROL if reception.message_type == BATCH else CONTROL
    for stored_digest, stored in _same_key(tx, reception, key):
        if stored_digest == digest:
            return stored
        if reception.reused is not None and stored.answer_code:
            refused = reception.reused()
            insert(tx, refused, key=key)
            return Stored(answers=refused.answers, answer_code=refused.answer_code, refused=refused)
    insert(tx, reception, key=key)
    return Stored(answers=reception.answers, answer_code=reception.answer_code)


def _claimed(tx: Transaction, reception: Reception, claim: Claim, digest: bytes) -> Stored:
    """Appends a reception whose object is in a state that allows it, and moves the object on; else its refusal."""
    # The same object may come to two nodes at once: one looks when the other is on disk.
    tx.alone(f"object|{claim.uid}")
    row = tx.one("SELECT state, digest FROM object_state WHERE uid=?", (claim.uid,))
    if row is not None and (overtaken := _overtaken(tx, reception)) is not None:
        return overtaken
    state, before = row or ("", b"")
    if state not in claim.after:
        refused = claim.otherwise(state)
        insert(tx, refused)
        _note_file(tx, refused, claim)
        return Stored(answers=refused.answers, answer_code=refused.answer_code, refused=refused)
    if state == claim.state and bytes(before) == digest and not claim.again:
        return Stored(answers=reception.answers, answer_code=reception.answer_code, repeat=True)
    seq = insert(tx, reception)
    tx.execute(
        "INSERT INTO object_state (uid, state, digest, message) VALUES (?,?,?,?) ON CONFLICT (uid) DO UPDATE SET"
        " state=excluded.state, digest=excluded.digest, message=excluded.message",
        (claim.uid, claim.state, digest, seq),
    )
    return Stored(answers=reception.answers, answer_code=reception.answer_code)


def _note_file(tx: Transaction, refused: Reception, claim: Claim) -> None:
    """A refused object's file stays as long as its day's bodies: of the last day, where it comes again and again."""
    if refused.blob:
        tx.execute(
            "INSERT INTO refused_file (path, sop_instance_uid, state, day) VALUES (?,?,?,?) ON CONFLICT (path)"
            " DO UPDATE SET day=excluded.day WHERE refused_file.day<excluded.day",
            (refused.blob, claim.uid, claim.state, refused.received.isoformat()[:10]),
        )


def insert(tx: Transaction, reception: Reception, *, key: str = CONTROL) -> int:
    """Writes a reception whatever stands already, and returns its journal number.

    `key` is the kind of search key that its control id becomes: only those of `append` answer later repeats.
    """
    received = reception.received.isoformat()
    day = received[:10]
    days.ensure(tx, day)
    seq = tx.insert(
        "INSERT INTO message (id, day, received, source, site, peer, protocol, type, control_id, sender, digest,"
        " verdict, reason, answer_code, answer, charset, flags, events, blob)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) RETURNING seq",
        (
            reception.message_id,
            day,
            received,
            reception.source,
            reception.site,
            reception.peer,
            reception.protocol,
            reception.message_type[: days.KEY_LENGTH],
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
    if reception.raw:  # an object's bytes stand in the spool
        tx.execute(
            f"INSERT INTO {days.table('message_body', day)} (message, body) VALUES (?,?)",
            (seq, reception.raw),
        )
    own = {(key, reception.control_id)} if reception.control_id else set()
    tx.each(
        f"INSERT INTO {days.table('message_key', day)} (value, kind, message) VALUES (?,?,?)",
        sorted({(value[: days.KEY_LENGTH], kind, seq) for kind, value in own | set(reception.keys)}),
    )
    tx.each(
        "INSERT INTO event (id, message, type, body) VALUES (?,?,?,?)",
        [(e.id, seq, e.type, e.model_dump_json(exclude_defaults=True)) for e in reception.events],
    )
    tally.add(tx, day, reception.source, reception.verdict)
    return seq


def _same_key(tx: Transaction, reception: Reception, key: str) -> Iterator[tuple[bytes, Stored]]:
    """(digest, stored answer) of what came under the same listener, MSH-3, MSH-4 and MSH-10, the newest first.

    Only what was taken: a refusal is not repeated from the store, because the sender may send again after a table, a
    setting or the message was put right. An acknowledgement that came in holds no number against anybody.
    """
    if not reception.control_id or reception.protocol != "hl7" or not reception.repeat_window:
        return
    # The same message may come to two nodes at once: one looks when the other is on disk.
    tx.alone(f"{reception.source}|{reception.sender}|{reception.control_id}")
    start = (reception.received - reception.repeat_window).isoformat()
    known = days.known(tx, since=start[:10])[::-1]
    for part in (tuple(known[n : n + DAYS]) for n in range(0, len(known), DAYS)):
        yield from (
            (digest, Stored(answers=_unpacked(answer), answer_code=code, repeat=True))
            for digest, code, answer in tx.rows(
                _same_key_sql(part),
                (
                    *(reception.control_id[: days.KEY_LENGTH], key) * len(part),
                    reception.control_id,
                    reception.sender,
                    reception.source,
                    Verdict.ACCEPTED,
                    Verdict.FILTERED,
                    start,
                ),
            )
        )


@lru_cache(maxsize=16)
def _same_key_sql(part: tuple[str, ...]) -> str:
    """What asks these days' tables: the same for every message of a day."""
    tables = " UNION ALL ".join(
        f"SELECT message FROM {days.table('message_key', day)} WHERE value=? AND kind=?" for day in part
    )
    return (
        f"SELECT digest, answer_code, answer FROM message WHERE seq IN ({tables}) AND control_id=?"
        " AND sender=? AND source=? AND verdict IN (?,?) AND received>=? ORDER BY seq DESC"
    )


def _overtaken(tx: Transaction, reception: Reception) -> Stored | None:
    """The stored answer of the same object of the same sender that came after this one and was kept before it.

    A modality that waits too long hangs up and sends the object again, to another node perhaps, and then its next ones.
    The one that it gave up would be journaled, and passed on, behind those (invariant 4). An object that comes again
    after it was kept is welcome: a person may have sent it anew.
    """
    instance = dict(reception.keys).get(INSTANCE, "")
    if not (reception.blob and instance):
        return None
    received = reception.received.isoformat()
    for day in days.known(tx, since=received[:10]):
        kept = tx.one(
            f"SELECT answer_code FROM message WHERE seq IN (SELECT message FROM {days.table('message_key', day)}"
            " WHERE value=? AND kind=?) AND blob=? AND sender=? AND source=? AND verdict=? AND received>?",
            (
                instance[: days.KEY_LENGTH],
                INSTANCE,
                reception.blob,
                reception.sender,
                reception.source,
                Verdict.ACCEPTED,
                received,
            ),
        )
        if kept is not None:
            return Stored(answers=(), answer_code=kept[0], repeat=True)
    return None


def _packed(answers: tuple[bytes, ...]) -> bytes:
    """Several answers in one column, framed as they left."""
    return b"".join(frame(answer) for answer in answers)


def _unpacked(stored: bytes) -> tuple[bytes, ...]:
    return tuple(part.removeprefix(START) for part in stored.split(END)[:-1])
