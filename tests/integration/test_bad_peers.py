"""Peers that break the protocol beside a running broker: each hears what the standard says, others are served
meanwhile, and files, threads, connections and half objects come back to where they were.

Time-outs, and every other way to break it, are in tests/unit/net/test_misbehaving_peers.py.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from broker.dicom.dataset import to_dataset
from tests.support.broker import Broker
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
from tests.support.images import dataset_bytes, write_image
from tests.support.mpps import MPPS
from tests.support.processes import wait_until

pytestmark = pytest.mark.integration

KNOWN = "CT1_STO"
CT = ("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)
CONTEXTS = [(VERIFICATION, IMPLICIT), (WORKLIST, EXPLICIT), CT, (MPPS, EXPLICIT)]
ECHO_RQ = command_set({0x0002: VERIFICATION, 0x0100: 0x0030, 0x0110: 1, 0x0800: 0x0101})
FIND_RQ = command_set({0x0002: WORKLIST, 0x0100: 0x0020, 0x0110: 2, 0x0700: 0, 0x0800: 1})
QUERY = encoded(to_dataset({"PatientID": "", "ScheduledProcedureStepSequence": ({"Modality": "CT"},)}))
USER, UNEXPECTED, INVALID = (0, 0), (2, 2), (2, 6)
"""Source and reason of an A-ABORT (PS3.8 9.3.8)."""


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One broker for all of them, which knows its peers, and has had as many at once as it keeps threads for."""
    broker = Broker(tmp_path_factory.mktemp("harmed"), settings={"BROKER_OPEN_AE": "false"})
    broker.start()
    with ExitStack() as stack:
        warm = [stack.enter_context(Scu(broker.dicom_port, CONTEXTS, calling=KNOWN)) for _ in range(60)]
        for scu in warm:
            scu.find(QUERY)
    yield broker
    broker.kill()


def held(broker: Broker) -> tuple[int, int, int]:
    """Connections, threads, and objects that are being received."""
    folder = Path(f"/proc/{broker.pid}")
    sockets = 0
    for handle in (folder / "fd").iterdir():
        try:
            sockets += os.readlink(handle).startswith("socket:")
        except FileNotFoundError:
            continue  # closed meanwhile
    return sockets, len(os.listdir(folder / "task")), len(list((broker.data / "incoming").iterdir()))


@pytest.fixture
def port(harmed: Broker) -> Iterator[int]:
    """Its DICOM port; afterwards the broker must hold what it held before, and serve."""
    before = held(harmed)
    yield harmed.dicom_port
    is_served(harmed.dicom_port)
    wait_until(
        lambda: all(now <= then for now, then in zip(held(harmed), before, strict=True)),
        f"(connections, threads, objects) are {before} again",
    )


def is_served(port: int) -> None:
    """A device that behaves: C-ECHO, and a worklist."""
    with Scu(port, CONTEXTS, calling=KNOWN) as other:
        assert other.echo() == 0
        assert other.find(QUERY) == []


def heard(scu: Scu) -> tuple[int, int]:
    """Source and reason of the A-ABORT that comes next, and the end of the connection behind it."""
    kind, body = scu.read_pdu()
    assert kind == 7
    with pytest.raises(ConnectionError):
        scu.read_pdu()
    scu.drop()
    return body[2], body[3]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(struct.pack(">BxL", 4, 0xFFFFFFFF), INVALID, id="oversized PDU"),
        pytest.param(struct.pack(">BxL", 4, 1 << 20) + bytes(100_000), INVALID, id="longer than agreed"),
        pytest.param(b"\0" * 6, (2, 1), id="garbage"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", INVALID, id="another protocol"),
        pytest.param(p_data(99, 3, ECHO_RQ), USER, id="bad context id"),
        pytest.param(p_data(3, 2, QUERY), USER, id="data set before its command"),
        pytest.param(p_data(3, 3, FIND_RQ) + p_data(3, 3, ECHO_RQ), USER, id="command within a message"),
        pytest.param(p_data(3, 3, FIND_RQ) + p_data(5, 2, QUERY), USER, id="message in two contexts"),
        pytest.param(p_data(1, 3, ECHO_RQ[:-3]), USER, id="truncated command"),
        pytest.param(struct.pack(">BxLLBB", 4, 6, 500, 1, 3), USER, id="truncated PDV"),
        pytest.param(associate_rq(CONTEXTS, KNOWN), UNEXPECTED, id="association within one"),
        pytest.param(struct.pack(">BxL", 6, 4) + bytes(4), UNEXPECTED, id="release that nobody asked for"),
    ],
)
def test_what_breaks_an_association_ends_it_and_no_other(
    port: int, sent: bytes, expected: tuple[int, int]
) -> None:
    with Scu(port, CONTEXTS, calling=KNOWN) as other:
        scu = Scu(port, CONTEXTS, calling=KNOWN)
        scu.send_raw(sent)
        assert heard(scu) == expected
        assert other.echo() == 0


