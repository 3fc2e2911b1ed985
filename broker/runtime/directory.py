"""The patient register as those see it who ask the broker who a patient is: found, read, and each answer audited.

What a question means, and how it is answered, is the adapter's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from broker.adapter import PatientWanted
from broker.event import Patient
from broker.journal import audit
from broker.registers import demographic_search, links, patients
from broker.store.database import Database
from broker.store.transaction import Transaction


class Directory:
    """`broker.adapter.PatientDirectory` over the journal. Thread-safe."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def find(self, wanted: PatientWanted, most: int) -> Sequence[str]:
        return demographic_search.find(self._database.read(), wanted, most)

    def get(self, key: str) -> Patient:
        return patients.get(self._database.read(), key).patient

    def linked(self, key: str) -> Sequence[str]:
        return sorted(links.related(self._database.read(), key))

    def disclose(self, *, who: str, what: str, detail: Mapping[str, str | int], keys: Sequence[str]) -> None:
        def write(tx: Transaction) -> None:
            entry = audit.note(tx, at=self._clock(), who=who, action=what, reason="", detail=detail)
            audit.disclose(tx, entry, keys)

        self._database.write(write, urgent=True).result()
