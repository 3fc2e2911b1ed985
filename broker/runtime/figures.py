"""What status and metrics say of the journal: counts, depths and ages; no patient's values. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, get_args

from broker.delivery import stored
from broker.journal import log as journal
from broker.registers import exceptions, studies
from broker.runtime import nodes, routesets
from broker.store.transaction import Transaction
from broker.telemetry import age

Gauge = tuple[str, Mapping[str, str], float]


def gauges(tx: Transaction, now: datetime) -> Iterable[Gauge]:
    """Metrics that are the journal's, the same on every node: (name, labels, value)."""
    yield "broker_events_waiting", {}, journal.waiting(tx)
    for row in journal.counts(tx):
        labels = {"source": row["source"], "verdict": row["verdict"]}
        yield "broker_messages_stored", labels, row["messages"]
    for row in stored.summary(tx):
        labels = {"destination": row["destination"]}
        yield "broker_deliveries_queued", labels, row["queued"]
        yield "broker_deliveries_held", labels, row["held"]
        yield "broker_deliveries_parked", labels, row["parked"]
        yield "broker_deliveries_lossy", labels, row["lossy"]
        yield "broker_deliveries_withheld", labels, row["withheld"]
        yield "broker_delivery_oldest_seconds", labels, age(row["oldest"], now) if row["oldest"] else 0.0
    waiting = studies.waiting(tx)
    yield "broker_studies_receiving", {}, waiting["receiving"]
    yield "broker_commitment_requests_waiting", {}, waiting["requests"]
    kinds: dict[str, int] = dict.fromkeys(get_args(exceptions.Kind), 0)  # 0 shows that one begins
    for entry in exceptions.listed(tx):
        kinds[entry["kind"]] = kinds.get(entry["kind"], 0) + 1
    for kind, number in kinds.items():
        yield "broker_exceptions", {"kind": kind}, number


def status(tx: Transaction) -> dict[str, Any]:
    """What came in, what left, what waits, what a person must look at, and the live routes; no patient's values."""
    return {
        "received": journal.counts(tx),
        "events_waiting": journal.waiting(tx),
        "destinations": stored.summary(tx),
        "studies": studies.waiting(tx),
        "exceptions": exceptions.listed(tx),
        "routes": next(iter(routesets.listed(tx, 1)), None),
        "nodes": nodes.listed(tx),
    }
