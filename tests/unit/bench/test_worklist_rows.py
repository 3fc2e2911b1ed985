"""Rows that a measurement fills in are rows as the register itself has them."""

from __future__ import annotations

import json

from broker.adapter import Rendered, Target
from broker.registers import steps, worklist
from broker.registers.fold import fold
from broker.registers.worklist import Reader
from broker.store.sqlite import SqliteDatabase
from broker.store.transaction import Transaction
from tests.bench.worklist_rows import DAY, fill, sized
from tests.support.events import event, local, order, patient, step

TARGET = Target(
    route="steps", version="v1", place="routes/steps.yaml:9", kind="worklist", destination="worklist"
)
STEP = {
    "Modality": "CT",
    "ScheduledStationAETitle": ["CT1_STO"],
    "ScheduledProcedureStepStartDate": DAY,
    "ScheduledProcedureStepStartTime": "083000",
}
BODY = {"PatientName": "HANSEN^Åse", "PatientID": "7000000", "ScheduledProcedureStepSequence": [STEP]}


def test_rows_are_found_as_if_the_broker_had_made_them(sqlite_database: SqliteDatabase) -> None:
    def one_row(tx: Transaction) -> None:
        said = event(
            "step.changed", 1, patient=patient(local("7000000")), order=order(), step=step("RIS|F1|S1")
        )
        fold(tx, said, None)
        held = steps.get(tx, "RIS|F1|S1")
        assert held is not None
        payload = json.dumps(BODY, ensure_ascii=False, separators=(",", ":")).encode()
        worklist.put(tx, said, TARGET, Rendered(payload=payload), held.step)

    sqlite_database.write(one_row).result(10)
    site = sized(200)
    fill(sqlite_database.path, site)
    found = Reader(sqlite_database.read)

    rows = list(found.candidates())
    assert len(rows) == 200
    assert all(row.number for row in rows), "each under its own number"
    today = list(found.candidates(stations=(site.station,), dates=(DAY, DAY)))
    assert {row.attributes["ScheduledProcedureStepSequence"][0]["Modality"] for row in today} == {"US"}
    assert sum(str(row.attributes["PatientName"]).startswith("HANSEN") for row in rows) == 200 // 40
    assert len(list(found.candidates(patient_name="HAN*"))) == 200 // 40
    assert len(list(found.candidates(patient_name="PROEVE*"))) == 200 - 200 // 40
    assert [row.key for row in found.candidates(patient_id="7000042")] == ["RIS|F7000042|S7000042-1"]
