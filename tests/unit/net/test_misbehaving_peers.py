"""Peers that break the protocol, stall or vanish: the right abort, nothing left behind, and the others unaffected."""

from __future__ import annotations

import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.dicom import status
from broker.dicom.dataset import to_dataset
from broker.net.acceptor import SPARE
from broker.net.association import (
    AssociationServer,
)
from broker.net.seats import REFUSALS
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
    p_data,
)
from tests.support.processes import wait_until
from tests.support.services import Services

CT, COMMITMENT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.20.1"
ECHO = [(VERIFICATION, IMPLICIT)]
ALL = [(VERIFICATION, IMPLICIT), (WORKLIST, EXPLICIT), (CT, EXPLICIT), (COMMITMENT, EXPLICIT)]
ECHO_RQ = command_set({0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: 1, 0x0800: 0x0101})
FIND_RQ = command_set({0x0002: WORKLIST, 0x0100: 0x0020, 0x0110: 2, 0x0700: 0, 0x0800: 1})
STORE_RQ = command_set({0x0002: CT, 0x0100: 0x0001, 0x0110: 3, 0x0700: 0, 0x0800: 1, 0x1000: "1.2.3"})
CANCEL_RQ = command_set({0x0100: 0x0FFF, 0x0120: 2, 0x0800: 0x0101})
QUERY = encoded(to_dataset({"PatientID": ""}))
RELEASE_RQ = struct.pack(">BBLL", 5, 0, 4, 0)
ABORT, RELEASE_RP = 7, 6
USER = (0, 0)


@pytest.fixture
def services() -> Services:
    return Services()


@pytest.fixture
def serve(tmp_path: Path, services: Services) -> Iterator[Callable[..., AssociationServer]]:
    with ExitStack() as stack:

        def start(**options: object) -> AssociationServer:
            arguments = {"spool": tmp_path / "spool", "admit": lambda peer: peer.calling_aet != "STRANGER"}
            server = AssociationServer("127.0.0.1", 0, **arguments | options)  # type: ignore[arg-type]
            services.register(server)
            server.start()
            stack.callback(server.stop, 0)
            return server

        yield start


def talk(port: int, data: bytes) -> list[tuple[int, bytes]]:
    """What the server sends to these bytes until it closes: (type, body) of each PDU."""
    found, received = [], b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as peer:
        peer.sendall(data)
        try:
            while chunk := peer.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
    while received:
        kind, length = struct.unpack_from(">BxL", received)
        found.append((kind, received[6 : 6 + length]))
        received = received[6 + length :]
    return found


def aborted(scu: Scu) -> tuple[int, int]:
    """Source and reason of the A-ABORT that comes next, and the end of the connection behind it."""
    kind, body = scu.read_pdu()
    assert kind == ABORT
    with pytest.raises(ConnectionError):
        scu.read_pdu()
    scu.drop()
    return body[2], body[3]


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxL", kind, len(body)) + body


# --- what is aborted, by whom and why (PS3.8 9.3.8) -----------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (pdu(0x09, b""), (2, 1)),
        (pdu(0xFF, b"x" * 100), (2, 1)),
        (associate_rq(ECHO), (2, 2)),
        (pdu(2, bytes(80)), (2, 2)),
        (pdu(3, bytes(4)), (2, 2)),
        (pdu(6, bytes(4)), (2, 2)),
        (struct.pack(">BxL", 4, 0xFFFFFFFF), (2, 6)),
        (struct.pack(">BxL", 4, 131072 + 17), (2, 6)),
        (pdu(4, b"\0\0\0\1\1"), USER),
        (pdu(4, b"\0\0\0\1\1\3"), USER),
        (pdu(4, struct.pack(">LBB", 1000, 1, 3) + ECHO_RQ), USER),
        (p_data(1, 3, b"no command set"), USER),
        (p_data(1, 2, b"data without a command"), USER),
        (p_data(99, 3, ECHO_RQ), USER),
        (p_data(1, 3, STORE_RQ) + p_data(1, 3, ECHO_RQ), USER),
        (p_data(1, 3, command_set({0x0100: 0x8030, 0x0110: 1, 0x0120: 1, 0x0800: 0x0101, 0x0900: 0})), USER),
        (p_data(3, 3, FIND_RQ) + b"".join(p_data(3, 0, bytes(100_000)) for _ in range(168)), USER),
    ],
)
def test_what_breaks_an_association_is_answered_as_the_standard_says(
    serve: Callable[..., AssociationServer], sent: bytes, expected: tuple[int, int]
) -> None:
    server = serve()
    with Scu(server.port, ECHO) as other:
        scu = Scu(server.port, ALL)
        scu.send_raw(sent)
        assert aborted(scu) == expected
        assert other.echo() == 0
    assert list(server.spool.iterdir()) == []


