"""Route sets in the journal: which have been live, which one is, and which is proposed to be next.

The live number stands in the one row of `routing` that every commit 2 writes: whoever changes it waits for the
commit 2 that is under way, and the next one sees it. Not here: loading a set (`inforce`), who must agree (`applying`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from broker.delivery.parked import By
from broker.errors import BrokerError
from broker.routing.files import RouteFiles
from broker.store.transaction import Transaction

_CHANGING: Final = "broker: route sets"
_STORED: Final = "SELECT number, version, body, at, who, reason FROM route_set"


class ApplyError(BrokerError):
    """A route set did not go live, or there is none of that number; nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One set that went live."""

    number: int
    version: str
    files: RouteFiles
    by: By


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a node says to a proposal."""

    node: str
    version: str
    fault: str
    """Why it cannot load it; empty: it has."""


def hold(tx: Transaction) -> int:
    """The live number, which nobody changes before this transaction ends."""
    return int((tx.one("UPDATE routing SET routes=routes RETURNING routes") or (0,))[0])


def alone(tx: Transaction) -> None:
    """Nobody else makes a set live, or proposes one, before this transaction ends."""
    tx.alone(_CHANGING)


def get(tx: Transaction, number: int) -> Stored:
    """Raises `ApplyError` where no set of that number was live."""
    row = tx.one(f"{_STORED} WHERE number=?", (number,))
    if row is None:
        raise ApplyError(f"there are no routes v{number}; `broker routes list` shows those that were live")
    return _stored(row)


def live(tx: Transaction) -> Stored | None:
    """The live set; None where none has been yet."""
    row = tx.one(f"{_STORED} WHERE number=(SELECT routes FROM routing)")
    return None if row is None else _stored(row)


def _stored(row: tuple[Any, ...]) -> Stored:
    number, version, body, at, who, reason = row
    return Stored(
        number=number,
        version=version,
        files=RouteFiles.from_json(body),
        by=By(who=who, at=at, reason=reason),
    )


def listed(tx: Transaction, limit: int = 20) -> list[dict[str, Any]]:
    """Those that were live, the newest first, without their files."""
    rows = tx.rows(
        "SELECT number, version, at, who, reason, CASE WHEN number=routes THEN 1 ELSE 0 END"
        " FROM route_set, routing ORDER BY number DESC LIMIT ?",
        (limit,),
    )
    names = ("number", "version", "at", "who", "reason")
    return [{**dict(zip(names, row[:5], strict=True)), "live": bool(row[5])} for row in rows]


def add(tx: Transaction, files: RouteFiles, version: str, by: By) -> int:
    """Makes a set the live one, under the next number, which it returns."""
    alone(tx)
    hold(tx)
    (number,) = tx.one("SELECT coalesce(max(number), 0) + 1 FROM route_set") or (1,)
    tx.execute(
        "INSERT INTO route_set (number, version, body, at, who, reason) VALUES (?,?,?,?,?,?)",
        (number, version, files.to_json(), by.at, by.who, by.reason),
    )
    tx.execute("UPDATE routing SET routes=?", (number,))
    return int(number)


def propose(tx: Transaction, identity: str, files: RouteFiles, seconds: float) -> None:
    """Asks every node to load a set, for so long. Raises `ApplyError` while another one is proposed."""
    alone(tx)
    now = tx.now()
    if tx.one("SELECT 1 FROM route_proposal WHERE until>?", (now,)) is not None:
        raise ApplyError("another route set is being applied at this moment; try again when that has ended")
    tx.execute("DELETE FROM route_proposal")
    tx.execute("DELETE FROM route_answer")
    tx.execute(
        "INSERT INTO route_proposal (one, id, body, until) VALUES (1,?,?,?)",
        (identity, files.to_json(), now + seconds),
    )


def glance(tx: Transaction) -> tuple[int, str]:
    """The live number, and what `propose` called the set that every node is asked to load; empty: none."""
    number, identity = tx.one("SELECT routes, (SELECT id FROM route_proposal) FROM routing") or (0, None)
    return int(number), identity or ""


def proposal(tx: Transaction, identity: str) -> RouteFiles | None:
    """The files of a proposal; None where it is over."""
    row = tx.one("SELECT body FROM route_proposal WHERE id=? AND until>?", (identity, tx.now()))
    return None if row is None else RouteFiles.from_json(row[0])


def withdraw(tx: Transaction, identity: str) -> None:
    """It is not proposed any more."""
    tx.execute("DELETE FROM route_proposal WHERE id=?", (identity,))
    tx.execute("DELETE FROM route_answer WHERE proposal=?", (identity,))


def answer(tx: Transaction, identity: str, said: Answer) -> None:
    """A node has looked at a proposal."""
    tx.execute(
        "INSERT INTO route_answer (proposal, node, version, fault) VALUES (?,?,?,?)"
        " ON CONFLICT (proposal, node) DO UPDATE SET version=excluded.version, fault=excluded.fault",
        (identity, said.node, said.version, said.fault),
    )


def answers(tx: Transaction, identity: str) -> list[Answer]:
    """What nodes have said to a proposal."""
    rows = tx.rows(
        "SELECT node, version, fault FROM route_answer WHERE proposal=? ORDER BY node", (identity,)
    )
    return [Answer(node=node, version=version, fault=fault) for node, version, fault in rows]
