"""Journal and registers of one moment: of now as they stand, of the past made anew from the log. Writes nothing.

By today's routes: the log keeps when a message was received and in which order events were routed, so a past moment is
that at which everything received until then had been routed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from broker.errors import BrokerError
from broker.journal import log
from broker.runtime import rebuild
from broker.runtime.configured import Configured
from broker.store.database import Database
from broker.store.transaction import Transaction


class WhyError(BrokerError):
    """The question cannot be answered; the text says why and what to ask instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Journal and registers of one moment."""

    journal: Transaction
    registers: Transaction
    configured: Configured
    until: str = ""
    """ISO 8601, UTC; what was received from then on is not seen. Empty: now."""


@contextmanager
def desk(
    database: Database, configured: Configured, until: str, progress: Callable[[int], None]
) -> Iterator[Desk]:
    """Opens a desk; `progress` is told how many events were folded. Raises `WhyError` where the log is gone."""
    with database.snapshot() as journal:
        if not until:
            yield Desk(journal=journal, registers=journal, configured=configured)
            return
        baseline, end = database.beside(rebuild.BASELINE), log.place_at(journal, until)
        with rebuild.rebuilt(journal, baseline, configured, progress, end=end) as registers:
            if rebuild.folded(registers) > end:
                raise WhyError(
                    f"{until}: retention has taken the log of that time; ask for a later moment, or look at a backup"
                )
            yield Desk(journal=journal, registers=registers, configured=configured, until=until)
