"""Invariant 1: an acknowledgement means durable. The broker is killed at random instants under load.

What was answered AA or 0000 is in the journal with its events, and in the end at its destination; order holds per
patient; what leaves twice is the same message. The seed is printed: BROKER_TEST_SEED repeats a run,
BROKER_TEST_KILLS makes it longer (5 by default). A power cut is not tested here: kill -9 leaves the page cache.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dimse import EXPLICIT, Scu
from tests.support.flows import accepted, rows_of, wait_until_idle, wait_until_routed
from tests.support.images import dataset_bytes, write_image
from tests.support.messages import Person, adt, orm
from tests.support.mllp import MllpClient, MllpSink, framed
from tests.support.mllp import field as hl7_field
from tests.support.orthanc import Orthanc
from tests.support.processes import wait_until

KILLS = int(os.environ.get("BROKER_TEST_KILLS", "5"))
CT = ("1.2.840.10008.5.1.4.1.1.2", EXPLICIT)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120 + 20 * KILLS)]


@pytest.fixture
def dice() -> random.Random:
    seed = int(os.environ.get("BROKER_TEST_SEED", str(random.SystemRandom().randrange(1_000_000))))
    print(f"BROKER_TEST_SEED={seed} BROKER_TEST_KILLS={KILLS}")
    return random.Random(seed)


@dataclass
class Sender:
    """One connection that sends until told to stop, and sends again what was not answered, as senders do."""

    port: int
    messages: Iterator[bytes]
    stop: threading.Event
    acknowledged: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(message, answer) in the order of sending."""
    refused: list[bytes] = field(default_factory=list)
    repeated: int = 0

    def run(self) -> None:
        message = next(self.messages)
        while not self.stop.is_set():
            try:
                with MllpClient(self.port, timeout=10) as client:
                    while not self.stop.is_set():
                        answer = client.ask(message)
                        if hl7_field(answer, b"MSA", 1) == b"AA":
                            self.acknowledged.append((message, answer))
                        else:
                            self.refused.append(answer)
                        message = next(self.messages)
            except (OSError, ValueError):
                self.repeated += 1
                self.stop.wait(0.02)


@dataclass
class StoreSender:
    """One association after the other; an object that was not answered 0000 is sent again."""

    port: int
    objects: Iterator[tuple[str, bytes]]
    stop: threading.Event
    acknowledged: list[str] = field(default_factory=list)

    def run(self) -> None:
        uid, content = next(self.objects)
        while not self.stop.is_set():
            try:
                with closing(Scu(self.port, [CT], timeout=10)) as scu:
                    while not self.stop.is_set():
                        if scu.store(CT, uid, content) == 0:
                            self.acknowledged.append(uid)
                            uid, content = next(self.objects)
            except OSError:
                self.stop.wait(0.02)


def kill_under_load(
    broker: Broker, dice: random.Random, senders: Iterable[Sender | StoreSender], stop: threading.Event
) -> None:
    """Runs the senders, kills and starts the broker under them, then lets them stop."""
    threads = [threading.Thread(target=sender.run, daemon=True) for sender in senders]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        time.sleep(dice.uniform(0.0, 1.0))  # the instant itself is what is tested
        broker.kill()
        broker.start()
    stop.set()
    for thread in threads:
        thread.join(timeout=15)
        assert not thread.is_alive(), "a sender hangs"


# HL7


def patients_story(connection: int) -> Iterator[bytes]:
    """ADT and orders of four patients, each with a running number in its control id: `<patient>-<number>`."""
    people = [Person(number=f"73{connection}{n}", family=f"Nr{n}", given="Åse") for n in range(4)]
    number = 0
    while True:
        for person in people:
            control_id = f"{person.number}-{number}"
            if number % 3 == 2:
                yield orm(control_id, person, control_id)
            else:
                yield adt("A08", control_id, person.named(f"Prøve{number}"))
        number += 1


