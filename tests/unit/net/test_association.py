"""`broker.net.association` over loopback: who is let in, what services see, what their failures become."""

from __future__ import annotations

import io
import logging
import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom import config as pydicom_config
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLossless,
)
from pynetdicom import AE, build_context, build_role
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStep,
    ModalityWorklistInformationFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from broker.dicom import status
from broker.dicom.dataset import to_dataset
from broker.dicom.matching import Query
from broker.errors import LocalProtocolError, RemoteProtocolError, StoreError, UnwritableError
from broker.net import acceptor
from broker.net.association import (
    STORAGE_SOP_CLASSES,
    ActionRequest,
    Answer,
    AssociationServer,
    FindRequest,
    ObjectRequest,
    Peer,
    StoreRequest,
)
from broker.net.incoming import PART
from broker.net.upper_layer import LONGEST_ASSOCIATE
from tests.support.dimse import (
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    WORKLIST,
    RejectedError,
    Scu,
    associate_rq,
    command_set,
    encoded,
)
from tests.support.ports import is_open
from tests.support.processes import wait_until
from tests.support.services import Commitment, Finder, FindFunction, StoreFunction

ECHO = [(VERIFICATION, IMPLICIT)]
QUERY = encoded(to_dataset({"PatientName": "*"}))
SECRET = "Hemmelig^Navn"


class Keeper:
    """A storage service that moves objects out of the spool, or does what a test wants."""

    sop_classes = STORAGE_SOP_CLASSES

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: list[tuple[StoreRequest, Peer]] = []
        self.function: StoreFunction = self._keep

    def store(self, request: StoreRequest, peer: Peer) -> Answer:
        return self.function(request, peer)

    def _keep(self, request: StoreRequest, peer: Peer) -> Answer:
        request.path.rename(self.folder / request.sop_instance_uid)
        self.taken.append((request, peer))
        return Answer(status=status.SUCCESS)


class Objects:
    """Keeps what peers make and change, or does what a test wants."""

    sop_classes = (str(ModalityPerformedProcedureStep),)

    def __init__(self, function: Callable[[ObjectRequest, Peer], Answer]) -> None:
        self.operate = function


def three_rows(request: FindRequest, peer: Peer) -> Iterator[Answer]:
    for number in range(3):
        yield Answer(status=status.PENDING, identifier=to_dataset({"PatientID": f"T{number}"}))


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    (tmp_path / "kept").mkdir()
    return Keeper(tmp_path / "kept")


@pytest.fixture
def serve(tmp_path: Path, keeper: Keeper) -> Iterator[Callable[..., AssociationServer]]:
    """Starts servers; the last one's spool is `tmp_path / "spool"`."""
    servers: list[AssociationServer] = []

    def start(find: FindFunction = three_rows, **options: object) -> AssociationServer:
        arguments = {
            "spool": tmp_path / "spool",
            "admit": lambda peer: peer.calling_aet != "STRANGER",
        } | options
        server = AssociationServer("127.0.0.1", 0, **arguments)  # type: ignore[arg-type]
        server.register(Finder(find))
        server.register(keeper)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop(0)
    while _sockets:
        _sockets.pop().close()


_sockets: list[socket.socket] = []
"""Of the client, which leaves those open that the server closed first."""


def associate(
    server: AssociationServer, *, calling: str = "CAMERA", called: str = "BROKER", **syntaxes: list[str]
) -> Association:
    ae = AE(calling)
    ae.add_requested_context(Verification)
    ae.add_requested_context(ModalityWorklistInformationFind, syntaxes.get("find"))
    ae.add_requested_context(CTImageStorage, syntaxes.get("store"))
    ae.add_requested_context(ModalityPerformedProcedureStep)
    return connect(ae, server, called)


def connect(ae: AE, server: AssociationServer, called: str = "BROKER", **options: object) -> Association:
    association = ae.associate("127.0.0.1", server.port, ae_title=called, **options)  # type: ignore[arg-type]
    if association.dul.socket is not None and association.dul.socket.socket is not None:
        _sockets.append(association.dul.socket.socket)
    return association


def find(association: Association, message_id: int = 1) -> list[tuple[int, str | None]]:
    query = to_dataset({"PatientName": SECRET})
    answers = association.send_c_find(query, ModalityWorklistInformationFind, msg_id=message_id)
    return [(answer.Status, row.PatientID if row else None) for answer, row in answers]


