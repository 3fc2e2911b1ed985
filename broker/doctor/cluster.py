"""What is seen of nodes that share a journal, judged. Pure, as `judge.py`: values in, findings out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from broker.doctor.finding import Finding, fault, ok, warning
from broker.doctor.judge import REMOTE

APART_SECONDS: Final = 2.0
"""Clocks of one time service differ by milliseconds; from here on, times of nodes tell a wrong order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who has a lease that stands (`broker.store.lease`)."""

    lease: str
    node: str
    """As `broker.settings.Settings.node` names it: host, colon, data folder."""

    @property
    def host(self) -> str:
        return self.node.partition(":")[0]


def executor(*, celery: bool, store: bool, bus: bool) -> Finding:
    """`store`, `bus`: whether other nodes can reach them."""
    if not celery:
        return ok("executor", "threads: each node that delivers wakes the others through the journal")
    lacks = [
        name
        for name, there in (("store: postgresql://…", store), ("bus: amqp://… or redis://…", bus))
        if not there
    ]
    if lacks:
        do = "set BROKER_STORE and BROKER_BUS, or executor: threads"
        return fault("executor", f"celery, without {' and '.join(lacks)}: no start", do)
    return ok("executor", "celery")


def bus(address: str, error: str) -> Finding:
    """`address`: without its password; `error`: what was raised when it was tried, empty where it answered."""
    if error:
        do = (
            "start it, or ask for address, user and firewall. Nothing is lost: events wait for it, and Celery's"
            " deliveries come up to 20 s late"
        )
        return warning("bus", f"{address} does not answer ({error})", do)
    return ok("bus", f"{address} answers")


def objects(*, apart: bool, kind: str, host: str, holders: Collection[Holder]) -> Finding:
    """`apart`: the spool is not the data folder; `kind`: its file system; `host`: this machine."""
    if not apart:
        do = "set BROKER_SPOOL to a folder that every node has mounted"
        return warning("shared spool", "received objects stand in `data`: no other node can send them", do)
    others = sorted({holder.host for holder in holders} - {host})
    if others and kind and kind not in REMOTE:
        do = "mount one folder on all of them, unless this is a clustered file system"
        return warning("shared spool", f"{kind} on this machine, and nodes run on {', '.join(others)}", do)
    return ok("shared spool", f"{kind or 'its file system is not known'}, apart from `data`")


def database_clock(ahead: float) -> Finding:
    """`ahead`: seconds that the database's clock is before this machine's."""
    found = f"the database's differs from this machine's by {abs(ahead):.1f} s"
    if abs(ahead) > APART_SECONDS:
        do = "have chrony or systemd-timesyncd keep both: leases go by the database's, times of messages by the node's"
        return warning("clocks", found, do)
    return ok("clocks", found)


def leader(holder: Holder | None) -> Finding:
    """`holder`: who leads; None: nobody."""
    if holder is None:
        do = "start a node with the role router; after a death another takes over within about 10 s"
        return warning("leader", "no node leads: what was acknowledged is not routed", do)
    return ok("leader", f"{holder.node} routes")


def name(node: str, holders: Collection[Holder], *, runs: bool) -> Finding:
    """`node`: the name that a start on this data folder has; `runs`: whether such a broker is seen here."""
    if not runs and any(holder.node == node for holder in holders):
        do = (
            "give each node a host name or a path of BROKER_DATA of its own: two by one name take each other's work"
            " for their own. After a kill -9 look again in 10 s"
        )
        return warning("node name", f"{node} is at work, but not on this data folder", do)
    return ok("node name", node)
