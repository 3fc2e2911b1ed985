"""The query and retrieve client against pynetdicom's archive, our own storage SCP, and a socket that breaks off."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from pydicom import FileDataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from broker.dicom import command, negotiation, pdu, status, uid
from broker.dicom.pdu import SubOperations
from broker.errors import AskPersonError, PermanentDeliveryError, TransientDeliveryError
from broker.net.association import STORAGE_SOP_CLASSES, Answer, AssociationServer, Peer, StoreRequest
from broker.net.retrieve_scu import Entity, Kept, Outcome, RetrieveScu, Watch
from broker.net.retrieved import COMMON, SYNTAXES, into, proposed
from tests.support.archive import Archive
from tests.support.images import dataset_bytes, write_image

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = "2.25.100"


class Keeping:
    """A storage SCP that counts."""

    sop_classes = (CT,)

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.full_from = ""

    def store(self, request: StoreRequest, peer: Peer) -> Answer:
        self.stored.append(request.sop_instance_uid)
        full = request.sop_instance_uid == self.full_from
        return Answer(status=status.OUT_OF_RESOURCES if full else status.SUCCESS)


@pytest.fixture
def images(tmp_path: Path) -> list[FileDataset]:
    """One study of two series, three instances; and another study."""
    (tmp_path / "kept").mkdir()
    places = [(STUDY, "2.25.101", "2.25.1"), (STUDY, "2.25.101", "2.25.2"), (STUDY, "2.25.102", "2.25.3")]
    places.append(("2.25.200", "2.25.201", "2.25.4"))
    for study, series, one in places:
        path, named = (
            tmp_path / "kept" / f"{one}.dcm",
            {"StudyInstanceUID": study, "SeriesInstanceUID": series},
        )
        write_image(path, SOPInstanceUID=one, **named)
    return [dcmread(tmp_path / "kept" / f"{one}.dcm") for _, _, one in places]


def path_of(image: FileDataset) -> Path:
    return Path(str(image.filename))


@pytest.fixture
def keeping(tmp_path: Path) -> Iterator[tuple[Keeping, int]]:
    service = Keeping()
    server = AssociationServer("127.0.0.1", 0, spool=tmp_path, admit=lambda _: True)
    server.register(service)
    server.start()
    yield service, server.port
    server.stop(grace=1.0)


@pytest.fixture(scope="module")
def started() -> Iterator[Archive]:
    server = Archive().start()
    yield server
    server.stop()


@pytest.fixture
def archive(started: Archive, images: list[FileDataset], keeping: tuple[Keeping, int]) -> Archive:
    started.keep(images, {"BROKER": ("127.0.0.1", keeping[1])})
    return started


@pytest.fixture
def make() -> Iterator[Callable[[int], RetrieveScu]]:
    made: list[RetrieveScu] = []

    def of(port: int) -> RetrieveScu:
        made.append(
            RetrieveScu("127.0.0.1", port, called_aet="ARCHIVE", calling_aet="BROKER", response_timeout=10)
        )
        return made[-1]

    yield of
    for one in made:
        one.close()


@pytest.fixture
def scu(make: Callable[[int], RetrieveScu], archive: Archive) -> RetrieveScu:
    return make(archive.port)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fetched").mkdir()
    return tmp_path / "fetched"


def test_a_study_is_asked_for_level_by_level(scu: RetrieveScu, archive: Archive) -> None:
    assert scu.instances_of(STUDY) == {"2.25.1", "2.25.2", "2.25.3"}

    asked = [(one.QueryRetrieveLevel, one.get("SeriesInstanceUID", "")) for one in archive.asked]
    assert asked == [("SERIES", ""), ("IMAGE", "2.25.101"), ("IMAGE", "2.25.102")]
    assert scu.kept(STUDY, "2.25.102") == [
        Kept(sop_instance_uid="2.25.3", sop_class_uid=CT, series_uid="2.25.102")
    ]
    assert scu.instances_of("2.25.9") == frozenset()


def test_studies_by_what_they_are_of(scu: RetrieveScu) -> None:
    found = scu.find("STUDY", {"PatientID": "0", "StudyInstanceUID": ""})

    assert [one["StudyInstanceUID"] for one in found] == [STUDY, "2.25.200"]


def test_more_answers_than_are_wanted_are_cancelled(
    scu: RetrieveScu, archive: Archive, tmp_path: Path
) -> None:
    many = [write_image(tmp_path / "many.dcm", StudyInstanceUID=generate_uid()) for _ in range(9)]
    archive.instances, archive.waits_after = many, 4

    found = scu.find("STUDY", {"StudyInstanceUID": ""}, most=3)

    assert [one["StudyInstanceUID"] for one in found] == [one.StudyInstanceUID for one in many[:3]]
    archive.waits_after = None
    assert scu.find("STUDY", {"StudyInstanceUID": STUDY}) == [], "the association is still in order"


def test_a_move_tells_how_far_it_is(scu: RetrieveScu, keeping: tuple[Keeping, int]) -> None:
    seen: list[SubOperations] = []

    done = scu.move(Entity(study_uid=STUDY), "BROKER", Watch(progress=seen.append))

    assert keeping[0].stored == ["2.25.1", "2.25.2", "2.25.3"]
    assert [one.completed for one in seen] == [1, 2, 3]
    assert (done.status, done.sub_operations.completed, done.whole) == (status.SUCCESS, 3, True)


@pytest.mark.parametrize(
    ("entity", "moved"),
    [
        (Entity(study_uid=STUDY, series_uid="2.25.101"), ["2.25.1", "2.25.2"]),
        (Entity(study_uid=STUDY, series_uid="2.25.102", sop_instance_uid="2.25.3"), ["2.25.3"]),
        (Entity(study_uid="2.25.9"), []),
    ],
)
def test_less_than_a_study_is_moved(
    scu: RetrieveScu, keeping: tuple[Keeping, int], entity: Entity, moved: list[str]
) -> None:
    assert scu.move(entity, "BROKER").whole

    assert keeping[0].stored == moved


def test_what_did_not_arrive_is_listed(scu: RetrieveScu, keeping: tuple[Keeping, int]) -> None:
    keeping[0].full_from = "2.25.2"

    done = scu.move(Entity(study_uid=STUDY, series_uid="2.25.101"), "BROKER")

    assert (done.status, done.sub_operations.failed, done.failed) == (status.COERCED, 1, ("2.25.2",))
    assert not done.whole


def test_a_move_is_cancelled_on_the_way(scu: RetrieveScu, archive: Archive, tmp_path: Path) -> None:
    archive.instances = [
        write_image(tmp_path / "many.dcm", StudyInstanceUID=STUDY, SeriesInstanceUID="2.25.7")
        for _ in range(9)
    ]
    archive.waits_after = 1

    done = scu.move(Entity(study_uid=STUDY), "BROKER", Watch(cancelled=lambda: True))

    assert (done.status, done.whole) == (status.CANCEL, False)
    assert (done.sub_operations.completed or 0) < 9


def test_what_a_failure_comes_to(scu: RetrieveScu, archive: Archive, folder: Path) -> None:
    for code, error in (
        (0xA701, TransientDeliveryError),
        (0xA702, TransientDeliveryError),
        (0xC001, TransientDeliveryError),
        (0x0124, TransientDeliveryError),
        (0xA900, PermanentDeliveryError),
        (0x0122, PermanentDeliveryError),
    ):
        archive.ends = code
        with pytest.raises(error, match=f"{code:04X}"):
            scu.move(Entity(study_uid=STUDY), "BROKER")
        with pytest.raises(error, match=f"{code:04X}"):
            scu.get(Entity(study_uid=STUDY), folder, into(folder))
    archive.ends = None
    assert scu.move(Entity(study_uid=STUDY), "BROKER").whole


def test_a_person_must_tell_the_archive_where_the_broker_is(scu: RetrieveScu) -> None:
    with pytest.raises(AskPersonError, match=r"A801.*ELSEWHERE"):
        scu.move(Entity(study_uid=STUDY), "ELSEWHERE")


def test_objects_come_into_files_as_the_archive_has_them(
    scu: RetrieveScu, images: list[FileDataset], folder: Path
) -> None:
    pixels = encapsulate([b"\xff\xd8 no pixels \xff\xd9"])
    images[0].PixelData, images[0]["PixelData"].is_undefined_length = pixels, True
    images[0].file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    images[0].save_as(path_of(images[0]))
    images[0] = dcmread(path_of(images[0]))
    seen: list[SubOperations] = []

    done = scu.get(Entity(study_uid=STUDY), folder, into(folder), Watch(progress=seen.append))

    assert (done.received, done.sub_operations.completed, done.whole) == (3, 3, True)
    assert [one.remaining for one in seen] == [2, 1, 0]
    assert sorted(path.name for path in folder.iterdir()) == ["2.25.1.dcm", "2.25.2.dcm", "2.25.3.dcm"]
    first = dcmread(folder / "2.25.1.dcm")
    assert first.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert first.file_meta.SourceApplicationEntityTitle == "ARCHIVE"
    assert first.PixelData == pixels
    assert dataset_bytes((folder / "2.25.2.dcm").read_bytes()) == dataset_bytes(
        path_of(images[1]).read_bytes()
    )


def test_what_cannot_be_kept_is_a_failed_sub_operation(scu: RetrieveScu, folder: Path) -> None:
    keep = into(folder)

    def full(request: StoreRequest) -> int:
        if request.sop_instance_uid == "2.25.2":
            raise OSError("no space left")
        return keep(request)

    done = scu.get(Entity(study_uid=STUDY, series_uid="2.25.101"), folder, full)

    assert (done.received, done.sub_operations.failed, done.failed) == (1, 1, ("2.25.2",))
    assert [path.name for path in folder.iterdir()] == ["2.25.1.dcm"]


def test_what_was_not_asked_for_is_not_taken(
    scu: RetrieveScu,
    archive: Archive,
    images: list[FileDataset],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An archive that mixes its answers up sends another patient's object."""
    other = dcmread(path_of(images[2]))
    other.StudyInstanceUID, other.SOPInstanceUID = "2.25.900", "2.25.901"
    other.file_meta.MediaStorageSOPInstanceUID = "2.25.901"

    def sent(_event: object) -> Iterator[object]:
        yield 2
        yield 0xFF00, images[0]
        yield 0xFF00, other

    monkeypatch.setattr(archive, "_sent", sent)
    first = Entity(study_uid=STUDY, series_uid="2.25.101", sop_instance_uid="2.25.1")
    done = scu.get(first, folder, into(folder))

    assert (done.received, done.sub_operations.failed) == (1, 1)
    assert [path.name for path in folder.iterdir()] == ["2.25.1.dcm"]


