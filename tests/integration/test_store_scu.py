"""The storage SCU against Orthanc, DCMTK's storescp, pynetdicom (for any status) and bare sockets."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import CTImageStorage, Verification  # type: ignore[attr-defined]

from broker.dicom.coerce import Coercion, opened, plan
from broker.dicom.elements import read_meta
from broker.errors import AskPersonError, DeliveryError, PermanentDeliveryError, TransientDeliveryError
from broker.net.store_scu import StoreScu
from broker.store.lease import LostLeaseError
from tests.support.needs import needs
from tests.support.orthanc import Orthanc
from tests.support.ports import free_port
from tests.support.processes import Program, wait_until
from tests.support.shared import shared_files

pytestmark = pytest.mark.integration

MEGABYTE = 1 << 20


def instance(
    folder: Path,
    number: int = 1,
    sop_class: str = SecondaryCaptureImageStorage,
    syntax: str = ExplicitVRLittleEndian,
) -> Path:
    """A small synthetic image that storage SCPs accept."""
    dataset = Dataset()
    dataset.SOPClassUID = UID(sop_class)
    dataset.SOPInstanceUID = UID(f"2.25.{number}")
    dataset.PatientName, dataset.PatientID = "Test^Store", "41819077906"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = UID("2.25.900"), UID("2.25.901")
    dataset.Modality = "OT"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    path = folder / f"{number}.dcm"
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path


def big_instance(folder: Path, size: int) -> Path:
    """As `instance`, with `size` bytes of pixel data that take no room on the disk."""
    path = instance(folder, 99)
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\x00OB\0\0" + size.to_bytes(4, "little"))
        file.truncate(file.tell() + size)
    return path


@contextlib.contextmanager
def scu(port: int, **settings: Any) -> Iterator[StoreScu]:
    client = StoreScu("127.0.0.1", port, **{"called_aet": "PEER", "response_timeout": 10.0, **settings})
    try:
        yield client
    finally:
        client.close()


class Dcmtk:
    """A storescp of DCMTK and what it logged."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        store = folder / "received"
        store.mkdir(exist_ok=True)
        self._command = [needs("storescp"), "-v", "-od", str(store), *options, str(self.port)]
        self._log = folder / "storescp.log"
        self.received = store
        self.start()

    def start(self) -> None:
        self._program = Program(self._command, self._log)
        self._program.wait_for_port(self.port)

    def stop(self) -> None:
        self._program.kill()

    def count(self, text: str) -> int:
        return self._program.output().count(text)


