"""Back-pressure: a disk without room, a full one, more connections than may be. Every sender gets an answer, nothing
is acknowledged that is not kept, and all goes on by itself once it can."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.dcmtk import worklist_query
from tests.support.dimse import EXPLICIT, IMPLICIT, VERIFICATION, WORKLIST, RejectedError, Scu, encoded
from tests.support.disk import CannotMountError, SmallDisk
from tests.support.flows import accepted, queued, status, wait_for_row, wait_until_idle
from tests.support.images import dataset_bytes, write_image
from tests.support.messages import Person, adt, orm
from tests.support.mllp import MllpClient, MllpSink, field, framed
from tests.support.needs import absent
from tests.support.orthanc import Orthanc
from tests.support.processes import wait_until

pytestmark = pytest.mark.integration

MIB = 1 << 20
MIN_FREE = 64 * MIB
"""`limits.min_free` as it is shipped."""

CT = ("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)
ECHO = [(VERIFICATION, IMPLICIT)]
SOMEONE = Person(number="800001", family="Trang")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    try:
        disk = SmallDisk(tmp_path / "disk", 160 * MIB)
    except CannotMountError as exc:
        absent(str(exc))
    yield disk
    disk.unmount()


@pytest.fixture
def broker(disk: SmallDisk, start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink) -> Broker:
    """Its data folder is the small disk."""
    return start_broker(
        pacs_port=orthanc.port, epj_port=epj_sink.port, settings={"BROKER_DATA": str(disk.folder)}
    )


def enhanced(message: bytes) -> bytes:
    """The message with MSH-15 AL, MSH-16 NE."""
    return message.replace(b"|2.5.1||||||", b"|2.5.1|||AL|NE||", 1)


def stored(broker: Broker, folder: Path, *, pixels: int = 16) -> int:
    """The status of a C-STORE of a new image."""
    image = write_image(folder / "image.dcm", pixels=pixels)
    with Scu(broker.dicom_port, [CT]) as scu:
        return scu.store(CT, image.SOPInstanceUID, dataset_bytes((folder / "image.dcm").read_bytes()))


def rows(broker: Broker) -> int:
    """How many rows a modality sees."""
    with Scu(broker.dicom_port, [(WORKLIST, EXPLICIT)]) as modality:
        return len(modality.find(encoded(worklist_query())))


def control_ids(sink: MllpSink) -> set[str]:
    return {field(message, b"MSH", 10).decode() for message in sink.messages}


def test_without_room_nothing_is_taken_what_was_taken_is_delivered_and_it_goes_on_by_itself(
    broker: Broker, disk: SmallDisk, epj_sink: MllpSink, tmp_path: Path
) -> None:
    epj_sink.stop()
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, *(adt("A04", f"P{n}", SOMEONE) for n in range(3)))
        accepted(orders, orm("P10", SOMEONE, "950"))
        wait_for_row(broker, AccessionNumber="A950")
        assert queued(broker, "epj") > 0

        disk.leave(MIN_FREE // 2)
        for sender, message in ((pas, adt("A04", "X1", SOMEONE)), (orders, orm("X2", SOMEONE, "951"))):
            answer = sender.ask(message)
            assert (field(answer, b"MSA", 1), field(answer, b"MSA", 2)) == (b"AR", field(message, b"MSH", 10))
            assert b"the disk has less free than limits.min_free; send again later" in answer
            assert field(sender.ask(enhanced(message)), b"MSA", 1) == b"CE"
        assert stored(broker, tmp_path) == 0xA700
        assert broker.http("/readyz") == (503, b"the disk has less free than limits.min_free\n")
        assert broker.http("/healthz")[0] == 200
        assert rows(broker) == 1
        metrics = broker.http("/metrics")[1].decode().splitlines()
        assert 'broker_messages_turned_away_total{protocol="hl7"} 4.0' in metrics
        assert 'broker_messages_turned_away_total{protocol="dicom"} 1.0' in metrics
        assert "broker_ready 0.0" in metrics
        assert list((disk.folder / "incoming").iterdir()) == []

        epj_sink.start()  # the reserve is for this: what was acknowledged leaves, and that is written down
        wait_until_idle(broker, timeout=45)
        assert {"P0", "P1", "P2"} <= control_ids(epj_sink)

        disk.relieve()
        accepted(pas, adt("A04", "X1", SOMEONE))
        accepted(orders, orm("X2", SOMEONE, "951"))
    assert stored(broker, tmp_path) == 0x0000
    assert broker.http("/readyz") == (200, b"ready\n")
    wait_until_idle(broker)
    assert "X1" in control_ids(epj_sink)
    assert rows(broker) == 2
    log = broker.log.read_text()
    assert log.count("new messages are refused") == 1
    assert log.count("new messages are taken again") == 1


def test_an_object_that_is_longer_than_the_room_is_answered_and_its_room_given_back(
    broker: Broker, disk: SmallDisk, tmp_path: Path
) -> None:
    disk.leave(MIN_FREE + 16 * MIB)

    assert stored(broker, tmp_path, pixels=4096) == 0xA700, "32 MiB"
    assert list((disk.folder / "incoming").iterdir()) == []
    assert broker.http("/readyz")[0] == 200
    assert stored(broker, tmp_path) == 0x0000


def test_a_disk_that_is_full_to_the_last_byte_under_load_loses_nothing_that_was_acknowledged(
    start_broker: StartBroker, disk: SmallDisk, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    """Nothing is kept free here, as where another program fills the disk at once: SQLite itself meets its end."""
    broker = start_broker(
        pacs_port=orthanc.port,
        epj_port=epj_sink.port,
        settings={
            "BROKER_DATA": str(disk.folder),
            **changed(tmp_path, {"min_free: 64MiB": "min_free: 0B"}),
        },
    )
    epj_sink.stop()
    taken, refusals = list[str](), list[bytes]()
    ended = threading.Event()

    def send(name: str) -> None:
        with broker.pas() as pas:
            number = 0
            while not ended.is_set():
                number += 1
                person = Person(number=f"81{name}{number:05}")
                answer = pas.ask(adt("A04", f"{name}-{number}", person))
                if field(answer, b"MSA", 1) == b"AA":
                    taken.append(f"{name}-{number}")
                else:
                    refusals.append(answer)

    senders = [threading.Thread(target=send, args=(name,)) for name in "123"]
    for sender in senders:
        sender.start()
    wait_until(lambda: len(taken) > 50, "messages are taken")
    disk.leave(0)
    wait_until(lambda: broker.http("/readyz") == (503, b"the journal cannot be written\n"), "it is full")
    wait_until(lambda: len(refusals) > 20, "messages are refused")
    before = len(taken)
    assert rows(broker) == 0, "a query is answered"
    assert stored(broker, tmp_path) == 0xA700
    disk.relieve()
    wait_until(lambda: len(taken) > before + 50, "messages are taken again")
    disk.leave(0)
    wait_until(lambda: broker.http("/readyz")[0] == 503, "it is full again")
    ended.set()
    for sender in senders:
        sender.join(30)
    said = {(field(answer, b"MSA", 1), b"the journal cannot be written" in answer) for answer in refusals}
    assert said == {(b"AR", True)}
    broker.kill()
    disk.relieve()
    epj_sink.start()
    broker.start()
    wait_until_idle(broker, timeout=60)

    assert set(taken) == control_ids(epj_sink), "and nothing that was refused"
    assert sum(row["messages"] for row in status(broker)["received"]) == len(taken)


def test_each_connection_over_a_limit_gets_its_answer(
    start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    """Those too that are more than can be refused at once: they wait in the kernel."""
    settings = changed(
        tmp_path,
        {
            "    adapter: pas\n": "    adapter: pas\n    max_connections: 5\n",
            "  ae_title: BROKER\n": "  ae_title: BROKER\n  max_associations: 5\n",
        },
    )
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port, settings=settings)
    with ExitStack() as held:
        served = [held.enter_context(broker.pas()) for _ in range(5)]
        for client in served:
            accepted(client, adt("A04", "C", SOMEONE))
        crowd = [held.enter_context(broker.pas()) for _ in range(200)]
        for client in crowd:
            client.send_raw(framed(adt("A04", "C", SOMEONE)))
        with ThreadPoolExecutor(len(crowd)) as pool:
            answers = list(pool.map(last, crowd))
        assert [field(answer, b"MSA", 1) for answer in answers] == [b"AR"] * 200
        accepted(served[0], adt("A04", "C", SOMEONE))
        assert broker.ready()

    with ExitStack() as held:
        for _ in range(5):
            held.enter_context(Scu(broker.dicom_port, ECHO))
        with ThreadPoolExecutor(100) as pool:
            refusals = list(pool.map(lambda _: rejection(broker), range(100)))
        assert refusals == [(2, 3, 2)] * 100, "transient, local limit exceeded (PS3.8 9.3.4)"
    wait_until(lambda: rejection(broker) is None, "a place is free again")


def last(client: MllpClient) -> bytes:
    """The answer, after which the sender hangs up."""
    with client:
        return client.receive()


def rejection(broker: Broker) -> object:
    """What an association is rejected with; None when it is not."""
    try:
        with Scu(broker.dicom_port, ECHO) as scu:
            assert scu.echo() == 0
    except RejectedError as refusal:
        return refusal.args[0]
    return None
