"""Listeners, events, routes and destinations as a graph, with what waits where somebody asks. Pure; it draws nothing.

Event types that come from the same listeners and go to the same routes are one node: `patient.*` where they are all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from broker.event import EVENT_TYPES
from broker.routing.engine import Route
from broker.runtime.configured import Configured
from broker.settings import InboundSetting
from broker.telemetry import age

Layer = Literal["listener", "event", "route", "destination", "asked"]
LAYERS: Final[tuple[Layer, ...]] = ("listener", "event", "route", "destination", "asked")
"""From left to right. `asked`: listeners that make no events, but answer from a register (worklists)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One box."""

    id: str
    layer: Layer
    lines: tuple[str, ...]
    """What it says: the name first."""
    enabled: bool = True
    waits: bool = False
    """Something is held up there (`--live`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One arrow, from left to right."""

    source: str
    target: str
    label: str = ""
    enabled: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The whole picture."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    caption: str = ""
    """What is true of all of it (`--live`): events that wait to be routed, and when that was."""

    def described(self) -> dict[str, Any]:
        """The stable shape of `--format json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What `broker status` says, and when."""

    status: Mapping[str, Any]
    now: datetime


def graph(configured: Configured, live: Live | None = None) -> Graph:
    """The graph of a configuration."""
    listeners = configured.settings.inbound
    makes = {
        s.name: frozenset(event for events in (s.spec.made(s.config) or {}).values() for event in events)
        for s in listeners
    }
    groups = _groups(makes, configured.routes.routes)
    nodes = [
        *(_listener(setting, bool(makes[setting.name]), live) for setting in listeners),
        *(Node(id=f"event {n}", layer="event", lines=tuple(_names(group))) for n, group in enumerate(groups)),
        *(
            Node(id=f"route {r.name}", layer="route", lines=(r.name,), enabled=r.enabled)
            for r in configured.routes.routes
        ),
        *(
            _destination(setting.name, setting.spec.kind, setting.entry.enabled, live)
            for setting in configured.settings.outbound
        ),
    ]
    edges = [*_into_events(makes, groups), *_into_routes(groups, configured.routes.routes)]
    edges += _out_of_routes(configured)
    return Graph(nodes=tuple(nodes), edges=tuple(edges), caption=_caption(live))


def _groups(makes: Mapping[str, frozenset[str]], routes: Iterable[Route]) -> list[tuple[str, ...]]:
    """Event types by where they come from and go to, in the catalogue's order; those that nobody makes or takes not."""
    taken = {route.name: frozenset(route.events) for route in routes}
    found: dict[Any, list[str]] = {}
    for event in EVENT_TYPES:
        by = tuple(name for name, made in makes.items() if event in made)
        to = tuple(name for name, events in taken.items() if event in events)
        if by or to:
            found.setdefault((event.partition(".")[0], by, to), []).append(event)
    return [tuple(events) for events in found.values()]


def _names(group: Sequence[str]) -> Iterator[str]:
    root = group[0].partition(".")[0]
    whole = tuple(event for event in EVENT_TYPES if event.startswith(f"{root}."))
    yield from (f"{root}.*",) if tuple(group) == whole and len(whole) > 1 else group


def _listener(setting: InboundSetting, makes: bool, live: Live | None) -> Node:
    lines = [setting.name, f"adapter {setting.spec.name}"]
    if live is not None and makes:
        counts = {r["verdict"]: r["messages"] for r in live.status["received"] if r["source"] == setting.name}
        lines.append(
            ", ".join(f"{number} {verdict}" for verdict, number in counts.items()) or "nothing received"
        )
    return Node(
        id=f"listener {setting.name}",
        layer="listener" if makes else "asked",
        lines=tuple(lines),
        enabled=setting.entry.enabled,
    )


def _destination(name: str, kind: str, enabled: bool, live: Live | None) -> Node:
    lines, waits = [name, kind], False
    row = next((r for r in live.status["destinations"] if r["destination"] == name), None) if live else None
    if live is not None:
        counts = {state: row[state] for state in ("queued", "parked", "held")} if row else {}
        waits = any(counts.values())
        lines.append(
            ", ".join(f"{number} {state}" for state, number in counts.items() if number) or "nothing waits"
        )
        if row and row["oldest"]:
            lines.append(f"the oldest since {_age(age(row['oldest'], live.now))}")
    return Node(
        id=f"destination {name}", layer="destination", lines=tuple(lines), enabled=enabled, waits=waits
    )


def _age(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _into_events(makes: Mapping[str, frozenset[str]], groups: Sequence[tuple[str, ...]]) -> Iterator[Edge]:
    for name, made in makes.items():
        for number, group in enumerate(groups):
            if group[0] in made:
                yield Edge(source=f"listener {name}", target=f"event {number}")


def _into_routes(groups: Sequence[tuple[str, ...]], routes: Iterable[Route]) -> Iterator[Edge]:
    for route in routes:
        for number, group in enumerate(groups):
            if group[0] in route.events:
                where = "where …" if route.condition is not None else ""
                yield Edge(
                    source=f"event {number}", target=f"route {route.name}", label=where, enabled=route.enabled
                )


def _out_of_routes(configured: Configured) -> Iterator[Edge]:
    on = {setting.name: setting.entry.enabled for setting in configured.settings.outbound}
    for route in configured.routes.routes:
        for target in route.targets:
            yield Edge(
                source=f"route {route.name}",
                target=f"destination {target.destination}",
                label=target.send,
                enabled=route.enabled and on[target.destination],
            )
    for listener in configured.settings.inbound:
        for setting in configured.settings.outbound:
            if not listener.spec.events and setting.spec.kind == "worklist":
                yield Edge(
                    source=f"destination {setting.name}",
                    target=f"listener {listener.name}",
                    label="rows",
                    enabled=setting.entry.enabled and listener.entry.enabled,
                )


def _caption(live: Live | None) -> str:
    if live is None:
        return ""
    return (
        f"{live.status['events_waiting']} events wait to be routed, {live.now.isoformat(timespec='seconds')}"
    )
