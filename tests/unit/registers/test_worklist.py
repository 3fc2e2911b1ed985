from __future__ import annotations

import json
from typing import Any

import pytest

from broker.adapter import Rendered, Target
from broker.event import Step, StepStatus
from broker.registers import exceptions, steps, worklist
from broker.registers.worklist import Reader
from tests.support.events import event, local, order, patient, step
from tests.support.registers import Registers

WHO = patient(local("700123"))


def target(name: str = "worklist", route: str = "steps") -> Target:
    return Target(
        route=route, version="v1", place=f"routes/{route}.yaml:9", kind="worklist", destination=name
    )


def row(step: Step, patient_id: str = "700123", patient_name: str = "", **changed: Any) -> Rendered:
    """The attributes of a step's row; `changed` are those of its scheduled procedure step."""
    item = {
        "Modality": step.modality,
        "ScheduledStationAETitle": list(step.station_aets),
        "ScheduledProcedureStepStartDate": step.start_date,
        "ScheduledProcedureStepStartTime": step.start_time,
        "ScheduledProcedureStepID": step.step_id,
    }
    attributes = {
        "PatientID": patient_id,
        "PatientName": patient_name,
        "ScheduledProcedureStepSequence": [{**item, **changed}],
    }
    return Rendered(payload=json.dumps(attributes).encode())


def put(
    registers: Registers,
    key: str = "RIS|F1|S1",
    *,
    patient_id: str = "700123",
    patient_name: str = "",
    on: str = "worklist",
    **fields: Any,
) -> str:
    """Schedules a step and puts it on a list."""
    registers.said("step.changed", patient=WHO, order=order(), step=step(key, **fields))
    held = steps.get(registers.tx, key)
    assert held is not None
    cause = event("step.changed", 50)
    return worklist.put(registers.tx, cause, target(on), row(held.step, patient_id, patient_name), held.step)


def reader(registers: Registers) -> Reader:
    return Reader(lambda: registers.tx)


def served(registers: Registers, **narrowed: Any) -> list[str]:
    return [found.key.rsplit("|", 1)[1] for found in reader(registers).candidates(**narrowed)]


def test_a_row_is_served_as_it_was_rendered(registers: Registers) -> None:
    assert put(registers) == "row"

    (found,) = reader(registers).candidates()
    assert (found.key, found.status) == ("RIS|F1|S1", "SCHEDULED")
    assert found.attributes["PatientID"] == "700123"
    (item,) = found.attributes["ScheduledProcedureStepSequence"]
    assert item["ScheduledStationAETitle"] == ("CT1_STO",), "tuples, as broker.dicom.attributes has them"


def test_the_same_step_is_the_same_row(registers: Registers) -> None:
    put(registers)
    put(registers, start_date="20260311", station_aets=("CT2_STO",))

    assert registers.tx.rows("SELECT count(*) FROM worklist") == [(1,)]
    assert served(registers, dates=("20260311", "20260311")) == ["S1"]
    assert served(registers, dates=("20260310", "20260310")) == []
    assert served(registers, stations=("CT1_STO",)) == [], "it moved to another station"
    assert served(registers, stations=("CT2_STO",)) == ["S1"]


def test_a_step_stands_on_each_list_once(registers: Registers) -> None:
    put(registers, on="eye")
    put(registers, on="all")

    assert sorted(worklist.lists_of(registers.tx, "RIS|F1|S1")) == [("all", "steps"), ("eye", "steps")]
    worklist.withdraw(registers.tx, "eye", "RIS|F1|S1")
    assert worklist.lists_of(registers.tx, "RIS|F1|S1") == [("all", "steps")]
    worklist.withdraw(registers.tx, "eye", "RIS|F1|S1")


def test_a_withdrawn_row_leaves_no_station_behind_for_the_next_one(registers: Registers) -> None:
    put(registers, station_aets=("CT1_STO",))
    worklist.withdraw(registers.tx, "worklist", "RIS|F1|S1")
    put(registers, "RIS|F2|S2", station_aets=("MR1_STO",))

    assert served(registers, stations=("CT1_STO",)) == []
    assert served(registers, stations=("MR1_STO",)) == ["S2"]


