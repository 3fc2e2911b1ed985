"""The whole plan: what is live, what is proposed, and everything that would be otherwise. Changes nothing.

How it is shown is `report`'s business.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from broker.errors import ConfigError
from broker.plan.changes import Changes, files_between, routes_between, rows_between
from broker.plan.shadow import LIMITS, Shadow
from broker.plan.tally import Lane, Tally
from broker.plan.waiting import Waiting, waiting
from broker.routing.engine import RouteSet
from broker.runtime.configured import Configured, compiled
from broker.runtime.routesets import Stored
from broker.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be otherwise."""

    live: str
    live_version: str
    proposed: str
    proposed_version: str
    changes: Changes
    waiting: tuple[Waiting, ...] = ()
    rows: Tally | None = None
    """Worklist rows; None: not compared."""
    shadow: Shadow | None = None
    """Past traffic; None: not compared."""
    not_compared: str = ""
    """Why routes, rows and traffic could not be: the live set cannot be loaded here."""

    @property
    def differs(self) -> bool:
        """Whether anything at all does."""
        tallies = (self.rows, self.shadow.tally if self.shadow else None)
        return bool(self.changes or self.waiting or any(tally and tally.differing for tally in tallies))

    def described(self) -> dict[str, Any]:
        """For programs."""
        changes = asdict(self.changes)
        for one, file in zip(changes["files"], self.changes.files, strict=True):
            one["diff"] = list(file.diff)
        return {
            "live": {"name": self.live, "version": self.live_version},
            "proposed": {"name": self.proposed, "version": self.proposed_version},
            "differs": self.differs,
            "changes": changes,
            "waiting": [asdict(one) for one in self.waiting],
            "worklist": None if self.rows is None else _tally(self.rows),
            "shadow": None if self.shadow is None else _shadow(self.shadow),
            "not_compared": self.not_compared,
        }


def short(tx: Transaction, stored: Stored, proposed: Configured, name: str) -> tuple[Plan, RouteSet | None]:
    """Files, routes, table rows and waiting deliveries, and the live routes: what costs nothing. Raises `StoreError`.

    `name`: what the proposed set is called. None: the live set cannot be loaded with these settings.
    """
    files = files_between(stored.files, proposed.files)
    plan = Plan(
        live=f"v{stored.number}",
        live_version=stored.version,
        proposed=name,
        proposed_version=proposed.routes.version,
        changes=Changes(files=files),
    )
    try:
        live = compiled(proposed.settings, stored.files, proposed.env)
    except ConfigError as exc:
        return replace(plan, not_compared=str(exc.faults[0] if exc.faults else exc)), None
    changes = Changes(
        files=files,
        routes=routes_between(live, proposed.routes),
        rows=rows_between(live.tables, proposed.routes.tables),
    )
    destinations = [setting.name for setting in proposed.settings.outbound]
    return replace(plan, changes=changes, waiting=waiting(tx, live, proposed.routes, destinations)), live


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "outputs": tally.outputs,
        "differing": tally.differing,
        "lanes": [_lane(lane) for lane in tally.lanes.values()],
        "groups": [asdict(group) for group in tally.ordered()],
        "left_out": tally.left_out,
    }


def _lane(lane: Lane) -> dict[str, Any]:
    return {**asdict(lane), "differing": lane.differing}


def _shadow(found: Shadow) -> dict[str, Any]:
    return {
        "window": asdict(found.window),
        "registers": found.registers,
        "limits": LIMITS[found.registers],
        "sample": found.sample,
        "events": found.events,
        "seconds": round(found.seconds, 3),
        "events_per_second": round(found.rate),
        "failed": found.failed,
        "bodiless": found.bodiless,
        **_tally(found.tally),
    }
