"""Storage commitment both ways: Orthanc and pynetdicom as archives, Orthanc and pynetdicom as devices that ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage

from broker.dicom import status
from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.commitment import Archive, Device, asked, outcome, send_action
from tests.support.configuration import changed
from tests.support.flows import delivered, exceptions, queued, wait_until_idle
from tests.support.images import write_image
from tests.support.orthanc import Orthanc
from tests.support.ports import free_port
from tests.support.processes import wait_until

pytestmark = pytest.mark.integration

STUDY = "2.25.700"
ABSENT = "2.25.700.404"


def configured(folder: Path, devices: Mapping[str, tuple[int, str]]) -> dict[str, str]:
    """Variables of a broker that finds studies complete soon, with these devices: AE title to port and way."""
    lines = [
        f"  {aet}: {{ host: 127.0.0.1, port: {port}, commitment: {way} }}"
        for aet, (port, way) in devices.items()
    ]
    soon = {"  quiet: 5m": "  commitment_retry: 2s\n  quiet: 3s"}
    known = {"\nhttp:": "\n".join(["", "devices:", *lines, "", "http:"])}
    return {**changed(folder, soon | known), "BROKER_PACS_COMMITMENT": "true"}


def images(folder: Path, number: int = 2) -> list[Path]:
    found = [folder / f"{n}.dcm" for n in range(1, number + 1)]
    for n, path in enumerate(found, 1):
        write_image(
            path, SOPInstanceUID=f"{STUDY}.{n}", StudyInstanceUID=STUDY, SeriesInstanceUID=f"{STUDY}.0"
        )
    return found


def ct(*instances: str) -> list[tuple[str, str]]:
    return [(CTImageStorage, instance) for instance in instances]


def kept(broker: Broker) -> tuple[int, dict[str, int]]:
    """To how many instances the archive has committed, and how many it said it does not keep, by reason."""
    for archive in broker.command_json("studies", "show", STUDY)["archives"]:
        return archive["committed"], archive["failed"]
    return 0, {}


def cut(broker: Broker) -> None:
    """The power fails, and is there again."""
    broker.kill()
    broker.start()


def stored(broker: Broker, files: list[Path]) -> None:
    assert broker.modality("CT1_STO").store(broker.dicom_port, *files).succeeded


@pytest.fixture
def device() -> Iterator[Device]:
    found = Device()
    found.start()
    yield found
    found.stop()


@pytest.fixture
def archive() -> Iterator[Archive]:
    found = Archive()
    found.start()
    yield found
    found.stop()


def test_orthanc_commits_and_asks_and_a_power_cut_loses_no_request(
    start_broker: StartBroker, tmp_path: Path, device: Device
) -> None:
    broker_port = free_port()
    folder = tmp_path / "orthanc"
    folder.mkdir()
    orthanc = Orthanc(folder, {"broker": ("BROKER", broker_port)})
    orthanc.start()
    try:
        devices = {"CT1_STO": (device.port, "new"), "ORTHANC": (orthanc.port, "new")}
        broker = start_broker(
            pacs_port=orthanc.port,
            settings=configured(tmp_path / "config", devices) | {"BROKER_DICOM_PORT": str(broker_port)},
        )
        broker.dicom_port = broker_port
        first, second = f"{STUDY}.1", f"{STUDY}.2"
        stored(broker, images(tmp_path))
        question = asked("2.25.71", first, second, ABSENT, sop_class=CTImageStorage)
        assert device.ask(broker.dicom_port, question) == status.SUCCESS
        transaction = orthanc.ask_commitment("broker", ct(first, second))
        orthanc.wait_for_instances(2)
        orthanc.delete(first)  # it took it, and has it no more when it is asked
        wait_until(lambda: kept(broker) == (1, {"0112": 1}), "Orthanc has answered")
        assert device.heard == []
        assert orthanc.commitment(transaction)["Status"] == "Pending"
        cut(broker)  # each start looks at once what was left over
        orthanc.wait_for_instances(2)
        wait_until_idle(broker)
        assert device.heard == []
        cut(broker)

        ((where, kind, report),) = device.wait_for_reports()
        assert (where, kind, report.TransactionUID) == ("new", 2, "2.25.71")
        assert outcome(report) == ([first, second], {ABSENT: status.NO_SUCH_SOP_INSTANCE})
        wait_until(
            lambda: orthanc.commitment(transaction)["Status"] != "Pending", "Orthanc was told", timeout=15
        )
        told = orthanc.commitment(transaction)
        assert told["Status"] == "Success"
        assert sorted(one["SOPInstanceUID"] for one in told["Success"]) == [first, second]
        assert kept(broker) == (2, {})
        assert set(exceptions(broker).values()) == {"instance-unverified"}, "nothing is left for a person"
    finally:
        orthanc.stop()


def test_nothing_is_reported_before_the_archive_has_committed_to_all_of_it(
    start_broker: StartBroker, tmp_path: Path, archive: Archive, device: Device
) -> None:
    dead = free_port()
    devices = {"CT1_STO": (device.port, "same"), "MR1_STO": (dead, "new")}
    broker = start_broker(pacs_port=archive.port, settings=configured(tmp_path / "config", devices))
    first, second = f"{STUDY}.1", f"{STUDY}.2"
    stored(broker, images(tmp_path))
    question = asked("2.25.72", first, second, sop_class=CTImageStorage)
    assert Device("MR1_STO").ask(broker.dicom_port, question) == status.SUCCESS, "it will be dead by then"
    assert Device("FOTO1").ask(broker.dicom_port, question) == status.SUCCESS, "nobody knows where it is"
    assert Device().ask(broker.dicom_port, asked("2.25.73")) == status.INVALID_ARGUMENT_VALUE

    with device.association(broker.dicom_port) as waiting:
        assert send_action(waiting, question) == status.SUCCESS
        (request,) = archive.wait_for_requests()
        assert sorted(outcome(request)[0]) == [first, second]
        assert sorted(archive.stored) == [first, second]
        assert device.heard == []
        assert archive.report(broker.dicom_port, request) == status.SUCCESS
        archive.missing = {first, second}
        assert archive.report(broker.dicom_port, request) == status.SUCCESS, "again: that changes nothing"

        ((where, kind, report),) = device.wait_for_reports()
        assert (where, kind) == ("same", 1)
        assert outcome(report) == ([first, second], {})

    wait_until(lambda: delivered(broker, "device-commitment") == 1, "the device is told, and that is written")
    (held,) = broker.command_json("parked", "list")
    assert "`devices: {FOTO1: {host" in held["detail"]
    assert queued(broker, "device-commitment") == 1, "the dead one waits"
    dying = Device("MR1_STO", port=dead)
    dying.start()
    try:
        late = asked("2.25.74", first, second, sop_class=CTImageStorage)
        assert device.ask(broker.dicom_port, late) == status.SUCCESS
        where, kind, report = device.wait_for_reports(2)[1]
        assert (where, kind, report.TransactionUID) == ("new", 1, "2.25.74"), "it did not wait: it is called"
        assert outcome(dying.wait_for_reports()[0][2]) == ([first, second], {})
    finally:
        dying.stop()
