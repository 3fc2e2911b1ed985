"""Faults to plant in a cluster (`--plant`), to see that the proof finds them: one that cannot fail proves nothing."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.support.mllp import Behaviour
from tests.support.shared import REPOSITORY

FORGETFUL, BLIND = "forgetful-epj", "lease-blind"
FAULTS: Final = (FORGETFUL, BLIND)

_BLIND: Final = """
from broker.delivery import drain
from broker.delivery.drain import Drain
from broker.store.lease import Held, LostLeaseError
from broker.store import lease as leases

def is_way(held):
    return held.name.startswith("way ")

def stored(self, *what, old=Drain._stored):
    old(self, *what)
    return True

def hold(tx, lease, *rest, old=leases.hold):
    try:
        return old(tx, lease, *rest)
    except LostLeaseError:
        if not is_way(lease):
            raise
        return tx.now()

def sure(self, old=Held.sure.fget):
    return is_way(self.lease) or old(self)

drain.TURN_SECONDS = 3600.0  # a turn that is over by the clock ends too
Drain._stored, leases.hold, Held.sure = stored, hold, property(sure)
"""


def forgetful(answer: Callable[[bytes], Behaviour]) -> Callable[[bytes], Behaviour]:
    """An EPJ that acknowledges one message, the hundredth, and keeps nothing of it."""
    numbers = itertools.count(1)

    def take(message: bytes) -> Behaviour:
        usual = answer(message)
        return "forget" if next(numbers) == 100 else usual

    return take


def blind(folder: Path) -> dict[str, str]:
    """Settings of nodes that go on with what they have in hand, whoever has the lease by then."""
    (folder / "sitecustomize.py").write_text(_BLIND, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(REPOSITORY)])}
