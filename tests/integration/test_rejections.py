"""Images that are taken out of use: the note reaches a real Orthanc, the EPJ is told, and what is back is told too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk
from tests.support.flows import accepted, exceptions, wait_for_row, wait_until_idle, wait_until_routed
from tests.support.images import write_image
from tests.support.messages import Person, adt, orm, study_uid
from tests.support.mllp import MllpSink, field
from tests.support.mpps import WRONG_ENTRY, MppsScu, begun, ended, scheduled
from tests.support.needs import needs
from tests.support.orthanc import Orthanc

pytestmark = pytest.mark.integration

AILE = Person(number="700123", national="30908299902", family="Sørby", given="Áile", middle="Lájla")
OTHER = Person(number="700124", family="Nordgård")
STUDY = study_uid("801")
KEY_OBJECT = "1.2.840.10008.5.1.4.1.1.88.59"


def examined(broker: Broker, orthanc: Orthanc, tmp_path: Path, *uids: str) -> None:
    """Aile's examination, with these images at the PACS."""
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "P1", AILE, "PV1|1|O"), adt("A04", "P2", OTHER, "PV1|1|O"))
        accepted(orders, orm("O1", AILE, "801"))
    wait_for_row(broker)
    for uid in uids:
        write_image(
            tmp_path / f"{uid}.dcm",
            SOPInstanceUID=uid,
            StudyInstanceUID=STUDY,
            SeriesInstanceUID="2.25.9",
            PatientID=AILE.number,
            PatientName=AILE.name,
            AccessionNumber="A801",
        )
        assert Dcmtk().store(broker.dicom_port, tmp_path / f"{uid}.dcm").succeeded
    orthanc.wait_for_instances(len(uids))
    wait_until_idle(broker)


def told(sink: MllpSink) -> list[tuple[str, str, str]]:
    """OBR-25, OBX-11 and the code of the title, of each result that the EPJ got."""
    results = [message for message in sink.messages if field(message, b"MSH", 9).startswith(b"ORU")]
    return [
        (
            field(m, b"OBR", 25).decode(),
            field(m, b"OBX", 11).decode(),
            m.split(b"\rOBX|2|")[1].split(b"|")[3].split(b"^")[0].decode(),
        )
        for m in results
    ]


def test_images_are_rejected_and_given_back(
    broker: Broker, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    examined(broker, orthanc, tmp_path, "2.25.9.1", "2.25.9.2")
    tried = broker.command_json(
        *("studies", "reject", STUDY, "--title", "quality", "--reason", "moved", "--dry-run")
    )
    assert (tried["note"], tried["instances"]) == (None, ["2.25.9.1", "2.25.9.2"])
    made = broker.command_json(
        *("studies", "reject", STUDY, "--title", "quality", "--instance", "2.25.9.1", "--reason", "moved")
    )
    orthanc.wait_for_instances(3)
    wait_until_idle(broker)

    note = orthanc.by_uid(made["note"])
    assert note.SOPClassUID == KEY_OBJECT
    assert (str(note.PatientName), note.PatientID) == (AILE.name, AILE.number)
    assert (note.StudyInstanceUID, note.AccessionNumber) == (STUDY, "A801")
    (evidence,) = note.CurrentRequestedProcedureEvidenceSequence
    assert [
        r.ReferencedSOPInstanceUID for s in evidence.ReferencedSeriesSequence for r in s.ReferencedSOPSequence
    ] == ["2.25.9.1"]
    kept = tmp_path / "note.dcm"
    note.save_as(kept)
    judged = subprocess.run(
        [needs("dciodvfy"), "-new", str(kept)], capture_output=True, text=True, check=False
    )
    assert "Error" not in judged.stderr, judged.stderr
    assert told(epj_sink) == [("C", "C", "113001")]
    assert [row["study"] for row in broker.command_json("studies", "list", "--rejected")] == [STUDY]

    again = broker.command(
        "studies", "reject", STUDY, "--title", "quality", "--instance", "2.25.9.1", "--reason", "x"
    )
    assert again.returncode != 0
    assert "already" in again.stderr
    broker.command_json("studies", "revoke", STUDY, "--reason", "sharp enough")
    orthanc.wait_for_instances(4)
    wait_until_idle(broker)
    assert told(epj_sink)[1:] == [("C", "F", "REVOKE_REJECTION")]
    assert broker.command_json("studies", "list", "--rejected") == []
    audit = [line["action"] for line in broker.command_json("audit")]
    assert audit[-2:] == ["studies reject", "studies revoke"]


def test_the_images_of_a_wrong_worklist_entry(
    broker: Broker, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    """Domain workflow: wrong worklist entry picked. The row is served again; its images are rejected by a person."""
    examined(broker, orthanc, tmp_path, "2.25.9.1")
    modality = MppsScu(broker.dicom_port)
    assert modality.create(begun(scheduled(STUDY, "S801-1", "A801")), "2.25.1").Status == 0
    assert modality.set(ended("DISCONTINUED", reason=WRONG_ENTRY), "2.25.1").Status == 0
    wait_until_routed(broker)
    assert exceptions(broker) == {"2.25.1": "wrong-entry-images"}

    # the command that the exception names
    broker.command_json(
        *("studies", "reject", STUDY, "--title", "wrong-entry", "--mpps", "2.25.1", "--reason", "call 311")
    )
    orthanc.wait_for_instances(2)
    wait_until_idle(broker)
    assert exceptions(broker) == {}
    assert told(epj_sink) == [("X", "W", "113038")]


def test_a_devices_own_note_counts_for_its_own_patient_only(
    broker: Broker, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path, shared_data: Path
) -> None:
    examined(broker, orthanc, tmp_path, "2.25.9.1")
    broker.command_json("studies", "reject", STUDY, "--title", "safety", "--reason", "x")
    orthanc.wait_for_instances(2)
    (note,) = [orthanc.dataset(one) for one in orthanc.instances() if orthanc.dataset(one).Modality == "KO"]
    broker.command_json("studies", "revoke", STUDY, "--reason", "x")
    wait_until_idle(broker)

    note.SOPInstanceUID = note.file_meta.MediaStorageSOPInstanceUID = "2.25.77"
    note.PatientID = OTHER.number
    del note.IssuerOfPatientIDQualifiersSequence
    note.save_as(tmp_path / "other.dcm")
    assert Dcmtk().store(broker.dicom_port, tmp_path / "other.dcm").succeeded
    wait_until_routed(broker)
    assert "rejection-patient-differs" in exceptions(broker).values()
    assert broker.command_json("studies", "list", "--rejected") == []
    assert len(told(epj_sink)) == 2


def test_without_a_running_broker_nothing_is_rejected(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = start_broker()
    write_image(tmp_path / "1.dcm", SOPInstanceUID="2.25.9.1", StudyInstanceUID=STUDY, PatientID="700123")
    assert Dcmtk().store(broker.dicom_port, tmp_path / "1.dcm").succeeded
    wait_until_routed(broker)
    broker.stop()

    failed = broker.command("studies", "reject", STUDY, "--title", "safety", "--reason", "x")
    assert failed.returncode != 0
    assert "Does it run here" in failed.stderr
