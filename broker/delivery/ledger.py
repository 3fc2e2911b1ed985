"""What commit 2 writes of deliveries: queued, held or withheld, withdrawn, their lanes joined and parted. SQL only.

How they are read is `stored`, how an attempt at one ended `endings`, what people do to them `parked`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from broker.adapter import Rendered, Target
from broker.event import Event
from broker.store import days, tally
from broker.store.tally import LOSSY
from broker.store.transaction import Transaction

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

    What is just being sent may arrive nonetheless: `endings.finish` writes it down then.
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
