"""A register of a few patients, and what a listener that is asked about them is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.adapter import InboundContext, PatientWanted
from broker.errors import StoreError
from broker.event import Patient
from broker.journal import audit
from broker.registers.fold import fold
from broker.runtime.directory import Directory
from broker.store.sqlite import SqliteDatabase
from tests.support.events import event, local, national, patient

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)

PEOPLE = [
    *(patient(local(f"70000{n}"), family="Hansen", birth_date=f"1980010{n}") for n in range(1, 6)),
    patient(local("800001"), national("30908299902"), family="Čuđi Ŋuorra", birth_date="19900101"),
]


class People:
    """A directory over a register, which can lose its disk and be told of links (`broker.adapter.PatientDirectory`)."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._directory = Directory(database, lambda: NOW)
        self.database = database
        self.broken = False
        self.links: dict[str, Sequence[str]] = {}

    def find(self, wanted: PatientWanted, most: int) -> Sequence[str]:
        return self._directory.find(wanted, most)

    def get(self, key: str) -> Patient:
        return self._directory.get(key)

    def linked(self, key: str) -> Sequence[str]:
        return self.links.get(key, ())

    def disclose(self, *, who: str, what: str, detail: Mapping[str, str | int], keys: Sequence[str]) -> None:
        if self.broken:
            raise StoreError("the disk is gone")
        self._directory.disclose(who=who, what=what, detail=detail, keys=keys)

    def key(self, value: str) -> str:
        """The patient with a local number."""
        (key,) = self.find(PatientWanted(identifiers=(local(value),)), 1)
        return key

    def told_of(self, value: str) -> list[tuple[str, str]]:
        """(who, what) of each answer that named the patient."""
        entries = audit.disclosures(self.database.read(), [self.key(value)])
        return [(entry.who, entry.action) for entry in entries]

    def audited(self) -> list[audit.Entry]:
        return audit.listed(self.database.read())


@dataclass
class Rig:
    """What a listener is given, and what it did with it."""

    people: People
    counted: list[tuple[str, ...]] = field(default_factory=list)
    services: list[Any] = field(default_factory=list)

    def context(self, **changes: Any) -> InboundContext:
        made = InboundContext(
            name="asked",
            site="STO",
            bind="127.0.0.1",
            config_folder=Path(),
            spool=Path(),
            intake=None,  # type: ignore[arg-type]
            worklist=None,  # type: ignore[arg-type]
            clock=lambda: NOW,
            register_dicom=self.services.append,
            known_aets=frozenset(),
            count=lambda name, labels: self.counted.append((name, *labels.values())),
            patients=self.people,
        )
        return replace(made, **changes)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    database = SqliteDatabase(tmp_path / "journal.sqlite")
    database.open()
    for number, who in enumerate(PEOPLE, 1):
        said = event("patient.registered", number, patient=who)
        database.write(lambda tx, said=said: fold(tx, said, None)).result()  # type: ignore[misc]
    yield Rig(People(database))
    database.close()