def instance(uid: str = "1.2.3", size: int = 10) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.PatientName = CTImageStorage, uid, SECRET
    ds.add_new(0x7FE00010, "OB", b"x" * size)
    ds.ensure_file_meta()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


# --- associations -------------------------------------------------------------------------------------------


def test_verification_is_built_in(serve: Callable[..., AssociationServer]) -> None:
    association = associate(serve())
    assert association.send_c_echo().Status == status.SUCCESS
    association.release()
    assert association.is_released


@pytest.mark.parametrize(
    ("calling", "called", "place"),
    [("STRANGER", "BROKER", "calling"), ("CAMERA", "OTHER", "called"), ("STRANGER", "OTHER", "called")],
)
def test_unknown_ae_titles_are_refused_and_logged_once(
    serve: Callable[..., AssociationServer],
    caplog: pytest.LogCaptureFixture,
    calling: str,
    called: str,
    place: str,
) -> None:
    association = associate(serve(), calling=calling, called=called)
    assert association.is_rejected
    [record] = [r for r in caplog.records if r.name.startswith("broker.")]
    assert f"{place} AE title unknown" in record.getMessage()


def test_who_cannot_be_judged_is_refused(
    serve: Callable[..., AssociationServer], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(peer: Peer) -> bool:
        raise KeyError(SECRET)

    assert associate(serve(admit=broken)).is_rejected
    assert SECRET not in caplog.text


def test_more_associations_than_allowed_are_turned_away_for_now(
    serve: Callable[..., AssociationServer],
) -> None:
    """PS3.8 9.3.4: transient, service provider (presentation related), local limit exceeded."""
    server = serve(max_associations=2)
    with Scu(server.port, ECHO), Scu(server.port, ECHO) as second:
        for _ in range(3):
            with pytest.raises(RejectedError) as refusal:
                Scu(server.port, ECHO)
            assert refusal.value.args == ((2, 3, 2),)
        assert second.echo() == 0
    wait_until(lambda: associate(server).is_established, "a place is free again")


def test_silent_connections_take_no_association_s_place(serve: Callable[..., AssociationServer]) -> None:
    server = serve(max_associations=1)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(5)]
    with Scu(server.port, ECHO) as one:
        assert one.echo() == 0
    for connection in silent:
        connection.close()