@pytest.mark.parametrize(
    "sent",
    [
        RELEASE_RQ,
        p_data(1, 3, ECHO_RQ),
        pdu(0x2A, b""),
        pdu(1, bytes(30)),
        pdu(1, associate_rq(ECHO)[6:] + b"\x50\0\xff\xff"),
        struct.pack(">BxL", 1, 0x7FFFFFFF),
        b"GET / HTTP/1.1\r\nHost: worklist\r\n\r\n",
    ],
)
def test_before_there_is_an_association_its_user_aborts(
    serve: Callable[..., AssociationServer], sent: bytes
) -> None:
    assert talk(serve().port, sent) == [(ABORT, bytes(4))]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"\0\2" + associate_rq(ECHO)[8:], (1, 2, 2)),
        (associate_rq(ECHO)[6:].replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.2"), (1, 1, 2)),
        (associate_rq(ECHO, calling="STRANGER")[6:] + b"garbage", (1, 1, 3)),
        (associate_rq(ECHO, called="OTHER")[6:], (1, 1, 7)),
    ],
)
def test_who_is_rejected_hears_why(
    serve: Callable[..., AssociationServer], body: bytes, refusal: tuple[int, int, int]
) -> None:
    assert talk(serve().port, pdu(1, body)) == [(3, bytes((0, *refusal)))]


def test_a_peer_that_takes_too_short_pdus_is_not_served(serve: Callable[..., AssociationServer]) -> None:
    body = associate_rq(ECHO)[6:].replace(struct.pack(">I", 131072), struct.pack(">I", 8))
    assert talk(serve().port, pdu(1, body)) == [(ABORT, bytes(4))]


# --- time ---------------------------------------------------------------------------------------------------


def test_silence_in_an_association_ends_it(serve: Callable[..., AssociationServer]) -> None:
    scu = Scu(serve(network_timeout=0.1).port, ECHO)
    assert aborted(scu) == USER


def test_half_a_message_is_not_waited_for_for_ever(
    serve: Callable[..., AssociationServer], tmp_path: Path
) -> None:
    scu = Scu(serve(network_timeout=0.1).port, ALL)
    scu.send_raw(p_data(5, 3, STORE_RQ) + p_data(5, 0, b"x" * 100_000)[:50_000])
    assert aborted(scu) == USER
    wait_until(lambda: not list((tmp_path / "spool").iterdir()), "the half object is gone")


def test_a_client_that_trickles_its_request_is_let_go(serve: Callable[..., AssociationServer]) -> None:
    server = serve(negotiation_timeout=0.2)
    gone, stop = threading.Event(), threading.Event()

    def trickle() -> None:
        with socket.create_connection(("127.0.0.1", server.port)) as peer:
            try:
                for byte in associate_rq(ECHO) * 100:
                    peer.sendall(bytes((byte,)))
                    if stop.wait(0.01):
                        return
            except ConnectionError:
                gone.set()

    thread = threading.Thread(target=trickle)
    thread.start()
    with Scu(server.port, ECHO) as other:
        assert other.echo() == 0
    assert gone.wait(10)
    stop.set()
    thread.join()


