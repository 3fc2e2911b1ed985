"""One patient, several devices: each is shown the name in its own sets, DCMTK asking; what was lost is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmtk import worklist_query
from tests.support.flows import accepted, exceptions, wait_for_row, wait_for_rows
from tests.support.messages import Person, adt, orm
from tests.support.mllp import MllpSink, field
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

CUDI = Person(number="700124", family="Čuđi Ŋuorra", given="Ánde", birth_date="19900101", sex="M")
DEVICES = """
devices:
  DX1_STO: { charsets: [ISO_IR 100] }
  MR*: { charsets: [ISO_IR 192] }
"""


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """The shipped settings with two devices more, and an EPJ that reads 8859/1 and 8859/4."""
    text = (REPOSITORY / "config" / "broker.yaml").read_text(encoding="utf-8")
    for name in ("stations.csv", "order-status.csv", "modalities.csv", "clinics.csv"):
        text = text.replace(f": {name}", f": {REPOSITORY / 'config' / name}")
    text = text.replace("../routes", str(REPOSITORY / "routes"))
    text = text.replace("    adapter: epj\n", "    adapter: epj\n    charsets: [8859/1, 8859/4]\n")
    file = tmp_path / "broker.yaml"
    file.write_text(text + DEVICES, encoding="utf-8")
    return file


def test_each_device_is_shown_the_name_in_its_own_sets(
    start_broker: StartBroker, epj_sink: MllpSink, configured: Path
) -> None:
    broker = start_broker(epj_port=epj_sink.port, settings={"BROKER_CONFIG": str(configured)})
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "C1", CUDI))
        accepted(orders, orm("C2", CUDI, "901"))
    wait_for_row(broker, AccessionNumber="A901")
    query = worklist_query()

    (simple,) = broker.modality("DX1_STO").worklist(broker.dicom_port, query)
    (modern,) = broker.modality("MR1_STO").worklist(broker.dicom_port, query)

    assert (simple.SpecificCharacterSet, str(simple.PatientName)) == ("ISO_IR 100", "Cudi Nuorra^Ánde")
    assert (modern.SpecificCharacterSet, str(modern.PatientName)) == ("ISO_IR 192", CUDI.name)
    by_name = worklist_query(PatientName=str(simple.PatientName))
    by_name.SpecificCharacterSet = "ISO_IR 100"
    assert len(broker.modality("DX1_STO").worklist(broker.dicom_port, by_name)) == 1

    (adt_sent, *_) = epj_sink.wait_for(1)
    assert field(adt_sent, b"MSH", 18) == b"8859/4"
    assert "Čuđi Ŋuorra".encode("iso8859-4") in adt_sent

    (told,) = broker.command_json("devices", "charset", "DX1_STO", "--scan")
    assert (told["charsets"], told["declared"], told["lossy"]) == (["ISO_IR 100"], True, 2)
    assert (told["patients"], told["patients_unshown"]) == (1, 1)
    assert set(told["asked"]) == {"ISO_IR 192", "ISO_IR 100"}
    refused = broker.command("devices", "charset", "DX1_STO", "--names", "--reason", "letters are wrong")
    assert (refused.returncode != 0, "allow_phi" in refused.stderr) == (True, True)
    configured.write_text(configured.read_text().replace("allow_phi: false", "allow_phi: true"))
    asked = ("devices", "charset", "DX1_STO", "--scan", "--names", "--reason", "letters are wrong")
    assert broker.command_json(*asked)[0]["names"] == [CUDI.name]
    actions = [entry["action"] for entry in broker.command_json("audit")]
    assert actions == ["charset names refused", "charset names"]
    assert "broker_worklist_lossy_total" in broker.http("/metrics")[1].decode()


def test_garbled_names_are_reported_once_for_their_sender(broker: Broker) -> None:
    with broker.pas() as pas:
        accepted(pas, adt("A04", "G1", CUDI.named("BjÃ¸rnsen")), adt("A08", "G2", CUDI.named("BjÃ¸rnsen")))
    wait_for_rows(broker, lambda _rows: "mojibake" in exceptions(broker).values(), "it is reported")

    assert list(exceptions(broker).values()) == ["mojibake"]
    assert b'broker_messages_garbled_total{source="pas"} 2.0' in broker.http("/metrics")[1]