def test_nothing_there_is_no_failure(scu: RetrieveScu, folder: Path) -> None:
    done = scu.get(Entity(study_uid="2.25.9"), folder, into(folder))

    assert (done.received, done.sub_operations.completed, done.whole) == (0, 0, True)


def test_an_archive_that_names_no_classes_may_send_what_is_common(
    scu: RetrieveScu, archive: Archive, folder: Path
) -> None:
    archive.says_classes = False

    assert scu.get(Entity(study_uid=STUDY), folder, into(folder)).received == 3


@pytest.mark.parametrize(
    ("classes", "each"), [([CT], len(SYNTAXES)), (["1.2.3", CT, CT], len(SYNTAXES)), ([""], 4), ([], 4)]
)
def test_every_class_may_come_in_the_same_syntaxes(classes: list[str], each: int) -> None:
    contexts = proposed(classes, 126)

    assert len(set(contexts)) == len(contexts) <= 126
    of_ct = [one.transfer_syntax for one in contexts if one.abstract_syntax == CT]
    assert of_ct[:each] == list(SYNTAXES[:each])


class Everything:
    """A policy that takes the first transfer syntax of every context."""

    max_pdu, acknowledges_identity = 16384, False

    def syntaxes(self, sop_class: str, proposed: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(proposed[:1])

    def peer_serves(self, sop_class: str) -> bool:
        return True

    def extended(self, sop_class: str, proposed: bytes) -> bytes | None:
        return None


def read_pdu(file: BinaryIO) -> bytes:
    return file.read(int(struct.unpack(">xxL", file.read(6))[0]))


def answering(
    listening: socket.socket, said: Callable[[int], Iterable[bytes]], roles: dict[str, object]
) -> None:
    """Takes one association, reads the C-GET, says something and hangs up."""
    connection, _ = listening.accept()
    with connection, connection.makefile("rb") as file:
        body = read_pdu(file)
        request = negotiation.read(body)
        roles.update(request.roles)
        accepted = negotiation.accept(body, request, Everything())
        connection.sendall(accepted.answer)
        for _ in range(2):  # command and identifier
            read_pdu(file)
        number = next(n for n, context in accepted.contexts.items() if context.abstract_syntax == CT)
        for part in said(number):
            connection.sendall(part)
        connection.settimeout(10)
        with contextlib.suppress(OSError, struct.error):
            while read_pdu(file):  # its answers, and at last its release
                pass


@contextlib.contextmanager
def an_archive_that_says(
    said: Callable[[int], Iterable[bytes]],
    make: Callable[[int], RetrieveScu],
    monkeypatch: pytest.MonkeyPatch,
    roles: dict[str, object],
) -> Iterator[RetrieveScu]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=answering, args=(listening, said, roles))
        thread.start()
        scu = make(listening.getsockname()[1])
        known = [Kept(sop_instance_uid="2.25.1", sop_class_uid=CT, series_uid="2.25.101")]
        monkeypatch.setattr(scu, "kept", lambda study, series: known)
        yield scu
        thread.join(10)


