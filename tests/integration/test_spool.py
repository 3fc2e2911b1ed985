"""Two brokers with one journal and one spool: what one received the other forwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.proof.load import CT
from tests.support.dimse import Scu
from tests.support.flows import accepted, wait_until_idle
from tests.support.images import dataset_bytes, write_image
from tests.support.messages import Person, adt
from tests.support.mllp import MllpSink
from tests.support.orthanc import Orthanc
from tests.support.postgres import Postgres

pytestmark = pytest.mark.integration

AILE = Person(number="700123", national="30908299902", family="Sørby", given="Áile")


def test_what_one_node_received_another_forwards_and_neither_empties_the_others_folder(
    start_broker: StartBroker, postgres: Postgres, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    shared = {"BROKER_STORE": postgres.url(postgres.database()), "BROKER_SPOOL": str(spool)}
    first = start_broker(epj_port=epj_sink.port, settings=shared)  # its PACS is a port where nobody listens
    with first.pas() as pas:
        accepted(pas, adt("A04", "S1", AILE))
    image = write_image(tmp_path / "image.dcm", PatientID="700123")
    scu = Scu(first.dicom_port, [CT])
    assert scu.store(CT, image.SOPInstanceUID, dataset_bytes((tmp_path / "image.dcm").read_bytes())) == 0
    scu.close()
    (own,) = (spool / "nodes").iterdir()
    half = own / "incoming" / "half.part"
    first.kill()
    half.write_bytes(b"killed while it arrived")

    second = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port, settings=shared)
    orthanc.wait_for_instances(1)
    wait_until_idle(second)

    assert str(orthanc.by_uid(image.SOPInstanceUID).PatientName).startswith("Sørby")
    assert half.exists(), "the other node's"
    assert len(list((spool / "nodes").iterdir())) == 2
    for node in (first, second):
        assert [file.name for file in node.data.iterdir()] == ["broker.lock"]
    said = second.command("reconcile", "--registers")
    assert said.returncode == 0, said.stdout + said.stderr
    second.stop()
    first.start()
    assert not half.exists(), "it emptied its own"
    first.stop()