MISSING = {
    "ScheduledStationAETitle": {"station_aets": ()},
    "ScheduledProcedureStepStartDate": {"start_date": ""},
    "ScheduledProcedureStepStartTime": {"start_time": ""},
    "Modality": {"modality": ""},
}


@pytest.mark.parametrize("keyword", MISSING)
def test_a_row_that_lacks_what_it_must_have_is_held_and_reported(registers: Registers, keyword: str) -> None:
    said = put(registers, **MISSING[keyword])

    assert said == f"held: {worklist.REQUIRED[keyword]}"
    assert served(registers) == []
    (entry,) = exceptions.listed(registers.tx)
    assert (entry["kind"], entry["subject"], entry["reason"]) == (
        "step-held",
        "worklist: RIS|F1|S1",
        worklist.REQUIRED[keyword],
    )


def test_what_one_list_shows_another_may_still_hold(registers: Registers) -> None:
    put(registers, on="eye", station_aets=())
    held = steps.get(registers.tx, "RIS|F1|S1")
    assert held is not None
    shown = row(held.step, ScheduledStationAETitle=["CT1_STO"])
    worklist.put(registers.tx, event("step.changed", 51), target("all"), shown, held.step)

    assert served(registers) == ["S1"]
    assert registers.reported("step-held") == ["eye: RIS|F1|S1"]


def test_a_held_row_that_is_rendered_anew_still_names_the_message_that_lacks(registers: Registers) -> None:
    put(registers, station_aets=())
    held = steps.get(registers.tx, "RIS|F1|S1")
    assert held is not None
    worklist.put(registers.tx, event("patient.updated", 51), target(), row(held.step), held.step)
    (entry,) = exceptions.entries(registers.tx)
    assert entry.event == event("step.changed", 50).id

    otherwise = row(held.step, Modality="")
    worklist.put(registers.tx, event("step.changed", 52), target(), otherwise, held.step)
    (entry,) = exceptions.entries(registers.tx)
    assert entry.event == event("step.changed", 52).id, "another lack is another message's"


def test_everything_that_lacks_is_told_at_once(registers: Registers) -> None:
    put(registers, modality="", start_date="")

    assert exceptions.listed(registers.tx)[0]["reason"].count(";") == 1


def test_a_held_row_is_served_once_it_is_complete(registers: Registers) -> None:
    put(registers, station_aets=())
    assert put(registers, station_aets=("CT1_STO",)) == "row"

    assert served(registers) == ["S1"]
    assert registers.reported() == []


def test_a_row_that_loses_what_it_must_have_is_taken_off(registers: Registers) -> None:
    put(registers)
    held = steps.get(registers.tx, "RIS|F1|S1")
    assert held is not None
    lost = row(held.step, ScheduledStationAETitle=[])
    worklist.put(registers.tx, event("step.changed", 51), target(), lost, held.step)

    assert served(registers) == []
    assert registers.reported("step-held") == ["worklist: RIS|F1|S1"]


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        ("SCHEDULED", True),
        ("ARRIVED", True),
        ("STARTED", False),
        ("COMPLETED", False),
        ("DISCONTINUED", False),
        ("CANCELED", False),
    ],
)
def test_a_row_is_served_while_its_step_waits(registers: Registers, status: StepStatus, seen: bool) -> None:
    said = put(registers, status=status)

    assert said == ("row" if seen else status)
    assert served(registers) == (["S1"] if seen else [])
    assert [r.status for r in reader(registers).listed(everything=True)] == [status]
    assert len(list(reader(registers).listed())) == seen


def test_the_steps_status_decides_though_nobody_wrote_the_row_anew(registers: Registers) -> None:
    put(registers)
    registers.said("step.completed", patient=WHO, order=order(), step=step(status="COMPLETED"))

    assert served(registers) == []


@pytest.mark.parametrize("status", ["CANCELED", "COMPLETED"])
def test_what_is_over_is_not_held(registers: Registers, status: StepStatus) -> None:
    put(registers, modality="")
    assert put(registers, modality="", status=status) == status

    assert registers.reported() == []