StartStorescp = Callable[..., Dcmtk]


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[StartStorescp]:
    servers: list[Dcmtk] = []

    def start(*options: str) -> Dcmtk:
        servers.append(Dcmtk(tmp_path, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


class Answering:
    """A pynetdicom SCP that answers every C-STORE with `status`."""

    def __init__(self) -> None:
        self.status = 0
        self.port = free_port()
        ae = AE("PEER")
        ae.add_supported_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
        ae.add_supported_context(Verification)
        handlers = [(evt.EVT_C_STORE, lambda _: self.status)]
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)


@pytest.fixture(scope="module")
def answering() -> Iterator[Answering]:
    peer = Answering()
    yield peer
    peer.server.shutdown()


@contextlib.contextmanager
def peer(conversation: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that holds this conversation with each client; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    conversation(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def accept_association(connection: socket.socket, max_length: int = 16384) -> None:
    """Reads an A-ASSOCIATE-RQ and accepts its first two contexts."""
    head = connection.recv(6, socket.MSG_WAITALL)
    connection.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL)
    syntax = b"\x40\0\0\x111.2.840.10008.1.2"
    items = b"".join(b"\x21\0\0\x19" + bytes((number, 0, 0, 0)) + syntax for number in (1, 3))
    items += b"\x50\0\0\x08\x51\0\0\x04" + max_length.to_bytes(4, "big")
    body = b"\0\1\0\0" + bytes(64) + items
    connection.sendall(b"\x02\0" + len(body).to_bytes(4, "big") + body)


def padded(value: Any) -> Any:
    """Bytes of even length, as every value should be (PS3.5 7.1.1); Orthanc pads the odd ones."""
    return value + b"\0" * (len(value) % 2) if isinstance(value, bytes) else value


def storable(path: Path) -> bool:
    """Has what Orthanc files by, and is not so broken that Orthanc reads it without ever answering."""
    if path.name in ("rtplan_truncated.dcm", "Tag-0040-A170-VR-CS.dcm"):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
        except (pydicom.errors.InvalidDicomError, ValueError):
            return False
        wanted = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "PatientID")
        return all(dataset.get(key) for key in wanted) and "SOPClassUID" in dataset


def test_real_objects_arrive_at_orthanc_identical_but_for_what_was_coerced(
    orthanc: Orthanc,
) -> None:
    coercion = Coercion(attributes={"PatientID": "41819077906", "PatientName": "Ødegård^Åse"})
    expected: dict[str, bytes] = {}
    refused: list[str] = []
    with scu(orthanc.port, called_aet="ORTHANC") as client:
        for path in (path for path in shared_files("dicom/**/*") if storable(path)):
            with path.open("rb") as source:
                splice = plan(source, coercion, now="20240102030405", source="CT1", system="BROKER")
                assert splice is not None
                leaving = opened(source, splice)
                try:
                    assert client.send(leaving) == 0
                except DeliveryError:
                    refused.append(path.name)
                else:
                    uid = read_meta(leaving).sop_instance_uid
                    leaving.seek(0)
                    expected[uid] = leaving.read()
    if not expected:
        pytest.skip("../shared/data is not beside the repository")
    # Orthanc 1.10 itself refuses these, whoever sends them.
    assert set(refused) <= {
        *("GH364.dcm", "badVR.dcm", "chrJapMulti.dcm", "chrJapMultiExplicitIR6.dcm", "NM-MONO2-16-13x-heart"),
    }
    assert len(orthanc.instances()) == len(expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in orthanc.instances():
            stored = orthanc.dataset(name)
            sent = pydicom.dcmread(io.BytesIO(expected[stored.file_meta.MediaStorageSOPInstanceUID]))
            assert stored.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
            assert stored.PatientName == "Ødegård^Åse"
            assert ("PixelData" in stored) == ("PixelData" in sent)
            for element in sent:
                if element.tag.element and element.tag.group < 0xFFFC:  # Orthanc drops group lengths, padding
                    assert stored[element.tag].value == padded(element.value), element.tag


def test_one_association_is_reused_and_grows_with_what_is_needed(
    storescp: StartStorescp, tmp_path: Path
) -> None:
    server = storescp()
    with scu(server.port) as client:
        client.echo()
        for number in range(5):
            assert client.send(instance(tmp_path, number)) == 0
        assert client.send(instance(tmp_path, 10, syntax=ImplicitVRLittleEndian)) == 0
        assert client.send(instance(tmp_path, 11, sop_class=CTImageStorage)) == 0
        for number in range(5):
            assert client.send(instance(tmp_path, number)) == 0
    # For the echo alone, for the first image, for each new presentation context.
    wait_until(lambda: server.count("Association Release") == 4, "four associations ended in order")
    assert server.count("Association Acknowledged") == 4
    assert len(list(server.received.iterdir())) == 7


def test_what_arrives_is_what_was_sent_in_three_syntaxes(storescp: StartStorescp, tmp_path: Path) -> None:
    server = storescp("+B")  # writes the bytes as they come
    with scu(server.port) as client:
        for number, syntax in enumerate(
            (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
        ):
            path = instance(tmp_path, number, syntax=syntax)
            client.send(path)
            (received,) = server.received.glob(f"*2.25.{number}")
            with path.open("rb") as sent, received.open("rb") as arrived:
                assert read_meta(arrived).transfer_syntax_uid == syntax
                sent.seek(read_meta(sent).dataset_offset)
                arrived.seek(read_meta(arrived).dataset_offset)
                assert arrived.read() == sent.read()


def test_a_data_set_of_odd_length_is_padded(storescp: StartStorescp, tmp_path: Path) -> None:
    server = storescp("+B")
    path = instance(tmp_path)
    with path.open("ab") as file:
        file.write(b"\xe0\x7f\x10\x00OB\0\0\x03\0\0\0abc")
    with scu(server.port) as client:
        assert client.send(path) == 0
    (received,) = server.received.iterdir()
    assert received.read_bytes().endswith(b"abc\0")


def test_a_transfer_syntax_that_is_not_accepted_is_named(storescp: StartStorescp, tmp_path: Path) -> None:
    server = storescp("+xi")  # implicit little endian only
    with scu(server.port) as client:
        with pytest.raises(PermanentDeliveryError) as refusal:
            client.send(instance(tmp_path, 1))
        assert SecondaryCaptureImageStorage in str(refusal.value)
        assert ExplicitVRLittleEndian in str(refusal.value)
        assert client.send(instance(tmp_path, 2, syntax=ImplicitVRLittleEndian)) == 0


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007, 0xB123])
def test_success_and_warnings_are_returned(answering: Answering, status: int, tmp_path: Path) -> None:
    answering.status = status
    with scu(answering.port) as client:
        assert client.send(instance(tmp_path)) == status


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA700, TransientDeliveryError),
        (0xA7FF, TransientDeliveryError),
        (0xC000, TransientDeliveryError),
        (0xC123, TransientDeliveryError),
        (0x0110, TransientDeliveryError),
        (0x0124, TransientDeliveryError),
        (0x0213, TransientDeliveryError),
        (0x0001, TransientDeliveryError),
        (0xFE00, TransientDeliveryError),
        (0xFF00, TransientDeliveryError),
        (0xA900, PermanentDeliveryError),
        (0xA9AA, PermanentDeliveryError),
        (0x0111, PermanentDeliveryError),
        (0x0117, PermanentDeliveryError),
        (0x0122, PermanentDeliveryError),
        (0x0212, PermanentDeliveryError),
    ],
)
def test_every_other_status_is_a_failure(
    answering: Answering, status: int, error: type[DeliveryError], tmp_path: Path
) -> None:
    answering.status = status
    with scu(answering.port) as client:
        with pytest.raises(DeliveryError, match=f"{status:04X}") as raised:
            client.send(instance(tmp_path))
        assert type(raised.value) is error
        client.echo()  # a status is no reason to lose the association