def test_who_does_not_read_its_answers_holds_nobody(
    serve: Callable[..., AssociationServer], services: Services
) -> None:
    services.rows = 1_000_000
    server = serve(network_timeout=0.3, max_associations=2)
    deaf = Scu(server.port, ALL)
    deaf.send_raw(p_data(3, 3, FIND_RQ) + p_data(3, 2, QUERY))
    with Scu(server.port, ECHO) as other:
        assert other.echo() == 0

    def two_places() -> bool:
        try:
            with Scu(server.port, ECHO) as one, Scu(server.port, ECHO) as two:
                return one.echo() == two.echo() == 0
        except RejectedError:
            return False

    wait_until(two_places, "its place is free")
    deaf.drop()


# --- many ---------------------------------------------------------------------------------------------------


def test_hundreds_of_idle_peers_do_not_disturb_one(serve: Callable[..., AssociationServer]) -> None:
    server = serve(max_associations=400, max_per_peer=400)
    with ExitStack() as stack:
        idle = [stack.enter_context(Scu(server.port, ECHO)) for _ in range(300)]
        with Scu(server.port, ALL) as one:
            assert len(one.find(QUERY)) == 3
            assert one.store((CT, EXPLICIT), "1.2.3", bytes(100)) == 0
        assert [scu.echo() for scu in idle] == [0] * 300


@pytest.mark.parametrize("same", ["title", "host"])
def test_one_peer_does_not_get_every_place(serve: Callable[..., AssociationServer], same: str) -> None:
    server = serve(max_per_peer=2)
    titles = iter(["A", "A", "A"] if same == "title" else ["A", "B", "C"])
    with Scu(server.port, ECHO, calling=next(titles)), Scu(server.port, ECHO, calling=next(titles)) as two:
        with pytest.raises(RejectedError) as refusal:
            Scu(server.port, ECHO, calling=next(titles))
        assert refusal.value.args == ((2, 3, 2),)
        assert two.echo() == 0
    with Scu(server.port, ECHO, calling="A") as again:
        assert again.echo() == 0


def test_a_place_is_free_before_the_release_is_confirmed(serve: Callable[..., AssociationServer]) -> None:
    server = serve(max_associations=1)
    for _ in range(50):
        with Scu(server.port, ECHO) as scu:
            assert scu.echo() == 0


def test_threads_do_not_grow_with_associations_that_are_over(serve: Callable[..., AssociationServer]) -> None:
    server = serve()
    with Scu(server.port, ECHO), Scu(server.port, ECHO):
        pass
    before = threading.active_count()
    for _ in range(100):
        Scu(server.port, ECHO).release()
        Scu(server.port, ECHO).drop()
    # As many as overlapped stay to wait for the next: on a slow machine up to `SPARE`, of 200 associations.
    wait_until(lambda: threading.active_count() <= before + SPARE, "no more threads than wait for others")


