"""Images to an archive that speaks DICOMweb: a real Orthanc with its plugin, behind a running broker and by itself."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import generate_uid

from broker.errors import PermanentDeliveryError
from broker.net.web_client import WebClient
from broker.net.web_peer import WebPeer
from tests.conftest import StartBroker
from tests.support.configuration import changed
from tests.support.dcmtk import Dcmtk
from tests.support.flows import accepted, status, wait_until_idle, wait_until_routed
from tests.support.images import dataset_bytes, differing_tags, write_image
from tests.support.messages import Person, adt
from tests.support.mllp import MllpSink
from tests.support.orthanc import Orthanc
from tests.support.webserver import Request, WebServer, stored

pytestmark = pytest.mark.integration

SHIPPED = """  pacs:                                      # images
    adapter: pacs
    host: ${env:BROKER_PACS_HOST:-127.0.0.1}
    port: ${env:BROKER_PACS_PORT:-4242}
    called_aet: ${env:BROKER_PACS_AET:-ORTHANC}
"""


def pointed_at(folder: Path, url: str) -> dict[str, str]:
    """Variables for a broker whose PACS speaks DICOMweb, and is tried again soon."""
    return changed(
        folder,
        {SHIPPED: f"  pacs:\n    adapter: stow\n    url: {url}\n"},
        {"first: 2s, factor: 2, max: 10m": "first: 100ms, factor: 1, max: 1s"},
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    server = Orthanc(tmp_path_factory.mktemp("orthanc-web"), web=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def web(archive: Orthanc) -> Iterator[WebClient]:
    archive.clear()
    client = WebClient(WebPeer.model_validate({"url": archive.url}))
    yield client
    client.close()


def test_images_reach_the_archive_with_what_pas_says(
    start_broker: StartBroker, archive: Orthanc, web: WebClient, epj_sink: MllpSink, tmp_path: Path
) -> None:
    broker = start_broker(epj_port=epj_sink.port, settings=pointed_at(tmp_path, archive.url))
    known = Person(number="700123", family="Sørby", given="Áile", birth_date="19821030")
    with broker.pas() as pas:
        accepted(pas, adt("A04", "W1", known))
    wait_until_routed(broker)
    study, paths = generate_uid(), [tmp_path / f"{number}.dcm" for number in range(2)]
    for path in paths:
        write_image(path, PatientID="700123", PatientName="Feil^Navn", StudyInstanceUID=study)
        assert Dcmtk().store(broker.dicom_port, path).succeeded
    wait_until_idle(broker)

    sent = {pydicom.dcmread(path).SOPInstanceUID: path.read_bytes() for path in paths}
    assert web.instances_of(study) == sent.keys()
    for uid, content in sent.items():
        arrived = archive.by_uid(uid)
        assert (str(arrived.PatientName), arrived.PatientBirthDate) == ("Sørby^Áile", "19821030")
        assert arrived.PixelData == pydicom.dcmread(BytesIO(content)).PixelData


def test_what_is_stored_is_found_and_fetched_byte_for_byte(web: WebClient, tmp_path: Path) -> None:
    study, sent = generate_uid(), dict[str, bytes]()
    for number in range(3):
        image = write_image(
            tmp_path / f"{number}.dcm", pixels=64 << number, StudyInstanceUID=study, PatientID="X7"
        )
        assert web.store(tmp_path / f"{number}.dcm") == 0
        sent[image.SOPInstanceUID] = (tmp_path / f"{number}.dcm").read_bytes()
    web.verify()

    (found,) = web.search("studies", {"PatientID": "X7"}, fields=("NumberOfStudyRelatedInstances",))
    assert (found["StudyInstanceUID"], found["PatientName"]) == (study, "TEST^BILDE")
    assert found["NumberOfStudyRelatedInstances"] == "3"
    assert len(list(web.search("series", study_uid=study))) == 3
    assert web.instances_of(study) == sent.keys()
    assert web.instances_of(generate_uid()) == frozenset()

    (tmp_path / "back").mkdir()
    back = [path.read_bytes() for path in web.retrieve(tmp_path / "back", study_uid=study)]
    by_uid = {pydicom.dcmread(BytesIO(content)).SOPInstanceUID: dataset_bytes(content) for content in back}
    assert by_uid == {uid: dataset_bytes(content) for uid, content in sent.items()}
    with pytest.raises(PermanentDeliveryError, match="not there"):
        web.retrieve(tmp_path / "back", study_uid=generate_uid())


def test_memory_does_not_grow_with_the_object(web: WebClient, tmp_path: Path) -> None:
    study = generate_uid()
    write_image(tmp_path / "big.dcm", pixels=3072, StudyInstanceUID=study)
    size = (tmp_path / "big.dcm").stat().st_size
    tracemalloc.start()
    try:
        web.store(tmp_path / "big.dcm")
        (back,) = web.retrieve(tmp_path, study_uid=study)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size > 16 << 20
    assert peak < 4 << 20
    assert dataset_bytes(back.read_bytes()) == dataset_bytes((tmp_path / "big.dcm").read_bytes())


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_objects_of_other_makers_are_taken_as_they_are(
    web: WebClient, archive: Orthanc, shared_data: Path
) -> None:
    for name in (
        "dcm4che/YBR_FULL-RLE.dcm",
        "us/US1_J2KI.dcm",
        "pydicom/MR_small_implicit.dcm",
        "sr/sr_document.dcm",
    ):
        path = shared_data / "dicom" / name
        assert web.store(path) == 0, name
        (instance,) = archive.instances()
        assert differing_tags(path.read_bytes(), archive.file(instance)) == set(), name
        archive.clear()


def test_what_an_archive_does_to_us_costs_only_time(start_broker: StartBroker, tmp_path: Path) -> None:
    """It is busy, hangs up, wants another password, has no room: all arrive, in order, and nobody is asked."""
    trouble: list[Callable[[Request], object]] = [
        lambda request: request.answer(503, Retry_After="1"),
        lambda request: False,
        lambda request: request.answer(401),
        lambda request: request.answer(202, stored(failed={uid_of(request): 0xA700})),
    ]
    taken: list[str] = []

    def uid_of(request: Request) -> str:
        return str(pydicom.dcmread(BytesIO(request.object())).SOPInstanceUID)

    def behave(request: Request) -> object:
        request.body()
        if trouble:
            return trouble.pop(0)(request)
        taken.append(uid_of(request))
        return request.answer(200, stored(taken[-1]))

    with WebServer(behave) as server:
        broker = start_broker(settings=pointed_at(tmp_path, server.url))
        paths = [tmp_path / f"{number}.dcm" for number in range(2)]
        sent = [write_image(path, PatientID="700124").SOPInstanceUID for path in paths]
        for path in paths:
            assert Dcmtk().store(broker.dicom_port, path).succeeded
        wait_until_idle(broker)

        parked = sum(row["parked"] for row in status(broker)["destinations"])

    assert (taken, trouble, parked) == (sent, [], 0)
