from __future__ import annotations

import pytest

from broker.event import StepStatus
from broker.registers import steps
from broker.registers.worklist import Reader
from tests.support.events import event, order, step
from tests.support.registers import Registers
from tests.unit.registers.test_worklist import WHO, put

KEY = "RIS|F1|S1"


def found(registers: Registers) -> list[tuple[str, str, int]]:
    """Stations, days and numbers of the rows that a device may be shown."""
    return registers.tx.rows("SELECT aet, start_date, row FROM worklist_station ORDER BY aet, row")


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
def test_a_step_that_ended_is_found_under_no_station(
    registers: Registers, path: tuple[StepStatus, ...]
) -> None:
    put(registers, station_aets=("CT1_STO", "CT2_STO"))
    before = set(found(registers))
    put(registers, "RIS|F1|S2")
    (others,) = set(found(registers)) - before
    becomes(registers, *path)

    assert found(registers) == [others]
    assert registers.tx.rows("SELECT count(*) FROM worklist") == [(2,)], (
        "people still see it, and why it ended"
    )


@pytest.mark.parametrize("end", ["CANCELED", "DISCONTINUED"])
def test_a_step_that_is_planned_again_is_found_again(registers: Registers, end: StepStatus) -> None:
    put(registers, station_aets=("CT1_STO", "CT2_STO"))
    before = found(registers)
    becomes(registers, end, "SCHEDULED")

    assert found(registers) == before
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
    put(registers, status="COMPLETED", description="Another word for it")

    assert found(registers) == []


def test_a_row_that_is_held_is_not_found_when_its_step_is_planned_again(registers: Registers) -> None:
    put(registers, station_aets=())
    assert found(registers) == []
    becomes(registers, "CANCELED", "SCHEDULED")

    assert found(registers) == []
