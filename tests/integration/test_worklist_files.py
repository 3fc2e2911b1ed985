"""Rows that come from other worklist servers as files, beside a running broker: found, kept, withdrawn, given back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread, dcmwrite

from tests.support.broker import Broker
from tests.support.dcmtk import worklist_query
from tests.support.flows import accepted, exceptions, rows_of, wait_until_routed
from tests.support.messages import Person, adt
from tests.support.needs import needs

pytestmark = pytest.mark.integration

ANNA = Person(number="700123", family="Sørby", given="Áile")


def item(number: str, *, patient: str = "700123", station: str = "LIAC1") -> Dataset:
    """A row as another server has it: with an address, an allergy, and a private attribute in the step's row."""
    step = Dataset()
    step.ScheduledStationAETitle, step.Modality = station, "RTIMAGE"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20260310", "0930"
    step.ScheduledProcedureStepID, step.ScheduledProcedureStepLocation = f"S{number}", "Rom 3"
    row = Dataset()
    row.SpecificCharacterSet = "ISO_IR 100"
    row.PatientName, row.PatientID, row.AccessionNumber = "Sørby^Áile", patient, f"A{number}"
    row.PatientAddress, row.Allergies, row.PatientBirthDate = "Storgata 1", "Penicillin", "19821030"
    row.StudyInstanceUID = f"1.2.{number}"
    row.add_new(0x80010010, "LO", "LIAC")
    row.add_new(0x80011001, "LO", f"Plan {number}")
    row.ScheduledProcedureStepSequence = [step]
    return row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two rows as files, one of them as text, and one that is none."""
    folder = tmp_path / "rows"
    folder.mkdir()
    dcmwrite(folder / "first.wl", item("901"), implicit_vr=True, little_endian=True)
    dcmwrite(tmp_path / "second.dcm", item("902"), implicit_vr=False, little_endian=True)
    dumped = subprocess.run(
        [needs("dcmdump"), "-q", "+L", str(tmp_path / "second.dcm")], check=True, capture_output=True
    )
    (folder / "second.dump").write_bytes(dumped.stdout)
    (folder / "lockfile").touch()
    return folder


def test_imported_rows_are_rows(broker: Broker, folder: Path) -> None:
    why = ("--reason", "moving from wlmscpfs")
    with broker.pas() as pas:
        accepted(pas, adt("A04", "I1", ANNA))
    tried = broker.command_json("worklist", "import", folder, "--dry-run", *why)
    taken = broker.command_json("worklist", "import", folder, *why)
    wait_until_routed(broker)

    assert (tried["rows"], tried["written"], tried["faults"]) == (taken["rows"], False, [])
    assert taken["rows"] == ["import|STO|A901|S901", "import|STO|A902|S902"]
    assert [str(row.AccessionNumber) for row in rows_of(broker)] == ["A901", "A902"]
    assert exceptions(broker) == {}, "the EPJ is not told of rows that have no order here"

    query = worklist_query(Allergies="Penicillin", PatientAddress="")
    query.add_new(0x80010010, "LO", "LIAC")
    query.add_new(0x80011001, "LO", "Plan 901")
    for options in ((), ("-xi",)):
        (row,) = broker.modality("LIAC1").find(broker.dicom_port, query, "-W", *options).responses
        assert (row.AccessionNumber, row.StudyInstanceUID, row.PatientAddress) == ("A901", "1.2.901", "")
        assert bytes(row.get_item(0x80011001).value).strip() == b"Plan 901"

    with broker.pas() as pas:
        accepted(pas, adt("A08", "I2", ANNA.named("Nordgård")))
    wait_until_routed(broker)
    assert {str(row.PatientName).split("^")[0] for row in rows_of(broker)} == {"Nordgård"}, "PAS goes before"

    told = broker.command_json("why", "mwl", "--ae", "LIAC1", "--patient", "700123", "--accession", "A901")
    assert [answer["verdict"] for answer in told["answers"]] == ["served"]
    assert broker.command("trace", "A901").returncode == 0
    rebuilt = broker.command("reconcile", "--registers")
    assert rebuilt.returncode == 0, rebuilt.stdout
    withdrawn = broker.command("worklist", "withdraw", "import|STO|A901|S901", *why)
    other = broker.command("worklist", "withdraw", "RIS|F1|S1", *why)
    wait_until_routed(broker)
    assert (withdrawn.returncode, other.returncode != 0) == (0, True)
    assert [str(row.AccessionNumber) for row in rows_of(broker)] == ["A902"]


def test_what_cannot_be_taken_is_told_and_the_rest_is_taken(broker: Broker, folder: Path) -> None:
    nameless = item("903", patient="")
    dcmwrite(folder / "nameless.wl", nameless, implicit_vr=False, little_endian=True)
    (folder / "torn.dump").write_text("(0010,0020) LO [1]\nnothing of the kind\n")
    found = broker.command("worklist", "import", folder, "--reason", "moving", "--format", "json")

    assert found.returncode == 1
    assert "nameless.wl" in found.stdout
    assert "line 2: no element" in found.stdout
    assert "A902" in found.stdout


def test_exported_rows_are_read_by_others(broker: Broker, folder: Path, tmp_path: Path) -> None:
    broker.command_json("worklist", "import", folder, "--reason", "moving")
    wait_until_routed(broker)
    out = tmp_path / "out"

    told = broker.command_json("worklist", "export", out, "--reason", "fallback")
    again = broker.command("worklist", "export", out, "--reason", "fallback")

    files = sorted(out.glob("*.wl"))
    assert (told["rows"], len(files), again.returncode != 0) == (2, 2, True)
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    rows = [dcmread(path) for path in files]
    assert {str(row.PatientName) for row in rows} == {"Sørby^Áile"}
    assert {row.AccessionNumber for row in rows} == {"A901", "A902"}
