"""Counts compared outputs by route, destination and field, with a few examples. Bounded, whatever is counted.

Keeps no value: what goes in is made a shape at once (`shapes`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from broker.plan.outputs import Compared, Verdict
from broker.plan.shapes import shown

EXAMPLES: Final = 3
"""Kept of each group: the first, and only of messages that differ."""

GROUPS: Final = 500
"""Kept at most; outputs of later ones are counted all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Where a difference is to be looked at."""

    message: str
    """Its id (`broker trace`, `broker replay --dry-run`)."""
    before: str
    after: str
    """Shapes."""


@dataclass(slots=True, kw_only=True)
class Group:
    """Outputs that differ in the same way at the same place."""

    route: str
    destination: str
    verdict: Verdict
    place: str
    """The line of the route."""
    path: str = ""
    """`PID-5.1`, `(0040,0001) ScheduledStationAETitle`; of repeated segments all together."""
    reason: str = ""
    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Lane:
    """What a route makes for a destination."""

    route: str
    destination: str
    outputs: int = 0
    verdicts: dict[Verdict, int] = field(default_factory=dict)
    """Those that differ, by how."""

    @property
    def differing(self) -> int:
        return sum(self.verdicts.values())


@dataclass(slots=True, kw_only=True)
class Tally:
    """What was counted so far."""

    words: frozenset[str] = field(repr=False)
    """What may be shown in clear."""
    outputs: int = 0
    differing: int = 0
    left_out: int = 0
    """Differences in groups that were too many to keep."""
    lanes: dict[tuple[str, str], Lane] = field(default_factory=dict)
    groups: dict[tuple[str, ...], Group] = field(default_factory=dict)

    def add(self, message: str, compared: Iterable[Compared]) -> None:
        """`message`: the id of the message behind them."""
        for one in compared:
            key = (one.route, one.destination)
            lane = self.lanes.setdefault(key, Lane(route=one.route, destination=one.destination))
            lane.outputs += 1
            self.outputs += 1
            if one.verdict == "same":
                continue
            lane.verdicts[one.verdict] = lane.verdicts.get(one.verdict, 0) + 1
            self.differing += 1
            if not one.fields:
                self._count(message, one, "", "", "")
            for change in one.fields:
                place = re.sub(r"\[\d+\]", "", change.place)
                before, after = (
                    shown(v, one.kind, change.name, self.words) for v in (change.before, change.after)
                )
                self._count(message, one, place, before, after)

    def ordered(self) -> list[Group]:
        """By route and destination, the most frequent first."""
        return sorted(self.groups.values(), key=lambda g: (g.route, g.destination, -g.count, g.path))

    def _count(self, message: str, one: Compared, place: str, before: str, after: str) -> None:
        key = (one.route, one.destination, one.verdict, place, one.reason)
        if key not in self.groups and len(self.groups) >= GROUPS:
            self.left_out += 1
            return
        group = self.groups.setdefault(
            key,
            Group(
                route=one.route,
                destination=one.destination,
                verdict=one.verdict,
                place=one.place,
                path=place,
                reason=one.reason,
            ),
        )
        group.count += 1
        if len(group.examples) < EXAMPLES and all(e.message != message for e in group.examples):
            group.examples.append(Example(message=message, before=before, after=after))
