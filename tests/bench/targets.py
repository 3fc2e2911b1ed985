"""A target of the design beside what was reached, and what limits it where it was missed."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.table import milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One line of the page's first table."""

    what: str
    reach: str
    reached: str
    met: bool
    limit: str
    """What a profile showed to limit it; told only where it was missed."""


def at_least(what: str, ratio: float, goal: float, limit: str) -> Target:
    """A ratio within this run."""
    return Target(
        what=what, reach=f"≥ {goal:.2f} ×", reached=f"{ratio:.2f} ×", met=ratio >= goal, limit=limit
    )


def at_most(what: str, ratio: float, goal: float, limit: str) -> Target:
    """A ratio within this run that shall be small."""
    return Target(
        what=what, reach=f"≤ {goal:.2f} ×", reached=f"{ratio:.2f} ×", met=ratio <= goal, limit=limit
    )


def within(what: str, seconds: float, goal: float, limit: str) -> Target:
    """A time, with how much of the goal it takes."""
    return Target(
        what=what,
        reach=f"< {_time(goal)}",
        reached=f"{_time(seconds)} ({seconds / goal:.2f} ×)",
        met=seconds < goal,
        limit=limit,
    )


def below(what: str, part: float, goal: float, limit: str) -> Target:
    """A part of a whole, in per cent."""
    return Target(
        what=what, reach=f"< {goal * 100:g} %", reached=f"{part * 100:.1f} %", met=part < goal, limit=limit
    )


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else milliseconds(seconds)
