"""Which processes share a journal: each says every few seconds that it lives, what it does, and by which routes.

Only where several may (PostgreSQL): an embedded broker writes nothing of it. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from broker.store.transaction import Transaction

BEAT_SECONDS: Final = 5.0
"""How often a node says that it lives."""

LIVING_SECONDS: Final = 15.0
"""A node that was not seen for so long counts as dead."""

FORGET_SECONDS: Final = 86_400.0
"""For so long a dead one is still listed: somebody may look for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a node says of itself."""

    name: str
    roles: tuple[str, ...]
    software: str
    routes: int
    """Number of the route set by which it goes; 0: none."""
    version: str
    """That set's hash with this node's environment."""
    fault: str
    """Why it is not the live one; empty: it is."""


def beat(tx: Transaction, node: Node) -> None:
    """It lives."""
    now = tx.now()
    tx.execute(
        "INSERT INTO node (name, roles, software, at, routes, version, fault) VALUES (?,?,?,?,?,?,?)"
        " ON CONFLICT (name) DO UPDATE SET roles=excluded.roles, software=excluded.software, at=excluded.at,"
        " routes=excluded.routes, version=excluded.version, fault=excluded.fault",
        (node.name, " ".join(node.roles), node.software, now, node.routes, node.version, node.fault),
    )
    tx.execute("DELETE FROM node WHERE at<?", (now - FORGET_SECONDS,))


def gone(tx: Transaction, name: str) -> None:
    """It ended as it should; nobody waits for it."""
    tx.execute("DELETE FROM node WHERE name=?", (name,))


def living(tx: Transaction, roles: Collection[str]) -> list[str]:
    """Names of those that were seen lately and have one of the roles."""
    rows = tx.rows("SELECT name, roles FROM node WHERE at>? ORDER BY name", (tx.now() - LIVING_SECONDS,))
    return [name for name, has in rows if not set(roles).isdisjoint(has.split())]


def listed(tx: Transaction) -> list[dict[str, Any]]:
    """Every node that was seen in the last day; `seen` is in seconds ago, `leads` says which one routes."""
    now = tx.now()
    rows = tx.rows(
        "SELECT node.name, roles, software, at, routes, version, fault, lease.name FROM node"
        " LEFT JOIN lease ON lease.name='leader' AND lease.owner=node.name AND lease.until>? ORDER BY node.name",
        (now,),
    )
    return [
        {
            "node": name,
            "roles": roles.split(),
            "software": software,
            "seen": round(max(0.0, now - at), 1),
            "living": at > now - LIVING_SECONDS,
            "leads": leader is not None,
            "routes": routes,
            "version": version,
            "fault": fault,
        }
        for name, roles, software, at, routes, version, fault, leader in rows
    ]
