"""Devices are told what they may rely on: what leaves, where to, and whose failure is whose."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from adapters.commitment.tell import OUTBOUND, DeviceReports, ReportSender, render_report
from broker.adapter import Delivery, OutboundContext, Target
from broker.device import Device as Declared
from broker.dicom import status
from broker.errors import AskPersonError, DeliveryError, RecipientError, UnmappableError
from broker.event import InstanceReference, Study
from broker.net.action_scu import Call
from broker.net.tls import PeerTls
from broker.view import View
from tests.support.certificates import certificate
from tests.support.commitment import SECONDARY_CAPTURE, Device, outcome
from tests.support.events import event
from tests.support.golden import NOW
from tests.support.ports import free_port

TARGET = Target(
    route="r", version="v1", place="routes/d.yaml:9", kind="dicom", destination="device-commitment"
)


def seen(kind: str = "commitment.reported", failure: int = 0x0112) -> View:
    instances = tuple(
        InstanceReference(sop_class_uid=SECONDARY_CAPTURE, sop_instance_uid=f"2.25.1.{n}", failure=f)
        for n, f in ((1, 0), (2, failure))
    )
    study = Study(requester="CT1_STO", transaction_uid="2.25.9", instances=instances)
    return View(event=event(kind, study=study), patient_key="device|CT1_STO")


class Open:
    """The association that a device may have open."""

    def __init__(self, answer: int | None = None) -> None:
        self.answer = answer
        self.told: list[tuple[str, Call]] = []

    def __call__(self, aet: str, call: Call, patience: float) -> int | None:
        self.told.append((aet, call))
        return self.answer


def sender(
    devices: Mapping[str, Declared] | None = None, opened: Open | None = None, **options: PeerTls
) -> ReportSender:
    context = OutboundContext(
        name="device-commitment",
        spool=Path(),
        work=Path(),
        clock=lambda: NOW,
        device=(devices or {}).get,
        report=opened or Open(),
    )
    return ReportSender(DeviceReports(connect_timeout="2s", response_timeout="2s", **options), context)


def at(port: int, **fields: str | bool) -> dict[str, Declared]:
    return {"CT1_STO": Declared(host="127.0.0.1", port=port, **fields)}  # type: ignore[arg-type]


def delivery(view: View | None = None) -> Delivery:
    payload = render_report(view or seen(), TARGET).payload
    return Delivery(
        id=1, destination="device-commitment", lane="device|CT1_STO", route="r", attempt=1, payload=payload
    )


def test_what_was_decided_leaves_whole() -> None:
    found = render_report(seen(), TARGET)

    assert found == render_report(seen(), TARGET)
    told = json.loads(found.payload)
    assert (told["requester"], told["TransactionUID"]) == ("CT1_STO", "2.25.9")
    assert told["FailedSOPSequence"][0]["FailureReason"] == "274"
    assert found.summary == "N-EVENT-REPORT of storage commitment, 2 instances, 1 failed"


def test_what_is_no_report_cannot_leave() -> None:
    for view in (seen("commitment.requested"), View(event=event("commitment.reported"))):
        with pytest.raises(UnmappableError, match=r"routes/d.yaml:9"):
            render_report(view, TARGET)


@pytest.mark.parametrize(("failure", "kind"), [(0, 1), (0x0112, 2)])
def test_a_device_is_told_on_a_new_association(device: Device, failure: int, kind: int) -> None:
    opened = Open(status.SUCCESS)
    sending = sender(at(device.port), opened)
    assert sending.deliver(delivery(seen(failure=failure))).detail == "0000"
    sending.close()

    ((where, event_type, told),) = device.heard
    assert (where, event_type, told.TransactionUID, opened.told) == ("new", kind, "2.25.9", [])
    both = (["2.25.1.1", "2.25.1.2"], {})
    assert outcome(told) == ((["2.25.1.1"], {"2.25.1.2": failure}) if failure else both)


def test_a_device_is_told_over_tls_where_its_entry_says_so(tmp_path: Path) -> None:
    context, authority = certificate(tmp_path)
    device = Device(tls=context)
    device.start()
    try:
        there = at(device.port, tls=True)
        trusting = PeerTls(ca_file=str(authority), server_name="localhost")
        assert sender(there, tls=trusting).deliver(delivery()).detail == "0000"
        with pytest.raises(RecipientError, match="is not trusted"):
            sender(there).deliver(delivery())
        with pytest.raises(RecipientError):
            sender(at(device.port), tls=trusting).deliver(delivery())
        assert len(device.wait_for_reports()) == 1
    finally:
        device.stop()


def test_one_that_waits_for_it_is_told_where_it_asked() -> None:
    opened = Open(status.SUCCESS)
    waiting = at(free_port(), commitment="same")
    assert sender(waiting, opened).deliver(delivery()).detail == "0000"

    ((aet, call),) = opened.told
    assert (aet, call.type_id, call.information["TransactionUID"]) == ("CT1_STO", 2, "2.25.9")


def test_one_that_did_not_wait_is_called(device: Device) -> None:
    assert sender(at(device.port, commitment="same"), Open()).deliver(delivery()).detail == "0000"
    assert [where for where, _, _ in device.heard] == ["new"]


def test_a_device_without_an_address_is_told_where_it_asked_or_a_person_is_asked() -> None:
    assert sender({}, Open(status.SUCCESS)).deliver(delivery()).detail == "0000"
    for devices in ({}, {"CT1_STO": Declared()}):
        with pytest.raises(AskPersonError, match=r"`devices: \{CT1_STO: \{host"):
            sender(devices, Open()).deliver(delivery())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (status.PROCESSING_FAILURE, RecipientError),
        (status.RESOURCE_LIMITATION, RecipientError),
        (status.NO_SUCH_SOP_INSTANCE, AskPersonError),
        (status.NO_SUCH_EVENT_TYPE, AskPersonError),
    ],
)
def test_what_it_answers_is_its_own_failure(device: Device, code: int, error: type[DeliveryError]) -> None:
    device.answers = [code]

    with pytest.raises(error, match=f"CT1_STO answered N-EVENT-REPORT with status {code:04X}"):
        sender(at(device.port)).deliver(delivery())


def test_a_device_that_is_away_is_away_alone() -> None:
    with pytest.raises(RecipientError, match="CT1_STO: no connection"):
        sender(at(free_port())).deliver(delivery())


def test_a_device_that_will_not_hear_us_is_for_a_person() -> None:
    deaf = Device(takes_role=False)
    deaf.start()
    try:
        with pytest.raises(AskPersonError, match="commitment: same"):
            sender(at(deaf.port)).deliver(delivery())
    finally:
        deaf.stop()


def test_a_lease_is_looked_at_before_it_is_told_anywhere() -> None:
    def lost() -> None:
        raise RuntimeError("another node has it")

    opened, held = Open(status.SUCCESS), delivery()
    with pytest.raises(RuntimeError):
        sender({}, opened).deliver(
            Delivery(
                id=1, destination="d", lane="l", route="r", attempt=1, payload=held.payload, confirm=lost
            )
        )
    assert opened.told == []


def test_it_takes_what_is_said_of_commitments() -> None:
    assert OUTBOUND.takes == ("commitment",)
