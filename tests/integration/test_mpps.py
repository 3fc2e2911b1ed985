"""MPPS with the shipped configuration: pynetdicom as modality and RIS, a plain-socket EPJ, DCMTK for the worklist."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from broker.dicom import status
from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.flows import (
    accepted,
    exceptions,
    rows_of,
    wait_for_row,
    wait_until_idle,
    wait_until_routed,
)
from tests.support.messages import Person, adt, merge, omi, orm, study_uid
from tests.support.mllp import MllpSink, field
from tests.support.mpps import WRONG_ENTRY, MppsScp, MppsScu, begun, ended, scheduled
from tests.support.processes import wait_until

pytestmark = pytest.mark.integration

AILE = Person(number="700123", national="30908299902", family="Sørby", given="Áile", middle="Lájla")
OTHER = Person(number="700124", family="Nordgård")
CT = scheduled(study_uid("801"), "S801-1", "A801")


@pytest.fixture
def ris() -> Iterator[MppsScp]:
    server = MppsScp()
    server.start()
    yield server
    server.stop()


def statuses(sink: MllpSink) -> list[str]:
    """ORC-5 of what the EPJ was told of orders."""
    return [field(m, b"ORC", 5).decode() for m in sink.messages if field(m, b"MSH", 9).startswith(b"ORM")]


def state(broker: Broker, accession: str) -> str:
    wait_until_routed(broker)
    rows = broker.command_json("worklist", "list", "--all")
    (found,) = {row["status"] for row in rows if row["accession"] == accession}
    return str(found)


def registered_and_ordered(broker: Broker) -> None:
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "P1", AILE, "PV1|1|O"))
        accepted(orders, orm("O1", AILE, "801"))
    wait_for_row(broker)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_step_is_begun_and_completed(broker: Broker, epj_sink: MllpSink, syntax: str) -> None:
    registered_and_ordered(broker)
    modality = MppsScu(broker.dicom_port, syntax=syntax)

    assert modality.create(begun(CT), "2.25.1").Status == status.SUCCESS
    assert state(broker, "A801") == "STARTED"
    assert rows_of(broker) == [], "it has left every list"
    assert modality.set({"PerformedSeriesSequence": ended()["PerformedSeriesSequence"]}, "2.25.1").Status == 0
    assert modality.set(ended(), "2.25.1").Status == status.SUCCESS
    assert state(broker, "A801") == "COMPLETED"
    wait_until_idle(broker)
    assert statuses(epj_sink) == ["SC", "IP", "CM"]
    assert exceptions(broker) == {}


def test_what_the_state_does_not_allow_is_answered_as_the_standard_says(broker: Broker) -> None:
    registered_and_ordered(broker)
    modality = MppsScu(broker.dicom_port)

    assert modality.set(ended(), "2.25.404").Status == status.NO_SUCH_SOP_INSTANCE
    assert modality.create(begun(CT), "2.25.1").Status == status.SUCCESS
    assert modality.create(begun(CT), "2.25.1").Status == status.DUPLICATE_SOP_INSTANCE
    assert modality.set(ended("DISCONTINUED"), "2.25.1").Status == status.SUCCESS
    late = modality.set(ended(), "2.25.1")
    assert (late.Status, late.ErrorID) == (status.PROCESSING_FAILURE, status.MAY_NO_LONGER_BE_UPDATED)
    assert state(broker, "A801") == "DISCONTINUED"

    made = modality.create(begun(CT, PerformedProcedureStepStatus="COMPLETED"), "2.25.2")
    assert made.Status == status.INVALID_ATTRIBUTE_VALUE
    assert modality.create(begun(CT, Modality=None), "2.25.2").Status == status.MISSING_ATTRIBUTE
    assert modality.create(begun(CT, Modality=""), "2.25.2").Status == status.MISSING_ATTRIBUTE_VALUE
    assert (
        modality.set({"PerformedProcedureStepStatus": "DONE"}, "2.25.1").Status
        == status.INVALID_ATTRIBUTE_VALUE
    )


def test_an_mpps_without_uid_is_given_one(broker: Broker) -> None:
    registered_and_ordered(broker)
    modality = MppsScu(broker.dicom_port)
    made = modality.create(begun(CT), None)

    assert made.Status == status.SUCCESS
    assert modality.set(ended(), made.AffectedSOPInstanceUID).Status == status.SUCCESS
    assert state(broker, "A801") == "COMPLETED"


def test_what_was_answered_outlives_a_power_cut(broker: Broker) -> None:
    registered_and_ordered(broker)
    modality = MppsScu(broker.dicom_port)
    assert modality.create(begun(CT), "2.25.1").Status == status.SUCCESS
    broker.kill()
    broker.start()

    assert modality.create(begun(CT), "2.25.1").Status == status.DUPLICATE_SOP_INSTANCE
    assert modality.set(ended(), "2.25.1").Status == status.SUCCESS
    assert state(broker, "A801") == "COMPLETED"


def test_the_wrong_entry_is_served_again(broker: Broker, epj_sink: MllpSink) -> None:
    registered_and_ordered(broker)
    modality = MppsScu(broker.dicom_port)
    assert modality.create(begun(CT), "2.25.1").Status == status.SUCCESS
    assert modality.set(ended("DISCONTINUED", reason=WRONG_ENTRY), "2.25.1").Status == status.SUCCESS

    assert state(broker, "A801") == "SCHEDULED"
    assert wait_for_row(broker).AccessionNumber == "A801"
    wait_until_idle(broker)
    assert statuses(epj_sink) == ["SC", "IP", "SC"]


def test_several_steps_in_one_mpps_and_an_append(broker: Broker) -> None:
    with broker.orders() as orders:
        accepted(orders, omi("O2", AILE, "802", steps=("1", "2")))
    wait_until_routed(broker)
    wait_until(lambda: len(rows_of(broker)) == 2, "both rows")
    pair = [scheduled(row.StudyInstanceUID, row.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID,
                      row.AccessionNumber) for row in rows_of(broker)]  # fmt: skip
    modality = MppsScu(broker.dicom_port, "MR1_STO")

    assert modality.create(begun(*pair), "2.25.1").Status == status.SUCCESS
    wait_until(lambda: rows_of(broker) == [], "both rows have left")
    assert modality.create(begun(pair[0]), "2.25.2").Status == status.SUCCESS, "two MPPS for one step"
    assert modality.set(ended(), "2.25.1").Status == status.SUCCESS
    wait_until_routed(broker)
    listed = broker.command_json("worklist", "list", "--all")
    assert sorted(row["status"] for row in listed) == ["COMPLETED", "STARTED"], "one of them goes on"
    assert modality.set(ended(), "2.25.2").Status == status.SUCCESS
    wait_until_routed(broker)
    assert {row["status"] for row in broker.command_json("worklist", "list", "--all")} == {"COMPLETED"}
    assert exceptions(broker) == {}


def test_an_mpps_of_no_order_and_one_of_another_patient(broker: Broker, epj_sink: MllpSink) -> None:
    registered_and_ordered(broker)
    with broker.pas() as pas:
        accepted(pas, adt("A04", "P2", OTHER, "PV1|1|O"))
    modality = MppsScu(broker.dicom_port)

    assert modality.create(begun(ScheduledStepAttributesSequence=None), "2.25.1").Status == status.SUCCESS
    assert modality.create(begun(CT, PatientID="700124"), "2.25.2").Status == status.SUCCESS
    assert state(broker, "A801") == "SCHEDULED", "another patient's exam begins no step"
    assert exceptions(broker) == {"2.25.1": "mpps-unscheduled", "2.25.2": "mpps-patient-differs"}
    wait_until_idle(broker)
    assert statuses(epj_sink) == ["SC"]


def test_an_id_that_was_merged_away_is_the_survivors(broker: Broker) -> None:
    registered_and_ordered(broker)
    with broker.pas() as pas:
        accepted(pas, merge("A40", "P3", OTHER, "700123"))
    modality = MppsScu(broker.dicom_port)

    assert modality.create(begun(CT), "2.25.1").Status == status.SUCCESS
    assert state(broker, "A801") == "STARTED"
    assert modality.set(ended(), "2.25.1").Status == status.SUCCESS
    assert state(broker, "A801") == "COMPLETED"
    assert exceptions(broker) == {}
    assert broker.command("reconcile", "--registers").returncode == 0


def test_ris_hears_all_of_it_in_order_though_it_was_away(start_broker: StartBroker, ris: MppsScp) -> None:
    ris.stop()
    broker = start_broker(settings={"BROKER_MPPS_PORT": str(ris.port)})
    registered_and_ordered(broker)
    modality = MppsScu(broker.dicom_port)
    assert modality.create(begun(CT), "2.25.1").Status == status.SUCCESS
    assert modality.set(ended(), "2.25.1").Status == status.SUCCESS
    wait_until_routed(broker)
    ris.answers = [0x0110, 0x0213]
    ris.start()

    wait_until(lambda: len(ris.taken) == 2, "RIS got both", timeout=60)
    (first, uid, dataset), (second, again, closed) = ris.taken
    assert (first, second, uid, again) == ("N-CREATE", "N-SET", "2.25.1", "2.25.1")
    assert dataset.PatientName == "Sørby^Áile^Lájla", "as PAS has it"
    assert dataset.PatientID == "700123"
    assert dataset.ScheduledStepAttributesSequence[0].ScheduledProcedureStepID == "S801-1"
    assert closed.PerformedProcedureStepStatus == "COMPLETED"
    assert "PatientID" not in closed
