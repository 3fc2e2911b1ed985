"""How an attempt ended, on disk: the delivery is taken, stays the head of its lane for another attempt, or is parked.

Only whoever has it in hand may write that (`Open.claim`). What follows from it is decided in `attempt`.
"""

from __future__ import annotations

from broker.adapter import Receipt
from broker.delivery.ledger import State
from broker.delivery.stored import Open
from broker.store import days, tally
from broker.store.tally import LOSSY
from broker.store.transaction import Transaction


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
