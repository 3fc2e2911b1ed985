"""Modalities and the PACS of the simulator: what is in an image, and both over a real association server."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from broker.dicom import status
from broker.dicom.attributes import Attributes
from broker.dicom.dataset import to_dataset
from broker.dicom.uid import WORKLIST_FIND
from broker.net.association import Answer, AssociationServer, FindRequest, Peer
from broker.simulate.modality import SOP_CLASSES, Modalities, image, query, text
from broker.simulate.pacs import Pacs
from broker.simulate.records import ImageArrival, Records
from broker.simulate.stories import IMAGES, MODALITIES, STATIONS
from broker.simulate.story import Exam

ROW: Attributes = {
    "PatientName": "Čoahkkin^Áile",
    "PatientID": "P1",
    "IssuerOfPatientID": "STO",
    "IssuerOfPatientIDQualifiersSequence": (
        {"UniversalEntityID": "2.999.7001", "UniversalEntityIDType": "ISO"},
    ),
    "AccessionNumber": "ASIM1",
    "StudyInstanceUID": "2.25.5",
    "ScheduledProcedureStepSequence": ({"ScheduledProcedureStepID": "SIM1-1", "Modality": "CT"},),
}


def exam(first: int = 1, last: int = 2, patient: tuple[str, ...] = ("P1",)) -> Exam:
    return Exam(
        aet="CT1", accession="ASIM1", step="SIM1-1", study_uid="2.25.4", modality="CT",
        patient=patient, owners=("P1",), first=first, last=last,
    )  # fmt: skip


class Worklist:
    """Answers every query with the one row."""

    sop_classes = (WORKLIST_FIND,)

    def find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        yield Answer(status=status.PENDING, identifier=to_dataset(ROW))


@pytest.fixture
def arrived() -> list[ImageArrival]:
    return []


@pytest.fixture
def pacs(tmp_path: Path, arrived: list[ImageArrival]) -> Iterator[Pacs]:
    """A PACS that refuses the first image twice."""

    def refuses(number: str, before: int) -> bool:
        return number == exam().sop_instance_uid(1) and before < 2

    pacs = Pacs("127.0.0.1", 0, "PACS", tmp_path / "pacs", arrived.append, refuses)
    pacs.start()
    yield pacs
    pacs.stop()


@pytest.fixture
def worklist(tmp_path: Path) -> Iterator[AssociationServer]:
    server = AssociationServer("127.0.0.1", 0, spool=tmp_path / "worklist", admit=lambda _: True)
    server.register(Worklist())
    server.start()
    yield server
    server.stop(grace=1.0)


def test_every_modality_can_be_played() -> None:
    assert SOP_CLASSES.keys() == MODALITIES.keys() == STATIONS.keys() == IMAGES.keys()
    assert sum(MODALITIES.values()) == pytest.approx(1.0)


def test_an_image_says_of_its_patient_what_the_row_says() -> None:
    found = dcmread(BytesIO(image(exam(), 2, ROW)))

    assert (found.PatientName, found.PatientID, found.IssuerOfPatientID) == ("Čoahkkin^Áile", "P1", "STO")
    assert found.IssuerOfPatientIDQualifiersSequence[0].UniversalEntityID == "2.999.7001"
    assert (found.StudyInstanceUID, found.AccessionNumber) == ("2.25.5", "ASIM1")
    assert found.SOPInstanceUID == found.file_meta.MediaStorageSOPInstanceUID == exam().sop_instance_uid(2)
    assert len(found.PixelData) == found.Rows * found.Columns * 2


def test_a_query_asks_for_what_devices_need() -> None:
    asked = query(aet="CT1", date="20260310")

    assert text(asked, "ScheduledStationAETitle") == "CT1"
    assert text(asked, "ScheduledProcedureStepStartDate") == "20260310"
    assert text(asked, "AccessionNumber") == ""


def test_images_are_stored_under_the_row_that_was_picked(
    worklist: AssociationServer, pacs: Pacs, tmp_path: Path, arrived: list[ImageArrival]
) -> None:
    records = Records()
    finder = Modalities("127.0.0.1", worklist.port, "BROKER", tmp_path, records)
    store = Modalities("127.0.0.1", pacs.port, "PACS", tmp_path, records)
    finder.see("CT1")
    assert finder.poll("CT1") == 1
    store.examine(exam(), lambda: False, row=finder.rows("CT1")[0])
    finder.close()
    store.close()

    assert [(s.taken, s.owners) for s in records.storings] == [(True, ("P1",))] * 2
    assert [(a.sop_instance_uid, a.patient_id) for a in arrived] == [
        (exam().sop_instance_uid(number), "P1") for number in (1, 2)
    ]
    assert [(s.step, s.patient_id, s.name) for s in records.seen] == [("SIM1-1", "P1", "Čoahkkin^Áile")]
    assert list(tmp_path.glob("*.dcm")) == []


def test_a_row_of_another_patient_is_not_picked(worklist: AssociationServer, tmp_path: Path) -> None:
    records, looks = Records(), iter([False, True, True, True])
    modalities = Modalities("127.0.0.1", worklist.port, "BROKER", tmp_path, records)
    modalities.examine(exam(patient=("P2",)), lambda: next(looks, True))
    modalities.close()

    assert [lookup.seconds for lookup in records.lookups] == [None]
    assert [storing.taken for storing in records.storings] == [False, False], "the worklist stores nothing"


def test_a_query_that_fails_is_noted(tmp_path: Path) -> None:
    records = Records()

    assert Modalities("127.0.0.1", 1, "BROKER", tmp_path, records).poll("CT1") == -1
    assert [found.seconds for found in records.queries] == [None]
