"""The storage SCP and its reader, with a real file and an intake that does what the test says."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from adapters.pacs.inbound import INBOUND, InstanceReader, StorageScp, StorageService
from adapters.pacs.spool import FOLDER
from broker.adapter import InboundContext, ListenerPlace, Reception, Stored, Verdict
from broker.dicom import key_object, part10, uid
from broker.dicom.elements import read_meta
from broker.dicom.key_object import Frame, Note
from broker.errors import RemoteProtocolError, StoreError
from broker.event import Code, InstanceReference
from broker.net.service import Peer, StoreRequest
from broker.runtime.offline import instance
from tests.support.golden import MESSAGE_ID, NOW
from tests.support.images import dataset_bytes

CONFIG = StorageService(issuer="STO&2.999.7001&ISO", national=("NNNOR&2.16.578.1.12.4.1.4.1&ISO",))
PEER = Peer(calling_aet="CT1", called_aet="BROKER", host="192.0.2.1", port=1)
OBJECT = instance(
    {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
        "SOPInstanceUID": "2.25.3",
        "StudyInstanceUID": "2.25.1",
        "SeriesInstanceUID": "2.25.2",
        "PatientID": "41819077906",
        "PatientName": "Sørby^Áile",
    }
)


class Intake:
    """Keeps receptions; fails as told."""

    def __init__(self) -> None:
        self.kept: list[Reception] = []
        self.broken: Exception | None = None
        self.overtaken = False

    async def accept(self, reception: Reception) -> Stored:
        raise AssertionError("a DICOM service runs in its own thread")

    def accept_blocking(self, reception: Reception) -> Stored:
        if self.broken is not None:
            raise self.broken
        self.kept.append(reception)
        return Stored(answers=(), answer_code=reception.answer_code, repeat=self.overtaken)


def begins(content: bytes) -> int:
    """Where the data set of a file begins; 0 in what is none."""
    try:
        return read_meta(BytesIO(content)).dataset_offset
    except RemoteProtocolError:
        return 0


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder, self.intake, self.counted = folder, Intake(), list[str]()
        self.kept_when_asked: list[bool] = []
        context: Any = InboundContext(
            name="images",
            site="STO",
            bind="",
            config_folder=folder,
            spool=folder,
            intake=self.intake,
            worklist=None,
            clock=self.clock,
            register_dicom=lambda _: None,
            known_aets=frozenset(),
            count=lambda _, labels: self.counted.extend(v for k, v in labels.items() if k != "source"),
        )  # type: ignore[arg-type]
        self.scp = StorageScp(CONFIG, context)

    def clock(self) -> datetime:
        self.kept_when_asked.append((self.folder / FOLDER).exists())
        return NOW

    def store(self, content: bytes, uid: str = "2.25.3", sop_class: str = "1.2.840.10008.5.1.4.1.1.7") -> int:
        path = self.folder / "incoming"
        path.write_bytes(content)
        digest = part10.digest("1.2.840.10008.1.2.1")
        digest.update(dataset_bytes(OBJECT))  # of all that is kept
        request = StoreRequest(
            sop_class_uid=sop_class,
            sop_instance_uid=uid,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            path=path,
            dataset_offset=begins(content),
            sha256=digest.hexdigest(),
        )
        return self.scp.store(request, PEER).status


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_an_object_is_kept_then_written_down_then_answered(rig: Rig) -> None:
    assert rig.store(OBJECT) == 0x0000

    (kept,) = rig.intake.kept
    assert (rig.folder / kept.blob).read_bytes() == OBJECT
    assert (kept.verdict, kept.sender, [event.type for event in kept.events]) == (
        Verdict.ACCEPTED,
        "CT1",
        ["instance.received"],
    )
    assert rig.counted == ["accepted", "bare-national-number", "synthetic-number"]


def test_success_is_not_said_where_the_journal_cannot_be_written(rig: Rig) -> None:
    """The association layer answers A700 to it, so the sender keeps its copy."""
    rig.intake.broken = StoreError("the disk is full")

    with pytest.raises(StoreError):
        rig.store(OBJECT)
    assert rig.counted == []


def test_an_object_that_was_overtaken_is_answered_and_counted_as_a_repeat(rig: Rig) -> None:
    rig.intake.overtaken = True

    assert rig.store(OBJECT) == 0x0000
    assert rig.counted == ["repeat"]


def test_when_it_came_is_told_before_the_disk_may_take_its_time(rig: Rig) -> None:
    rig.store(OBJECT)

    assert rig.kept_when_asked == [False]


@pytest.mark.parametrize("content", [b"", b"junk", b"\0" * 128 + b"DICM", OBJECT[:200], OBJECT[:-3]])
def test_what_is_no_object_is_refused_counted_and_not_kept(rig: Rig, content: bytes) -> None:
    assert rig.store(content) == 0xA900

    (kept,) = rig.intake.kept
    assert (kept.verdict, kept.answer_code, kept.events) == (Verdict.REJECTED, "A900", ())
    assert kept.reason
    assert not (rig.folder / "instances").exists()
    assert rig.counted == ["rejected"]


def test_an_object_other_than_was_announced_is_refused(rig: Rig) -> None:
    assert rig.store(OBJECT, uid="2.25.4") == 0xA900
    assert rig.store(OBJECT, sop_class="1.2.840.10008.5.1.4.1.1.2") == 0xA900
    assert [kept.reason[:11] for kept in rig.intake.kept] == ["(0008,0018)", "(0008,0016)"]


def test_the_reader_judges_as_the_scp_does(rig: Rig) -> None:
    rig.store(OBJECT)
    place = ListenerPlace(name="images", site="STO", config_folder=Path())
    read = InstanceReader(CONFIG, place).receive(OBJECT, message_id=MESSAGE_ID, now=NOW, peer="CT1")
    (kept,) = rig.intake.kept

    assert [event.data for event in read.events] == [event.data for event in kept.events]
    assert (read.blob, read.answer_code) == (kept.blob, kept.answer_code)


def test_the_spec_reads_without_a_socket() -> None:
    assert INBOUND.reader is not None


def note(instances: int) -> bytes:
    named = tuple(
        InstanceReference(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid=f"2.25.9.{number}",
            series_uid="2.25.2",
        )
        for number in range(instances)
    )
    title = Code(code=key_object.SAFETY, text="Rejected", system="DCM")
    made = key_object.build(
        Note(title=title, study_uid="2.25.1", instances=named),
        Frame(
            patient={"PatientID": "1"},
            study={},
            sop_instance_uid="2.25.3",
            series_uid="2.25.8",
            at="20260310090000",
        ),
    )
    return instance(made)


@pytest.mark.parametrize("instances", [1, 2000])
def test_a_rejection_note_is_read_whole_however_many_it_names(rig: Rig, instances: int) -> None:
    assert rig.store(note(instances), sop_class=uid.KEY_OBJECT_SELECTION) == 0x0000

    (kept,) = rig.intake.kept
    _, rejected = kept.events
    assert rejected.data.study is not None
    assert len(rejected.data.study.instances) == instances
