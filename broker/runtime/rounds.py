"""A thread that makes a round every so often, where this node leads. What a round does is its owner's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import structlog

from broker.errors import BrokerError, UnwritableError
from broker.store.lease import LostLeaseError

log = structlog.get_logger("broker.rounds")

LOOK_SECONDS: Final = 5.0
"""How often a node that does not lead looks whether it does by now."""


class InterruptedRoundError(BrokerError):
    """The broker stops; the next round goes on where this one was."""


class Rounds:
    """The first round is made as soon as this node leads."""

    def __init__(
        self, name: str, run: Callable[[], object], every: float, leads: Callable[[], bool] = lambda: True
    ) -> None:
        """`every`: seconds from the end of a round to the next."""
        self._name = name
        self._run = run
        self._every = every
        self._leads = leads
        self.stopping = threading.Event()
        """For rounds that take long: they end, or raise `InterruptedRoundError`, once it is set."""
        self._thread = threading.Thread(target=self._make, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the transaction that is under way."""
        self.stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _make(self) -> None:
        while True:
            try:
                if self._leads():
                    self._run()
            except InterruptedRoundError:
                return
            except LostLeaseError:
                log.warning("a round was not finished: another node leads now", rounds=self._name)
            except UnwritableError:
                pass  # told where it began; the next round finds the same
            except Exception:
                log.exception("a round failed, and is made again", rounds=self._name)
            if self.stopping.wait(self._every if self._leads() else min(self._every, LOOK_SECONDS)):
                return
