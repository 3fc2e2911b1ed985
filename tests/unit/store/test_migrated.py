"""A journal with rows in it that an earlier schema wrote, on both engines, as the next schema leaves it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broker.adapter import Verdict
from broker.event import PerformedSeries, PerformedStep, StepReference
from broker.journal import intake
from broker.store import postgres as postgres_store
from broker.store import sqlite as sqlite_store
from broker.store.database import Database
from broker.store.postgres import PostgresDatabase
from broker.store.schema import migrations
from broker.store.sqlite import SqliteDatabase
from broker.store.transaction import Transaction
from tests.support.events import reception
from tests.support.postgres import Postgres
from tests.unit.conftest import ENGINES, NODE

SECONDS = 10
SHA256 = "ab" + "0" * 62
PATH = f"instances/ab/{SHA256}.dcm"

Opened = Callable[[int], Database]


@pytest.fixture(params=ENGINES)
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Opened]:
    """Opens one journal as a version does that knows the schema up to a number."""
    made: list[Database] = []
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.url(server.database())

    def opened(number: int) -> Database:
        for database in made:
            database.close()
        for module in (sqlite_store, postgres_store):
            known = lambda dialect: [step for step in migrations(dialect) if step[0] <= number]  # noqa: E731
            monkeypatch.setattr(module, "migrations", known)
        made.append(
            SqliteDatabase(tmp_path / "journal.sqlite")
            if request.param == "sqlite"
            else PostgresDatabase(url, NODE)
        )
        made[-1].open()
        return made[-1]

    yield opened
    for database in made:
        database.close()


def write(database: Database, work: Callable[[Transaction], object]) -> None:
    database.write(work).result(SECONDS)


def test_files_of_objects_that_were_refused_are_known_from_17_on(opened: Opened) -> None:
    refused: dict[str, Any] = {"verdict": Verdict.REJECTED, "raw": b"", "protocol": "dicom", "blob": PATH}
    receptions = (
        reception(1, **refused, keys=(("instance", "2.25.1"), ("study", "2.25.9"))),
        reception(2, **refused, keys=(("instance", "2.25.1"),)),
        reception(3, **(refused | {"blob": ""}), keys=(("instance", "2.25.2"),)),
        reception(4, **(refused | {"verdict": Verdict.ACCEPTED}), keys=(("instance", "2.25.1"),)),
    )
    before = opened(16)
    for one in receptions:
        write(before, partial(intake.insert, reception=one))
    day = receptions[0].received.date().isoformat()
    assert opened(17).read().rows("SELECT path, sop_instance_uid, state, day FROM refused_file") == [
        (PATH, "2.25.1", SHA256, day)
    ]


def insert(tx: Transaction, table: str, **values: Any) -> None:
    columns, marks = ", ".join(values), ",".join("?" * len(values))
    tx.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", tuple(values.values()))


def test_what_each_mpps_lists_of_a_study_that_goes_on_is_known_from_18_on(opened: Opened) -> None:
    def fill(tx: Transaction) -> None:
        for study, state in (("2.25.1", "receiving"), ("2.25.2", "complete")):
            insert(
                tx,
                "study",
                study_uid=study,
                accession="",
                since="",
                last="",
                state=state,
                completed="",
                event="",
            )
            for mpps, listed in (("5", ("1", "2")), ("6", ("2", "3")), ("7", ())):
                said = PerformedStep(
                    uid=f"{study}.{mpps}",
                    status="COMPLETED",
                    calling_aet="CT1_STO",
                    steps=(StepReference(study_uid=study),) if mpps != "7" else (),
                    series=tuple(
                        PerformedSeries(series_uid=f"{study}.8", instances=(one,)) for one in listed
                    ),
                )
                body = said.model_dump_json(exclude_defaults=True)
                texts = dict.fromkeys(("patient", "said_issuer", "said_value", "aet", "created", "event"), "")
                insert(tx, "mpps", uid=said.uid, status="COMPLETED", body=body, **texts)
            for mpps, one in (("5", "1"), ("5", "2"), ("6", "3")):
                insert(tx, "study_expected", study_uid=study, sop_instance_uid=one, mpps=f"{study}.{mpps}")

    write(opened(17), fill)
    rows = "SELECT mpps, sop_instance_uid FROM study_expected ORDER BY 1, 2"
    assert opened(18).read().rows(rows) == [
        *(("2.25.1.5", "1"), ("2.25.1.5", "2"), ("2.25.1.6", "2"), ("2.25.1.6", "3")),
        *(("2.25.2.5", "1"), ("2.25.2.5", "2"), ("2.25.2.6", "3")),
    ]