@pytest.fixture
def three(registers: Registers) -> Registers:
    """S1 on CT1 and CT2, S2 on CT2 a day later, S3 on MR1 for another patient two days later."""
    put(registers, "RIS|F1|S1", station_aets=("CT1_STO", "CT2_STO"), start_date="20260310")
    put(registers, "RIS|F1|S2", station_aets=("CT2_STO",), start_date="20260311")
    put(registers, "RIS|F3|S3", station_aets=("MR1_STO",), start_date="20260312", patient_id="700456")
    return registers


@pytest.mark.parametrize(
    ("narrowed", "found"),
    [
        ({}, ["S1", "S2", "S3"]),
        ({"stations": ("CT1_STO",)}, ["S1"]),
        ({"stations": ("CT2_STO",)}, ["S1", "S2"]),
        ({"stations": ("CT1_STO", "CT2_STO")}, ["S1", "S2"]),
        ({"stations": ("XX",)}, []),
        ({"patient_id": "700456"}, ["S3"]),
        ({"patient_id": "700456", "stations": ("CT2_STO",)}, []),
        ({"dates": ("20260311", "")}, ["S2", "S3"]),
        ({"dates": ("", "20260311")}, ["S1", "S2"]),
        ({"dates": ("20260311", "20260311")}, ["S2"]),
        ({"dates": ("20260311", "20260310")}, []),
        ({"stations": ("CT2_STO",), "dates": ("20260311", "")}, ["S2"]),
        (
            {"stations": ("CT2_STO", "MR1_STO"), "dates": ("", "20260311"), "patient_id": "700123"},
            ["S1", "S2"],
        ),
    ],
)
def test_candidates_are_narrowed_by_index(
    three: Registers, narrowed: dict[str, Any], found: list[str]
) -> None:
    assert served(three, **narrowed) == found


