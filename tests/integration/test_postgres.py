"""The shipped broker on PostgreSQL: the main job with every command, and what is left when either of them is killed.

The seed of the load is printed: BROKER_TEST_SEED repeats it.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.proof import check
from tests.proof.load import CT, Repeater, Sender, StoreSender, instances, patients_story
from tests.support.broker import Broker
from tests.support.dimse import Scu
from tests.support.flows import accepted, rows_of, wait_for_row, wait_until_idle
from tests.support.images import dataset_bytes, write_image
from tests.support.messages import Person, adt, merge, orm
from tests.support.mllp import MllpSink
from tests.support.mllp import field as hl7_field
from tests.support.orthanc import Orthanc
from tests.support.postgres import Postgres
from tests.support.processes import wait_until

pytestmark = pytest.mark.integration

AILE = Person(number="700123", national="30908299902", family="Sørby", given="Áile")


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A server that a test may stop."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def adds_up(broker: Broker) -> None:
    """`broker reconcile --registers` finds nothing."""
    said = broker.command("reconcile", "--registers")
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_main_job_and_the_commands(
    start_broker: StartBroker, postgres: Postgres, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    url = postgres.url(postgres.database())
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port, settings={"BROKER_STORE": url})
    image = write_image(tmp_path / "image.dcm", PatientID="700123")
    registered = adt("A04", "G1", AILE)
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, registered)
        accepted(orders, orm("G2", AILE, "801"))
        row = wait_for_row(broker, AccessionNumber="A801")
        accepted(pas, adt("A08", "G3", AILE.named("Sørby Čoahkkin")))
        accepted(pas, merge("A40", "G4", AILE.named("Sørby Čoahkkin"), "700999"))
        accepted(pas, registered)
    scu = Scu(broker.dicom_port, [CT])
    assert scu.store(CT, image.SOPInstanceUID, dataset_bytes((tmp_path / "image.dcm").read_bytes())) == 0
    scu.close()
    wait_until_idle(broker)

    assert str(row.PatientName).startswith("Sørby^Áile")
    assert len(epj_sink.messages) == 4, "the repeat went no further than the journal"
    assert epj_sink.messages[0] == registered
    assert str(orthanc.by_uid(image.SOPInstanceUID).PatientName).startswith("Sørby Čoahkkin")
    assert not list(broker.data.glob("*.sqlite"))
    (found,) = broker.command_json("trace", "A801")
    assert [event["type"] for event in found["events"]]
    assert {r["source"]: r["messages"] for r in broker.command_json("status")["received"]} == {
        "pas": 3, "orders": 1, "images": 1
    }  # fmt: skip
    assert broker.command_json("retention")["bytes"] > 0
    assert len(broker.command_json("worklist", "list")) == 1
    assert broker.command_json("parked", "list") == []
    sent_again = broker.command("replay", "G1", "--destination", "epj", "--reason", "a test")
    assert sent_again.returncode == 0, sent_again.stderr
    assert epj_sink.wait_for(5)[4] == registered
    assert broker.command("backup", "--to", str(tmp_path / "copy")).returncode != 0
    adds_up(broker)


@dataclass
class Load:
    """HL7 senders, a modality and someone who repeats, before a broker that others kill."""

    broker: Broker
    folder: Path
    seed: int

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        ports = {b"ADT": self.broker.pas_port, b"ORM": self.broker.orders_port}
        self.senders = [
            Sender(ports=ports, messages=patients_story(n), dice=self._dice(n), stop=self.stop, haste=0.05)
            for n in range(3)
        ]
        self.modality = StoreSender(
            port=self.broker.dicom_port,
            objects=instances(self.folder, 0),
            dice=self._dice(8),
            stop=self.stop,
            pause=0.1,
        )
        self.repeater = Repeater(senders=self.senders, ports=ports, dice=self._dice(9), stop=self.stop)
        self._threads = [
            threading.Thread(target=each.run, daemon=True)
            for each in (*self.senders, self.modality, self.repeater)
        ]
        for thread in self._threads:
            thread.start()

    def taken(self) -> int:
        return sum(len(sender.acknowledged) for sender in self.senders)

    def goes_on(self) -> None:
        """Until each sender, and the modality, were answered anew."""
        everyone = [*self.senders, self.modality]
        before = [len(one.acknowledged) for one in everyone]
        wait_until(
            lambda: all(len(o.acknowledged) >= n + 3 for o, n in zip(everyone, before, strict=True)),
            "everything is taken again",
            60,
        )

    def end(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(20)

    def _dice(self, number: int) -> random.Random:
        return random.Random(f"{self.seed} {number}")


@pytest.mark.timeout(240)
def test_nothing_acknowledged_is_lost_when_the_broker_or_its_server_is_killed(
    start_broker: StartBroker, own_postgres: Postgres, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    seed = int(os.environ.get("BROKER_TEST_SEED", str(random.SystemRandom().randrange(1_000_000))))
    print(f"BROKER_TEST_SEED={seed}")
    name = own_postgres.database()
    broker = start_broker(
        pacs_port=orthanc.port,
        epj_port=epj_sink.port,
        settings={"BROKER_STORE": own_postgres.url(name)},
    )
    with broker.pas() as pas:
        accepted(pas, adt("A04", "740-0", Person(number="740")))
    load = Load(broker, tmp_path, seed)
    dice = random.Random(seed)
    try:
        for harm in ("kill", "restart", "crash", "sessions", "kill", "crash"):
            load.goes_on()
            time.sleep(dice.uniform(0, 0.3))  # anywhere in the traffic
            if harm == "kill":
                broker.kill()
                broker.start()
            elif harm == "sessions":
                own_postgres.end_sessions(name)
            else:
                own_postgres.stop() if harm == "restart" else own_postgres.crash()
                own_postgres.start()
        load.goes_on()
    finally:
        load.end()
    wait_until_idle(broker, timeout=90)

    acknowledged = [message for sender in load.senders for message, _ in sender.acknowledged]
    arrived = [m for m in epj_sink.messages if hl7_field(m, b"MSH", 10) != b"740-0"]
    found = check.hl7(acknowledged, arrived)
    found.add(check.worklist(acknowledged, [str(row.AccessionNumber) for row in rows_of(broker)]))
    stored = {orthanc.dataset(instance).SOPInstanceUID for instance in orthanc.instances()}
    found.lost += sorted(set(load.modality.acknowledged) - stored)
    found.forgotten += [control.decode() for control in load.repeater.wrong]
    assert not found.any, found
    assert load.taken() > 50
    adds_up(broker)
    broker.stop()
