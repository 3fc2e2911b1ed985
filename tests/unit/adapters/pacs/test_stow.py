"""Instances to a PACS that speaks DICOMweb: the same objects as by C-STORE, the same that is not sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from adapters.pacs.spool import path_of
from adapters.pacs.stow import WebDestination, WebSender
from broker.adapter import Delivery, OutboundContext, Receipt
from broker.errors import AskPersonError, PermanentDeliveryError
from broker.runtime.offline import instance
from broker.store.lease import LostLeaseError
from tests.support.golden import NOW
from tests.support.webserver import Request, WebServer, stored

OBJECT = instance(
    {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "SOPInstanceUID": "2.25.3",
        "StudyInstanceUID": "2.25.1",
        "PatientID": "700123",
        "PatientName": "Sørby^Áile",
        "PatientAddress": "HEMMELIGVEIEN 7",
    }
)
PATH = path_of("ab" * 32)


class Pacs:
    """A DICOMweb server, and the sender that is pointed at it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answer = stored("2.25.3")
        self.objects: list[bytes] = []
        self.server = WebServer(self._take)
        (folder / PATH).parent.mkdir(parents=True)
        (folder / PATH).write_bytes(OBJECT)

    def _take(self, request: Request) -> None:
        self.objects.append(request.object())
        request.answer(200, self.answer)

    def deliver(self, coerced: dict[str, Any] | None, confirm: Callable[[], None] = lambda: None) -> Receipt:
        order = {"path": PATH.as_posix(), "coerce": coerced, "time": "20260309080000", "source": "PAS"}
        context = OutboundContext(name="pacs", spool=self.folder, work=self.folder / "tmp", clock=lambda: NOW)
        config = WebDestination.model_validate({"url": self.server.url, "charsets": ("ISO_IR 100",)})
        sender = WebSender(config, context)
        try:
            return sender.deliver(
                Delivery(
                    id=7,
                    destination="pacs",
                    lane="P1",
                    route="r",
                    attempt=1,
                    payload=json.dumps(order).encode(),
                    confirm=confirm,
                )
            )
        finally:
            sender.close()
            assert not (self.folder / "tmp").exists()


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Pacs]:
    made = Pacs(tmp_path)
    with made.server:
        yield made


def test_what_pas_says_is_written_into_what_leaves(pacs: Pacs) -> None:
    receipt = pacs.deliver({"PatientName": "Sørby^Ny"})

    (content,) = pacs.objects
    assert dcmread(BytesIO(content)).PatientName == "Sørby^Ny"
    assert b"HEMMELIGVEIEN" not in content
    assert (receipt.detail, receipt.lossy) == ("0000", False)


def test_an_object_of_an_unknown_patient_is_passed_on_unchanged(pacs: Pacs) -> None:
    pacs.deliver(None)

    assert pacs.objects == [OBJECT]


def test_that_a_name_was_transliterated_is_told_with_the_warning(pacs: Pacs) -> None:
    pacs.answer = stored(warned={"2.25.3": 0xB000})
    receipt = pacs.deliver({"PatientName": "Čoahkkin^Ný"})

    assert receipt.lossy == (dcmread(BytesIO(pacs.objects[0])).PatientName != "Čoahkkin^Ný")
    assert receipt.detail.startswith("B000")


def test_what_the_pacs_refuses_for_good_is_refused(pacs: Pacs) -> None:
    pacs.answer = stored(failed={"2.25.3": 0x0122})

    with pytest.raises(PermanentDeliveryError, match="0122"):
        pacs.deliver({"PatientName": "Sørby^Ny"})


def test_an_object_whose_lease_ran_out_does_not_leave(pacs: Pacs) -> None:
    def lost() -> None:
        raise LostLeaseError("way pacs 0")

    with pytest.raises(LostLeaseError):
        pacs.deliver({"PatientName": "Sørby^Ny"}, lost)

    assert pacs.objects == []


def test_a_file_that_is_gone_is_for_a_person(pacs: Pacs) -> None:
    (pacs.folder / PATH).unlink()

    with pytest.raises(AskPersonError, match="gone"):
        pacs.deliver(None)
