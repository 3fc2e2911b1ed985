"""Registers in memory, and events that are folded into them one after the other."""

from __future__ import annotations

from typing import Any

from broker.event import Event
from broker.registers import exceptions, patients, steps
from broker.registers.fold import Folded, fold
from broker.registers.patients import Known
from broker.runtime.rebuild import COPIED
from broker.store.sqlite import in_memory
from broker.store.transaction import Transaction
from tests.support import events


class Registers:
    """Registers in memory, or of a transaction; `said` folds the next event of the day."""

    def __init__(self, tx: Transaction | None = None) -> None:
        self.tx = tx if tx is not None else in_memory()
        self._number = 0

    def next(self) -> int:
        """The number of the next event of the day."""
        self._number += 1
        return self._number

    def said(self, kind: str, **data: Any) -> Folded:
        return self.fold(events.event(kind, self.next(), **data))

    def fold(self, event: Event) -> Folded:
        return fold(self.tx, event, None)

    def known(self, *identifiers: Any) -> Known:
        """The one patient who owns these."""
        (key,) = patients.find(self.tx, identifiers)
        return patients.get(self.tx, key)

    def status(self, key: str) -> str:
        held = steps.get(self.tx, key)
        assert held is not None
        return str(held.step.status)

    def reported(self, kind: str = "") -> list[str]:
        """Subjects of open exceptions."""
        return [e["subject"] for e in exceptions.listed(self.tx) if not kind or e["kind"] == kind]

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        return {name: self.tx.rows(f"SELECT * FROM {name} ORDER BY 1, 2") for name in COPIED}
