"""Deliveries on disk: enqueued in commit 2, then delivered, tried again or parked. SQL only; no thread, no sending.

What people do to deliveries is `parked.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, get_args

from broker.adapter import Delivery, Receipt, Rendered, Target
from broker.event import Event
from broker.store import days, tally
from broker.store.database import Transaction
from broker.store.tally import LOSSY

PIECE: Final = 5000
"""Open deliveries that a start reads at once."""

State = Literal["queued", "delivered", "held", "parked", "dropped", "withheld"]

Purpose = Literal["care", "contact", "cleared", ""]
"""What a delivery may carry: no contact data, contact data, that of protected addresses too; empty: of an older broker,
which did not write it down."""

WITHHELD: Final = "withheld by policy"
"""All that is told of why something does not leave: that an address is protected is itself confidential."""

TELLS: Final = "(purpose='contact' OR (purpose='' AND kind='hl7'))"
"""Deliveries that may carry an address, and not by a route that is cleared for protected ones."""

LANES: Final = "broker: lanes"
"""Who moves or empties a lane, and who adds to one beside the router, do so in turn: else what is added would stand
behind what was looked for, in a lane that nobody goes by any more, or with an address that is protected by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The event behind a delivery."""

    seq: int
    day: str
    source: str
    at: str

    @classmethod
    def of(cls, seq: int, event: Event) -> Cause:
        at = event.time.isoformat()
        return cls(seq=seq, day=at[:10], source=event.source, at=at)


class Queued(NamedTuple):
    """A delivery that is now open. A tuple, because a start makes one for each of what may be a million."""

    id: int
    destination: str
    lane: str
    due: float = 0.0
    parked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """An open delivery with its bytes, and how it went so far."""

    delivery: Delivery
    day: str
    created: datetime
    by_hand: bool
    """A person released it, or had it sent again."""
    refusals: int
    failing_since: datetime | None
    claim: int | None = None
    """The term under which a node has it in hand: an ending under another one is none."""


def enqueue(
    tx: Transaction,
    cause: Cause,
    lane: str,
    target: Target,
    rendered: Rendered,
    *,
    replay_of: int | None = None,
) -> Queued:
    """Adds a rendered output to its lane (commit 2), or to the one that its lane still waits for (`part`)."""
    number, taken = _insert(tx, cause, lane, target, rendered, "queued", replay_of=replay_of)
    if taken != lane:
        tx.execute("UPDATE lane_parted SET until=? WHERE lane=?", (number, lane))
    return Queued(id=number, destination=target.destination, lane=taken)


def record(tx: Transaction, cause: Cause, lane: str, target: Target, rendered: Rendered, detail: str) -> None:
    """Records an output that was done within commit 2: a worklist row."""
    _insert(tx, cause, lane, target, rendered, "delivered", detail=detail, finished=cause.at)


def hold(tx: Transaction, cause: Cause, lane: str, target: Target, reason: str) -> int:
    """Records an output that could not be rendered: visible, never dropped, for a person to decide."""
    return _insert(tx, cause, lane, target, Rendered(payload=b""), "held", detail=reason)[0]


def withhold(
    tx: Transaction, cause: Cause, lane: str, target: Target, *, replay_of: int | None = None
) -> None:
    """Records an output that policy keeps back: counted, and nothing of it made."""
    empty = Rendered(payload=b"")
    _insert(
        tx,
        cause,
        lane,
        target,
        empty,
        "withheld",
        detail=WITHHELD,
        finished=cause.at,
        replay_of=replay_of,
    )


def withdraw(tx: Transaction, lane: str, at: str) -> list[int]:
    """Takes what waits in a patient's lane and may carry an address out of it, parked or in hand too, bytes and all.

    What is just being sent may arrive nonetheless: `finish` writes it down then.
    """
    withdrawn = []
    tx.alone(LANES)
    # Written first, though nothing changes: what is released or parked meanwhile would be found in neither state.
    for number, before, day, source, route, destination in tx.rows(
        f"UPDATE delivery SET state=state WHERE lane=? AND state IN ('queued', 'parked') AND {TELLS}"
        " RETURNING id, state, day, source, route, destination",
        (lane,),
    ):
        tx.execute(
            "UPDATE delivery SET state='withheld', detail=?, finished=?, claim=NULL WHERE id=?",
            (WITHHELD, at, number),
        )
        tally.moved(tx, day, source, before, "withheld", route=route, destination=destination)
        if day in days.known(tx, since=day, bodies=True):
            body = days.table("delivery_body", day)
            tx.execute(f"UPDATE {body} SET payload=? WHERE delivery=?", (b"", number))
        withdrawn.append(number)
    return sorted(withdrawn)


def _insert(
    tx: Transaction,
    cause: Cause,
    lane: str,
    target: Target,
    rendered: Rendered,
    state: State,
    *,
    detail: str = "",
    finished: str | None = None,
    replay_of: int | None = None,
) -> tuple[int, str]:
    """Its number, and the lane in which it is."""
    [(number, taken)] = tx.rows(
        "INSERT INTO delivery (event, day, source, destination, kind, lane, route, place, version, state, due,"
        f" summary, detail, created, finished, replay_of, purpose) VALUES (?,?,?,?,?,{_LANE},?,?,?,?,0,?,?,?,?,?,?)"
        " RETURNING id, lane",
        (
            cause.seq,
            cause.day,
            cause.source,
            target.destination,
            target.kind,
            *(lane if state == "queued" else "", target.destination, lane),
            target.route,
            target.place,
            target.version,
            state,
            rendered.summary,
            detail,
            cause.at,
            finished,
            replay_of,
            purpose_of(target),
        ),
    )
    days.ensure(tx, cause.day)
    tx.execute(
        f"INSERT INTO {days.table('delivery_body', cause.day)} (delivery, payload) VALUES (?,?)",
        (number, rendered.payload),
    )
    tally.add(tx, cause.day, cause.source, state, route=target.route, destination=target.destination)
    if rendered.lossy:
        tally.add(tx, cause.day, cause.source, LOSSY, route=target.route, destination=target.destination)
    return number, taken


_LANE: Final = (
    "coalesce((SELECT behind FROM lane_parted WHERE lane_parted.lane=? AND EXISTS (SELECT 1 FROM delivery AS earlier"
    " WHERE earlier.lane=behind AND earlier.destination=? AND earlier.state IN ('queued', 'parked')"
    " AND earlier.id<=until)), ?)"
)
"""The lane, or the one that it was parted from while that has open what came before (lane, destination, lane)."""


def purpose_of(target: Target) -> Purpose:
    """What a target's outputs may carry."""
    return "cleared" if target.purpose == "contact" and target.cleared else target.purpose


