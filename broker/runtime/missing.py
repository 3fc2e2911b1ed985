"""Codes that messages brought and no table row holds: the look-ups of today's routes over the journal's last events.

Nothing is stored for it: an event is seen again as it spoke, through the registers as they stand now, and every
look-up is asked with the time of the event. So a code that was added since is missing no more. Codes are no patient
data; nothing else of a message is kept here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from broker.journal import log as journal
from broker.journal.log import Logged
from broker.registers.views import look_as_said
from broker.routing import codes
from broker.routing.engine import RouteSet
from broker.routing.watch import lines
from broker.runtime.pipeline import message_of
from broker.store.transaction import Transaction

BATCH = 500


@dataclass(slots=True, kw_only=True)
class Missing:
    """One look-up that found nothing, as often as it did."""

    table: str
    codes: tuple[str, ...]
    """What was asked for, the most specific first; any of them would have done. Empty: the event named none."""
    events: int = 0
    first: str = ""
    """When the first message with it was received, ISO 8601, UTC."""
    last: str = ""
    types: dict[str, int] = field(default_factory=dict)
    """Events by type."""
    places: list[str] = field(default_factory=list)
    """Lines of the routes that asked."""


def missing(
    tx: Transaction, routes: RouteSet, since: str, progress: Callable[[int], None] = lambda _seen: None
) -> list[Missing]:
    """Every look-up that misses for events received from `since` on (ISO 8601, UTC), the most frequent first."""
    found: dict[tuple[str, tuple[str, ...]], Missing] = {}
    missed: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    looking = codes.telling_of_misses(
        routes, lambda table, keys, place: missed.setdefault((table, keys), []).append(place)
    )
    types = _types(routes)
    after, seen = journal.before(tx, since), 0
    while types and (batch := journal.lately(tx, since, types, after, BATCH)):
        for logged in batch:
            view = look_as_said(tx, logged.event, message_of(logged))
            missed.clear()
            if view is not None:
                looking.route(view)
            for key, places in missed.items():
                one = found.setdefault(key, Missing(table=key[0], codes=key[1]))
                _count(one, logged, places)
        after, seen = batch[-1].seq, seen + len(batch)
        progress(seen)
    return sorted(found.values(), key=lambda one: (-one.events, one.table, one.codes))


def _types(routes: RouteSet) -> list[str]:
    """The types of the events for which a route looks something up."""
    looking = [r for r in routes.routes if r.enabled and any(line.expression.tables for line in lines(r))]
    return sorted({event for route in looking for event in route.events})


def _count(one: Missing, logged: Logged, places: list[str]) -> None:
    at = logged.event.time.isoformat()
    one.events += 1
    one.first, one.last = min(one.first or at, at), max(one.last, at)
    one.types[logged.event.type] = one.types.get(logged.event.type, 0) + 1
    one.places += [place for place in dict.fromkeys(places) if place not in one.places]
