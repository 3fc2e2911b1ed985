"""MPPS to a receiver: what leaves, with whose demographics, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from adapters.modality.forward import (
    OUTBOUND,
    PerformedStepDestination,
    PerformedStepSender,
    render_performed,
)
from broker.adapter import Delivery, OutboundContext, Target
from broker.dicom.pdu import Response
from broker.errors import (
    AskPersonError,
    DeliveryError,
    PermanentDeliveryError,
    TransientDeliveryError,
    UnmappableError,
)
from broker.event import PerformedStep
from broker.runtime.offline import instance
from broker.store.lease import LostLeaseError
from broker.view import View
from tests.support.events import event, local, national, patient
from tests.support.golden import NOW
from tests.support.mpps import MPPS, MppsScp, begun, ended, scheduled
from tests.support.ports import free_port

HEAD = {"SOPClassUID": MPPS, "SOPInstanceUID": "2.25.1"}
CREATED = instance(HEAD | begun(scheduled("2.25.7", "S1"), PatientName="SØRBY^AILE"))
ENDED = instance(HEAD | ended())
TARGET = Target(route="mpps", version="v1", place="routes/mpps.yaml:9", kind="dicom", destination="mpps")
WHO = patient(national("30908299902"), local("700123"))


def seen(raw: bytes = CREATED, kind: str = "step.started", *, verified: bool = True) -> View:
    performed = PerformedStep(uid="2.25.1", status="IN PROGRESS", calling_aet="CT1_STO")
    return View(
        event=event(
            kind, patient=patient(local("700123")) if kind == "step.started" else None, performed=performed
        ),
        patient=WHO,
        patient_key="P1",
        verified=verified,
        performed=performed,
        raw=raw,
    )


def rendered(view: View) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render_performed(view, TARGET).payload)
    return found


def test_an_n_create_leaves_with_the_patient_as_pas_has_it() -> None:
    coerce = rendered(seen())["coerce"]

    assert (coerce["PatientID"], coerce["PatientName"]) == ("700123", "Sørby^Áile"), "it keeps its id"
    assert "OtherPatientIDsSequence" not in coerce
    assert render_performed(seen(), TARGET) == render_performed(seen(), TARGET)


def test_an_unknown_patient_and_an_n_set_leave_as_they_came() -> None:
    assert rendered(seen(verified=False))["coerce"] is None
    assert rendered(seen(ENDED, "step.completed"))["coerce"] is None


def test_what_is_no_mpps_or_not_kept_cannot_leave() -> None:
    with pytest.raises(UnmappableError, match="no MPPS"):
        render_performed(replace(seen(), performed=None), TARGET)
    with pytest.raises(UnmappableError, match="not kept"):
        render_performed(seen(b""), TARGET)


@pytest.fixture(params=[ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def scp(request: pytest.FixtureRequest) -> Iterator[MppsScp]:
    server = MppsScp(syntaxes=(request.param,))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sender(scp: MppsScp, tmp_path: Path) -> Iterator[PerformedStepSender]:
    found = opened(scp.port, tmp_path)
    yield found
    found.close()


def opened(port: int, folder: Path) -> PerformedStepSender:
    config = PerformedStepDestination(host="127.0.0.1", port=port, called_aet="RIS")
    context = OutboundContext(name="mpps", spool=folder, work=folder, clock=lambda: NOW)
    return PerformedStepSender(config, context)


def delivery(view: View, attempt: int = 1) -> Delivery:
    payload = render_performed(view, TARGET).payload
    return Delivery(id=1, destination="mpps", lane="P1", route="mpps", attempt=attempt, payload=payload)


def test_both_messages_arrive_whole(scp: MppsScp, sender: PerformedStepSender) -> None:
    assert sender.deliver(delivery(seen())).detail == "0000"
    assert sender.deliver(delivery(seen(ENDED, "step.completed"))).detail == "0000"

    (create, uid, created), (change, again, closed) = scp.taken
    assert (create, change, uid, again) == ("N-CREATE", "N-SET", "2.25.1", "2.25.1")
    assert created.PatientName == "Sørby^Áile"
    assert created.ScheduledStepAttributesSequence[0].ScheduledProcedureStepID == "S1"
    assert closed.PerformedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID == "2.25.9.1"


def test_an_n_set_with_all_that_its_n_create_had_leaves_as_one(
    scp: MppsScp, sender: PerformedStepSender
) -> None:
    whole = instance(HEAD | begun(scheduled("2.25.7", "S1")) | ended())
    before = json.loads(render_performed(seen(ENDED, "step.completed"), TARGET).payload)
    del before["operation"]

    sender.deliver(delivery(seen(whole, "step.completed")))
    sender.deliver(
        replace(delivery(seen()), payload=json.dumps(before).encode())
    )  # queued by an older version

    assert [operation for operation, _, _ in scp.taken] == ["N-SET", "N-SET"]


def test_text_of_another_character_set_is_still_readable_beside_pas_name(
    scp: MppsScp, sender: PerformedStepSender
) -> None:
    latin = begun(
        scheduled("2.25.7"), SpecificCharacterSet="ISO_IR 100", PerformedProcedureStepDescription="Blære"
    )
    sender.deliver(delivery(seen(instance(HEAD | latin))))

    (_, _, created) = scp.taken[0]
    assert (created.PerformedProcedureStepDescription, created.PatientName) == ("Blære", "Sørby^Áile")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (0x0110, TransientDeliveryError),
        (0x0213, TransientDeliveryError),
        (0xA700, TransientDeliveryError),
        (0x0112, PermanentDeliveryError),
        (0x0106, PermanentDeliveryError),
        (0x0120, PermanentDeliveryError),
    ],
)
def test_what_a_refusal_means(
    scp: MppsScp, sender: PerformedStepSender, answer: int, error: type[DeliveryError]
) -> None:
    scp.answers = [answer]

    with pytest.raises(error):
        sender.deliver(delivery(seen(ENDED, "step.completed")))
    assert sender.deliver(delivery(seen(ENDED, "step.completed"), 2)).detail == "0000"


def test_an_n_create_that_stands_there_already_is_delivered(
    scp: MppsScp, sender: PerformedStepSender
) -> None:
    scp.answers = [0x0111]

    assert sender.deliver(delivery(seen(), 2)).detail.startswith("0111")


def test_a_lease_is_looked_at_before_it_leaves(
    sender: PerformedStepSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost() -> None:
        raise LostLeaseError("way mpps 0: it was not renewed in time")

    monkeypatch.setattr(sender._scu, "send", lambda *given: given[-1]())
    with pytest.raises(LostLeaseError):
        sender.deliver(replace(delivery(seen()), confirm=lost))


def test_nobody_there_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(TransientDeliveryError):
        opened(free_port(), tmp_path).deliver(delivery(seen()))
    assert OUTBOUND.takes == ("step",)


def test_what_the_receiver_has_closed_is_for_a_person_unless_it_was_us(
    sender: PerformedStepSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = Response(0x8120, 1, 0x0110, 0xA710)
    monkeypatch.setattr(sender._scu, "send", lambda *_: closed)

    with pytest.raises(AskPersonError):
        sender.deliver(delivery(seen(ENDED, "step.completed")))
    assert sender.deliver(delivery(seen(ENDED, "step.completed"), 2)).detail.startswith("0110")
