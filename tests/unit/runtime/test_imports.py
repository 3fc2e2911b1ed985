"""Rows that come as rows: what is read of a file, and what becomes of it in the journal, the registers and the list."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite

from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.encode import encode
from broker.dicom_identity import Profile
from broker.event import Event, EventData
from broker.hl7.demographics import Issuers, read_issuer
from broker.registers import worklist
from broker.runtime import imports, rebuild
from broker.runtime.configured import Configured
from broker.runtime.imports import RowError
from tests.unit.runtime.conftest import House

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)
NATIONAL = "NNNOR&2.16.578.1.12.4.1.4.1&ISO"
PROFILE = Profile(
    name="operator",
    site="STO",
    issuers=Issuers(default=read_issuer("STO&2.999.7001&ISO"), known=(read_issuer(NATIONAL),)),
    national=(read_issuer(NATIONAL),),
)
STEP: Attributes = {
    "ScheduledStationAETitle": "LIAC1",
    "Modality": "CT",
    "ScheduledProcedureStepStartDate": "20260310",
    "ScheduledProcedureStepStartTime": "0930",
    "ScheduledProcedureStepID": "S1",
    "ScheduledProtocolCodeSequence": (
        {"CodeValue": "P1", "CodingSchemeDesignator": "L", "CodeMeaning": "Plan"},
    ),
}
ROW: Attributes = {
    "PatientName": "Sørby^Áile",
    "PatientID": "700123",
    "PatientBirthDate": "19821030",
    "PatientAddress": "Storgata 1",
    "AccessionNumber": "A901",
    "StudyInstanceUID": "1.2.901",
    "Allergies": "Penicillin",
    "8001,0010": "LIAC",
    "8001,1001": "Plan 9",
    "ScheduledProcedureStepSequence": (STEP,),
}


def file(row: Attributes = ROW) -> bytes:
    """Explicit VR, without a head, as some write it; private texts have no VR then."""
    return encode({**row, "SpecificCharacterSet": ""})


def read(row: Attributes = ROW) -> list[imports.Item]:
    return imports.read(file(row), PROFILE)


def imported(house: House, row: Attributes = ROW) -> str:
    """Takes the row in, and routes it; returns its key."""
    (item,) = read(row)
    house.database.write(lambda tx: imports.write(tx, item, site="STO", now=NOW)).result(10)
    house.route()
    return item.step.key


def test_a_row_keeps_what_it_has_but_for_contact_data(house: House) -> None:
    key = imported(house)

    (row,) = house.rows()
    assert key == "import|STO|A901|S1"
    assert (row["PatientID"], row["AccessionNumber"], row["StudyInstanceUID"]) == (
        "700123",
        "A901",
        "1.2.901",
    )
    assert (row["Allergies"], row["8001,1001"]) == ("Penicillin", "Plan 9")
    assert "PatientAddress" not in row
    (step,) = row["ScheduledProcedureStepSequence"]
    assert {**STEP, "ScheduledStationAETitle": ("LIAC1",)}.items() <= step.items()
    assert house.reported() == []
    assert {name for name, _ in house.made()} == {"worklist"}, "nobody else is told"


def test_a_row_keeps_every_code_of_a_sequence(house: House) -> None:
    codes = tuple(
        {"CodeValue": value, "CodingSchemeDesignator": "NCRP", "CodeMeaning": "x"} for value in ("P1", "P2")
    )
    imported(
        house, {**ROW, "ScheduledProcedureStepSequence": ({**STEP, "ScheduledProtocolCodeSequence": codes},)}
    )

    ((step,),) = (row["ScheduledProcedureStepSequence"] for row in house.rows())
    assert step["ScheduledProtocolCodeSequence"] == codes


def test_it_is_in_the_log_and_a_rebuild_keeps_it(house: House, configured: Configured) -> None:
    imported(house)

    tx = house.database.read()
    assert tx.one("SELECT source, protocol, type FROM message") == ("operator", "operator", "IMPORT")
    baseline = house.database.beside(rebuild.BASELINE)
    baseline.open()
    with rebuild.rebuilt(tx, baseline, configured, lambda _: None) as again:
        assert rebuild.compare(tx, again, configured.routes.version) == []
    baseline.close()


def test_nothing_of_the_row_as_it_came_is_published() -> None:
    (item,) = read()
    event = Event(
        id="M1.0",
        type="step.scheduled",
        source="operator",
        site="STO",
        time=NOW,
        message_id="M1",
        data=EventData(patient=item.patient, step=item.step),
    )
    published = str(event.to_cloudevent())

    assert ("LIAC1" in published, "Penicillin" in published) == (True, False)


def test_a_row_that_comes_again_is_changed(house: House) -> None:
    imported(house)
    imported(house, {**ROW, "Allergies": "Latex"})

    (row,) = house.rows()
    assert row["Allergies"] == "Latex"


def test_pas_goes_before_what_the_row_said(house: House) -> None:
    house.receive("pas", "adt_a04_registered.hl7")
    house.route()
    (said,) = house.database.read().rows("SELECT value FROM patient_identifier WHERE issuer='2.999.7001'")
    imported(house, {**ROW, "PatientID": str(said[0]), "PatientName": "Other^Name"})

    (row,) = house.rows()
    assert row["PatientName"] != "Other^Name"


def test_a_row_is_withdrawn_by_its_key_and_comes_back_when_it_is_imported_again(house: House) -> None:
    key = imported(house)
    house.database.write(lambda tx: imports.withdraw(tx, key, site="STO", now=NOW)).result(10)
    house.route()

    assert house.rows() == []
    assert [row.status for row in worklist.Reader(house.database.read).listed(everything=True)] == [
        "CANCELED"
    ]
    with pytest.raises(RowError, match="CANCELED already"):
        house.database.write(lambda tx: imports.withdraw(tx, key, site="STO", now=NOW)).result(10)
    imported(house)
    assert len(house.rows()) == 1


def test_a_row_of_an_order_is_its_order_s_to_end(house: House) -> None:
    house.receive("orders", "orm_ct.hl7")
    house.route()
    ((key,),) = house.database.read().rows("SELECT key FROM step")

    with pytest.raises(RowError, match="no imported row has this key"):
        house.database.write(lambda tx: imports.withdraw(tx, str(key), site="STO", now=NOW)).result(10)


def test_a_row_with_several_steps_is_several() -> None:
    second = {**STEP, "ScheduledProcedureStepID": "S2", "ScheduledStationAETitle": ("CT1", "CT2")}
    found = read({**ROW, "ScheduledProcedureStepSequence": (STEP, second)})

    assert [item.step.key for item in found] == ["import|STO|A901|S1", "import|STO|A901|S2"]
    assert found[1].step.station_aets == ("CT1", "CT2")


@pytest.mark.parametrize(
    ("value", "issuer"),
    [("700123", "2.999.7001"), ("30908299902", "2.16.578.1.12.4.1.4.1"), ("30908299999", "2.999.7001")],
)
def test_an_id_without_an_issuer_is_of_the_one_whose_number_it_is(value: str, issuer: str) -> None:
    (item,) = read({**ROW, "PatientID": value})

    assert [identifier.issuer for identifier in item.patient.identifiers] == [issuer]


@pytest.mark.parametrize("study", ["", "1.02.3"])
def test_a_study_without_a_valid_uid_gets_one_that_stays(study: str) -> None:
    row = {**ROW, "StudyInstanceUID": study}
    if study:
        with pytest.raises(RowError, match="StudyInstanceUID"):
            read(row)
        return
    (item,), (again,) = read(row), read(row)
    assert (item.step.study_uid_derived, item.step.study_uid) == (True, again.step.study_uid)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"PatientID": ""}, "PatientID is empty"),
        ({"ScheduledProcedureStepSequence": ()}, "no item in (0040,0100)"),
        ({"AccessionNumber": "", "StudyInstanceUID": ""}, "nothing names the order"),
        ({"PatientBirthDate": "30.10.82"}, "PatientBirthDate: DA"),
    ],
)
def test_a_row_that_cannot_be_taken_is_told_without_a_value(change: Attributes, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read({**ROW, **change})

    assert reason in str(caught.value)
    assert "30.10.82" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"MSH|^~\\&|PAS", b"(0010,0020) LO [1]\nrubbish"])
def test_bytes_that_are_no_row_are_told(raw: bytes) -> None:
    with pytest.raises(RowError):
        imports.read(raw, PROFILE)


def test_files_of_a_folder_are_those_that_may_be_rows(tmp_path: Path) -> None:
    for name in ("b.wl", "a.dump", "lockfile", "notes.txt"):
        (tmp_path / name).touch()

    found = imports.files([tmp_path, tmp_path / "notes.txt"])

    assert [path.name for path in found] == ["a.dump", "b.wl", "notes.txt"]


def test_a_file_that_others_wrote_is_read() -> None:
    buffer = BytesIO()
    row = Dataset()
    row.update(to_dataset({key: value for key, value in ROW.items() if "," not in key}, charset="ISO_IR 100"))
    dcmwrite(buffer, row, implicit_vr=True, little_endian=True)

    (item,) = imports.read(buffer.getvalue(), PROFILE)

    assert item.patient.name is not None
    assert item.patient.name.family == "Sørby"
