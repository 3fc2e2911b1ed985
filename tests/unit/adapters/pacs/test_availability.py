"""The notification SCP and its reader, in front of a real journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.pacs.availability import INBOUND, AvailabilityReader, AvailabilityScp, AvailabilityService
from broker.adapter import InboundContext, ListenerPlace, Verdict
from broker.dicom import status, uid
from broker.dicom.encode import encode
from broker.journal import log
from broker.journal.intake import JournalIntake
from broker.net.service import Answer, ObjectRequest, Peer
from broker.store.sqlite import SqliteDatabase
from tests.support.golden import MESSAGE_ID, NOW
from tests.support.ian import IAN, notification

PEER = Peer(calling_aet="PACS", called_aet="BROKER", host="192.0.2.1", port=1)
SAID = notification(("2.25.3", "NEARLINE", "PACS"))


class Rig:
    """An SCP in front of a journal on disk."""

    def __init__(self, folder: Path) -> None:
        self.database = SqliteDatabase(folder / "journal.sqlite")
        self.database.open()
        self.counted: list[str] = []
        context: Any = InboundContext(
            name="availability",
            site="STO",
            bind="",
            config_folder=folder,
            spool=folder,
            intake=JournalIntake(self.database, lambda: None),
            worklist=None,
            clock=lambda: NOW,
            register_dicom=lambda _: None,
            known_aets=frozenset(),
            count=lambda _, labels: self.counted.append(labels["verdict"]),
        )  # type: ignore[arg-type]
        self.scp = AvailabilityScp(context)

    def send(self, dataset: bytes, instance_uid: str = "2.25.9", operation: Any = "N-CREATE") -> Answer:
        return self.scp.operate(
            ObjectRequest(
                operation=operation,
                sop_class_uid=IAN,
                sop_instance_uid=instance_uid,
                transfer_syntax_uid=uid.EXPLICIT_LITTLE_ENDIAN,
                dataset=dataset,
            ),
            PEER,
        )

    @property
    def messages(self) -> list[tuple[Any, ...]]:
        return self.database.read().rows("SELECT type, verdict, answer_code FROM message ORDER BY seq")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    found = Rig(tmp_path)
    yield found
    found.database.close()


def test_what_is_answered_stands_in_the_journal(rig: Rig) -> None:
    assert rig.send(encode(SAID)) == Answer(status=status.SUCCESS, sop_instance_uid="2.25.9")

    assert rig.messages == [("IAN", "accepted", "0000")]
    assert rig.counted == ["accepted"]
    (one,) = log.unrouted(rig.database.read(), 9)
    study = one.event.data.study
    assert study is not None
    assert (study.study_uid, study.retrieve_aet, study.availability) == ("2.25.1", "PACS", "NEARLINE")
    assert one.raw.endswith(encode(SAID)), "the data set as it came"
    reader = AvailabilityReader(
        AvailabilityService(), ListenerPlace(name="availability", site="STO", config_folder=Path())
    )
    again = reader.receive(one.raw, message_id=MESSAGE_ID, now=NOW)
    assert [event.data.study for event in again.events] == [study]


def test_an_archive_that_says_it_again_is_answered_the_same(rig: Rig) -> None:
    assert [rig.send(encode(SAID)).status for _ in range(2)] == [status.SUCCESS] * 2


def test_one_without_a_uid_is_given_one(rig: Rig) -> None:
    answer = rig.send(encode(SAID), instance_uid="")

    assert answer.status == status.SUCCESS
    assert uid.valid(answer.sop_instance_uid)


@pytest.mark.parametrize(
    ("dataset", "code"),
    [
        (b"", status.MISSING_ATTRIBUTE),
        (b"\x08\x00\x50", status.PROCESSING_FAILURE),
        (encode(notification(("2.25.3", "SOON", "PACS"))), status.INVALID_ATTRIBUTE_VALUE),
    ],
)
def test_what_is_refused_is_written_down(rig: Rig, dataset: bytes, code: int) -> None:
    answer = rig.send(dataset)

    assert answer.status == code
    assert answer.comment
    assert rig.messages == [("IAN", "rejected", f"{code:04X}")]


def test_the_class_has_no_n_set(rig: Rig) -> None:
    assert rig.send(encode(SAID), operation="N-SET").status == status.UNRECOGNISED_OPERATION
    assert rig.messages == []


def test_a_file_of_another_class_is_refused() -> None:
    reader = AvailabilityReader(
        AvailabilityService(), ListenerPlace(name="availability", site="STO", config_folder=Path())
    )

    assert reader.receive(b"no file", message_id=MESSAGE_ID, now=NOW).verdict is Verdict.REJECTED
    assert INBOUND.makes == {"IAN": ("study.available",)}