def may_tell(purpose: Purpose, kind: str) -> bool:
    """`TELLS`, of one delivery."""
    return purpose == "contact" or (purpose == "" and kind == "hl7")


def join(tx: Transaction, absorbed: str, survivor: str) -> list[tuple[str, str]]:
    """A merge: what is still open for the absorbed patient goes on in the survivor's lane.

    Where one of the two still waits for a third lane, what is open goes on in that one: it would be overtaken there.
    Returns the lanes that became one, each (lane, the one it goes on in), in order.
    """
    tx.alone(LANES)
    waits = [_behind(tx, lane) for lane in (absorbed, survivor)]
    tx.execute("DELETE FROM lane_parted WHERE lane IN (?,?)", (absorbed, survivor))
    last, joined = absorbed, []
    for lane in dict.fromkeys((survivor, *(one for one in waits if one not in (absorbed, survivor, "")))):
        tx.execute("UPDATE delivery SET lane=? WHERE lane=? AND state IN ('queued', 'parked')", (lane, last))
        tx.execute("UPDATE lane_parted SET behind=? WHERE behind=?", (lane, last))
        tx.execute("DELETE FROM lane_parted WHERE lane=behind")
        joined.append((last, lane))
        last = lane
    for lane, _ in joined[1:]:
        part(tx, lane, last)
    return joined


def part(tx: Transaction, lane: str, behind: str) -> None:
    """A split: what `lane` opens from now on waits, at each destination, for what `behind` has open now."""
    behind = _behind(tx, behind) or behind
    row = tx.one("SELECT max(id) FROM delivery WHERE lane=? AND state IN ('queued', 'parked')", (behind,))
    if row is not None and row[0] is not None and lane != behind:
        tx.execute(
            "INSERT INTO lane_parted (lane, behind, until) VALUES (?,?,?) ON CONFLICT (lane) DO UPDATE"
            " SET behind=excluded.behind, until=excluded.until",
            (lane, behind, row[0]),
        )


