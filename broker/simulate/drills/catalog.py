"""Which drills there are, and writing them down: the same seed and day give the same bytes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from random import Random
from types import MappingProxyType
from typing import Final

from broker.simulate.drills import merge_running, newborn, trauma, wrong_merge
from broker.simulate.drills.script import Drill, Script
from broker.simulate.people import tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One drill of the catalog."""

    write: Callable[[Script], Drill]
    text: str


DRILLS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "trauma": Kind(
            write=trauma.drill,
            text="two unknowns at once: one identified, one identified wrongly and corrected",
        ),
        "newborn": Kind(
            write=newborn.drill,
            text="twins with H-numbers from two hospitals, then their fødselsnummer",
        ),
        "merge-running": Kind(
            write=merge_running.drill,
            text="a merge while an examination runs: images and its end come under the old number",
        ),
        "wrong-merge": Kind(
            write=wrong_merge.drill,
            text="a merge of two persons, found and split after a week",
        ),
    }
)


def write(name: str, seed: int, begins: datetime) -> Drill:
    """The drill `name`, its numbers by the seed, its messages from that moment on (the hospital's time)."""
    place = tuple(DRILLS).index(name)
    script = Script(
        tag=tag(seed * len(DRILLS) + place), clock=begins, dice=Random(seed * len(DRILLS) + place)
    )
    return DRILLS[name].write(script)
