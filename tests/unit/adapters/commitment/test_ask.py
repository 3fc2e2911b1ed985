"""An archive is asked to commit: what leaves, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.commitment.ask import OUTBOUND, ArchiveCommitment, RequestSender, render_request
from broker.adapter import Delivery, OutboundContext, Target
from broker.dicom import commitment, status
from broker.errors import (
    AskPersonError,
    DeliveryError,
    PermanentDeliveryError,
    TransientDeliveryError,
    UnmappableError,
    UnreachableError,
)
from broker.event import InstanceReference, Study
from broker.view import View
from tests.support.commitment import SECONDARY_CAPTURE, Archive, outcome
from tests.support.events import event
from tests.support.golden import NOW
from tests.support.ports import free_port

TARGET = Target(
    route="commitment-to-pacs",
    version="v1",
    place="routes/c.yaml:9",
    kind="dicom",
    destination="pacs-commitment",
)
INSTANCES = tuple(
    InstanceReference(sop_class_uid=SECONDARY_CAPTURE, sop_instance_uid=f"2.25.1.{n}") for n in (1, 2)
)


def seen(kind: str = "study.stored", instances: tuple[InstanceReference, ...] = INSTANCES) -> View:
    return View(event=event(kind, study=Study(study_uid="2.25.1", archive="pacs", instances=instances)))


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    found = Archive()
    found.start()
    yield found
    found.stop()


def sender(port: int) -> RequestSender:
    config = ArchiveCommitment(archive="pacs", host="127.0.0.1", port=port, called_aet="ORTHANC")
    return RequestSender(
        config, OutboundContext(name="pacs-commitment", spool=Path(), work=Path(), clock=lambda: NOW)
    )


def delivery(attempt: int = 1) -> Delivery:
    payload = render_request(seen(), TARGET).payload
    return Delivery(
        id=1, destination="pacs-commitment", lane="P1", route="c", attempt=attempt, payload=payload
    )


def test_the_same_event_asks_for_the_same() -> None:
    found = render_request(seen(), TARGET)

    assert found == render_request(seen(), TARGET)
    assert json.loads(found.payload)["TransactionUID"] == commitment.transaction_of(seen().event.id)
    assert found.summary == "N-ACTION of storage commitment, 2 instances"


def test_what_names_nothing_asks_for_nothing() -> None:
    for view in (seen(instances=()), seen("study.completed"), View(event=event("study.stored"))):
        with pytest.raises(UnmappableError, match=r"routes/c.yaml:9"):
            render_request(view, TARGET)


def test_an_archive_is_asked(archive: Archive) -> None:
    sending = sender(archive.port)
    assert sending.deliver(delivery()).detail == "0000"
    sending.close()

    request = archive.wait_for_requests()[-1]
    assert outcome(request) == (["2.25.1.1", "2.25.1.2"], {})
    assert request.TransactionUID == commitment.transaction_of(seen().event.id)


def test_no_archive_is_asked_for_the_objects_of_another(archive: Archive) -> None:
    """A route without `where` would have one archive's word count as another's."""
    other = Study(study_uid="2.25.1", archive="vna", instances=INSTANCES)
    payload = render_request(View(event=event("study.stored", study=other)), TARGET).payload
    with pytest.raises(AskPersonError, match="answers for pacs, and this is about objects of vna"):
        sender(archive.port).deliver(replace(delivery(), payload=payload))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (status.PROCESSING_FAILURE, TransientDeliveryError),
        (status.RESOURCE_LIMITATION, TransientDeliveryError),
        (status.NOT_AUTHORISED, TransientDeliveryError),
        (status.NO_SUCH_ACTION, PermanentDeliveryError),
        (status.SOP_CLASS_NOT_SUPPORTED, PermanentDeliveryError),
        (status.DUPLICATE_INVOCATION, PermanentDeliveryError),
    ],
)
def test_what_is_refused_is_told_by_its_kind(archive: Archive, code: int, error: type[DeliveryError]) -> None:
    archive.answers = [code]

    with pytest.raises(error, match=f"{code:04X}"):
        sender(archive.port).deliver(delivery())


def test_a_repeat_that_was_asked_already_is_done(archive: Archive) -> None:
    archive.answers = [status.DUPLICATE_INVOCATION]

    assert "already" in sender(archive.port).deliver(delivery(attempt=2)).detail


def test_an_archive_that_is_away_is_away() -> None:
    with pytest.raises(UnreachableError):
        sender(free_port()).deliver(delivery())


def test_it_takes_what_is_said_of_studies() -> None:
    assert OUTBOUND.takes == ("study",)
