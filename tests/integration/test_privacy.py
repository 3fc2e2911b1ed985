"""Invariant 11, and the logs: unmistakable words are planted in the input and looked for in everything that leaves.

Contact data (address, telephone, next of kin, employer) leaves to the EPJ alone, which has a route for it. Names and
numbers of patients stand in no log line, metric, status, trace or acknowledgement.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk, worklist_query
from tests.support.dimse import EXPLICIT, WORKLIST, Scu, encoded
from tests.support.flows import rows_of, wait_for_rows, wait_until_routed
from tests.support.images import write_image
from tests.support.messages import NATIONAL_OID, Person, adt, message, orm, oru
from tests.support.mllp import MllpSink, field, framed
from tests.support.orthanc import Orthanc
from tests.support.processes import wait_until
from tests.support.refusing import RefusingPacs

pytestmark = pytest.mark.integration

CONTACT = (
    "ADRESSEN",
    "POSTSTEDET",
    "99000001",
    "99000002",
    "EPOSTEN",
    "PAAROERENDE",
    "NAERMESTE",
    "ARBEIDSGIVEREN",
)
"""Planted in the fields that hold contact data."""

IDENTITY = ("Hemmelig", "Ukjentnavn", "30908299902", "7990017", "19330117", "Vrangnavn")
"""Planted as names, numbers and a birth date."""

SECRET = Person(
    number="7990017",
    national="30908299902",
    family="Hemmelig",
    given="Ukjentnavn",
    birth_date="19330117",
    contact="ADRESSEN 1^^POSTSTEDET^^7013^NO^H||99000001^PRN^PH^EPOSTEN|99000002^WPN^PH",
)
KIN = (
    "NK1|1|PAAROERENDE^NAERMESTE|SPO|ADRESSEN 2^^POSTSTEDET|99000001|99000002||||||||ARBEIDSGIVEREN",
    "GT1|1||PAAROERENDE^NAERMESTE||ADRESSEN 3|99000001|||||||||||ARBEIDSGIVEREN",
    "IN1|1|P|1|FORSIKRING|ADRESSEN 4|PAAROERENDE|99000002||||ARBEIDSGIVEREN",
)


@pytest.fixture
def talkative_pacs() -> Iterator[RefusingPacs]:
    pacs = RefusingPacs(0xC000)
    pacs.start()
    yield pacs
    pacs.stop()


def order(control_id: str, number: str, **changes: str) -> bytes:
    """An order that carries contact data of patient and staff."""
    plain = orm(control_id, SECRET, number, **changes).decode()
    lines = []
    for line in plain.split("\r"):
        if line.startswith("ORC"):
            line += "|||||||99000002|||||||||||ADRESSEN 5^^POSTSTEDET"
        if line.startswith("OBR"):
            parts = line.split("|")
            parts[17] = "99000001"
            line = "|".join(parts)
        lines.append(line)
    head, rest = "\r".join(lines).split("\rPV1", 1)
    return "\r".join([head, *KIN[:1], f"PV1{rest}"]).encode()


def found_in(text: str, words: tuple[str, ...]) -> list[str]:
    return [word for word in words if word.lower() in text.lower()]


def test_contact_data_leaves_to_the_epj_alone(
    broker: Broker, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    with broker.pas() as pas, broker.orders() as orders, broker.results() as results:
        answers = [
            pas.ask(adt("A04", "V1", SECRET, *KIN, "PV1|1|O")),
            orders.ask(order("V2", "951")),
            results.ask(oru("V3", SECRET, "951")),
        ]
    assert [field(answer, b"MSA", 1) for answer in answers] == [b"AA"] * 3
    image = write_image(
        tmp_path / "a.dcm",
        PatientID="30908299902",
        IssuerOfPatientID=NATIONAL_OID,
        PatientName="Hemmelig^Ukjentnavn",
        PatientAddress="ADRESSEN 1",
        PatientTelephoneNumbers="99000001",
        PatientTelecomInformation="EPOSTEN",
        CountryOfResidence="POSTSTEDET",
        ResponsiblePerson="PAAROERENDE^NAERMESTE",
        ResponsiblePersonRole="SPOUSE",
        ResponsibleOrganization="ARBEIDSGIVEREN",
    )
    assert Dcmtk().store(broker.dicom_port, tmp_path / "a.dcm").succeeded
    orthanc.wait_for_instances(1)
    wait_for_rows(broker, lambda rows: len(rows) == 1, "the row is visible")

    everything = worklist_query()
    for keyword in (
        "PatientAddress",
        "PatientTelephoneNumbers",
        "OrderCallbackPhoneNumber",
        "ResponsiblePerson",
    ):
        setattr(everything, keyword, "")
    answers_of_worklist = "\n".join(
        str(row) for row in (*rows_of(broker), *Dcmtk().worklist(broker.dicom_port, everything))
    )
    with Scu(broker.dicom_port, [(WORKLIST, EXPLICIT)]) as scu:
        (raw,) = scu.find(encoded(everything))
    (stored,) = [orthanc.file(instance) for instance in orthanc.instances()]

    assert "Hemmelig" in answers_of_worklist, "the row is this patient's"
    assert found_in(answers_of_worklist, CONTACT) == []
    assert found_in(raw.decode("latin-1"), CONTACT) == []
    assert orthanc.by_uid(image.SOPInstanceUID).PatientName == "Hemmelig^Ukjentnavn"
    assert found_in(stored.decode("latin-1"), CONTACT) == [], "not even among the original attributes"
    assert found_in(b"".join(answers).decode(), CONTACT) == []
    told = {field(m, b"MSH", 9).split(b"^")[0]: m.decode() for m in epj_sink.wait_for(3)}
    assert len(found_in(told[b"ADT"], CONTACT)) == len(CONTACT), "what the EPJ has a route for"
    assert found_in(told[b"ORM"], CONTACT) == []


def test_no_telephone_or_address_of_staff_leaves_in_an_image(
    broker: Broker, orthanc: Orthanc, tmp_path: Path
) -> None:
    with broker.pas() as pas:
        pas.ask(adt("A04", "V4", SECRET))
    wait_until_routed(broker)
    write_image(
        tmp_path / "a.dcm",
        PatientID="7990017",
        PatientName="HEMMELIG",
        ReferringPhysicianName="Lege^Kari",
        ReferringPhysicianAddress="ADRESSEN 6",
        ReferringPhysicianTelephoneNumbers="99000001",
    )

    assert Dcmtk().store(broker.dicom_port, tmp_path / "a.dcm").succeeded
    (instance,) = orthanc.wait_for_instances(1)

    assert found_in(orthanc.file(instance).decode("latin-1"), CONTACT) == []
    assert orthanc.dataset(instance).ReferringPhysicianName == "Lege^Kari"


def test_nothing_of_a_patient_stands_in_logs_metrics_or_what_an_operator_sees(
    start_broker: StartBroker, talkative_pacs: RefusingPacs, epj_sink: MllpSink, tmp_path: Path
) -> None:
    epj_sink.behaviour, epj_sink.text = "AE", b"patient Hemmelig 30908299902 is not known at ADRESSEN"
    broker = start_broker(
        pacs_port=talkative_pacs.port,
        epj_port=epj_sink.port,
        settings={"BROKER_PACS_HL7_PORT": str(epj_sink.port)},
    )
    answers = send_everything(broker)
    store_everything(broker, tmp_path)
    query_everything(broker)
    wait_until_routed(broker)
    wait_until(lambda: len(epj_sink.messages) >= 2, "the EPJ has refused")
    wait_until(lambda: "C000" in broker.http("/api/status")[1].decode(), "the PACS has refused")

    seen = {
        "metrics": broker.http("/metrics")[1].decode(),
        "api/status": broker.http("/api/status")[1].decode(),
        "status": broker.command("status").stdout,
        "worklist list": broker.command("worklist", "list", "--all").stdout,
        "answers": b"".join(answers).decode("latin-1"),
        **{f"trace {what}": broker.command("trace", what).stdout for what in ("V10", "V11", "V12", "A961")},
    }
    broker.stop()
    seen["log"] = broker.log.read_text(encoding="utf-8")

    assert all(seen.values()), "there is something to look at"
    assert {place: found_in(text, (*CONTACT, *IDENTITY)) for place, text in seen.items()} == {
        place: [] for place in seen
    }


def send_everything(broker: Broker) -> list[bytes]:
    """Good messages, refused ones, and bytes that are none; the answers."""
    broken_date = adt("A08", "V13", SECRET).replace(b"|19330117|", b"|Vrangnavn|")
    answers = []
    with broker.pas() as pas:
        answers += [pas.ask(adt("A04", "V10", SECRET, *KIN, "PV1|1|O")), pas.ask(broken_date)]
        answers.append(pas.ask(adt("A08", "V14", SECRET).replace(b"ADT^A08", b"NOE^Z99")))
        answers.append(pas.ask(adt("A08", "V15", SECRET).replace(b"UNICODE UTF-8", b"Hemmelig")))
        answers.append(pas.ask(message("ADT^A08^ADT_A01", "V16", SECRET.pid().replace("PID|1", "PIX|1"))))
        answers.append(pas.ask(b"Hemmelig 30908299902 is no message"))
        pas.send_raw(b"Hemmelig^Ukjentnavn between frames" + framed(adt("A31", "V17", SECRET)))
        answers.append(pas.receive())
    with broker.orders() as orders:
        answers += [
            orders.ask(order("V11", "961")),
            orders.ask(order("V18", "962").replace(b"|A962|", b"|Hemmelig-Ukjentnavn-30908299902|")),
            orders.ask(order("V19", "963", start="Vrangnavn")),
            orders.ask(order("V20", "964", control="HEMMELIG")),
            orders.ask(order("V21", "965", start="")),
            orders.ask(order("V22", "966").replace(b"Hemmelig^", b"Vrangnavn^")),
        ]
    with broker.results() as results:
        answers.append(results.ask(oru("V12", SECRET, "961", text="Hemmelig Ukjentnavn bor i ADRESSEN")))
    return answers


def store_everything(broker: Broker, folder: Path) -> None:
    """Images with values that are not what the standard allows, of a known and of an unknown patient."""
    write_image(
        folder / "a.dcm", PatientID="7990017", PatientName="Hemmelig^Ukjentnavn", PatientAddress="ADRESSEN"
    )
    odd = dcmread(folder / "a.dcm")
    odd.SOPInstanceUID = odd.file_meta.MediaStorageSOPInstanceUID = "2.25.7990"
    text = (folder / "a.dcm").read_bytes()
    for name, before, after in (
        ("b.dcm", b"PN\x14\x00Hemmelig^Ukjentnavn ", b"PN\x14\x00Hemmelig\\=^^^^^=====Vr"),
        ("c.dcm", b"LO\x08\x007990017 ", b"DA\x08\x00Hemmelig"),
    ):
        assert before in text
        (folder / name).write_bytes(text.replace(before, after[: len(before)].ljust(len(before), b"x")))
    for name in ("a.dcm", "b.dcm", "c.dcm"):
        Dcmtk().store(broker.dicom_port, folder / name)


def query_everything(broker: Broker) -> None:
    """Queries for the patient, with keys that are nonsense, too."""
    rows_of(broker, PatientName="Hemmelig*", PatientID="30908299902")
    nonsense = Dataset()
    nonsense.PatientName = "Hemmelig[*^Ukjentnavn\\Vrangnavn"
    nonsense.add_new(0x00100030, "LO", "Hemmelig-30908299902")
    nonsense.add_new(0x00400100, "LO", "Ukjentnavn")
    refused = contextlib.suppress(AssertionError, ConnectionError)  # in whatever way
    with Scu(broker.dicom_port, [(WORKLIST, EXPLICIT)]) as scu, refused:
        scu.find(encoded(nonsense))