def test_silent_connections_of_one_host_do_not_use_up_the_threads(
    serve: Callable[..., AssociationServer],
) -> None:
    server = serve(max_associations=2, max_per_peer=1)
    address = ("127.0.0.1", server.port)
    with ExitStack() as stack:
        for _ in range(1 + REFUSALS // 2):
            stack.enter_context(socket.create_connection(address, timeout=10))
        with socket.create_connection(address, timeout=10) as one_too_many:
            assert one_too_many.recv(1) == b""
        other = socket.create_connection(address, timeout=10, source_address=("127.0.0.2", 0))
        stack.enter_context(other).sendall(associate_rq(ECHO))
        assert other.recv(1) == b"\2", "A-ASSOCIATE-AC"


def test_where_no_thread_is_left_the_longest_silent_makes_room(
    serve: Callable[..., AssociationServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.net.acceptor._SILENT", 0.01)
    server = serve(max_associations=2)
    address = ("127.0.0.1", server.port)
    with Scu(server.port, ECHO) as one, ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(2 * REFUSALS)
        ]
        with Scu(server.port, ECHO) as two:
            assert one.echo() == two.echo() == 0
        assert silent[0].recv(1) == b"", "it was here first"


def test_connections_wait_while_there_are_no_more_files(
    serve: Callable[..., AssociationServer], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as peer:
        peer.settimeout(10)
        resource.setrlimit(resource.RLIMIT_NOFILE, (peer.fileno() + 1, hard))
        try:
            peer.connect(("127.0.0.1", server.port))
            wait_until(lambda: "no connection can be accepted" in caplog.text, "it is told")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        peer.sendall(associate_rq(ECHO))
        assert peer.recv(1) == b"\2"


def test_connections_wait_while_there_are_no_more_threads(
    serve: Callable[..., AssociationServer], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The last one that accepts must not leave with its connection: nobody would hear the next."""
    server = serve()
    start, tried = threading.Thread.start, threading.Event()

    def none_left(thread: threading.Thread) -> None:
        if thread.name.startswith("dicom-"):
            tried.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", none_left)
        waiting = socket.create_connection(("127.0.0.1", server.port))
        assert tried.wait(10)
    with waiting, Scu(server.port, ECHO) as scu:
        assert scu.echo() == status.SUCCESS
    assert "no more threads" in caplog.text


# --- ways to end --------------------------------------------------------------------------------------------


def test_release_within_a_query_ends_its_answers(
    serve: Callable[..., AssociationServer], services: Services
) -> None:
    services.rows = 1_000_000
    scu = Scu(serve().port, ALL)
    scu.send_raw(p_data(3, 3, FIND_RQ) + p_data(3, 2, QUERY) + RELEASE_RQ)
    kinds = set()
    while (kind := scu.read_pdu()[0]) != RELEASE_RP:
        kinds.add(kind)
    assert kinds <= {4}
    scu.drop()


def test_a_cancel_in_the_same_segment_as_its_query(
    serve: Callable[..., AssociationServer], services: Services
) -> None:
    services.rows = 1_000_000
    with Scu(serve().port, ALL) as scu:
        scu.send_raw(p_data(3, 3, FIND_RQ) + p_data(3, 2, QUERY) + p_data(3, 3, CANCEL_RQ))
        answers = 0
        while struct.pack("<HHLH", 0, 0x0900, 2, status.CANCEL) not in scu.read_pdu()[1]:
            answers += 1
        assert answers < 1_000_000
        assert scu.echo() == 0


def test_a_cancel_of_nothing_is_passed_over(serve: Callable[..., AssociationServer]) -> None:
    with Scu(serve().port, ALL) as scu:
        scu.send_raw(p_data(3, 3, CANCEL_RQ))
        assert len(scu.find(QUERY)) == 3


def test_requests_that_do_not_wait_for_answers_are_served_in_turn(
    serve: Callable[..., AssociationServer],
) -> None:
    with Scu(serve().port, ALL) as scu:
        scu.send_raw(
            p_data(3, 3, FIND_RQ) + p_data(3, 2, QUERY) + p_data(1, 3, ECHO_RQ) + p_data(1, 3, ECHO_RQ)
        )
        fields = [scu.read_pdu()[1] for _ in range(3 * 2 + 3)]
        statuses = [body[body.index(b"\0\x09\2\0\0\0") + 6 :][:2] for body in fields if body[5] == 3]
        assert statuses == [b"\0\xff"] * 3 + [b"\0\0"] * 3
        assert scu.echo() == 0


def test_actions_and_reports_reach_their_service(
    serve: Callable[..., AssociationServer], services: Services
) -> None:
    def answer(command: dict[int, str | int], dataset: bytes = b"") -> int:
        scu.send_raw(p_data(7, 3, command_set(command)) + (p_data(7, 2, dataset) if dataset else b""))
        _, body = scu.read_pdu()
        return int.from_bytes(body[body.index(b"\0\x09\2\0\0\0") + 6 :][:2], "little")

    scu = Scu(serve().port, ALL)
    action: dict[int, str | int] = {0x0003: COMMITMENT, 0x0100: 0x0130, 0x0110: 1, 0x0800: 1, 0x1001: "1.2"}
    report: dict[int, str | int] = {0x0002: COMMITMENT, 0x0100: 0x0100, 0x0110: 1, 0x0800: 1, 0x1000: "1.2"}
    assert answer(action | {0x1008: 1}, b"1234") == status.SUCCESS
    assert answer(report | {0x1002: 2}, b"5678") == status.SUCCESS
    assert answer(action | {0x1008: 9}, b"1234") == status.PROCESSING_FAILURE
    assert answer(action | {0x0003: CT, 0x1008: 1}, b"1234") == status.NO_SUCH_SOP_CLASS
    assert answer({0x0003: COMMITMENT, 0x0100: 0x0150, 0x0110: 1, 0x0800: 0x0101, 0x1001: "1.2"}) == 0x0211
    scu.release()
    seen = [(r.operation, r.sop_instance_uid, r.type_id, r.dataset) for r in services.actions]
    assert seen[:2] == [("N-ACTION", "1.2", 1, b"1234"), ("N-EVENT-REPORT", "1.2", 2, b"5678")]


def test_stopping_tells_idle_peers(serve: Callable[..., AssociationServer]) -> None:
    server = serve()
    scus = [Scu(server.port, ECHO) for _ in range(20)]
    server.stop(5)
    assert [aborted(scu) for scu in scus] == [USER] * 20


# --- anything at all ----------------------------------------------------------------------------------------

CONVERSATION = b"".join(
    [
        associate_rq(ALL),
        p_data(1, 3, ECHO_RQ),
        p_data(3, 3, FIND_RQ),
        p_data(3, 2, QUERY),
        p_data(5, 3, STORE_RQ),
        p_data(5, 0, b"x" * 40),
        p_data(5, 2, b"y" * 40),
        RELEASE_RQ,
    ]
)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AssociationServer]:
    """A server that all examples of a property meet, with a peer that none of them may disturb."""
    spool = tmp_path_factory.mktemp("lasting") / "spool"
    server = AssociationServer("127.0.0.1", 0, spool=spool, admit=lambda peer: True, network_timeout=5)
    Services().register(server)
    server.start()
    yield server
    server.stop(0)


def survives(server: AssociationServer, data: bytes, cuts: list[int]) -> None:
    """Sends it in pieces, hears the server out, and looks whether it still serves and nothing is left."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as peer:
        try:
            for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                peer.sendall(data[start:end])
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65536):
                pass
        except ConnectionError:
            pass
    with Scu(server.port, ECHO) as other:
        assert other.echo() == 0
    wait_until(lambda: not list(server.spool.iterdir()), "nothing is left of it")


FUZZ = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.data())
def test_any_damage_to_a_conversation_is_survived(lasting: AssociationServer, data: st.DataObject) -> None:
    damaged = bytearray(CONVERSATION)
    for _ in range(data.draw(st.integers(0, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    whole = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    survives(lasting, whole, sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5))))


@FUZZ
@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 9), st.binary(max_size=200), st.integers(-8, 8)), max_size=5),
)
def test_pdus_of_any_content_whose_lengths_may_lie_are_survived(
    lasting: AssociationServer, associated: bool, pdus: list[tuple[int, bytes, int]]
) -> None:
    data = associate_rq(ALL) if associated else b""
    for kind, body, lie in pdus:
        data += struct.pack(">BxL", kind, max(0, len(body) + lie)) + body
    survives(lasting, data, [])


@FUZZ
@given(st.binary(max_size=100))
def test_any_command_set_is_survived(lasting: AssociationServer, raw: bytes) -> None:
    survives(lasting, associate_rq(ALL) + p_data(1, 3, raw) + p_data(5, 2, raw), [])


@FUZZ
@given(st.binary(max_size=200))
def test_any_identifier_is_answered(lasting: AssociationServer, raw: bytes) -> None:
    with Scu(lasting.port, ALL) as scu:
        scu.send_raw(p_data(3, 3, FIND_RQ) + p_data(3, 2, raw))
        while b"\0\x09\2\0\0\0\0\xff" in scu.read_pdu()[1]:
            scu.read_pdu()
        assert scu.echo() == 0
