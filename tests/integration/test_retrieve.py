"""Query and retrieval at real archives: Orthanc behind a broker, and DCMTK's dcmqrscp with a compressed object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import InstanceAvailabilityNotification  # type: ignore[attr-defined]

from broker.dicom import status
from broker.dicom.dataset import to_dataset
from broker.dicom.pdu import SubOperations
from broker.errors import AskPersonError, PermanentDeliveryError, TransientDeliveryError, UnreachableError
from broker.net.retrieve_scu import Entity, RetrieveScu, Watch
from broker.net.retrieved import into
from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmqrscp import AE_TITLE, Dcmqrscp
from tests.support.dcmtk import Dcmtk
from tests.support.flows import accepted, wait_until_routed
from tests.support.ian import notification
from tests.support.images import dataset_bytes, differing_tags, write_image
from tests.support.messages import SITE, Person, adt
from tests.support.mpps import MppsScu, begun, ended, scheduled
from tests.support.orthanc import Orthanc
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.shared import shared_files
from tests.support.storescp import Storescp

pytestmark = pytest.mark.integration

STUDY, SERIES = "2.25.881", "2.25.8811"
UIDS = tuple(f"{SERIES}.{one}" for one in range(3))


def images(folder: Path, **attributes: Any) -> list[Path]:
    """One study of one series."""
    folder.mkdir(parents=True)
    paths = [folder / f"{uid}.dcm" for uid in UIDS]
    for uid, path in zip(UIDS, paths, strict=True):
        named = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES, "SOPInstanceUID": uid}
        write_image(path, **named, **attributes)
    return paths


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[Storescp]:
    server = Storescp(tmp_path / "moved")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def dcmqrscp(tmp_path: Path, storescp: Storescp) -> Iterator[Dcmqrscp]:
    server = Dcmqrscp(tmp_path / "archive", {"STORESCP": storescp.port, "AWAY": free_port()})
    server.start()
    yield server
    server.stop()


def test_dcmqrscp_is_asked_and_sends(
    dcmqrscp: Dcmqrscp, storescp: Storescp, shared_data: Path, tmp_path: Path
) -> None:
    sent = images(tmp_path / "sent")
    (compressed,) = shared_files("**/SC_rgb_jpeg_dcmtk.dcm")
    modality, folder = Dcmtk(called=AE_TITLE), tmp_path / "fetched"
    folder.mkdir()
    for files in (sent, [compressed]):
        assert modality.store(dcmqrscp.port, *files).succeeded
    scu = RetrieveScu(
        "127.0.0.1", dcmqrscp.port, called_aet=AE_TITLE, calling_aet="BROKER", response_timeout=20
    )
    seen: list[SubOperations] = []
    try:
        assert scu.instances_of(STUDY) == set(UIDS)
        assert scu.instances_of("2.25.1") == frozenset()

        got = scu.get(Entity(study_uid=STUDY), folder, into(folder), Watch(progress=seen.append))
        assert (got.whole, got.received, got.sub_operations.completed) == (True, 3, 3)
        assert seen, "it says how far it is"
        for uid, path in zip(UIDS, sent, strict=True):
            assert differing_tags((folder / f"{uid}.dcm").read_bytes(), path.read_bytes()) == set()

        jpeg = Entity(study_uid=str(pydicom.dcmread(compressed).StudyInstanceUID))
        with pytest.raises(
            TransientDeliveryError, match="A702"
        ):  # it takes the first context of a class, whatever
            scu.get(jpeg, folder, into(folder))
        assert len(list(folder.iterdir())) == 3, "nothing of it is left behind"

        moved = scu.move(Entity(study_uid=STUDY, series_uid=SERIES), "STORESCP")
        assert (moved.status, moved.sub_operations.completed, moved.whole) == (status.SUCCESS, 3, True)
        assert dataset_bytes(storescp.wait_for_file(UIDS[0])) == dataset_bytes(sent[0].read_bytes())
        with pytest.raises(AskPersonError, match="A801"):
            scu.move(Entity(study_uid=STUDY), "NOBODY")
        with pytest.raises(TransientDeliveryError, match="A702"):
            scu.move(Entity(study_uid=STUDY), "AWAY")
    finally:
        scu.close()


def test_a_study_that_orthanc_keeps_is_compared_fetched_and_moved_back(
    start_broker: StartBroker, orthanc: Orthanc, shared_data: Path, tmp_path: Path
) -> None:
    broker = start_broker(pacs_port=orthanc.port)
    orthanc.knows("broker", "BROKER", broker.dicom_port)
    person = Person(number="881001")
    with broker.pas() as pas:
        accepted(pas, adt("A04", "R881", person))
    wait_until_routed(broker)
    # As PAS has the patient, so that nothing is coerced: else what comes back would be another object, and refused.
    qualifiers = Dataset()
    qualifiers.UniversalEntityID, qualifiers.UniversalEntityIDType = SITE.split("&")[1:]
    sent = images(
        tmp_path / "sent",
        PatientID=person.number,
        IssuerOfPatientID="STO",
        IssuerOfPatientIDQualifiersSequence=[qualifiers],
        PatientName=person.name,
        PatientBirthDate=person.birth_date,
        PatientSex=person.sex,
    )
    (compressed,) = shared_files("**/SC_rgb_jpeg_dcmtk.dcm")
    jpeg = pydicom.dcmread(compressed)
    for files in (sent, [compressed]):
        assert broker.modality("CT1_STO").store(broker.dicom_port, *files).succeeded
    orthanc.wait_for_instances(4)

    found = broker.command_json("studies", "find", "--archive", "pacs", "--patient", person.number)
    assert [one["uid"] for one in found["found"]] == [STUDY]

    folder = tmp_path / "case"
    for study, number in ((STUDY, 3), (str(jpeg.StudyInstanceUID), 1)):
        got = fetches(broker, study, "--into", folder)
        assert (got["received"], got["whole"]) == (number, True)
    assert pydicom.dcmread(folder / f"{UIDS[0]}.dcm") == orthanc.by_uid(UIDS[0])
    came = pydicom.dcmread(folder / f"{jpeg.SOPInstanceUID}.dcm")
    assert came.file_meta.TransferSyntaxUID == jpeg.file_meta.TransferSyntaxUID, "as the archive has it"
    assert came.PixelData == jpeg.PixelData

    back = fetches(broker, STUDY, "--to", "BROKER")
    assert (back["sub_operations"]["completed"], back["whole"]) == (3, True)

    notifies(broker.dicom_port)
    modality = MppsScu(broker.dicom_port)
    assert modality.create(begun(scheduled(STUDY), PatientID=person.number), "2.25.882").Status == 0
    assert modality.set(ended(instances=UIDS), "2.25.882").Status == 0
    wait_until(lambda: shows(broker)["state"] == "complete", "the study is complete", 30)
    available = shows(broker)["available"]
    assert [(one["retrieve_aet"], one["availability"], one["instances"]) for one in available] == [
        ("ORTHANC", "ONLINE", 3)
    ]
    compared = broker.command("reconcile", "--archive", "pacs")
    assert compared.returncode == 0, compared.stdout
    orthanc.forget(UIDS[1])
    compared = broker.command("reconcile", "--archive", "pacs", "--format", "json")
    assert compared.returncode == 1
    assert [one["missing"] for one in json.loads(compared.stdout)["differing"]] == [[UIDS[1]]]


def fetches(broker: Broker, study: str, *where: str | Path) -> Any:
    return broker.command_json("studies", "fetch", study, "--archive", "pacs", *where, "--reason", "test")


def shows(broker: Broker) -> Any:
    return broker.command_json("studies", "show", STUDY)


def notifies(port: int) -> None:
    """What Orthanc would say, were it an IAN SCU; pynetdicom says it."""
    ae = AE("ORTHANC")
    ae.add_requested_context(InstanceAvailabilityNotification)
    association = ae.associate("127.0.0.1", port, ae_title="BROKER")
    assert association.is_established
    said = to_dataset(notification(*((uid, "ONLINE", "ORTHANC") for uid in UIDS), study=STUDY))
    answer, _ = association.send_n_create(said, InstanceAvailabilityNotification, generate_uid())
    association.release()
    assert answer.Status == 0


def test_an_archive_that_is_not_there_or_answers_no_queries(storescp: Storescp) -> None:
    away = RetrieveScu("127.0.0.1", free_port(), called_aet="X", calling_aet="BROKER", connect_timeout=1)
    with pytest.raises(UnreachableError):
        away.instances_of(STUDY)
    only_stores = RetrieveScu("127.0.0.1", storescp.port, called_aet="STORESCP", calling_aet="BROKER")
    with pytest.raises(PermanentDeliveryError, match="refuses SOP class"):
        only_stores.instances_of(STUDY)