def test_every_acknowledged_message_survives_kill_9(
    start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink, dice: random.Random
) -> None:
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)
    stop = threading.Event()
    senders = [Sender(broker.pas_port if n % 2 else broker.orders_port, only(n), stop) for n in range(4)]

    kill_under_load(broker, dice, senders, stop)

    sent = [message for sender in senders for message, _ in sender.acknowledged]
    print(f"{len(sent)} acknowledged, {sum(s.repeated for s in senders)} connections broken")
    assert len(sent) > 20 * KILLS, "there was no load"
    assert [answer for sender in senders for answer in sender.refused] == []
    wait_until_idle(broker, timeout=90)

    journal = journal_of(broker)
    lost = [control_of(m) for m in sent if control_of(m) not in journal]
    assert lost == [], "acknowledged and not in the journal"
    assert {events > 0 for events, _ in journal.values()} == {True}, "in the journal without events"
    assert {rows for _, rows in journal.values()} == {1}, "a repeat was processed, not answered"
    assert_arrived(epj_sink, sent, journal)

    # The same bytes again get the answer that was stored, over every restart.
    for sender in senders:
        with MllpClient(sender.port) as client:
            for message, answer in dice.sample(sender.acknowledged, min(10, len(sender.acknowledged))):
                assert client.ask(message) == answer

    # Every acknowledged order is on the worklist, once.
    accessions = [str(row.AccessionNumber) for row in rows_of(broker)]
    ordered = {f"A{control_of(m).decode()}" for m in sent if hl7_field(m, b"MSH", 9).startswith(b"ORM")}
    assert len(accessions) == len(set(accessions))
    assert ordered <= set(accessions)


def only(connection: int) -> Iterator[bytes]:
    """The part of the story that this connection's listener takes."""
    kind = b"ADT" if connection % 2 else b"ORM"
    return (m for m in patients_story(connection) if hl7_field(m, b"MSH", 9).startswith(kind))


def control_of(message: bytes) -> bytes:
    return hl7_field(message, b"MSH", 10)


def journal_of(broker: Broker) -> dict[bytes, tuple[int, int]]:
    """Control id to (events, accepted messages) in the journal's file, read as any program could."""
    with closing(sqlite3.connect(f"file:{broker.data / 'journal.sqlite'}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT control_id, count(event.seq), count(DISTINCT message.seq) FROM message"
            " LEFT JOIN event ON event.message = message.seq WHERE verdict='accepted' GROUP BY control_id"
        )
        return {control_id.encode(): (events, messages) for control_id, events, messages in rows}


def assert_arrived(sink: MllpSink, sent: list[bytes], journal: dict[bytes, tuple[int, int]]) -> None:
    """At the sink: every ADT as it was, a status for every order, in order per patient, repeats byte for byte."""
    received = sink.messages
    contents: dict[bytes, set[bytes]] = {}
    for message in received:
        contents.setdefault(control_of(message), set()).add(message)
    assert {len(same) for same in contents.values()} == {1}, "one control id with different bytes"

    adts = [m for m in sent if hl7_field(m, b"MSH", 9).startswith(b"ADT")]
    missing = [control_of(m) for m in adts if m not in contents.get(control_of(m), ())]
    assert missing == [], "acknowledged and never delivered"
    orders = [control_id for control_id in journal if int(control_id.split(b"-")[1]) % 3 == 2]
    told = [hl7_field(m, b"OBR", 20) for m in received if hl7_field(m, b"MSH", 9).startswith(b"ORM")]
    assert {b"S" + control_id + b"-1" for control_id in orders} == set(told)
    statuses = {control_of(m) for m in received if hl7_field(m, b"MSH", 9).startswith(b"ORM")}
    assert len(statuses) == len(orders), "an order was told under two control ids"

    numbers: dict[bytes, list[int]] = {}
    for message in received:
        told_of = control_of(message)
        if hl7_field(message, b"MSH", 9).startswith(b"ORM"):
            told_of = hl7_field(message, b"OBR", 20).removeprefix(b"S").rpartition(b"-")[0]
        patient, _, number = told_of.partition(b"-")
        numbers.setdefault(patient, []).append(int(number))
    disordered = [patient for patient, told in numbers.items() if told != sorted(told)]
    assert disordered == [], "out of order for a patient"
    print(f"{len(received)} at the sink, {len(received) - len(contents)} of them repeats")


# C-STORE


def objects(folder: Path, connection: int) -> Iterator[tuple[str, bytes]]:
    """New instances without end, one data set with a UID of its own in each."""
    template = write_image(
        folder / f"{connection}.dcm", SOPInstanceUID="2.25.1" + "0" * 30, PatientID=f"74{connection}"
    )
    content = dataset_bytes((folder / f"{connection}.dcm").read_bytes())
    number = 0
    while True:
        number += 1
        uid = f"2.25.1{connection}{number:029d}"
        assert len(uid) == len(template.SOPInstanceUID)
        yield uid, content.replace(str(template.SOPInstanceUID).encode(), uid.encode())


def test_every_acknowledged_object_survives_kill_9(
    start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink, dice: random.Random, tmp_path: Path
) -> None:
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)
    stop = threading.Event()
    senders = [StoreSender(broker.dicom_port, objects(tmp_path, n), stop) for n in range(3)]

    kill_under_load(broker, dice, senders, stop)

    sent = {uid for sender in senders for uid in sender.acknowledged}
    print(f"{len(sent)} objects acknowledged")
    assert len(sent) > 5 * KILLS, "there was no load"
    wait_until_idle(broker, timeout=90)
    held = {str(orthanc.dataset(instance).SOPInstanceUID) for instance in orthanc.instances()}
    assert sent - held == set(), "acknowledged and not in the PACS"
    assert list((broker.data / "incoming").glob("*")) == [], "an unfinished file was left behind"


