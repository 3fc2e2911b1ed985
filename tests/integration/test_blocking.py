"""Invariant 5: a failing destination blocks only itself, a refused message only its patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk
from tests.support.flows import (
    accepted,
    delivered,
    queued,
    status,
    wait_for_row,
    wait_for_rows,
    wait_until_idle,
)
from tests.support.images import write_image
from tests.support.messages import Person, adt, orm
from tests.support.mllp import Behaviour, MllpSink, field
from tests.support.orthanc import Orthanc
from tests.support.processes import wait_until
from tests.support.refusing import RefusingPacs

pytestmark = pytest.mark.integration


def people(count: int) -> list[Person]:
    return [Person(number=f"77{n:04d}", family=f"Nr{n}") for n in range(count)]


def control_ids(sink: MllpSink) -> list[str]:
    return [field(message, b"MSH", 10).decode() for message in sink.messages]


# the EPJ


@pytest.mark.parametrize("trouble", ["down", "silent", "hangs up", "refuses all"])
def test_a_dead_epj_stops_neither_worklist_nor_images(
    trouble: str, start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    behaviours: dict[str, Behaviour] = {"silent": "silent", "hangs up": "close", "refuses all": "AE"}
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)
    if trouble == "down":
        epj_sink.stop()
    else:
        epj_sink.behaviour = behaviours[trouble]
    image = write_image(tmp_path / "a.dcm")

    with broker.pas() as pas, broker.orders() as orders:
        for n, person in enumerate(people(5)):
            accepted(pas, adt("A04", f"B{n}", person))
            accepted(orders, orm(f"B1{n}", person, f"93{n}"))
    wait_for_rows(broker, lambda rows: len(rows) == 5, "the worklist goes on")
    assert Dcmtk().store(broker.dicom_port, tmp_path / "a.dcm").succeeded
    orthanc.wait_for_instances(1)

    assert orthanc.by_uid(image.SOPInstanceUID)
    assert broker.ready()
    (epj,) = [row for row in status(broker)["destinations"] if row["destination"] == "epj"]
    assert (epj["queued"], epj["delivered"]) == (10, 0)
    wait_until(lambda: trouble == "silent" or failing(broker), "it shows why")

    if trouble == "down":
        epj_sink.start()
    before = len(epj_sink.messages)
    epj_sink.behaviour = "AA"
    # A message that is under way to a silent EPJ is given up after ack_timeout (30 s): hang up, as a restart would.
    if trouble == "silent":
        epj_sink.stop()
        epj_sink.start()
    wait_until_idle(broker, timeout=45)

    taken = epj_sink.messages[before:]
    assert sorted({field(m, b"MSH", 10) for m in taken if field(m, b"MSH", 9).startswith(b"ADT")}) == [
        f"B{n}".encode() for n in range(5)
    ]
    assert len({field(m, b"OBR", 18) for m in taken if field(m, b"MSH", 9).startswith(b"ORM")}) == 5
    assert delivered(broker, "epj") == 10


def failing(broker: Broker) -> bool:
    return any(row["failing"] for row in status(broker)["destinations"])


def test_a_refused_message_holds_up_its_patient_only(broker: Broker, epj_sink: MllpSink) -> None:
    poison, *others = people(6)
    epj_sink.behaviour = lambda message: "AE" if field(message, b"MSH", 10) == b"B20" else "AA"

    with broker.pas() as pas:
        accepted(pas, adt("A04", "B20", poison), adt("A08", "B21", poison.named("Ny")))
        for n, person in enumerate(others):
            accepted(pas, adt("A04", f"B3{n}", person))
    wait_until(lambda: delivered(broker, "epj") == 5, "the other patients' messages arrive")
    wait_until(lambda: failing(broker), "the refusal is seen")

    assert {f"B3{n}" for n in range(5)} <= set(control_ids(epj_sink))
    assert "B21" not in control_ids(epj_sink), "the patient's own next message waits"
    assert queued(broker, "epj") == 2
    said = broker.command("status").stdout
    assert "MSA-1 AE" in said

    epj_sink.behaviour = "AA"
    wait_until_idle(broker, timeout=45)
    order = [control_id for control_id in control_ids(epj_sink) if control_id in ("B20", "B21")]
    assert (set(order[:-1]), order[-1]) == ({"B20"}, "B21")


def test_a_merge_waits_for_both_patients_and_holds_both_up(broker: Broker, epj_sink: MllpSink) -> None:
    survivor, gone, other = people(3)
    epj_sink.behaviour = lambda message: "AE" if field(message, b"MSH", 10) == b"B41" else "AA"

    with broker.pas() as pas:
        accepted(pas, adt("A04", "B40", survivor), adt("A04", "B41", gone))
        accepted(pas, adt("A40", "B42", survivor, f"MRG|{gone.number}^^^STO&2.999.7001&ISO^PI"))
        accepted(pas, adt("A08", "B43", survivor.named("Ny")), adt("A04", "B44", other))
    wait_until(lambda: "B44" in control_ids(epj_sink), "another patient's message arrives")
    wait_until(lambda: failing(broker), "the refusal is seen")
    assert not {"B42", "B43"} & set(control_ids(epj_sink))

    epj_sink.behaviour = "AA"
    wait_until_idle(broker, timeout=45)
    assert [c for c in control_ids(epj_sink) if c in ("B42", "B43")] == ["B42", "B43"]


# the PACS


def test_a_dead_pacs_stops_no_hl7_and_gets_its_images_later(
    start_broker: StartBroker, epj_sink: MllpSink, tmp_path: Path
) -> None:
    pacs = Orthanc(tmp_path)
    broker = start_broker(pacs_port=pacs.port, epj_port=epj_sink.port)
    images = [write_image(tmp_path / f"{n}.dcm", PatientID=f"78{n}") for n in range(3)]

    for n in range(3):
        assert Dcmtk().store(broker.dicom_port, tmp_path / f"{n}.dcm").succeeded, "store and forward"
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "B50", people(1)[0]))
        accepted(orders, orm("B51", people(1)[0], "940"))

    assert len(epj_sink.wait_for(2)) == 2
    wait_for_row(broker, AccessionNumber="A940")
    assert (queued(broker, "pacs"), delivered(broker, "pacs")) == (3, 0)
    assert broker.ready()

    pacs.start()
    try:
        pacs.wait_for_instances(3, timeout=60)
        assert all(pacs.by_uid(image.SOPInstanceUID) for image in images)
        wait_until_idle(broker)
    finally:
        pacs.stop()


@pytest.mark.parametrize("answered", [0xA700, 0xA900, 0xC000, 0x0110, 0x0122])
def test_a_failure_status_is_never_called_delivered(
    answered: int, start_broker: StartBroker, epj_sink: MllpSink, tmp_path: Path
) -> None:
    pacs = RefusingPacs(answered)
    pacs.start()
    try:
        broker = start_broker(pacs_port=pacs.port, pacs_aet="REFUSES", epj_port=epj_sink.port)
        image = write_image(tmp_path / "a.dcm")
        assert Dcmtk().store(broker.dicom_port, tmp_path / "a.dcm").succeeded

        wait_until(lambda: failing(broker), "the failure is seen")
        assert (queued(broker, "pacs"), delivered(broker, "pacs")) == (1, 0)
        (row,) = [row for row in status(broker)["destinations"] if row["destination"] == "pacs"]
        assert f"{answered:04X}" in row["failing"]["detail"]
        (entry,) = broker.command_json("trace", str(image.SOPInstanceUID))
        ((delivery,),) = [event["deliveries"] for event in entry["events"]]
        assert delivery["state"] == "queued"

        pacs.status = 0xB000  # a warning: taken (PS3.4 B.2.3)
        wait_until_idle(broker, timeout=45)
        assert delivered(broker, "pacs") == 1
        assert pacs.stored == [str(image.SOPInstanceUID)]
    finally:
        pacs.stop()