def test_of_associations_that_come_at_once_as_many_as_may_are_let_in(
    serve: Callable[..., AssociationServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And each of the others gets its answer, those too that wait in the kernel for it."""
    monkeypatch.setattr(acceptor, "REFUSALS", 2)
    server = serve(max_associations=3)
    answers: list[object] = []

    def come() -> None:
        try:
            answers.append(Scu(server.port, ECHO))
        except RejectedError as refusal:
            answers.append(refusal.args[0])

    crowd = [threading.Thread(target=come) for _ in range(30)]
    for peer in crowd:
        peer.start()
    for peer in crowd:
        peer.join(30)

    let_in = [answer for answer in answers if isinstance(answer, Scu)]
    assert len(answers) == 30
    assert len(let_in) == 3
    assert {answer for answer in answers if not isinstance(answer, Scu)} <= {(2, 3, 2)}
    for scu in let_in:
        scu.release()


def test_what_no_service_serves_is_not_negotiated(serve: Callable[..., AssociationServer]) -> None:
    association = associate(serve())
    assert {cx.abstract_syntax for cx in association.rejected_contexts} == {ModalityPerformedProcedureStep}
    association.release()


def test_images_are_taken_in_the_syntax_that_was_proposed_first(
    serve: Callable[..., AssociationServer],
) -> None:
    ae = AE("CAMERA")
    ae.requested_contexts = [
        build_context(CTImageStorage, [JPEGLossless, ExplicitVRLittleEndian]),
        build_context(CTImageStorage, [ImplicitVRLittleEndian]),
        build_context(CTImageStorage, [JPEGBaseline8Bit]),
    ]
    association = connect(ae, serve())
    accepted = [cx.transfer_syntax for cx in association.accepted_contexts]
    assert accepted == [[JPEGLossless], [ImplicitVRLittleEndian], [JPEGBaseline8Bit]]
    association.release()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_queries_in_both_uncompressed_syntaxes(serve: Callable[..., AssociationServer], syntax: str) -> None:
    association = associate(serve(), find=[syntax])
    assert len(find(association)) == 4
    association.release()


def test_two_services_for_one_sop_class_are_a_mistake(serve: Callable[..., AssociationServer]) -> None:
    with pytest.raises(LocalProtocolError, match="two services"):
        serve().register(Finder(three_rows))


def test_a_taken_port_is_an_os_error(serve: Callable[..., AssociationServer], tmp_path: Path) -> None:
    second = AssociationServer("127.0.0.1", serve().port, spool=tmp_path / "other", admit=lambda peer: True)
    with pytest.raises(OSError, match="in use"):
        second.start()


def test_every_class_that_devices_store_is_known() -> None:
    for uid in ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.1.1"):
        assert uid in STORAGE_SOP_CLASSES
    assert "1.2.840.10008.1.20.1" not in STORAGE_SOP_CLASSES


# --- C-FIND -------------------------------------------------------------------------------------------------


def test_answers_come_in_order_and_end_with_success(serve: Callable[..., AssociationServer]) -> None:
    seen: list[tuple[FindRequest, Peer]] = []

    def rows(request: FindRequest, peer: Peer) -> Iterator[Answer]:
        seen.append((request, peer))
        yield from three_rows(request, peer)

    association = associate(serve(rows))
    assert find(association, 7) == [(0xFF00, "T0"), (0xFF00, "T1"), (0xFF00, "T2"), (0, None)]
    association.release()
    [(request, peer)] = seen
    assert (request.message_id, request.sop_class) == (7, ModalityWorklistInformationFind)
    assert request.identifier.PatientName == SECRET
    assert (peer.calling_aet, peer.called_aet, peer.host) == ("CAMERA", "BROKER", "127.0.0.1")


def test_bytes_are_sent_as_they_are(serve: Callable[..., AssociationServer]) -> None:
    def rows(request: FindRequest, peer: Peer) -> Iterator[Answer]:
        assert request.transfer_syntax_uid == ImplicitVRLittleEndian
        yield Answer(status=status.PENDING_UNSUPPORTED_KEYS, identifier=b"\x10\x00\x20\x00\x02\x00\x00\x00T1")

    association = associate(serve(rows), find=[ImplicitVRLittleEndian])
    assert find(association) == [(0xFF01, "T1"), (0, None)]
    association.release()


def test_an_answer_longer_than_the_peer_s_pdu_is_split(serve: Callable[..., AssociationServer]) -> None:
    def rows(request: FindRequest, peer: Peer) -> Iterator[Answer]:
        yield Answer(
            status=status.PENDING, identifier=to_dataset({"PatientID": "T1", "PatientComments": "x" * 9000})
        )

    ae = AE("CAMERA")
    ae.add_requested_context(ModalityWorklistInformationFind)
    association = connect(ae, serve(rows), max_pdu=4096)
    assert find(association) == [(0xFF00, "T1"), (0, None)]
    association.release()


def test_a_final_answer_ends_the_query(serve: Callable[..., AssociationServer]) -> None:
    def rows(request: FindRequest, peer: Peer) -> Iterator[Answer]:
        yield Answer(status=status.DATA_SET_MISMATCH, comment="ScheduledProcedureStepSequence")
        raise AssertionError("asked for more")

    association = associate(serve(rows))
    [(answer, _)] = association.send_c_find(to_dataset({"PatientID": ""}), ModalityWorklistInformationFind)
    assert (answer.Status, answer.ErrorComment) == (0xA900, "ScheduledProcedureStepSequence")
    association.release()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(SECRET), 0xC000),
        (StoreError("worklist not readable"), 0xA700),
        (RemoteProtocolError("no"), 0xC000),
    ],
)
def test_a_failing_service_is_answered_and_logged_without_values(
    serve: Callable[..., AssociationServer], caplog: pytest.LogCaptureFixture, error: Exception, expected: int
) -> None:
    def rows(request: FindRequest, peer: Peer) -> Iterator[Answer]:
        yield from three_rows(request, peer)
        raise error

    association = associate(serve(rows))
    assert [value for value, _ in find(association)] == [0xFF00] * 3 + [expected]
    assert find(association)[-1][0] == expected  # the association lives on
    association.release()
    records = [r for r in caplog.records if r.name.startswith("broker.")]
    assert len(records) == 2
    assert type(error).__name__ in records[0].getMessage()
    assert Path(__file__).name in records[0].getMessage()
    assert SECRET not in caplog.text


def test_an_answer_that_cannot_be_encoded_is_our_failure(
    serve: Callable[..., AssociationServer], caplog: pytest.LogCaptureFixture
) -> None:
    def rows(request: FindRequest, peer: Peer) -> Iterator[Answer]:
        broken = Dataset()
        broken[0x00280010] = DataElement(0x00280010, "US", SECRET, validation_mode=pydicom_config.IGNORE)
        yield Answer(status=status.PENDING, identifier=broken)

    association = associate(serve(rows))
    assert find(association) == [(0xC000, None)]
    assert SECRET not in caplog.text
    association.release()


@pytest.mark.parametrize(
    "identifier",
    [
        b"\x10\x00\x10",
        b"\x40\x00\x00\x01\xff\xff\xff\xffxxxxxxxx",
        b"\x28\x00\x10\x00\x03\x00\x00\x00abc",
        b"\xff" * 40,
        b"\x10\x00\x10\x00\x32\x00\x00\x00AB",
        b"\x08\x00\x50\x00\x00\x00\x00\x00\x10\x00",
    ],
)
def test_an_identifier_that_is_no_data_set_is_answered(
    serve: Callable[..., AssociationServer], identifier: bytes
) -> None:
    def rows(request: FindRequest, peer: Peer) -> Iterator[Answer]:
        Query.read(request.identifier)
        yield from ()

    association = associate(serve(rows), find=[ImplicitVRLittleEndian])
    request = C_FIND()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID = ModalityWorklistInformationFind
    request.Identifier = io.BytesIO(identifier)
    [context] = [
        c for c in association.accepted_contexts if c.abstract_syntax == ModalityWorklistInformationFind
    ]
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, context.context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert response.Status == status.CANNOT_UNDERSTAND
    assert association.send_c_echo().Status == status.SUCCESS
    association.release()


def test_a_cancel_is_honoured_between_answers(serve: Callable[..., AssociationServer]) -> None:
    closed = threading.Event()

    def rows(request: FindRequest, peer: Peer) -> Iterator[Answer]:
        try:
            yield from three_rows(request, peer)
            while not request.cancelled():
                pass
            while True:
                yield Answer(status=status.PENDING, identifier=to_dataset({"PatientID": "late"}))
        finally:
            closed.set()

    association = associate(serve(rows))
    query = to_dataset({"PatientName": "*"})
    statuses = []
    for answer, _ in association.send_c_find(query, ModalityWorklistInformationFind, msg_id=9):
        statuses.append(answer.Status)
        if len(statuses) == 3:
            association.send_c_cancel(9, query_model=ModalityWorklistInformationFind)
    assert statuses == [0xFF00, 0xFF00, 0xFF00, 0xFE00]
    assert closed.wait(5)
    association.release()


def test_a_service_is_closed_when_the_peer_goes(serve: Callable[..., AssociationServer]) -> None:
    closed = threading.Event()

    def rows(request: FindRequest, peer: Peer) -> Iterator[Answer]:
        try:
            while True:
                yield Answer(status=status.PENDING, identifier=to_dataset({"PatientID": "x"}))
        finally:
            closed.set()

    association = associate(serve(rows))
    next(association.send_c_find(to_dataset({"PatientID": ""}), ModalityWorklistInformationFind))
    association.abort()
    assert closed.wait(5)


# --- C-STORE ------------------------------------------------------------------------------------------------


def test_an_object_is_a_complete_file_of_its_service(
    serve: Callable[..., AssociationServer], keeper: Keeper, tmp_path: Path
) -> None:
    association = associate(serve(), store=[ExplicitVRLittleEndian])
    assert association.send_c_store(instance("1.2.3", 300_000)).Status == status.SUCCESS
    association.release()
    [(request, peer)] = keeper.taken
    assert (request.sop_class_uid, request.sop_instance_uid) == (CTImageStorage, "1.2.3")
    assert request.transfer_syntax_uid == ExplicitVRLittleEndian
    assert request.path.parent == tmp_path / "spool"
    assert peer.calling_aet == "CAMERA"
    kept = dcmread(keeper.folder / "1.2.3")
    assert len(kept.PixelData) == 300_000
    assert kept.file_meta.SourceApplicationEntityTitle == "CAMERA"
    assert kept.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "expected"),
    [(ValueError(SECRET), 0xC000), (OSError(28, SECRET), 0xA700), (StoreError("full"), 0xA700)],
)
def test_a_failing_store_is_answered_and_leaves_nothing(
    serve: Callable[..., AssociationServer],
    keeper: Keeper,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    error: Exception,
    expected: int,
) -> None:
    def fail(request: StoreRequest, peer: Peer) -> Answer:
        raise error

    keeper.function = fail
    association = associate(serve(), store=[ExplicitVRLittleEndian])
    assert association.send_c_store(instance()).Status == expected
    association.release()
    assert list((tmp_path / "spool").iterdir()) == []
    assert len([r for r in caplog.records if r.name.startswith("broker.")]) == 1
    assert SECRET not in caplog.text


def test_a_spool_that_cannot_be_written_is_answered_and_the_next_object_taken(
    serve: Callable[..., AssociationServer], keeper: Keeper, tmp_path: Path
) -> None:
    association = associate(serve(), store=[ExplicitVRLittleEndian])
    (tmp_path / "spool").rename(tmp_path / "away")
    assert association.send_c_store(instance("1.2.3", 300_000)).Status == 0xA700
    (tmp_path / "away").rename(tmp_path / "spool")
    assert association.send_c_store(instance("1.2.4")).Status == status.SUCCESS
    association.release()
    assert [request.sop_instance_uid for request, _ in keeper.taken] == ["1.2.4"]


def test_without_room_an_object_is_not_taken_in_and_nothing_is_logged_per_object(
    serve: Callable[..., AssociationServer], keeper: Keeper, caplog: pytest.LogCaptureFixture
) -> None:
    room, away = [False], []

    def check() -> None:
        if not room[0]:
            raise UnwritableError("the disk is nearly full")

    association = associate(
        serve(check_room=check, turned_away=lambda: away.append(1)), store=[ExplicitVRLittleEndian]
    )
    for _ in range(2):
        answer = association.send_c_store(instance("1.2.3", 300_000))
        assert (answer.Status, answer.ErrorComment) == (0xA700, "the disk is nearly full, try again later")
    assert find(association)[-1] == (status.SUCCESS, None), "a query needs no room"
    room[0] = True
    assert association.send_c_store(instance("1.2.4")).Status == status.SUCCESS
    association.release()

    assert [request.sop_instance_uid for request, _ in keeper.taken] == ["1.2.4"]
    assert len(away) == 2
    assert not [record for record in caplog.records if record.name.startswith("broker.")]


def test_room_that_ends_within_an_object_is_given_back_at_once(
    serve: Callable[..., AssociationServer], keeper: Keeper, tmp_path: Path
) -> None:
    spool, seen = tmp_path / "spool", list[int]()

    def check() -> None:
        seen.append(sum(file.stat().st_size for file in spool.iterdir()))
        if len(seen) > 20:
            raise UnwritableError("the disk is nearly full")

    association = associate(serve(check_room=check), store=[ExplicitVRLittleEndian])
    assert association.send_c_store(instance("1.2.3", 20_000_000)).Status == 0xA700
    association.release()

    assert max(seen) > 1_000_000, "it had begun"
    assert len(seen) == 21, "the rest was dropped without asking"
    assert list(spool.iterdir()) == []
    assert keeper.taken == []


def test_a_disk_that_fills_up_within_an_object_is_answered(
    serve: Callable[..., AssociationServer], keeper: Keeper, tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    away: list[int] = []
    association = associate(serve(turned_away=lambda: away.append(1)), store=[ExplicitVRLittleEndian])
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        assert association.send_c_store(instance("1.2.3", 5_000_000)).Status == 0xA700
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "spool").iterdir()) == []
    assert association.send_c_store(instance("1.2.4", 5_000_000)).Status == status.SUCCESS
    association.release()
    assert len(away) == 1


def test_what_a_dead_process_left_is_removed(serve: Callable[..., AssociationServer], tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / f"old{PART}").write_bytes(b"half")
    (spool / "other").write_bytes(b"not ours")
    serve()
    assert [path.name for path in spool.iterdir()] == ["other"]


def test_half_an_object_is_removed_when_the_peer_goes(
    serve: Callable[..., AssociationServer], tmp_path: Path
) -> None:
    server = serve()
    association = associate(server, store=[ExplicitVRLittleEndian])
    primitive = instance("1.2.3", 300_000)
    encoded = command_of(primitive)
    context = next(c for c in association.accepted_contexts if c.abstract_syntax == CTImageStorage)
    raw = association.dul.socket
    assert raw is not None
    assert raw.socket is not None
    raw.socket.sendall(pdata(context.context_id, 3, encoded) + pdata(context.context_id, 0, b"x" * 1000))
    spool = tmp_path / "spool"
    wait_for(lambda: any(spool.iterdir()))
    association.abort()
    wait_for(lambda: not any(spool.iterdir()))


# --- peers that misbehave -----------------------------------------------------------------------------------


def wait_for(condition: Callable[[], bool]) -> None:
    """Until the server's thread has got there."""
    pause = threading.Event()
    for _ in range(500):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("did not happen within 5 s")


def pdata(context_id: int, header: int, payload: bytes) -> bytes:
    item = struct.pack(">IBB", len(payload) + 2, context_id, header) + payload
    return struct.pack(">BBI", 4, 0, len(item)) + item


def command_of(ds: Dataset) -> bytes:
    """A C-STORE-RQ command set, implicit little endian."""

    def element(number: int, value: bytes) -> bytes:
        return struct.pack("<HHI", 0, number, len(value)) + value

    body = (
        element(0x0002, (ds.SOPClassUID + "\0").encode())
        + element(0x0100, struct.pack("<H", 1))
        + element(0x0110, struct.pack("<H", 1))
        + element(0x0700, struct.pack("<H", 2))
        + element(0x0800, struct.pack("<H", 1))
        + element(0x1000, (ds.SOPInstanceUID + "\0").encode())
    )
    return element(0x0000, struct.pack("<I", len(body))) + body


def test_silent_and_garbled_peers_do_not_hold_others(serve: Callable[..., AssociationServer]) -> None:
    server = serve()
    address = ("127.0.0.1", server.port)
    peers = [socket.create_connection(address) for _ in range(5)]
    peers[1].sendall(b"\x01\x00\x00\x00")  # stops inside a PDU header
    peers[2].sendall(b"\x01\x00\x00\x00\x10\x00half")  # inside an A-ASSOCIATE-RQ
    peers[3].sendall(b"GET / HTTP/1.1\r\n\r\n")
    peers[4].sendall(struct.pack(">BBI", 1, 0, LONGEST_ASSOCIATE + 1))
    association = associate(server)
    assert association.send_c_echo().Status == status.SUCCESS
    assert len(find(association)) == 4
    association.release()
    for peer in peers[3:]:
        peer.settimeout(5)
        while peer.recv(1000):
            pass
    for peer in peers:
        peer.close()


def test_a_peer_that_stops_inside_a_pdu_is_let_go(serve: Callable[..., AssociationServer]) -> None:
    server = serve(network_timeout=0.2, negotiation_timeout=0.2)
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(b"\x01\x00\x00\x00\x10\x00half")
        peer.settimeout(5)
        assert peer.recv(1) == b""


def test_a_message_that_cannot_be_read_aborts_its_association_only(
    serve: Callable[..., AssociationServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    association = associate(server)
    other = associate(server)
    raw = association.dul.socket
    assert raw is not None
    assert raw.socket is not None
    raw.socket.sendall(pdata(association.accepted_contexts[0].context_id, 3, SECRET.encode()))
    wait_for(lambda: association.is_aborted or not association.is_established)
    assert other.send_c_echo().Status == status.SUCCESS
    other.release()
    assert SECRET not in caplog.text


def test_an_operation_that_no_service_has_is_answered(serve: Callable[..., AssociationServer]) -> None:
    association = associate(serve())
    # N-CREATE under the verification context: pynetdicom's client checks nothing.
    answer, _ = association.send_n_create(to_dataset({"PatientID": "T1"}), Verification, "1.2.3")
    assert answer.Status == status.UNRECOGNISED_OPERATION
    assert association.send_c_echo().Status == status.SUCCESS
    association.release()


# --- objects that peers make and change ---------------------------------------------------------------------


def operating(
    serve: Callable[..., AssociationServer], function: Callable[[ObjectRequest, Peer], Answer]
) -> AssociationServer:
    server = serve()
    server.register(Objects(function))
    return server


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_service_gets_what_is_made_and_changed_as_it_came(
    serve: Callable[..., AssociationServer], syntax: str
) -> None:
    taken: list[ObjectRequest] = []

    def take(request: ObjectRequest, peer: Peer) -> Answer:
        taken.append(request)
        assert peer.calling_aet == "CAMERA"
        return Answer(status=status.SUCCESS)

    ae = AE("CAMERA")
    ae.add_requested_context(ModalityPerformedProcedureStep, syntax)
    association = connect(ae, operating(serve, take))
    said = to_dataset({"PatientID": "T1"})
    made, _ = association.send_n_create(said, ModalityPerformedProcedureStep, "1.2.3")
    nameless, _ = association.send_n_create(None, ModalityPerformedProcedureStep, None)
    changed, _ = association.send_n_set(said, ModalityPerformedProcedureStep, "1.2.3")
    association.release()

    assert [made.Status, nameless.Status, changed.Status] == [0, 0, 0]
    assert [(one.operation, one.sop_instance_uid) for one in taken] == [
        ("N-CREATE", "1.2.3"),
        ("N-CREATE", ""),
        ("N-SET", "1.2.3"),
    ]
    assert {one.transfer_syntax_uid for one in taken} == {syntax}
    assert taken[0].dataset == taken[2].dataset
    assert taken[0].dataset.endswith(b"T1")
    assert taken[1].dataset == b""


def test_an_answers_error_id_and_comment_reach_the_peer(serve: Callable[..., AssociationServer]) -> None:
    answer = Answer(
        status=status.PROCESSING_FAILURE, comment="closed", error_id=status.MAY_NO_LONGER_BE_UPDATED
    )
    association = associate(operating(serve, lambda *_: answer))
    said, _ = association.send_n_set(to_dataset({"PatientID": "T1"}), ModalityPerformedProcedureStep, "1.2.3")
    association.release()

    assert (said.Status, said.ErrorID, said.ErrorComment) == (0x0110, 0xA710, "closed")


@pytest.mark.parametrize("failure", [StoreError("not now"), ValueError(SECRET)])
def test_a_service_that_fails_is_a_processing_failure_without_its_values(
    serve: Callable[..., AssociationServer], caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    def fail(request: ObjectRequest, peer: Peer) -> Answer:
        raise failure

    association = associate(operating(serve, fail))
    said, _ = association.send_n_set(to_dataset({"PatientID": "T1"}), ModalityPerformedProcedureStep, "1.2.3")
    assert said.Status == status.PROCESSING_FAILURE
    assert association.send_c_echo().Status == status.SUCCESS
    association.release()
    assert SECRET not in caplog.text


def test_a_query_for_another_model_is_not_served(serve: Callable[..., AssociationServer]) -> None:
    association = associate(serve())
    with pytest.raises(ValueError, match="No presentation context"):
        list(association.send_c_find(Dataset(), StudyRootQueryRetrieveInformationModelFind))
    association.release()


# --- ending -------------------------------------------------------------------------------------------------


def test_stopping_ends_idle_associations_at_once_and_twice_is_once(
    serve: Callable[..., AssociationServer],
) -> None:
    server = serve()
    port = server.port
    association = associate(server)
    server.stop(5)
    wait_for(lambda: association.is_aborted)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)
    server.stop(5)


def test_stopping_lets_a_request_end(serve: Callable[..., AssociationServer], keeper: Keeper) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: StoreRequest, peer: Peer) -> Answer:
        begun.set()
        assert go_on.wait(5)
        return Keeper._keep(keeper, request, peer)

    keeper.function = slow
    server = serve()
    association = associate(server, store=[ExplicitVRLittleEndian])
    answers: list[int] = []
    sender = threading.Thread(target=lambda: answers.append(association.send_c_store(instance()).Status))
    sender.start()
    assert begun.wait(5)
    stopper = threading.Thread(target=server.stop, args=(5,))
    stopper.start()
    go_on.set()
    sender.join(5)
    stopper.join(5)
    assert answers == [status.SUCCESS]
    assert not stopper.is_alive()
    assert len(keeper.taken) == 1


def test_stopping_lets_a_query_end_whose_peer_goes_on_talking(
    serve: Callable[..., AssociationServer],
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(request: FindRequest, peer: Peer) -> Iterator[Answer]:
        yield from three_rows(request, peer)
        begun.set()
        assert go_on.wait(5)
        assert not request.cancelled()
        yield from three_rows(request, peer)

    server = serve(slow)
    port = server.port
    scu = Scu(port, [*ECHO, (WORKLIST, EXPLICIT)])
    answers: list[int] = []
    sender = threading.Thread(target=lambda: answers.append(len(scu.find(QUERY))))
    sender.start()
    assert begun.wait(5)
    scu.send_raw(pdata(3, 3, command_set({0x0100: 0x0FFF, 0x0120: 99, 0x0800: 0x0101})))
    stopper = threading.Thread(target=server.stop, args=(5,))
    stopper.start()
    wait_for(lambda: not is_open(port))
    go_on.set()
    sender.join(5)
    stopper.join(5)
    assert answers == [6]
    scu.drop()


def test_stopping_does_not_wait_longer_than_it_may(
    serve: Callable[..., AssociationServer], keeper: Keeper
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def stuck(request: StoreRequest, peer: Peer) -> Answer:
        begun.set()
        go_on.wait(20)
        return Answer(status=status.SUCCESS)

    keeper.function = stuck
    server = serve()
    association = associate(server, store=[ExplicitVRLittleEndian])
    sender = threading.Thread(target=lambda: association.send_c_store(instance()))
    sender.start()
    assert begun.wait(5)
    stopper = threading.Thread(target=server.stop, args=(0.1,))
    stopper.start()
    stopper.join(5)
    assert not stopper.is_alive()
    go_on.set()
    sender.join(5)


def test_nothing_of_a_data_set_is_logged_even_at_debug(
    serve: Callable[..., AssociationServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "pynetdicom")  # the client's, which shows what it sends
    server = serve()
    association = associate(server, store=[ExplicitVRLittleEndian])
    find(association)
    association.send_c_store(instance())
    association.release()
    assert SECRET not in caplog.text


# --- negotiation with a client that is not ours ---------------------------------------------------------------


def test_an_archive_reports_its_commitment_as_scp(tmp_path: Path) -> None:
    server = AssociationServer("127.0.0.1", 0, spool=tmp_path / "spool", admit=lambda peer: True)
    told: list[ActionRequest] = []

    def act(request: ActionRequest, peer: Peer) -> Answer:
        """The archive opens the association, and is its SCP."""
        told.append(request)
        return Answer(status=status.SUCCESS)

    server.register(Commitment(act))
    server.start()
    ae = AE("ARCHIVE")
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    association = connect(ae, server, ext_neg=[role])
    [context] = association.accepted_contexts
    assert (context.as_scp, context.as_scu) == (True, False)
    answer, _ = association.send_n_event_report(
        to_dataset({"TransactionUID": "1.2.3"}), 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
    )
    assert answer.Status == status.SUCCESS
    association.release()
    server.stop(0)
    _sockets.pop().close()
    [request] = told
    assert (request.operation, request.type_id) == ("N-EVENT-REPORT", 1)
    assert request.sop_instance_uid == "1.2.840.10008.1.20.1.1"
    assert b"1.2.3" in request.dataset


def test_ways_to_query_are_answered_where_asked(serve: Callable[..., AssociationServer]) -> None:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = (
        ModalityWorklistInformationFind,
        b"\1\1\1",
    )
    ae = AE("CAMERA")
    ae.add_requested_context(ModalityWorklistInformationFind)
    association = connect(ae, serve(), ext_neg=[item])
    answered = association.acceptor.sop_class_extended
    association.release()
    assert answered == {ModalityWorklistInformationFind: b"\0\1\0"}


def test_the_same_request_is_answered_from_memory_and_a_new_service_counts(tmp_path: Path) -> None:
    server = AssociationServer("127.0.0.1", 0, spool=tmp_path / "spool", admit=lambda peer: True)
    body = associate_rq([(WORKLIST, EXPLICIT)])[6:]
    _, nothing = server.negotiate(body)
    assert server.negotiate(body)[1] is nothing
    assert nothing.contexts == {}
    server.register(Finder(three_rows))
    assert set(server.negotiate(body)[1].contexts) == {1}
    long = body + bytes.fromhex("7f00fffb") + bytes(0xFFFB)
    assert server.negotiate(long)[1] is not server.negotiate(long)[1], "nobody fills the memory with it"
