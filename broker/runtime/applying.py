"""Makes a route set live: proposed to every node that goes by routes, and live once all of them have loaded it.

One transaction makes it live; until then nothing has changed. Not here: how a node loads it (`inforce`), and which
worklist rows a new set would make anew: rows stay until the next event of their step or patient.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

from broker.delivery.parked import By
from broker.ids import message_id
from broker.routing.files import RouteFiles
from broker.runtime import routesets
from broker.runtime.routesets import Answer, ApplyError
from broker.store.database import Database
from broker.store.transaction import Transaction

PAUSE_SECONDS: Final = 0.2
"""How often it is asked what the nodes have said."""

SPARE_SECONDS: Final = 10.0
"""So long after its time a proposal still stands that nobody withdrew."""

Expected = Callable[[Transaction], Collection[str]]
"""The nodes that must have loaded a set before it goes live, as they are at this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What came of it."""

    number: int
    """Of the live set now; 0: nothing was changed."""
    loaded: tuple[Answer, ...] = ()
    refused: tuple[Answer, ...] = ()
    silent: tuple[str, ...] = ()
    """Nodes that did not answer in time; where one refused, nobody waited for the others."""

    @property
    def agreed(self) -> bool:
        """Whether every node has loaded it."""
        return not self.refused and not self.silent


def apply(
    database: Database,
    files: RouteFiles,
    version: str,
    by: By,
    expected: Expected,
    *,
    seconds: float,
    rehearsal: bool = False,
    pause: Callable[[], None] = lambda: time.sleep(PAUSE_SECONDS),
) -> Applied:
    """Asks the nodes for at most `seconds`, and makes the set live where all agree. `version`: its hash here.

    `rehearsal`: they are asked, and nothing goes live. Raises `ApplyError` while somebody else is at it.
    """
    identity = message_id(datetime.now(UTC))
    propose = partial(routesets.propose, identity=identity, files=files, seconds=seconds + SPARE_SECONDS)
    database.write(propose).result()
    try:
        deadline = time.monotonic() + seconds
        found = _asked(database.read(), identity, expected)
        while found.silent and not found.refused and time.monotonic() < deadline:
            pause()
            found = _asked(database.read(), identity, expected)
        if found.agreed and not rehearsal:
            found = database.write(lambda tx: _go_live(tx, identity, files, version, by, expected)).result()
    finally:
        database.write(partial(routesets.withdraw, identity=identity)).result()
    return found


def _asked(tx: Transaction, identity: str, expected: Expected) -> Applied:
    said = {answer.node: answer for answer in routesets.answers(tx, identity)}
    nodes = sorted(expected(tx))
    return Applied(
        number=0,
        loaded=tuple(said[node] for node in nodes if node in said and not said[node].fault),
        refused=tuple(said[node] for node in nodes if node in said and said[node].fault),
        silent=tuple(node for node in nodes if node not in said),
    )


def _go_live(
    tx: Transaction, identity: str, files: RouteFiles, version: str, by: By, expected: Expected
) -> Applied:
    """Looks once more, in the transaction that makes it live: a node may have come meanwhile."""
    found = _asked(tx, identity, expected)
    if routesets.proposal(tx, identity) is None:
        raise ApplyError(
            "the proposal ran out before all nodes had answered; try again, with a longer --timeout"
        )
    if not found.agreed:
        return found
    # The hash of where it runs: the environment there may not be the one of who applies it.
    there = found.loaded[0].version if found.loaded else version
    return Applied(number=routesets.add(tx, files, there, by), loaded=found.loaded)
