"""`broker devices verify` and `coverage` beside a broker: DCMTK is the modality, its storescp answers C-ECHO."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.dcmtk import worklist_query
from tests.support.flows import accepted, wait_for_row
from tests.support.images import write_image
from tests.support.messages import Person, adt, orm, study_uid
from tests.support.mllp import MllpSink
from tests.support.mpps import MppsScu, begun, ended, scheduled
from tests.support.processes import wait_until
from tests.support.storescp import Storescp

pytestmark = pytest.mark.integration

AILE = Person(number="700123", national="30908299902", family="Sørby", given="Áile", middle="Lájla")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Storescp]:
    """The modality's own verification SCP; it takes any called AE title."""
    server = Storescp(tmp_path / "device")
    server.start()
    yield server
    server.stop()


def checks(broker: Broker, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    finished = broker.command("devices", "verify", *arguments, "--format", "json")
    assert finished.stdout, finished.stderr
    return finished.returncode, {one["check"]: one for one in json.loads(finished.stdout)["checks"]}


def ticks(broker: Broker, ae: str) -> dict[str, Any]:
    (found,) = (one for one in broker.command_json("devices", "coverage") if one["ae"] == ae)
    assert isinstance(found, dict)
    return found


def test_a_device_is_put_into_service(
    start_broker: StartBroker, epj_sink: MllpSink, device: Storescp, tmp_path: Path
) -> None:
    renamed = {"\nhttp:": "\ndevices:\n  CT_NEW: { aliases: [CT1_STO] }\n\nhttp:"}
    broker = start_broker(epj_port=epj_sink.port, settings=changed(tmp_path, renamed))
    address = ("CT1_STO", "--host", "127.0.0.1", "--port", str(device.port))

    code, before = checks(broker, *address)
    assert code == 0
    assert {name: one["verdict"] for name, one in before.items()} == {
        "association": "pass",
        "echo": "pass",
        "query": "not known",
        "worklist": "not known",
        "charset": "not known",
        "store": "not known",
        "patient": "not known",
        "merge": "not known",
        "mpps": "not known",
        "outcome": "not known",
        "commitment": "not known",
        "reports": "not known",
    }
    assert ticks(broker, "CT1_STO") == {
        "ae": "CT1_STO",
        "demographics": False,
        "worklist": False,
        "delivers": False,
        "notifies": [],
        "committed": None,
    }

    today = datetime.now(ZoneInfo("Europe/Oslo")).strftime("%Y%m%d")
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "P1", AILE, "PV1|1|O"))
        accepted(orders, orm("O1", AILE, "801", start=f"{today}120000"))
    wait_for_row(broker)
    ours = broker.modality("CT1_STO")
    (row,) = ours.worklist(broker.dicom_port, worklist_query())
    mpps = MppsScu(broker.dicom_port)
    assert mpps.create(begun(scheduled(study_uid("801"), "S801-1", "A801")), "2.25.1").Status == 0
    assert mpps.set(ended(), "2.25.1").Status == 0
    image = tmp_path / "image.dcm"
    write_image(image, PatientID="700123", StudyInstanceUID=row.StudyInstanceUID)
    assert ours.store(broker.dicom_port, image).succeeded
    with broker.orders() as orders:
        accepted(orders, orm("O2", AILE, "802", start=f"{today}130000"))
    wait_for_row(broker, AccessionNumber="A802")
    wait_until(lambda: ticks(broker, "CT1_STO")["notifies"] == ["epj"], "the EPJ was told of the step")

    code, after = checks(broker, *address)
    assert code == 0, after
    unknown = {name for name, one in after.items() if one["verdict"] == "not known"}
    assert unknown == {"merge", "commitment", "reports"}, after
    assert after["outcome"]["found"] == "1 begun, 1 completed, 0 discontinued in 7 days"
    _, renamed_device = checks(broker, "CT_NEW")
    assert "1 of the 1 row" in renamed_device["worklist"]["found"], "what its other title has is its own"
    assert ticks(broker, "CT1_STO") == {
        "ae": "CT1_STO",
        "demographics": True,
        "worklist": True,
        "delivers": True,
        "notifies": ["epj"],
        "committed": None,
    }
    told = broker.command("devices", "verify", *address).stdout + broker.command("devices", "coverage").stdout
    assert "30908299902" not in told
    assert "Sørby" not in told


def test_what_fails_ends_with_1(start_broker: StartBroker, device: Storescp) -> None:
    broker = start_broker()
    port = device.port
    device.stop()

    code, found = checks(broker, "CT1_STO", "--host", "127.0.0.1", "--port", str(port))

    assert code == 1
    assert found["echo"]["verdict"] == "fail"
    assert str(port) in found["echo"]["found"]
