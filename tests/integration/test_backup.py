"""A backup taken under load, restored into an empty folder: what was acknowledged before it is all there."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk
from tests.support.flows import accepted, delivered, queued, wait_until_idle, wait_until_routed
from tests.support.images import write_image
from tests.support.messages import Person, adt
from tests.support.mllp import MllpClient, MllpSink, field
from tests.support.orthanc import Orthanc
from tests.support.processes import wait_until

pytestmark = pytest.mark.integration

SENDERS = 3


class Load:
    """Senders that go on until they are stopped; `acknowledged` holds what got its AA, by control id."""

    def __init__(self, port: int) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(n,)) for n in range(SENDERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, sender: int) -> None:
        with MllpClient(self._port) as client:
            number = 0
            while not self._stop.is_set():
                control = f"L{sender}-{number}"
                update = adt("A08", control, Person(number=f"77{sender}{number % 40:03d}"))
                accepted(client, update)
                self.acknowledged[control] = update
                number += 1


def test_a_backup_under_load_restores_all_that_was_acknowledged_before_it(
    start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink, tmp_path: Path
) -> None:
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)
    image = write_image(tmp_path / "a.dcm", PatientID="770000")
    assert Dcmtk().store(broker.dicom_port, tmp_path / "a.dcm").succeeded
    backup = tmp_path / "backup"
    with Load(broker.pas_port) as load:
        wait_until(lambda: len(load.acknowledged) > 50, "the load is under way")
        before = dict(load.acknowledged)
        made = broker.command_json("backup", "--to", backup)
        assert broker.ready(), "it went on meanwhile"
    assert len(load.acknowledged) > len(before), "senders were acknowledged while it was taken"
    broker.stop()

    # As docs/operations.md has it: stop, an empty data folder, copy back, start, reconcile.
    broker.data.rename(tmp_path / "lost")
    shutil.copytree(backup, broker.data)
    broker.start()
    wait_until_idle(broker)

    assert made["messages"] >= len(before) + 1
    assert made["objects"] == {"linked": 1, "copied": 0, "missing": []}
    assert {entry["control_id"] for entry in broker.command_json("trace", str(image.SOPInstanceUID))} == {""}
    restored = broker.command_json("trace", "--since", "2000-01-01", "--last", "100000")
    assert set(before) <= {entry["control_id"] for entry in restored}
    assert set(before) <= set(control_ids(epj_sink))
    finished = broker.command("reconcile", "--registers")
    assert finished.returncode == 0, finished.stdout
    repeated, update = next(iter(before.items()))
    times = control_ids(epj_sink).count(repeated)
    with broker.pas() as pas:
        accepted(pas, update, adt("A04", "AFTER", Person(number="770999")))
    wait_until_idle(broker)
    assert "AFTER" in control_ids(epj_sink)
    assert control_ids(epj_sink).count(repeated) == times, "what was acknowledged before is known as a repeat"


def control_ids(sink: MllpSink) -> list[str]:
    return [field(message, b"MSH", 10).decode() for message in sink.messages]


def test_what_still_had_to_leave_leaves_after_a_restore(
    start_broker: StartBroker, epj_sink: MllpSink, tmp_path: Path
) -> None:
    broker = start_broker(epj_port=epj_sink.port)
    epj_sink.stop()
    with broker.pas() as pas:
        accepted(pas, *(adt("A04", f"Q{n}", Person(number=f"78{n:04d}")) for n in range(5)))
    wait_until_routed(broker)
    assert queued(broker, "epj") == 5
    backup = tmp_path / "backup"
    assert broker.command("backup", "--to", backup).returncode == 0
    broker.kill()

    shutil.rmtree(broker.data)
    shutil.copytree(backup, broker.data)
    epj_sink.start()
    broker.start()
    wait_until_idle(broker)

    assert sorted(control_ids(epj_sink)) == [f"Q{n}" for n in range(5)]
    assert delivered(broker, "epj") == 5


def test_a_doctor_finds_a_running_brokers_ports_to_be_its_own(
    start_broker: StartBroker, orthanc: Orthanc, epj_sink: MllpSink
) -> None:
    broker = start_broker(pacs_port=orthanc.port, epj_port=epj_sink.port)

    findings = {f["check"]: f for f in broker.command_json("doctor")}

    for name in ("pas", "orders", "results", "dicom", "http"):
        port = findings[f"port {name}"]
        assert (port["state"], f"process {broker.pid}" in port["found"]) == ("ok", True)
    for name in ("epj", "pacs", "schema", "clock", "AE titles", "settings and routes"):
        name = f"destination {name}" if name in ("epj", "pacs") else name
        assert findings[name]["state"] == "ok", findings[name]
    assert epj_sink.messages == [], "nothing is sent to a destination"


def test_a_doctor_ends_with_1_where_the_broker_could_not_start(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    broker.data.mkdir()
    with socket.create_server(("127.0.0.1", broker.pas_port)):
        finished = broker.command("doctor", "--format", "json")

    faults = [f["check"] for f in json.loads(finished.stdout) if f["state"] == "fault"]
    assert (finished.returncode, faults) == (1, ["port pas"])
    missing = broker.command("doctor", "--config", tmp_path / "nowhere.yaml")
    assert missing.returncode == 1
    assert "there is no such file" in missing.stdout