def half_an_object(context_id: int) -> Iterator[bytes]:
    yield pdu.store_rq(context_id, 1, CT, "2.25.1")
    yield pdu.fragment_header(context_id, 4000, last=False) + bytes(4000)
    yield pdu.abort()


def final(field: int) -> bytes:
    """A response to message 1, in the context of the C-GET, that everything is done."""
    fields = {0x0100: field, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0}
    answer = command.encode({number: command.us(value) for number, value in fields.items()})
    return command.command_pdus(1, answer, 0)


def another_answer(context_id: int) -> Iterator[bytes]:
    yield final(0x8020)


def not_asked_for(context_id: int) -> Iterator[bytes]:
    yield pdu.store_rq(99, 1, CT, "2.25.1") + pdu.fragment_header(99, 4, last=True) + bytes(4)


def an_object_with_a_path_for_a_uid(context_id: int) -> Iterator[bytes]:
    yield pdu.store_rq(context_id, 1, CT, "../2.25.1")
    yield pdu.fragment_header(context_id, 4, last=True) + bytes(4)
    yield final(0x8010)


MEGABYTES = 16


def a_large_object(context_id: int) -> Iterator[bytes]:
    yield pdu.store_rq(context_id, 1, CT, "2.25.1")
    part = pdu.fragment_header(context_id, 1 << 16, last=False) + bytes(1 << 16)
    for _ in range(16 * MEGABYTES):
        yield part
    yield pdu.fragment_header(context_id, 2, last=True) + bytes(2)
    yield final(0x8010)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (half_an_object, "aborted"),
        (another_answer, "another request"),
        (not_asked_for, "not accepted"),
    ],
)
def test_a_peer_that_breaks_off_leaves_nothing_behind(
    make: Callable[[int], RetrieveScu],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: Callable[[int], Iterable[bytes]],
    why: str,
) -> None:
    roles: dict[str, object] = {}
    with (
        an_archive_that_says(said, make, monkeypatch, roles) as scu,
        pytest.raises(TransientDeliveryError, match=why),
    ):
        scu.get(Entity(study_uid=STUDY), folder, into(folder))

    assert list(folder.iterdir()) == []
    assert roles == {CT: negotiation.Roles(scu=False, scp=True)}


