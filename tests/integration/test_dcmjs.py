"""dcmjs-dimse as a modality beside a running broker: an examination from its worklist to its last MPPS; refusals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage

from broker.dicom import status
from broker.dicom.dataset import to_dataset
from broker.dicom.uid import WORKLIST_FIND
from broker.net.association import Answer, AssociationServer, FindRequest, Peer
from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmjs import Dcmjs, create, echo, find, set_, store
from tests.support.flows import (
    accepted,
    exceptions,
    rows_of,
    wait_for_rows,
    wait_until_idle,
    wait_until_routed,
)
from tests.support.images import write_image
from tests.support.messages import Person, adt, omi
from tests.support.mllp import MllpSink, field
from tests.support.mpps import begun, ended, scheduled
from tests.support.orthanc import Orthanc

pytestmark = pytest.mark.integration

AILE = Person(number="700123", national="30908299902", family="Sørby", given="Áile", middle="Čoahkkin")
STEPS = "ScheduledProcedureStepSequence"


@pytest.fixture
def ordered(broker: Broker) -> Broker:
    """Two steps of one order for MR 1."""
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "P1", AILE))
        accepted(orders, omi("O1", AILE, "801", steps=("1", "2")))
    wait_for_rows(broker, lambda rows: len(rows) == 2, "both steps are visible")
    return broker


def modality(broker: Broker, calling: str = "MR1_STO", called: str = "BROKER") -> Dcmjs:
    return Dcmjs(broker.dicom_port, calling, called)


def test_it_sees_the_worklist_as_it_is(ordered: Broker) -> None:
    """Its query has an empty Pregnancy Status as zero, and a Query/Retrieve Level, which is no key of a worklist."""
    told = modality(ordered).ask(
        echo(), find(), find(PatientName="SORBY*"), find(PatientID="700124"), find(PatientID="30908299902")
    )

    _, everything, by_name, _, by_national = told.answers
    assert told.statuses == [status.SUCCESS] * 5
    assert [len(answers) - 1 for answers in told.answers[1:]] == [2, 2, 0, 2]
    assert by_name[:-1] == everything[:-1] == by_national[:-1]
    assert {answer.status for answer in everything[:-1]} == {status.PENDING}
    row = everything[0].dataset or {}
    assert row["PatientName"] == [{"Alphabetic": "Sørby^Áile^Čoahkkin"}]
    assert (row["SpecificCharacterSet"], row["PatientID"]) == ("ISO_IR 192", "30908299902")
    assert (row["AccessionNumber"], row["RequestedProcedureDescription"]) == ("A801", "MR caput")
    (step,) = row[STEPS]
    assert (step["Modality"], step["ScheduledStationAETitle"]) == ("MR", "MR1_STO")
    assert (step["ScheduledProcedureStepStartDate"], step["ScheduledProcedureStepStartTime"]) == (
        *("20260310", "130000"),
    )
    (code,) = step["ScheduledProtocolCodeSequence"]
    assert (code["CodeValue"], code["CodingSchemeDesignator"]) == ("SAN0AG", "NCRP")
    assert sorted(
        answer.dataset[STEPS][0]["ScheduledProcedureStepID"] for answer in everything if answer.dataset
    ) == ["S801-1", "S801-2"]


def test_an_examination(ordered: Broker, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path) -> None:
    device = modality(ordered)
    step = {"ScheduledStationAETitle": "MR1_STO", "ScheduledProcedureStepID": ""}
    ((*rows, _),) = device.ask(find(**{STEPS: [step]})).answers
    by_step = {r.dataset[STEPS][0]["ScheduledProcedureStepID"]: r.dataset for r in rows if r.dataset}
    row = by_step["S801-1"]
    performed = begun(
        scheduled(row["StudyInstanceUID"], "S801-1", row["AccessionNumber"]),
        **{
            keyword: row[keyword]
            for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
        },
        SpecificCharacterSet="ISO_IR 192",
        Modality="MR",
        PerformedStationAETitle="MR1_STO",
    )
    image = tmp_path / "image.dcm"
    sent = write_image(image, PatientID=row["PatientID"], StudyInstanceUID=row["StudyInstanceUID"])

    first = device.ask(create("2.25.1", performed))
    wait_until_routed(ordered)
    left = [row[STEPS].value[0].ScheduledProcedureStepID for row in rows_of(ordered)]
    rest = device.ask(
        store(image),
        create("2.25.1", performed),
        set_("2.25.1", ended(instances=(str(sent.SOPInstanceUID),))),
        set_("2.25.1", ended()),
        set_("2.25.404", ended()),
        create("2.25.2", performed | {"PerformedProcedureStepStatus": "COMPLETED"}),
    )

    assert (first.statuses, first.answers[0][0].uid) == ([status.SUCCESS], "2.25.1")
    assert left == ["S801-2"], "what is in progress has left the list, the other step has not"
    assert rest.statuses == [
        *(status.SUCCESS, status.DUPLICATE_SOP_INSTANCE, status.SUCCESS, status.PROCESSING_FAILURE),
        *(status.NO_SUCH_SOP_INSTANCE, status.INVALID_ATTRIBUTE_VALUE),
    ]
    orthanc.wait_for_instances(1)
    arrived = orthanc.by_uid(str(sent.SOPInstanceUID))
    assert (str(arrived.PatientName), arrived.SOPClassUID) == ("Sørby^Áile^Čoahkkin", CTImageStorage)
    assert arrived.PixelData == sent.PixelData
    wait_until_idle(ordered)
    told = [m for m in epj_sink.messages if field(m, b"MSH", 9).startswith(b"ORM")]
    of_step = [field(m, b"ORC", 5) for m in told if field(m, b"OBR", 20) == b"S801-1"]
    assert of_step == [b"SC", b"IP", b"CM"]
    assert "mpps-unscheduled" not in exceptions(ordered).values()


def test_strangers_hear_why_they_are_refused(start_broker: StartBroker) -> None:
    broker = start_broker(settings={"BROKER_OPEN_AE": "false"})

    assert modality(broker).ask(echo()).statuses == [status.SUCCESS]
    assert modality(broker, calling="STRANGER").ask(echo()).rejected == (1, 1, 3)
    assert modality(broker, called="OTHER").ask(echo()).rejected == (1, 1, 7)


class Endless:
    """A worklist that ends only when it is cancelled."""

    sop_classes = (WORKLIST_FIND,)

    def find(self, request: FindRequest, peer: Peer) -> Iterator[Answer]:
        while not request.cancelled():
            yield Answer(status=status.PENDING, identifier=to_dataset({"PatientID": "T1"}))
        yield Answer(status=status.CANCEL)


def test_it_may_cancel_between_two_answers(tmp_path: Path) -> None:
    server = AssociationServer("127.0.0.1", 0, spool=tmp_path / "spool", admit=lambda _: True)
    server.register(Endless())
    server.start()
    try:
        told = Dcmjs(server.port, "MR1_STO").ask(find(), echo(), cancel_after=3)
    finally:
        server.stop(1)

    assert told.statuses == [status.CANCEL, status.SUCCESS], "and goes on on the same association"
