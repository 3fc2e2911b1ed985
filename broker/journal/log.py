"""Reading the journal: events that wait for commit 2, the message behind an event, counts, and a message's timeline.

Read-only but for `mark_routed`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.adapter import Verdict
from broker.event import Event
from broker.store import days, tally
from broker.store.transaction import Transaction, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """An event in the log, with what is needed to read its source message again."""

    seq: int
    event: Event
    raw: bytes
    """The bytes of the HL7 message behind it; empty for DICOM."""
    charset: str
    routed: str = ""
    """Version of the routes that saw it; empty: none yet."""
    place: int = 0
    """Which one it was in the order of routing; 0: not routed yet."""


def unrouted(tx: Transaction, limit: int) -> list[Logged]:
    """Events that wait for commit 2, in journal order."""
    return _logged(tx, "event.routed IS NULL", (), limit)


def event(tx: Transaction, seq: int) -> Logged:
    """One event of the log. Raises `KeyError` where there is none."""
    for logged in _logged(tx, "event.seq=?", (seq,), 1):
        return logged
    raise KeyError(seq)


def event_named(tx: Transaction, name: str) -> Logged | None:
    """The event with this id; None where the log has none, or no longer."""
    return next(iter(_logged(tx, "event.id=?", (name,), 1)), None)


def place_at(tx: Transaction, until: str) -> int:
    """How far routing was with all that was received before then (ISO 8601, UTC); 0: nothing was routed."""
    row = tx.one(
        "SELECT coalesce(max(event.place), 0) FROM event JOIN message ON message.seq = event.message"
        " WHERE message.received<?",
        (until,),
    )
    return int(row[0]) if row else 0


def events_of(tx: Transaction, message: int) -> list[Logged]:
    """The events of one message."""
    return _logged(tx, "event.message=?", (message,))


def since(tx: Transaction, place: int, limit: int) -> list[Logged]:
    """Events that were routed behind `place`, in the order of routing: what a rebuild folds."""
    return _logged(tx, "event.place>?", (place,), limit, order="event.place")


def before(tx: Transaction, received: str) -> int:
    """A number below those of all events whose message was received from then on (ISO 8601, UTC)."""
    row = tx.one(
        "SELECT coalesce(min(seq), 1) - 1 FROM event WHERE message>=(SELECT min(seq) FROM message WHERE received>=?)",
        (received,),
    )
    return int(row[0]) if row else 0


def lately(tx: Transaction, received: str, types: Sequence[str], after: int, limit: int) -> list[Logged]:
    """Events of these types whose message was received from then on (ISO 8601, UTC), numbered above `after`."""
    kinds = ",".join("?" * len(types))
    where = f"message.received>=? AND event.seq>? AND event.type IN ({kinds})"
    return _logged(tx, where, (received, after, *types), limit)


def named(tx: Transaction, identity: str) -> Received:
    """The message with this id. Raises `KeyError`."""
    row = tx.one("SELECT seq FROM message WHERE id=?", (identity,))
    if row is None:
        raise KeyError(identity)
    return received(tx, row[0])


def _logged(
    tx: Transaction,
    where: str,
    values: tuple[Value, ...],
    limit: int | None = None,
    *,
    order: str = "event.seq",
) -> list[Logged]:
    rows = tx.rows(
        "SELECT event.seq, event.body, message.seq, message.day, message.charset, event.routed, event.place"
        f" FROM event JOIN message ON message.seq = event.message WHERE {where} ORDER BY {order}"
        + ("" if limit is None else " LIMIT ?"),
        values if limit is None else (*values, limit),
    )
    messages = {m: day for _, _, m, day, _, _, _ in rows}
    bodies = _bodies(tx, messages)
    return [
        Logged(
            seq=s,
            event=Event.model_validate_json(e),
            raw=bodies.get(m, b""),
            charset=c,
            routed=r or "",
            place=p or 0,
        )
        for s, e, m, _, c, r, p in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One message of the journal, as far as it is needed to take it in again."""

    id: str
    source: str
    protocol: str
    type: str
    raw: bytes | None
    """None where retention dropped it."""


def received(tx: Transaction, seq: int) -> Received:
    """Raises `KeyError` where there is no such message."""
    row = tx.one("SELECT id, source, protocol, type, day FROM message WHERE seq=?", (seq,))
    if row is None:
        raise KeyError(seq)
    return Received(id=row[0], source=row[1], protocol=row[2], type=row[3], raw=body(tx, seq, row[4]))


def body(tx: Transaction, message: int, day: str) -> bytes | None:
    """The bytes of a message as they came; None where retention dropped them."""
    return _bodies(tx, {message: day}).get(message)