# one instant each


def test_what_is_acknowledged_while_everything_is_down_leaves_after_a_kill(
    start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink
) -> None:
    epj_sink.stop()
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)
    person = Person(number="750001", family="Sørby", given="Áile")
    messages = [adt("A04", "K1", person), adt("A08", "K2", person.named("Sørby Čoahkkin"))]
    with broker.pas() as pas:
        accepted(pas, *messages)
    broker.kill()

    epj_sink.start()
    broker.start()

    assert epj_sink.wait_for(2) == messages


def test_a_broker_killed_between_sending_and_noting_it_repeats_the_very_bytes(
    start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink
) -> None:
    epj_sink.behaviour = "silent"
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)
    with broker.orders() as orders:
        accepted(orders, orm("K3", Person(number="750002"), "751"))
    (first,) = epj_sink.wait_for(1)
    broker.kill()
    epj_sink.behaviour = "AA"

    broker.start()

    assert epj_sink.wait_for(2) == [first, first]
    wait_until_idle(broker)


def test_an_unrouted_event_is_routed_after_a_kill(start_broker: StartBroker, epj_sink: MllpSink) -> None:
    """Many orders at once, killed right behind the last acknowledgement: commit 2 of most is still to come."""
    broker = start_broker(epj_port=epj_sink.port)
    people = [Person(number=f"76{n:04d}") for n in range(200)]
    burst = [orm(f"K4-{n}", person, f"76{n:04d}") for n, person in enumerate(people)]
    with broker.orders() as orders:
        send_all(orders, burst)
    broker.kill()

    broker.start()
    wait_until_routed(broker)

    assert {str(row.AccessionNumber) for row in rows_of(broker)} == {f"A76{n:04d}" for n in range(200)}
    wait_until(lambda: len(epj_sink.messages) >= 200, "the EPJ hears of all of them")


def send_all(client: MllpClient, messages: list[bytes]) -> None:
    """Pipelined: all are written before the first answer is read."""
    client.send_raw(b"".join(framed(message) for message in messages))
    for message in messages:
        answer = client.receive()
        assert (hl7_field(answer, b"MSA", 1), hl7_field(answer, b"MSA", 2)) == (b"AA", control_of(message))
