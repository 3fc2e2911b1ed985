"""The MPPS SCP and its reader, in front of a real journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.modality.mpps import INBOUND, PerformedStepReader, PerformedStepScp, PerformedStepService
from broker.adapter import ListenerPlace
from broker.dicom import status, uid
from broker.dicom.encode import encode
from broker.errors import StoreError
from broker.journal import log
from broker.net.service import Answer, ObjectRequest, Peer
from broker.runtime.offline import instance
from tests.support import scp
from tests.support.golden import MESSAGE_ID, NOW
from tests.support.mpps import MPPS, begun, ended, scheduled

CONFIG = PerformedStepService(issuer="STO&2.999.7001&ISO")
PEER = Peer(calling_aet="CT1", called_aet="BROKER", host="192.0.2.1", port=1)
STEP = scheduled("2.25.7", "S1", "A1")


class Rig(scp.Rig[PerformedStepScp]):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "performed", lambda context: PerformedStepScp(CONFIG, context))

    def create(self, instance_uid: str = "2.25.1", **fields: Any) -> Answer:
        return self.send("N-CREATE", encode(begun(STEP, **fields)), instance_uid)

    def change(self, attributes: dict[str, Any], instance_uid: str = "2.25.1") -> Answer:
        return self.send("N-SET", encode(attributes), instance_uid)

    def send(self, operation: Any, dataset: bytes, instance_uid: str) -> Answer:
        request = ObjectRequest(
            operation=operation,
            sop_class_uid=MPPS,
            sop_instance_uid=instance_uid,
            transfer_syntax_uid=uid.EXPLICIT_LITTLE_ENDIAN,
            dataset=dataset,
        )
        return self.scp.operate(request, PEER)

    @property
    def events(self) -> list[str]:
        return [one.type for one in self.unrouted]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    found = Rig(tmp_path)
    yield found
    found.close()


def test_what_is_answered_stands_in_the_journal(rig: Rig) -> None:
    assert rig.create().status == status.SUCCESS
    assert rig.change(ended()).status == status.SUCCESS

    assert rig.messages == [("N-CREATE", "accepted", "0000"), ("N-SET", "accepted", "0000")]
    assert rig.events == ["step.started", "step.completed"]
    assert rig.counted == ["accepted", "accepted"]
    raw = log.unrouted(rig.database.read(), 1)[0].raw
    assert raw.endswith(encode(begun(STEP))), "the data set as it came"
    again = PerformedStepReader(CONFIG, ListenerPlace(name="performed", site="STO", config_folder=Path()))
    assert again.receive(raw, message_id=MESSAGE_ID, now=NOW).message_type == "N-CREATE"


def test_an_n_set_with_all_that_its_n_create_had_is_read_again_as_one(rig: Rig) -> None:
    rig.create()
    assert rig.change(begun(STEP) | ended()).status == status.SUCCESS

    reader = PerformedStepReader(CONFIG, ListenerPlace(name="performed", site="STO", config_folder=Path()))
    again = reader.receive(log.unrouted(rig.database.read(), 2)[1].raw, message_id=MESSAGE_ID, now=NOW)
    assert (again.message_type, [one.type for one in again.events]) == ("N-SET", ["step.completed"])


def test_repeats_are_answered_and_not_processed(rig: Rig) -> None:
    more = {"PerformedProcedureStepDescription": "more"}
    assert rig.create().status == status.SUCCESS
    assert rig.create().status == status.DUPLICATE_SOP_INSTANCE
    assert rig.change(more).status == status.SUCCESS
    assert rig.change(more).status == status.SUCCESS, "an N-SET whose answer was lost"
    assert rig.change(ended()).status == status.SUCCESS
    late = rig.change(ended())

    assert (late.status, late.error_id) == (status.PROCESSING_FAILURE, status.MAY_NO_LONGER_BE_UPDATED)
    assert rig.events == ["step.started", "step.changed", "step.completed"]
    assert rig.alerts == [], "nobody used a control id twice"


def test_the_refusal_that_no_state_decides_has_no_error_id(rig: Rig) -> None:
    answer = rig.create(Modality="")

    assert (answer.status, answer.error_id) == (status.MISSING_ATTRIBUTE_VALUE, None)
    assert answer.comment == "(0008,0060) has no value"
    assert rig.create().status == status.SUCCESS, "it may be sent again, put right"


def test_a_uid_is_made_where_the_device_leaves_it_to_us(rig: Rig) -> None:
    made = rig.create("").sop_instance_uid

    assert uid.valid(made)
    assert rig.change(ended(), made).status == status.SUCCESS


@pytest.mark.parametrize("dataset", [b"junk", encode(begun(STEP))[:-9], b"\x40\x00"])
def test_what_is_no_data_set_is_a_processing_failure(rig: Rig, dataset: bytes) -> None:
    assert rig.send("N-CREATE", dataset, "2.25.1").status == status.PROCESSING_FAILURE
    assert rig.events == []
    assert rig.counted == ["rejected"]


def test_no_data_set_at_all_lacks_its_attributes(rig: Rig) -> None:
    assert rig.send("N-CREATE", b"", "2.25.1").status == status.MISSING_ATTRIBUTE


def test_success_is_not_said_where_the_journal_cannot_be_written(rig: Rig) -> None:
    """The association layer answers 0110 to it, and the device tries again."""
    rig.room = StoreError("the disk is full")
    with pytest.raises(StoreError):
        rig.create()
    rig.room = None

    assert rig.counted == []
    assert rig.create().status == status.SUCCESS


def test_the_reader_takes_files_of_the_class_only() -> None:
    reader = PerformedStepReader(CONFIG, ListenerPlace(name="performed", site="STO", config_folder=Path()))
    head = {"SOPClassUID": MPPS, "SOPInstanceUID": "2.25.1"}
    other = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "SOPInstanceUID": "2.25.1"}

    def read(raw: bytes) -> tuple[str, str]:
        found = reader.receive(raw, message_id=MESSAGE_ID, now=NOW, peer="CT1")
        return found.message_type, found.answer_code

    assert read(instance(head | begun(STEP))) == ("N-CREATE", "0000")
    assert read(instance(head | ended())) == ("N-SET", "0000")
    assert read(instance(other)) == ("N-CREATE", "A900")
    assert read(b"MSH|^~\\&|") == ("N-CREATE", "A900")


def test_every_event_it_says_it_makes_is_one_of_the_mapping(rig: Rig) -> None:
    assert set(INBOUND.events) == {"step.started", "step.changed", "step.completed", "step.discontinued"}
