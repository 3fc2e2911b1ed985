"""Deliveries that wait and would be treated otherwise by the proposed routes. Counts them; changes none.

They were rendered when their event was routed and leave as they are: only retries and parking follow the new set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from broker.routing.engine import RouteSet
from broker.routing.language import OnFailure
from broker.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Open deliveries of one route at one destination."""

    destination: str
    route: str
    queued: int
    parked: int
    why: tuple[str, ...]
    """What will be otherwise for them."""


def waiting(
    tx: Transaction, live: RouteSet, proposed: RouteSet, destinations: Collection[str]
) -> tuple[Waiting, ...]:
    """`destinations`: those that the settings of the folder have."""
    counted: dict[tuple[str, str], dict[str, int]] = {}
    for destination, route, state, number in tx.rows(
        "SELECT destination, route, state, count(*) FROM delivery WHERE state IN ('queued', 'parked')"
        " GROUP BY destination, route, state ORDER BY destination, route"
    ):
        counted.setdefault((destination, route), {})[state] = int(number)
    found = []
    for (destination, route), states in counted.items():
        why = tuple(becomes(live, proposed, route, destination))
        if destination not in destinations:
            why = ("the settings have no such destination: nothing sends them", *why)
        if why:
            found.append(
                Waiting(
                    destination=destination,
                    route=route,
                    queued=states.get("queued", 0),
                    parked=states.get("parked", 0),
                    why=why,
                )
            )
    return tuple(found)


def becomes(live: RouteSet, proposed: RouteSet, route: str, destination: str) -> Iterator[str]:
    """What changes for what a route has queued at a destination."""
    one, two = _stands(live, route, destination), _stands(proposed, route, destination)
    if one != two and two:
        yield f"{two}; they leave as they were rendered"
    before, after = _on_failure(live, route), _on_failure(proposed, route)
    for name in before:
        if before[name] != after[name]:
            yield f"on_failure.{name} {_shown(before[name])} → {_shown(after[name])}"


def _stands(routes: RouteSet, name: str, destination: str) -> str:
    """Why nothing more comes behind them; empty: the route goes on as it is."""
    route = next((route for route in routes.routes if route.name == name), None)
    if route is None:
        return "the route goes"
    if not route.enabled:
        return "the route is switched off"
    if all(target.destination != destination for target in route.targets):
        return "the route sends nothing there any more"
    return ""


def _on_failure(routes: RouteSet, name: str) -> dict[str, Any]:
    """By setting; a delivery whose route is gone gets what routes get by default."""
    said = next((route.on_failure for route in routes.routes if route.name == name), OnFailure())
    found = said.model_dump()
    retry = found.pop("retry")
    return {**{f"retry.{key}": value for key, value in retry.items()}, **found}


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g} s"
    return str(value) if value not in ("", None) else "nothing"
