"""DICOM over TLS with DCMTK at both ends: devices that show certificates, and a PACS that wants one of the broker."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.certificates import Authority, Issued
from tests.support.configuration import changed
from tests.support.dcmtk import Dcmtk, worklist_query
from tests.support.flows import accepted, delivered, queued, wait_for_row
from tests.support.images import write_image
from tests.support.messages import Person, adt, orm
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.storescp import Storescp

pytestmark = pytest.mark.integration

PERSON = Person(number="700123", family="Sørby", given="Áile")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Issued:
    """The broker's, for both directions."""
    return authority.issue("broker")


@pytest.fixture(scope="module")
def device(authority: Authority) -> list[str]:
    """DCMTK's options of a device with a certificate."""
    issued = authority.issue("device")
    return ["+tls", str(issued.key), str(issued.certificate), "+cf", str(authority.file)]


@pytest.fixture
def pacs(tmp_path: Path, authority: Authority) -> Iterator[Storescp]:
    issued = authority.issue("pacs")
    server = Storescp(
        *(tmp_path / "stored", "+tls", str(issued.key), str(issued.certificate), "+cf", str(authority.file))
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def tls_port() -> int:
    return free_port()


@pytest.fixture
def broker(
    start_broker: StartBroker,
    tmp_path: Path,
    authority: Authority,
    ours: Issued,
    pacs: Storescp,
    tls_port: int,
) -> Broker:
    folder = tmp_path / "configured"
    folder.mkdir()
    files = f"certificate_file: {ours.certificate}, key_file: {ours.key}"
    accepting = f"{{port: {tls_port}, {files}, client_ca_file: {authority.file}}}"
    calling = f"{{ca_file: {authority.file}, {files}}}"
    settings = changed(
        folder,
        {
            "  ae_title: BROKER\n": f"  ae_title: BROKER\n  tls: {accepting}\n",
            "    called_aet: ${env:BROKER_PACS_AET:-ORTHANC}\n\n  pacs-hl7:": (
                f"    called_aet: STORESCP\n    tls: {calling}\n\n  pacs-hl7:"
            ),
        },
    )
    return start_broker(settings=settings, pacs_port=pacs.port)


def test_worklist_and_images_over_tls(
    broker: Broker,
    dcmtk: Dcmtk,
    authority: Authority,
    device: list[str],
    tls_port: int,
    pacs: Storescp,
    tmp_path: Path,
) -> None:
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "T1", PERSON))
        accepted(orders, orm("T2", PERSON, "ACC1"))
    wait_for_row(broker, PatientID=PERSON.number)
    path = tmp_path / "image.dcm"
    image = write_image(path, pixels=1024, PatientID=PERSON.number, IssuerOfPatientID="STO")

    assert dcmtk.echo(tls_port, *device).succeeded
    (row,) = dcmtk.worklist(tls_port, worklist_query(), *device)
    assert row.PatientID == PERSON.number
    stored = dcmtk.store(tls_port, path, options=device)
    assert stored.succeeded, stored.output

    wait_until(lambda: delivered(broker, "pacs") == 1, "the PACS answered: its file is written")
    arrived = pacs.wait_for_file(image.SOPInstanceUID)
    assert pydicom.dcmread(BytesIO(arrived)).PixelData == image.PixelData

    assert not dcmtk.echo(tls_port, "+tla", "+cf", str(authority.file)).succeeded, "it shows no certificate"
    assert not dcmtk.echo(tls_port).succeeded, "it speaks in the clear"
    assert dcmtk.echo(broker.dicom_port).succeeded, "which the other port takes"
    log = broker.log.read_text()
    assert "peer did not return a certificate" in log
    assert "wrong version number" in log

    findings = broker.command_json("doctor")
    told = [one["found"] for one in findings if one["check"] == "certificates"]
    assert any("dicom.tls.client_ca_file" in one and "valid until" in one for one in told)
    assert "answers C-ECHO" in [one["found"] for one in findings if one["check"] == "destination pacs"]


def test_a_pacs_that_nobody_vouches_for_gets_nothing(
    start_broker: StartBroker, tmp_path: Path, authority: Authority, pacs: Storescp, dcmtk: Dcmtk
) -> None:
    stranger = Authority(tmp_path / "stranger")
    folder = tmp_path / "configured"
    folder.mkdir()
    text = "    called_aet: ${env:BROKER_PACS_AET:-ORTHANC}\n\n  pacs-hl7:"
    tls = f"    called_aet: STORESCP\n    tls: {{ca_file: {stranger.file}}}\n\n  pacs-hl7:"
    broker = start_broker(settings=changed(folder, {text: tls}), pacs_port=pacs.port)
    path = tmp_path / "image.dcm"
    write_image(path)

    assert dcmtk.store(broker.dicom_port, path).succeeded
    wait_until(lambda: b"is not trusted" in broker.http("/api/status")[1], "the reason is shown")

    assert queued(broker, "pacs") == 1
    assert list(pacs.folder.iterdir()) == []
