from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.dicom.matching import Query
from broker.event import StepStatus
from broker.registers import stations, steps
from broker.registers.worklist import Reader
from broker.store.database import Database
from broker.store.transaction import Transaction
from tests.support.events import event, order, step
from tests.support.names import ASKED, NAMES
from tests.support.registers import Registers
from tests.unit.conftest import NewTransaction
from tests.unit.registers.test_worklist import WHO, put

KEY = "RIS|F1|S1"


def found(registers: Registers) -> list[tuple[str, str, int]]:
    """Stations, days and numbers of the rows that a device may be shown."""
    return registers.tx.rows("SELECT aet, start_date, row FROM worklist_station ORDER BY aet, row")


def named(registers: Registers) -> list[str]:
    """What they are found by besides."""
    return [name for (name,) in registers.tx.rows("SELECT name FROM worklist_name ORDER BY name")]


def becomes(registers: Registers, *statuses: StepStatus) -> None:
    for status in statuses:
        registers.said("step.changed", patient=WHO, order=order(), step=step(KEY, status=status))


@pytest.mark.parametrize(
    "path",
    [
        ("COMPLETED",),
        ("DISCONTINUED",),
        ("CANCELED",),
        ("STARTED", "COMPLETED"),
        ("CANCELED", "SCHEDULED", "ARRIVED", "STARTED", "DISCONTINUED"),
    ],
)
def test_a_step_that_ended_is_found_under_no_station_and_no_name(
    registers: Registers, path: tuple[StepStatus, ...]
) -> None:
    put(registers, station_aets=("CT1_STO", "CT2_STO"), patient_name="Åsen^Kari")
    before = set(found(registers))
    put(registers, "RIS|F1|S2", patient_name="Berg^Ola")
    (others,) = set(found(registers)) - before
    becomes(registers, *path)

    assert found(registers) == [others]
    assert named(registers) == ["berg^ola"]
    assert registers.tx.rows("SELECT count(*) FROM worklist") == [(2,)], (
        "people still see it, and why it ended"
    )


@pytest.mark.parametrize("end", ["CANCELED", "DISCONTINUED"])
def test_a_step_that_is_planned_again_is_found_again(registers: Registers, end: StepStatus) -> None:
    put(registers, station_aets=("CT1_STO", "CT2_STO"), patient_name="Åsen^Kari")
    before = found(registers)
    becomes(registers, end, "SCHEDULED")

    assert found(registers) == before
    assert named(registers) == ["aasen^kari", "asen^kari"]
    assert [row.key for row in Reader(lambda: registers.tx).candidates(stations=("CT2_STO",))] == [KEY]


def test_a_step_that_begins_is_found_for_the_device_that_began_it(registers: Registers) -> None:
    put(registers)
    before = found(registers)
    becomes(registers, "STARTED")

    assert found(registers) == before


def test_the_wrong_worklist_entry_is_found_again(registers: Registers) -> None:
    put(registers)
    before = found(registers)
    steps.performed(registers.tx, event("step.started", 60), KEY, "STARTED")
    steps.performed(registers.tx, event("step.discontinued", 61), KEY, "SCHEDULED")

    assert found(registers) == before


def test_a_row_that_is_written_for_a_step_that_ended_is_not_found(registers: Registers) -> None:
    put(registers)
    becomes(registers, "COMPLETED")
    put(registers, status="COMPLETED", description="Another word for it", patient_name="Åsen^Kari")

    assert found(registers) == named(registers) == []


def test_a_row_that_is_held_is_not_found_when_its_step_is_planned_again(registers: Registers) -> None:
    put(registers, station_aets=())
    assert found(registers) == []
    becomes(registers, "CANCELED", "SCHEDULED")

    assert found(registers) == []


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(others=st.lists(NAMES, max_size=4), asked=st.lists(ASKED, min_size=1, max_size=4))
def test_the_index_finds_whom_a_look_at_every_row_finds(
    new_transaction: NewTransaction, others: list[str], asked: list[tuple[str, str]]
) -> None:
    """On both engines: what is read of a name is compared byte by byte."""
    registers = Registers(new_transaction())
    for number, name in enumerate((*others, *(name for _, name in asked))):
        put(registers, f"RIS|F{number}|S{number}", patient_name=name)
    found = Reader(lambda: registers.tx)
    every = list(found.candidates())
    assert len(every) == len(others) + len(asked)
    for wanted, _ in asked:
        query = Query({"PatientName": wanted})
        narrowed = found.candidates(patient_name=query.patient_name)
        assert [row.key for row in narrowed if query.matches(row.attributes)] == [
            row.key for row in every if query.matches(row.attributes)
        ]


def test_rows_from_before_names_were_kept_are_found_by_any_until_theirs_are_read(database: Database) -> None:
    def two(tx: Transaction) -> None:
        registers = Registers(tx)
        put(registers, patient_name="Åsen^Kari", station_aets=("CT1_STO", "CT2_STO"))
        put(registers, "RIS|F2|S2", patient_name="Berg^Ola")

    def before(tx: Transaction) -> None:
        tx.execute("DELETE FROM worklist_name")
        tx.execute(
            "INSERT INTO worklist_name (name, start_date, row)"
            " SELECT DISTINCT '', start_date, row FROM worklist_station"
        )

    def whole() -> list[tuple[Any, ...]]:
        return database.read().rows("SELECT name, start_date, row FROM worklist_name ORDER BY 1, 2, 3")

    def keys(name: str) -> list[str]:
        return [row.key for row in Reader(database.read).candidates(patient_name=name)]

    database.write(two).result()
    as_written = whole()
    database.write(before).result()
    assert keys("AAS*") == keys("BERG") == [KEY, "RIS|F2|S2"]

    stations.complete(database)
    assert whole() == as_written
    assert (keys("AAS*"), keys("BERG")) == ([KEY], ["RIS|F2|S2"])