def test_nobody_listens(tmp_path: Path) -> None:
    with scu(free_port()) as client, pytest.raises(TransientDeliveryError, match="no connection"):
        client.send(instance(tmp_path))


def test_the_association_is_rejected(storescp: StartStorescp, tmp_path: Path) -> None:
    server = storescp("--refuse")
    with (
        scu(server.port) as client,
        pytest.raises(TransientDeliveryError, match="association rejected by PEER"),
    ):
        client.send(instance(tmp_path))


@pytest.mark.parametrize("option", ["--abort-during", "--abort-after"])
def test_the_peer_aborts_and_the_next_object_gets_a_new_association(
    option: str, storescp: StartStorescp, tmp_path: Path
) -> None:
    server = storescp(option)
    with scu(server.port) as client:
        for number in range(2):
            with pytest.raises(TransientDeliveryError):
                client.send(instance(tmp_path, number))
    assert server.count("Association Acknowledged") == 2


@pytest.mark.parametrize("when", [1, 2], ids=["before the command", "before the last fragment"])
@pytest.mark.parametrize("size", [100, MEGABYTE], ids=["one fragment", "several"])
def test_what_may_not_leave_any_more_does_not_arrive(
    storescp: StartStorescp, tmp_path: Path, when: int, size: int
) -> None:
    """It is asked at two moments, and where that raises the peer has no whole object; the next one gets through."""
    peer, asked = storescp(), list[None]()

    def confirm() -> None:
        asked.append(None)
        if len(asked) == when:
            raise LostLeaseError("way pacs 0")

    with scu(peer.port) as client:
        with pytest.raises(LostLeaseError):
            client.send(big_instance(tmp_path, size), confirm)
        assert client.send(instance(tmp_path), confirm) == 0
    assert len(asked) == when + 2
    assert [pydicom.dcmread(path).SOPInstanceUID for path in peer.received.iterdir()] == ["2.25.1"]


def test_a_peer_that_went_away_meanwhile_is_noticed_before_sending(
    storescp: StartStorescp, tmp_path: Path
) -> None:
    server = storescp()
    with scu(server.port) as client:
        client.send(instance(tmp_path, 1))
        server.stop()
        server.start()
        assert client.send(instance(tmp_path, 2)) == 0


