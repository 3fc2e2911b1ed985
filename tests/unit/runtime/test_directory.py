"""The directory on both engines: an answer is audited, and who was told of a patient can be asked."""

from __future__ import annotations

from datetime import UTC, datetime

from broker.adapter import NamePart, PatientWanted
from broker.journal import audit
from broker.registers import patients
from broker.registers.fold import fold
from broker.runtime.directory import Directory
from broker.store.database import Database
from tests.support.events import event, local, patient

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def said(database: Database, number: int, kind: str, **data: object) -> None:
    one = event(kind, number, **data)
    database.write(lambda tx: fold(tx, one, None)).result()


def test_answers_about_the_one_who_was_merged_away_count_for_the_survivor(database: Database) -> None:
    directory = Directory(database, lambda: NOW)
    for number in (1, 2):
        said(
            database,
            number,
            "patient.registered",
            patient=patient(local(str(number)), family=f"Åsen{number}"),
        )
    first, second = (directory.find(PatientWanted(identifiers=(local(n),)), 1)[0] for n in ("1", "2"))
    directory.disclose(who="EPJ|STO", what="QBP^Q22", detail={"answers": 1}, keys=[first])
    directory.disclose(who="RIS|STO", what="QBP^Q22", detail={"answers": 2}, keys=[second, second])
    said(database, 3, "patient.merged", patient=patient(local("2"), family="Åsen"), prior=(local("1"),))

    tx = database.read()
    entries = audit.disclosures(tx, [second, *patients.absorbed_by(tx, second)])
    assert [(entry.who, entry.at) for entry in entries] == [
        ("EPJ|STO", NOW.isoformat()),
        ("RIS|STO", NOW.isoformat()),
    ]
    assert audit.disclosures(tx, [second], limit=1) == entries[1:]
    wanted = PatientWanted(family=NamePart(text="asen", prefix=True))
    assert directory.find(wanted, 5) == [second]
    assert directory.get(first) == directory.get(second)


def test_linked_patients_are_told_and_stay_two(database: Database) -> None:
    directory = Directory(database, lambda: NOW)
    for number in (1, 2):
        said(database, number, "patient.registered", patient=patient(local(str(number))))
    first, second = (directory.find(PatientWanted(identifiers=(local(n),)), 1)[0] for n in ("1", "2"))
    assert directory.linked(first) == []

    said(database, 3, "patient.linked", patient=patient(local("1")), prior=(local("2"),))
    assert (directory.linked(first), directory.linked(second)) == ([second], [first])
    said(database, 4, "patient.unlinked", patient=patient(local("1")), prior=(local("2"),))
    assert directory.linked(first) == []
