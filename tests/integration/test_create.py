"""What `create` writes, used as its reader would: checked, installed, tested, configured, and run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom import Dataset

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.dcmtk import worklist_query
from tests.support.flows import accepted, wait_until_idle
from tests.support.mllp import MllpClient, MllpSink, field
from tests.support.packages import install, passes
from tests.support.ports import free_port
from tests.support.processes import wait_until
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

ISSUER = "issuer: STO&2.999.7001&ISO"


def create_adapter(folder: Path, name: str, direction: str, protocol: str) -> Path:
    passes(
        *("-m", "broker", "adapters", "create", name, "--direction", direction),
        *("--protocol", protocol, "--into", folder),
    )
    return folder / f"broker-{name}"


@pytest.mark.parametrize("protocol", ["mllp", "file"])
@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_one_direction_passes_its_own_checks(tmp_path: Path, direction: str, protocol: str) -> None:
    package = create_adapter(tmp_path, "ward", direction, protocol)
    env = install(package, tmp_path / "site-packages")

    passes("-m", "ruff", "format", "--check", ".", folder=package)
    passes("-m", "ruff", "check", ".", folder=package)
    passes("-m", "pytest", "-q", folder=package, env=env)


@pytest.mark.parametrize("protocol", ["mllp", "file"])
def test_both_directions_pass_ruff_mypy_and_their_own_tests(tmp_path: Path, protocol: str) -> None:
    package = create_adapter(tmp_path, "ward-screen-of-the-house", "both", protocol)
    env = install(package, tmp_path / "site-packages")

    passes("-m", "ruff", "format", "--check", ".", folder=package)
    passes("-m", "ruff", "check", ".", folder=package)
    # The package as it stands; the broker's own modules are for types only.
    passes(
        *("-m", "mypy", "--follow-imports=silent", "--cache-dir", tmp_path / "mypy"),
        folder=package,
        env={"MYPYPATH": f"{package}:{REPOSITORY}"},
    )
    passes("-m", "pytest", "-q", folder=package, env=env)


def site(tmp_path: Path, inbound: str, outbound: str) -> dict[str, str]:
    """The shipped configuration with one more listener and destination, both called `ward`."""
    settings = {
        "inbound:\n  pas:": f"inbound:\n  ward:\n    adapter: ward\n    {ISSUER}\n{inbound}\n  pas:",
        "outbound:\n  worklist:": f"outbound:\n  ward:\n    adapter: ward\n{outbound}\n  worklist:",
    }
    return changed(tmp_path / "site", settings)


def ready(broker: Broker) -> None:
    """The configuration is found good, with a route to the new destination."""
    names = [row["name"] for row in broker.command_json("adapters", "list")]
    assert names.count("ward") == 2
    made = broker.command("routes", "create", "results-to-ward", "--on", "result.available", "--to", "ward")
    assert made.returncode == 0, made.stderr
    assert broker.command("check").returncode == 0
    assert broker.command("test").returncode == 0


def test_a_new_mllp_adapter_is_used(tmp_path: Path, start_broker: StartBroker) -> None:
    env = install(create_adapter(tmp_path, "ward", "both", "mllp"), tmp_path / "site-packages")
    sink, port = MllpSink(), free_port()
    sink.start()
    env |= site(tmp_path, f"    port: {port}", f"    host: 127.0.0.1\n    port: {sink.port}")
    ready(Broker(tmp_path, settings=env))
    sample = (tmp_path / "broker-ward" / "tests" / "samples" / "oru_r01.hl7").read_bytes()

    broker = start_broker(settings=env)
    try:
        with MllpClient(port) as client:
            accepted(client, sample.replace(b"\n", b"\r"))
        (message,) = sink.wait_for(1)
    finally:
        broker.stop()
        sink.stop()

    assert field(message, b"MSH", 10) == b"R000401"


def test_a_new_file_adapter_is_used(tmp_path: Path, start_broker: StartBroker) -> None:
    env = install(create_adapter(tmp_path, "ward", "both", "file"), tmp_path / "site-packages")
    box, out = tmp_path / "in", tmp_path / "out"
    box.mkdir()
    out.mkdir()
    env |= site(tmp_path, f"    folder: {box}\n    poll: 50ms", f"    folder: {out}")
    ready(Broker(tmp_path, settings=env))
    sample = tmp_path / "broker-ward" / "tests" / "samples" / "oru_r01.hl7"

    start_broker(settings=env)
    (box / "a.hl7").write_bytes(sample.read_bytes().replace(b"\n", b"\r"))
    wait_until(lambda: len(list(out.glob("*.hl7"))) == 1, "the file left")

    assert list(box.iterdir()) == []
    (written,) = out.glob("*.hl7")
    assert field(written.read_bytes(), b"MSH", 10) == b"R000401"


def test_an_adapter_is_not_written_over_another(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    arguments = ("--direction", "inbound", "--protocol", "mllp", "--into", tmp_path)

    taken = broker.command("adapters", "create", "pas", *arguments)
    assert taken.returncode == 2
    assert "broker.inbound: 'pas' is taken by hl7-dicom-broker" in taken.stderr
    first = broker.command("adapters", "create", "ward", *arguments, "--format", "json")
    assert json.loads(first.stdout)["folder"] == str(tmp_path / "broker-ward")
    again = broker.command("adapters", "create", "ward", *arguments)
    assert again.returncode == 2
    assert "is there already" in again.stderr
    assert broker.command("adapters", "create", "Ward", *arguments).returncode == 2


def test_a_new_device_sees_its_row(tmp_path: Path, start_broker: StartBroker, epj_sink: MllpSink) -> None:
    env = changed(tmp_path / "site", {})
    command = ("devices", "create", "CT 3", "--ae", "CT3_STO", "--station", "CT-LAB3", "--modality", "CT")
    still = Broker(tmp_path, settings=env)
    before = (tmp_path / "site" / "config" / "stations.csv").read_text()

    dry = still.command(*command, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "+CT-LAB3,CT3_STO,STO,CT,CT 3," in dry.stdout
    assert (tmp_path / "site" / "config" / "stations.csv").read_text() == before
    made = still.command_json(*command)
    assert made["written"]
    assert len(made["files"]) == 4
    assert still.command("check", "--deny-warnings").returncode == 0
    assert still.command("test").returncode == 0
    twice = still.command(*command)
    assert twice.returncode == 2
    assert "CT3_STO is in use: " in twice.stderr

    broker = start_broker(epj_port=epj_sink.port, settings={**env, "BROKER_OPEN_AE": "false"})
    order = (tmp_path / "site" / "routes" / "tests" / "device_ct3_sto.hl7").read_bytes()
    with broker.orders() as orders:
        accepted(orders, order.replace(b"\n", b"\r"))
    wait_until_idle(broker)
    devices = {row["ae"]: row for row in broker.command_json("devices", "list")}
    assert (devices["CT3_STO"]["rows"], devices["CT1_STO"]["rows"]) == (1, 0)
    assert devices["CT3_STO"]["missing"] == []
    said = broker.command("devices", "list").stdout
    assert ["CT3_STO", "CT", "CT-LAB3", "1", "rows", "CT", "3"] in [
        line.split() for line in said.splitlines()
    ]
    mine = Dataset()
    mine.ScheduledStationAETitle = "CT3_STO"
    found = broker.modality("CT3_STO").worklist(broker.dicom_port, worklist_query(step=mine))
    assert [row.AccessionNumber for row in found] == ["A204"]


def test_a_new_route_with_a_message_of_ones_own(tmp_path: Path) -> None:
    env = changed(tmp_path / "site", {})
    still = Broker(tmp_path, settings=env)
    own = tmp_path / "own.hl7"
    own.write_bytes((REPOSITORY / "routes/tests/adt_a08_new_name.hl7").read_bytes().replace(b"\n", b"\r"))

    made = still.command_json(
        "routes", "create", "names", "--on", "patient.updated", "--to", "epj", "--message", own
    )
    assert [Path(file).name for file in made["files"]] == ["names.yaml", "names.hl7"]
    assert still.command("check", "--deny-warnings").returncode == 0
    assert still.command("test").returncode == 0
    again = still.command("routes", "create", "names", "--on", "patient.*", "--to", "epj")
    assert again.returncode == 2
    assert still.command("routes", "create", "No Name", "--on", "patient.*", "--to", "epj").returncode == 2