def _behind(tx: Transaction, lane: str) -> str:
    """The lane that another one still waits for; empty: for none."""
    row = tx.one(
        "SELECT behind FROM lane_parted WHERE lane=? AND EXISTS (SELECT 1 FROM delivery WHERE delivery.lane=behind"
        " AND state IN ('queued', 'parked') AND id<=until)",
        (lane,),
    )
    return row[0] if row is not None else ""


def open_deliveries(tx: Transaction) -> Iterator[Queued]:
    """Everything that still has to leave, by destination, in lane order: what a start finds.

    Piece by piece: there may be a million. Within one transaction it is one moment.
    """
    still_open = "FROM delivery WHERE state IN ('queued', 'parked')"
    for (destination,) in tx.rows(f"SELECT DISTINCT destination {still_open} ORDER BY destination"):
        last = 0
        while piece := tx.rows(
            f"SELECT id, lane, due, state='parked' {still_open} AND destination=? AND id>? ORDER BY id LIMIT ?",
            (destination, last, PIECE),
        ):
            last = piece[-1][0]
            for number, lane, due, parked in piece:
                yield Queued(number, destination, lane, due, bool(parked))


def load(tx: Transaction, number: int) -> Open | None:
    """A queued delivery with its bytes; None where it is not queued any more."""
    return next(iter(load_all(tx, [number])), None)


def load_all(tx: Transaction, numbers: Sequence[int]) -> list[Open]:
    """Those of them that are queued, with their bytes, in the order of their numbers."""
    marks = ",".join("?" * len(numbers))
    rows = tx.rows(
        "SELECT id, day, destination, lane, route, attempt, refusals, failing_since, created, claim,"
        " replay_of IS NOT NULL"
        " OR EXISTS (SELECT 1 FROM intervention WHERE intervention.delivery=delivery.id AND action='release')"
        f" FROM delivery WHERE id IN ({marks}) AND state='queued' ORDER BY id",
        numbers,
    )
    payloads: dict[int, bytes] = {}
    for day in {row[1] for row in rows}:
        of_day = [row[0] for row in rows if row[1] == day]
        payloads |= _payloads(tx, of_day, day)
    return [
        Open(
            delivery=Delivery(
                id=number,
                destination=destination,
                lane=lane,
                route=route,
                attempt=attempt + 1,
                payload=payloads.get(number, b""),
            ),
            day=day,
            created=datetime.fromisoformat(created),
            by_hand=bool(by_hand),
            refusals=refusals,
            failing_since=datetime.fromisoformat(failing_since) if failing_since else None,
            claim=claim,
        )
        for number, day, destination, lane, route, attempt, refusals, failing_since, created, claim, by_hand in rows
    ]


def payload(tx: Transaction, number: int, day: str) -> bytes | None:
    """What left or will leave; None where retention dropped it."""
    return _payloads(tx, [number], day).get(number)


def _payloads(tx: Transaction, numbers: Sequence[int], day: str) -> dict[int, bytes]:
    """By number; those that retention dropped are missing."""
    if day not in days.known(tx, since=day, bodies=True):
        return {}
    marks = ",".join("?" * len(numbers))
    return dict(
        tx.rows(
            f"SELECT delivery, payload FROM {days.table('delivery_body', day)} WHERE delivery IN ({marks})",
            numbers,
        )
    )


def payload_of(tx: Transaction, number: int) -> bytes | None:
    """As `payload`, for a caller that knows only the number."""
    row = tx.one("SELECT day FROM delivery WHERE id=?", (number,))
    return None if row is None else payload(tx, number, row[0])


def attempts(tx: Transaction, number: int) -> list[tuple[int, str, str, str]]:
    """(attempt, at, outcome, detail) of each attempt that failed."""
    sql = "SELECT attempt, at, outcome, detail FROM delivery_attempt WHERE delivery=? ORDER BY attempt"
    return [(n, at, outcome, detail) for n, at, outcome, detail in tx.rows(sql, (number,))]


def finish(tx: Transaction, opened: Open, receipt: Receipt, at: str) -> bool:
    """The destination took it. False, and nothing is written, where it is not this claim's to end."""
    moved = move(
        tx,
        opened.delivery.id,
        "queued",
        "delivered",
        "attempt=?, refusals=0, failing_since=NULL, detail=?, finished=?, claim=NULL",
        (opened.delivery.attempt, receipt.detail, at),
        claim=opened.claim,
    )
    if moved and receipt.answer:
        tx.execute(
            f"UPDATE {days.table('delivery_body', opened.day)} SET answer=? WHERE delivery=?",
            (receipt.answer, opened.delivery.id),
        )
    if moved and receipt.lossy:
        _count_lossy(tx, opened)
    if not moved and tx.one("SELECT 1 FROM delivery WHERE id=? AND state='withheld'", (opened.delivery.id,)):
        _attempt(tx, opened, at, "delivered", "it was being sent while it was withdrawn")
    return moved