def test_a_row_that_was_read_before_is_not_read_again(registers: Registers) -> None:
    put(registers)
    asked: list[str] = []

    class Spy:
        def rows(self, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
            asked.append(sql)
            return registers.tx.rows(sql, values)

    spy: Any = Spy()
    found = Reader(lambda: spy)
    (first,), (again,) = found.candidates(), found.candidates()

    assert (first.number, first.attributes) == (again.number, again.attributes) != (0, {})
    assert ["attributes" in sql for sql in asked] == [False, True, False, False]
    assert list(found.candidates(unwanted={first.number})) == []
    assert len(asked) == 5, "what is unwanted is not asked for"


@pytest.mark.parametrize("change", ["moved", "withdrawn"])
def test_a_row_that_is_written_while_it_is_read_is_served_as_it_is_now(
    registers: Registers, change: str
) -> None:
    """On another node, between the statement that finds its number and the one that reads it."""
    put(registers, "RIS|F1|S1")
    put(registers, "RIS|F1|S2")

    class Busy:
        changed = False

        def rows(self, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
            if "attributes" in sql and not self.changed:
                self.changed = True
                if change == "moved":
                    put(registers, "RIS|F1|S1", start_time="180000")
                else:
                    worklist.withdraw(registers.tx, "worklist", "RIS|F1|S1")
            return registers.tx.rows(sql, values)

    busy: Any = Busy()
    found = {row.key: row.attributes for row in Reader(lambda: busy).candidates()}

    assert sorted(found) == (["RIS|F1|S1", "RIS|F1|S2"] if change == "moved" else ["RIS|F1|S2"])
    if change == "moved":
        (item,) = found["RIS|F1|S1"]["ScheduledProcedureStepSequence"]
        assert item["ScheduledProcedureStepStartTime"] == "180000"


@pytest.mark.parametrize("change", ["moved", "withdrawn"])
def test_a_row_that_is_written_while_a_slow_device_takes_others_is_not_shown_as_it_was(
    three: Registers, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """It was read for the query before, and is kept."""
    monkeypatch.setattr(worklist, "_AT_ONCE", (1,))
    slow = reader(three)
    assert len(list(slow.candidates())) == 3

    rows = iter(slow.candidates())
    first = next(rows)
    if change == "moved":
        put(three, "RIS|F3|S3", station_aets=("MR1_STO",), start_date="20260313", patient_id="700999")
    else:
        worklist.withdraw(three.tx, "worklist", "RIS|F3|S3")
    found = {row.key: row.attributes["PatientID"] for row in (first, *rows)}
    assert found == {
        "RIS|F1|S1": "700123",
        "RIS|F1|S2": "700123",
        **({"RIS|F3|S3": "700999"} if change == "moved" else {}),
    }


def test_a_row_of_a_broker_that_counted_them_is_never_taken_for_another(registers: Registers) -> None:
    put(registers)
    registers.tx.execute("DELETE FROM worklist_station")
    registers.tx.execute("UPDATE worklist SET id=7")
    registers.tx.execute("INSERT INTO worklist_station VALUES ('CT1_STO', '20260310', 7)")
    found = reader(registers)
    (before,) = found.candidates()
    registers.tx.execute("UPDATE worklist SET attributes=replace(attributes, '700123', '700456')")
    (after,) = found.candidates()

    assert [(row.number, row.attributes["PatientID"]) for row in (before, after)] == [
        (0, "700123"),
        (0, "700456"),
    ]
    put(registers)
    (again,) = found.candidates()
    assert again.number, "written anew it has a number of its own"


@pytest.mark.parametrize(
    "narrowed",
    [
        {"stations": ("CT1_STO",), "dates": ("20260310", "20260310")},
        {"dates": ("20260310", "20260316")},
        {"patient_name": "HAN*"},
        {"patient_name": "ÅS*", "dates": ("20260310", "")},
        {"patient_name": "HAN*", "stations": ("CT1_STO",)},
    ],
)
def test_narrowing_uses_an_index(three: Registers, narrowed: dict[str, Any]) -> None:
    """A worklist query is asked hundreds of times a minute; it must not read the whole table."""
    asked: list[str] = []

    class Spy:
        def rows(self, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
            asked.extend(str(line[-1]) for line in three.tx.rows(f"EXPLAIN QUERY PLAN {sql}", values))
            return []

    spy: Any = Spy()
    list(Reader(lambda: spy).candidates(**narrowed))

    assert asked
    assert not [plan for plan in asked if plan.startswith("SCAN") and "worklist" in plan], asked


def test_a_name_narrows_beside_a_station_and_a_day(registers: Registers) -> None:
    for number, (name, aet, day) in enumerate(
        [
            ("Hansen^Kari", "CT1_STO", "20260310"),
            ("Hansen^Ola", "MR1_STO", "20260311"),
            ("Åsen^Kari", "CT1_STO", "20260311"),
        ],
        1,
    ):
        put(registers, f"RIS|F{number}|S{number}", patient_name=name, station_aets=(aet,), start_date=day)

    assert served(registers, patient_name="HAN*") == ["S1", "S2"], "as they start"
    assert served(registers, patient_name="AAS*") == served(registers, patient_name="ås?n^k") == ["S3"]
    assert served(registers, patient_name="HAN*", stations=("CT1_STO",)) == ["S1"]
    assert served(registers, patient_name="HAN*", dates=("20260311", "20260311")) == ["S2"]
    assert served(registers, patient_name="*SEN") == ["S1", "S2", "S3"], "where it begins is not known"
    assert served(registers, patient_name="HAN*", patient_id="700123") == ["S1", "S2", "S3"], (
        "one patient's rows are few: the name is left to matching"
    )


def test_a_row_is_found_by_the_name_that_it_has_now(registers: Registers) -> None:
    put(registers, patient_name="Hansen^Kari")
    put(registers, patient_name="Berg^Kari")

    assert served(registers, patient_name="HAN*") == []
    assert served(registers, patient_name="BERG") == ["S1"]


def test_a_station_that_is_named_twice_is_one(registers: Registers) -> None:
    registers.said("step.scheduled", patient=WHO, order=order(), step=step())
    twice = row(step(), ScheduledStationAETitle=["CT1_STO", "CT1_STO"])
    worklist.put(registers.tx, event("step.changed", 51), target(), twice, step())
    single = row(step(), ScheduledStationAETitle="CT1_STO")
    worklist.put(registers.tx, event("step.changed", 52), target(), single, step())

    assert served(registers, stations=("CT1_STO",)) == ["S1"]