def _bodies(tx: Transaction, messages: Mapping[int, str]) -> dict[int, bytes]:
    """By message, of messages and their days; those that retention dropped are missing.

    Where a day's bodies stand, a message without a row had no bytes.
    """
    found: dict[int, bytes] = {}
    if not messages:
        return found
    for day in days.known(tx, since=min(messages.values()), bodies=True):
        if of_day := [message for message, other in messages.items() if other == day]:
            marks = ",".join("?" * len(of_day))
            sql = f"SELECT message, body FROM {days.table('message_body', day)} WHERE message IN ({marks})"
            found |= dict.fromkeys(of_day, b"") | dict(tx.rows(sql, of_day))
    return found


def mark_routed(tx: Transaction, seqs: Sequence[int], version: str) -> None:
    """Commit 2 of these events: `version` of the routes saw them. They get their places, the order in which all events
    were routed, in the order in which they stand here."""
    if not seqs:
        return
    tx.execute("UPDATE routing SET place=place+?", (len(seqs),))
    tx.each(
        "UPDATE event SET routed=?, place=(SELECT place FROM routing)-? WHERE seq=? AND routed IS NULL",
        [(version, behind, seq) for behind, seq in zip(range(len(seqs) - 1, -1, -1), seqs, strict=True)],
    )


def waiting(tx: Transaction) -> int:
    """How many events wait for commit 2."""
    row = tx.one("SELECT count(*) FROM event WHERE routed IS NULL")
    return int(row[0]) if row else 0


def any_waiting(tx: Transaction) -> bool:
    """Whether an event waits for commit 2."""
    return tx.one("SELECT 1 FROM event WHERE routed IS NULL LIMIT 1") is not None


def counts(tx: Transaction) -> list[dict[str, Any]]:
    """Received messages per source and verdict."""
    return [{"source": s, "verdict": v, "messages": n} for s, v, n in tally.messages(tx)]


def newest(tx: Transaction, types: Iterable[str]) -> str:
    """When the last message of any of these types was received, ISO 8601, UTC; empty: none stands in the journal."""
    found = [tx.one("SELECT max(received) FROM message WHERE type=?", (kind,)) for kind in types]
    return max((row[0] for row in found if row and row[0]), default="")


def timeline(tx: Transaction, seq: int) -> dict[str, Any]:
    """One message with its events, their deliveries and every attempt; bytes and patient values left out.

    `refused_file`: where in the spool the bytes of an object stand that was refused; empty: not any more.
    """
    row = tx.one(
        "SELECT id, received, source, site, peer, type, control_id, verdict, reason, answer_code, charset, flags, blob"
        " FROM message WHERE seq=?",
        (seq,),
    )
    assert row is not None, "the journal never deletes a message that it has just found"
    names = ("id", "received", "source", "site", "peer", "type", "control_id", "verdict", "reason", "answer")
    message = dict(zip(names, row, strict=False))
    message["charset"], message["flags"] = row[10], row[11].split()
    if row[12] and message["verdict"] == Verdict.REJECTED:
        message["refused_file"] = row[12] if _stands(tx, row[12]) else ""
    message["events"] = [
        {"id": i, "type": t, "routes": r, "deliveries": _deliveries(tx, s)}
        for s, i, t, r in tx.rows(
            "SELECT seq, id, type, routed FROM event WHERE message=? ORDER BY seq", (seq,)
        )
    ]
    return message


def _stands(tx: Transaction, path: str) -> bool:
    """Whether a refused object's file is still kept as such."""
    return tx.one("SELECT 1 FROM refused_file WHERE path=?", (path,)) is not None


def _deliveries(tx: Transaction, event: int) -> list[dict[str, Any]]:
    rows = tx.rows(
        "SELECT id, destination, route, place, version, state, attempt, summary, detail, created, finished,"
        " replay_of FROM delivery WHERE event=? ORDER BY id",
        (event,),
    )
    names = ("id", "destination", "route", "place", "version", "state", "attempt", "summary", "detail")
    deliveries = []
    for row in rows:
        delivery = dict(zip((*names, "created", "finished", "replay_of"), row, strict=True))
        delivery["attempts"] = [
            {"attempt": n, "at": at, "outcome": outcome, "detail": detail}
            for n, at, outcome, detail in tx.rows(
                "SELECT attempt, at, outcome, detail FROM delivery_attempt WHERE delivery=? ORDER BY attempt",
                (row[0],),
            )
        ]
        delivery["interventions"] = [
            {"at": at, "who": who, "action": action, "reason": reason}
            for at, who, action, reason in tx.rows(
                "SELECT at, who, action, reason FROM intervention WHERE delivery=? ORDER BY id", (row[0],)
            )
        ]
        deliveries.append(delivery)
    return deliveries