def _count_lossy(tx: Transaction, opened: Open) -> None:
    row = tx.one("SELECT source FROM delivery WHERE id=?", (opened.delivery.id,))
    source, delivery = (row[0] if row else ""), opened.delivery
    tally.add(tx, opened.day, source, LOSSY, route=delivery.route, destination=delivery.destination)


def retry(
    tx: Transaction, opened: Open, outcome: str, detail: str, due: float, at: str, *, refusals: int
) -> bool:
    """The destination did not take it; it stays the head of its lane until `due`. False as `finish`."""
    since = None if outcome == "unreachable" else at
    changed = tx.change(
        "UPDATE delivery SET attempt=?, refusals=?, failing_since=coalesce(failing_since, ?), due=?, detail=?,"
        " claim=NULL WHERE id=? AND state='queued' AND attempt<? AND claim IS NOT DISTINCT FROM ?",
        (
            opened.delivery.attempt,
            refusals,
            since,
            due,
            detail,
            opened.delivery.id,
            opened.delivery.attempt,
            opened.claim,
        ),
    )
    if changed:
        _attempt(tx, opened, at, outcome, detail)
    return changed > 0


def park(tx: Transaction, opened: Open, outcome: str, detail: str, at: str) -> bool:
    """It keeps its place at the head of its lane until a person decides. False as `finish`."""
    moved = move(
        tx,
        opened.delivery.id,
        "queued",
        "parked",
        "attempt=?, failing_since=coalesce(failing_since, ?), due=0, detail=?, claim=NULL",
        (opened.delivery.attempt, at, detail),
        claim=opened.claim,
    )
    if moved:
        _attempt(tx, opened, at, outcome, detail)
    return moved


def move(
    tx: Transaction,
    number: int,
    before: State,
    after: State,
    changes: str,
    values: tuple[str | int | None, ...],
    *,
    claim: int | None = None,
) -> bool:
    """From one state to another, with its tally. False, and nothing done, where it is not in the first.

    `claim`: whose it must be (`Open.claim`); None: nobody's.
    """
    # One statement: of two that move it at once, on two nodes, only one finds it in the first state.
    row = tx.one(
        f"UPDATE delivery SET state=?, {changes} WHERE id=? AND state=? AND claim IS NOT DISTINCT FROM ?"
        " RETURNING day, source, route, destination",
        (after, *values, number, before, claim),
    )
    if row is None:
        return False
    day, source, route, destination = row
    tally.moved(tx, day, source, before, after, route=route, destination=destination)
    return True


def _attempt(tx: Transaction, opened: Open, at: str, outcome: str, detail: str) -> None:
    """Attempts that failed; the one that did not is the delivery itself."""
    tx.execute(
        "INSERT INTO delivery_attempt (delivery, attempt, at, outcome, detail) VALUES (?,?,?,?,?)",
        (opened.delivery.id, opened.delivery.attempt, at, outcome, detail),
    )


def summary(tx: Transaction) -> list[dict[str, Any]]:
    """Per destination: how many are in which state, since when the oldest waits, and why."""
    found = []
    for destination, states in tally.deliveries(tx).items():
        oldest = tx.one(
            "SELECT created FROM delivery WHERE destination=? AND state IN ('queued', 'parked') AND state<>'parked'"
            " ORDER BY id LIMIT 1",
            (destination,),
        )
        failing = tx.one(
            "SELECT id, attempt, detail FROM delivery WHERE destination=? AND state IN ('queued', 'parked')"
            " AND state<>'parked' AND attempt>0 ORDER BY id LIMIT 1",
            (destination,),
        )
        row: dict[str, Any] = {"destination": destination}
        row |= {s: states.get(s, 0) for s in (*get_args(State), LOSSY)}
        row["oldest"] = oldest[0] if oldest else None
        row["failing"] = (
            {"delivery": failing[0], "attempts": failing[1], "detail": failing[2]} if failing else None
        )
        found.append(row)
    return found