@pytest.mark.parametrize(
    ("calling", "called", "refusal"), [("STRANGER", "BROKER", (1, 1, 3)), (KNOWN, "OTHER", (1, 1, 7))]
)
def test_an_unknown_ae_hears_that_it_is(
    port: int, calling: str, called: str, refusal: tuple[int, int, int]
) -> None:
    with pytest.raises(RejectedError) as rejected:
        Scu(port, CONTEXTS, calling=calling, called=called)
    assert rejected.value.args == (refusal,)


def test_a_context_that_is_not_served_is_refused_and_the_rest_is_taken(port: int) -> None:
    with Scu(
        port,
        [(VERIFICATION, IMPLICIT), ("1.2.840.10008.5.1.1.9", IMPLICIT), (WORKLIST, "1.2.5")],
        calling=KNOWN,
    ) as scu:
        assert list(scu.accepted) == [(VERIFICATION, IMPLICIT)]
        assert scu.echo() == 0


@pytest.mark.parametrize("end", [Scu.abort, Scu.drop], ids=["abort", "hung up"])
def test_an_object_that_ends_in_its_middle_leaves_nothing(
    port: int, tmp_path: Path, end: Callable[[Scu], None]
) -> None:
    image = write_image(tmp_path / "a.dcm", pixels=256)
    content = dataset_bytes((tmp_path / "a.dcm").read_bytes())
    for part in (content[:10], content[: len(content) // 2], content):
        scu = Scu(port, CONTEXTS, calling=KNOWN)
        scu.begin_store(CT, str(image.SOPInstanceUID), part)
        end(scu)


@contextmanager
def torn(port: int, data: bytes, count: int) -> Iterator[None]:
    """So many connections that say this and no more, until they hang up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 1000)), hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(count):
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            peer.sendall(data)
        yield


ASSOCIATED = associate_rq(CONTEXTS, KNOWN)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ASSOCIATED[:3], id="half a header"),
        pytest.param(ASSOCIATED[:100], id="half an A-ASSOCIATE-RQ"),
        pytest.param(ASSOCIATED + p_data(1, 3, ECHO_RQ)[:20], id="half a command"),
        pytest.param(ASSOCIATED + p_data(3, 3, FIND_RQ) + p_data(3, 2, QUERY)[:20], id="half an identifier"),
        pytest.param(ASSOCIATED + p_data(3, 3, FIND_RQ), id="a command without its data set"),
    ],
)
def test_peers_that_stop_in_the_middle_hold_nobody(port: int, data: bytes) -> None:
    with torn(port, data, 50):
        is_served(port)


def test_a_thousand_connections_that_say_nothing_hold_nobody(port: int) -> None:
    """More than there are threads: the longest silent make room."""
    with Scu(port, CONTEXTS, calling=KNOWN) as other, torn(port, b"", 1000):
        is_served(port)
        assert other.echo() == 0
        assert other.find(QUERY) == []


def test_a_query_of_any_bytes_is_answered(port: int) -> None:
    nested = (
        struct.pack("<HH2sHL", 0x0040, 0x0100, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    )
    identifiers = {
        "lying length": struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 5000) + b"1",
        "lying group length": struct.pack("<HH2sHL", 0x0010, 0x0000, b"UL", 4, 0xFFFF) + QUERY,
        "invalid VR": struct.pack("<HH2sH", 0x0010, 0x0020, b"??", 2) + b"1 ",
        "undefined length that does not end": nested,
        "nested too deeply": nested * 3000,
        "truncated": QUERY[:-5],
        "garbage": bytes(range(256)) * 4,
        "nothing": b"",
    }
    with Scu(port, CONTEXTS, calling=KNOWN) as scu:
        for name, identifier in identifiers.items():
            scu.send_raw(p_data(3, 3, FIND_RQ) + p_data(3, 2, identifier))
            kind, body = scu.read_pdu()
            assert (kind, body[5] & 1) == (4, 1), name
            status = int.from_bytes(body[body.index(b"\0\x09\2\0\0\0") + 6 :][:2], "little")
            assert status in (0x0000, 0xA900, 0xC000), f"{name}: {status:04X}"
            assert scu.echo() == 0, name