def test_a_uid_names_a_file_of_the_folder_and_no_other(
    make: Callable[[int], RetrieveScu], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(folder.parent.iterdir())
    with an_archive_that_says(an_object_with_a_path_for_a_uid, make, monkeypatch, {}) as scu:
        done = scu.get(Entity(study_uid=STUDY), folder, into(folder))

    assert (done.received, done.failed, done.whole) == (0, ("2.25.1",), False), "whatever the archive counts"
    assert list(folder.iterdir()) == []
    assert set(folder.parent.iterdir()) == before


def test_a_large_object_needs_no_more_memory_than_a_small_one(
    make: Callable[[int], RetrieveScu], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with an_archive_that_says(a_large_object, make, monkeypatch, {}) as scu:
        tracemalloc.start()
        try:
            done = scu.get(Entity(study_uid=STUDY), folder, into(folder))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert done.whole
    assert (folder / "2.25.1.dcm").stat().st_size > MEGABYTES << 20
    assert peak < 4 << 20


def test_what_is_common_is_storage() -> None:
    assert set(COMMON) <= set(STORAGE_SOP_CLASSES)


def test_counts_go_before_the_status() -> None:
    none, one, untold = SubOperations(0, 2, 0, 1), SubOperations(0, 1, 1, 0), SubOperations()

    assert Outcome(status=status.COERCED, sub_operations=none).whole, "a warning of the receiver"
    assert not Outcome(status=status.SUCCESS, sub_operations=one).whole
    assert Outcome(status=status.SUCCESS, sub_operations=untold).whole
    assert not Outcome(status=status.COERCED, sub_operations=untold).whole
    assert not Outcome(status=status.CANCEL, sub_operations=none).whole


def test_an_entity_names_the_keys_of_its_level() -> None:
    assert Entity(study_uid="1", series_uid="2", sop_instance_uid="3").keys == {
        "QueryRetrieveLevel": "IMAGE",
        "StudyInstanceUID": "1",
        "SeriesInstanceUID": "2",
        "SOPInstanceUID": "3",
    }
    assert Entity(study_uid="1").keys == {"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1"}
    assert uid.STUDY_ROOT_GET.endswith(".3")