def test_a_peer_that_releases_is_answered(tmp_path: Path) -> None:
    answers: list[bytes] = []

    def conversation(connection: socket.socket) -> None:
        accept_association(connection)
        connection.recv(200)  # C-ECHO-RQ
        response = b"".join(
            number.to_bytes(2, "little").join((b"\0\0", b"\2\0\0\0")) + value.to_bytes(2, "little")
            for number, value in ((0x0100, 0x8030), (0x0120, 1), (0x0800, 0x0101), (0x0900, 0))
        )
        body = (len(response) + 2).to_bytes(4, "big") + b"\x01\x03" + response
        connection.sendall(b"\x04\0" + len(body).to_bytes(4, "big") + body)
        connection.sendall(b"\x05\0\0\0\0\x04\0\0\0\0")  # A-RELEASE-RQ
        answers.append(connection.recv(100))

    with peer(conversation) as port, scu(port) as client:
        client.echo()
        wait_until(
            lambda: not client._association or not client._association.usable(), "the release has come"
        )
        wait_until(lambda: answers == [b"\x06\0\0\0\0\x04\0\0\0\0"], "it was answered")


def test_silence_ends_in_time(tmp_path: Path) -> None:
    def conversation(connection: socket.socket) -> None:
        while connection.recv(1 << 16):
            pass

    late = pytest.raises(TransientDeliveryError, match="in time")
    with peer(conversation) as port, scu(port, response_timeout=0.3) as client, late:
        client.send(instance(tmp_path))


def test_a_peer_that_stops_reading_ends_in_time(tmp_path: Path) -> None:
    release = threading.Event()

    def conversation(connection: socket.socket) -> None:
        accept_association(connection)
        release.wait(10)

    with peer(conversation) as port, scu(port, response_timeout=0.5) as client:
        try:
            with pytest.raises(TransientDeliveryError, match="while sending"):
                client.send(big_instance(tmp_path, 64 * MEGABYTE))
        finally:
            release.set()


def test_junk_for_an_answer(tmp_path: Path) -> None:
    def conversation(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.recv(100)

    with peer(conversation) as port, scu(port) as client, pytest.raises(TransientDeliveryError):
        client.send(instance(tmp_path))


def test_memory_does_not_grow_with_the_object(storescp: StartStorescp, tmp_path: Path) -> None:
    server = storescp("--ignore", "--max-pdu", "131072")
    path = big_instance(tmp_path, 200 * MEGABYTE)
    with scu(server.port, response_timeout=60.0) as client:
        client.echo()
        tracemalloc.start()
        try:
            assert client.send(path) == 0
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < MEGABYTE


def test_nothing_waits_for_nagle(
    storescp: StartStorescp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[socket.socket] = []
    create = socket.create_connection

    def recording(*arguments: Any, **settings: Any) -> socket.socket:
        opened.append(create(*arguments, **settings))
        return opened[-1]

    monkeypatch.setattr(socket, "create_connection", recording)
    server = storescp()
    with scu(server.port) as client:
        client.send(instance(tmp_path))
        assert opened[-1].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_idle_association_is_released(storescp: StartStorescp, tmp_path: Path) -> None:
    server = storescp()
    with scu(server.port, idle_timeout=0.2) as client:
        client.send(instance(tmp_path, 1))
        wait_until(lambda: server.count("Association Release") == 1, "the association was released")
        assert client.send(instance(tmp_path, 2)) == 0


def test_lanes_in_parallel(orthanc: Orthanc, tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def lane(number: int) -> None:
        try:
            with scu(orthanc.port) as client:
                for index in range(5):
                    client.send(instance(tmp_path, 100 * (number + 1) + index))
        except DeliveryError as error:
            failures.append(error)

    lanes = [threading.Thread(target=lane, args=(number,)) for number in range(4)]
    for thread in lanes:
        thread.start()
    for thread in lanes:
        thread.join()
    assert failures == []
    assert len(orthanc.instances()) == 20


def test_files_that_cannot_be_sent(storescp: StartStorescp, tmp_path: Path) -> None:
    server = storescp()
    junk = tmp_path / "junk"
    junk.write_bytes(bytes(1000))
    headless = tmp_path / "headless"
    path = instance(tmp_path)
    headless.write_bytes(path.read_bytes()[: path.read_bytes().index(b"\x08\x00\x16\x00UI")])
    with scu(server.port) as client:
        for bad in (tmp_path / "nowhere", junk, headless):
            with pytest.raises(AskPersonError):
                client.send(bad)
        with pytest.raises(TransientDeliveryError):
            client.send(tmp_path)  # a folder: the disk says no
        assert client.send(path) == 0
