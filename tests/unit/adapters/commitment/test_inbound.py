"""The storage commitment service and its reader, in front of a real journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.commitment.inbound import INBOUND, CommitmentReader, CommitmentScp, CommitmentService
from broker.adapter import InboundContext, ListenerPlace
from broker.dicom import status, uid
from broker.dicom.attributes import Attributes
from broker.dicom.encode import encode
from broker.errors import StoreError
from broker.event import Study
from broker.journal import log
from broker.journal.intake import JournalIntake
from broker.net.service import ActionRequest, Answer, Peer
from broker.runtime.offline import instance
from broker.store.sqlite import SqliteDatabase
from tests.support.commitment import asked, file_of, references
from tests.support.golden import MESSAGE_ID, NOW

PEER = Peer(calling_aet="CT1_STO", called_aet="BROKER", host="192.0.2.1", port=1)
REQUEST = asked("2.25.9", "2.25.1", "2.25.2")
REPORT: Attributes = {
    "TransactionUID": "2.25.8",
    "ReferencedSOPSequence": references(["2.25.1"]),
    "FailedSOPSequence": ({**references(["2.25.2"])[0], "FailureReason": "274"},),
}
READER = CommitmentReader(
    CommitmentService(), ListenerPlace(name="commitments", site="STO", config_folder=Path())
)


class Rig:
    """The service in front of a journal on disk."""

    def __init__(self, folder: Path) -> None:
        self.database = SqliteDatabase(folder / "journal.sqlite")
        self.database.open()
        self.counted: list[str] = []
        self.room: StoreError | None = None
        context: Any = InboundContext(
            name="commitments",
            site="STO",
            bind="",
            config_folder=folder,
            spool=folder,
            intake=JournalIntake(self.database, lambda: None, check_room=self._check),
            worklist=None,
            clock=lambda: NOW,
            register_dicom=lambda _: None,
            known_aets=frozenset(),
            count=lambda _, labels: self.counted.append(labels["verdict"]),
        )  # type: ignore[arg-type]
        self.scp = CommitmentScp(context)

    def _check(self) -> None:
        if self.room is not None:
            raise self.room

    def send(
        self,
        operation: Any = "N-ACTION",
        information: Attributes = REQUEST,
        *,
        type_id: int = 1,
        sop_instance: str = uid.STORAGE_COMMITMENT_INSTANCE,
        syntax: str = uid.EXPLICIT_LITTLE_ENDIAN,
        dataset: bytes | None = None,
    ) -> Answer:
        explicit = syntax != uid.IMPLICIT_LITTLE_ENDIAN
        return self.scp.act(
            ActionRequest(
                operation=operation,
                sop_class_uid=uid.STORAGE_COMMITMENT,
                sop_instance_uid=sop_instance,
                type_id=type_id,
                attributes=(),
                transfer_syntax_uid=syntax,
                dataset=encode(information, explicit=explicit) if dataset is None else dataset,
            ),
            PEER,
        )

    @property
    def said(self) -> list[tuple[str, Study | None]]:
        found = log.unrouted(self.database.read(), 99)
        return [(one.event.type, one.event.data.study) for one in found]

    @property
    def messages(self) -> list[tuple[Any, ...]]:
        return self.database.read().rows("SELECT type, verdict, answer_code FROM message ORDER BY seq")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    found = Rig(tmp_path)
    yield found
    found.database.close()


@pytest.mark.parametrize("syntax", [uid.EXPLICIT_LITTLE_ENDIAN, uid.IMPLICIT_LITTLE_ENDIAN])
def test_what_a_device_asks_stands_in_the_journal_when_it_is_answered(rig: Rig, syntax: str) -> None:
    assert rig.send(syntax=syntax) == Answer(status=status.SUCCESS)

    assert rig.messages == [("N-ACTION", "accepted", "0000")]
    assert rig.counted == ["accepted"]
    ((kind, study),) = rig.said
    assert kind == "commitment.requested"
    assert study is not None
    assert (study.requester, study.transaction_uid) == ("CT1_STO", "2.25.9")
    assert [(one.sop_instance_uid, one.failure) for one in study.instances] == [("2.25.1", 0), ("2.25.2", 0)]
    raw = log.unrouted(rig.database.read(), 1)[0].raw
    assert raw.endswith(encode(REQUEST, explicit=syntax == uid.EXPLICIT_LITTLE_ENDIAN)), "bytes as they came"


def test_what_an_archive_answers_stands_there_item_by_item(rig: Rig) -> None:
    assert rig.send("N-EVENT-REPORT", REPORT, type_id=2).status == status.SUCCESS

    ((kind, study),) = rig.said
    assert (kind, study and study.transaction_uid, study and study.requester) == (
        *("study.committed", "2.25.8", ""),
    )
    assert study is not None
    assert {one.sop_instance_uid: one.failure for one in study.instances} == {"2.25.1": 0, "2.25.2": 0x0112}


def test_a_request_that_speaks_of_failures_asks_all_the_same(rig: Rig) -> None:
    rig.send(information=REPORT)

    ((_, study),) = rig.said
    assert study is not None
    assert [one.failure for one in study.instances] == [0, 0]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"operation": "N-GET", "dataset": b""}, status.UNRECOGNISED_OPERATION),
        ({"sop_instance": "2.25.4"}, status.NO_SUCH_SOP_INSTANCE),
        ({"sop_instance": ""}, status.NO_SUCH_SOP_INSTANCE),
        ({"type_id": 2}, status.NO_SUCH_ACTION),
        ({"operation": "N-EVENT-REPORT", "type_id": 3}, status.NO_SUCH_EVENT_TYPE),
        ({"information": {"TransactionUID": "2.25.9"}}, status.INVALID_ARGUMENT_VALUE),
        (
            {"information": {"TransactionUID": "2.25.9", "ReferencedSOPSequence": ()}},
            status.INVALID_ARGUMENT_VALUE,
        ),
        ({"information": {**REQUEST, "TransactionUID": "x"}}, status.INVALID_ARGUMENT_VALUE),
        ({"dataset": b""}, status.INVALID_ARGUMENT_VALUE),
        ({"dataset": encode(REQUEST)[:-3]}, status.INVALID_ARGUMENT_VALUE),
        (
            {"operation": "N-EVENT-REPORT", "dataset": encode(REPORT)[:-3]},
            status.INVALID_ARGUMENT_VALUE,
        ),
    ],
)
def test_what_cannot_be_taken_is_answered_as_the_standard_says_and_kept(
    rig: Rig, given: dict[str, Any], code: int
) -> None:
    answer = rig.send(**given)

    assert answer.status == code
    assert len(answer.comment) > 0
    assert (rig.said, rig.counted) == ([], ["rejected"])
    assert rig.messages == [(given.get("operation", "N-ACTION"), "rejected", f"{code:04X}")]


def test_what_is_not_on_disk_is_not_answered(rig: Rig) -> None:
    rig.room = StoreError("the disk is nearly full")

    with pytest.raises(StoreError):
        rig.send()
    assert rig.messages == []


@pytest.mark.parametrize(
    ("information", "type_id", "operation"), [(REQUEST, 1, "N-ACTION"), (REPORT, 2, "N-EVENT-REPORT")]
)
def test_the_reader_judges_what_is_kept_as_the_service_did(
    rig: Rig, information: Attributes, type_id: int, operation: str
) -> None:
    rig.send(operation, information, type_id=type_id)
    kept = log.unrouted(rig.database.read(), 1)[0]
    again = READER.receive(kept.raw, message_id=MESSAGE_ID, now=NOW, peer="CT1_STO")

    assert again.message_type == operation
    assert [one.data for one in again.events] == [kept.event.data]
    assert again.keys == (("instance", information["TransactionUID"]),), "a person finds it by that"


def test_the_reader_takes_a_file_that_does_not_say_what_it_was_for_a_request() -> None:
    found = READER.receive(file_of(REQUEST), message_id=MESSAGE_ID, now=NOW)

    assert (found.message_type, found.answer_code, found.peer) == ("N-ACTION", "0000", "CT1_STO")
    other = instance({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "SOPInstanceUID": "2.25.1"})
    refused = READER.receive(other, message_id=MESSAGE_ID, now=NOW)
    assert (refused.answer_code, refused.events) == ("A900", ())


def test_what_it_makes_is_said() -> None:
    assert set(INBOUND.events) == {"commitment.requested", "study.committed"}
