"""Why a delivery is what it is and where: its message, event, route and mapping, its attempts, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final

from broker.journal import log
from broker.registers import protection
from broker.registers.views import look
from broker.runtime.pipeline import message_of
from broker.why.desk import Desk, WhyError
from broker.why.gather import read_message
from broker.why.reading import Reading

NEXT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "delivered": "nothing is left to do here; `broker replay --delivery {id} --reason …` sends it again",
        "queued": "it leaves as soon as {destination} takes it: `broker status` says what holds {destination} up",
        "parked": "a person decides: `broker parked show {id}`, then edit, release or drop it",
        "held": "put right what the reason names, then `broker replay {message} --mode received --reason …`",
        "dropped": "a person dropped it; `broker replay --delivery {id} --reason …` sends it after all",
        "withheld": "nothing is to be done here: the policy of this destination keeps it back",
    }
)
"""By state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One `set:` line of the target: what it sets, where it stands, what its value was made of. No value."""

    name: str
    place: str
    origins: tuple[str, ...]


def why(it: Desk, number: int) -> dict[str, Any]:
    """The facts of one delivery, in the stable shape of `--format json`. Raises `WhyError` where there is none."""
    row = it.journal.one("SELECT event, route, version, destination FROM delivery WHERE id=?", (number,))
    if row is None:
        raise WhyError(
            f"there is no delivery {number}; `broker trace` shows the numbers of a message's deliveries"
        )
    event, route, version, destination = row
    logged = log.event(it.journal, event)
    seq = it.journal.one("SELECT message FROM event WHERE seq=?", (event,))
    assert seq is not None, "the event was read"
    told = log.timeline(it.journal, seq[0])
    delivery = next(d for e in told["events"] for d in e["deliveries"] if d["id"] == number)
    message = {key: value for key, value in told.items() if key != "events"}
    words = {"id": number, "destination": destination, "message": told["id"]}
    return {
        "verdict": delivery["state"],
        "message": message,
        "event": {"id": logged.event.id, "type": logged.event.type},
        "delivery": delivery,
        "routes_today": it.configured.routes.version,
        "same_routes": version == it.configured.routes.version,
        "mapping": [asdict(line) for line in _mapping(it, logged, seq[0], route, destination)],
        "next": [NEXT[delivery["state"]].format_map(words)],
    }


def _mapping(it: Desk, logged: log.Logged, seq: int, route: str, destination: str) -> Iterator[Line]:
    """What today's route sets, for the event seen through the registers as they stand now."""
    view = look(it.registers, logged.event, message_of(logged))
    if view is None:
        return
    reading, routes = Reading(it, [read_message(it, seq)]), it.configured.routes
    for target in routes.route(protection.seen(it.registers, view)).targets:
        if (target.route, target.destination) == (route, destination):
            for name, (place, origins) in routes.origins(view, target).items():
                yield Line(name=name, place=place, origins=tuple(reading.made_of(view, origins)))
