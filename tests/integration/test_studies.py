"""A study's way: images and MPPS come, it is complete, the archive has it and commits, its files go, and come again.

DCMTK is modality and archive, pynetdicom sends the MPPS; that the archive commits is written into the journal, as its
listener would.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.cli.options import open_desk
from broker.event import EventData, InstanceReference, Study
from broker.journal import intake
from broker.registers import study_list
from broker.runtime.decided import decided
from broker.runtime.journals import journal_of
from broker.settings import Settings, load
from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.configuration import changed
from tests.support.dcmtk import Dcmtk
from tests.support.flows import accepted, wait_for_row, wait_until_idle
from tests.support.images import write_image
from tests.support.messages import Person, adt, orm, study_uid
from tests.support.mllp import MllpSink
from tests.support.mpps import MppsScu, begun, ended, scheduled
from tests.support.processes import wait_until
from tests.support.storescp import Storescp

pytestmark = pytest.mark.integration

AILE = Person(number="700123", national="30908299902", family="Sørby", given="Áile", middle="Lájla")
STUDY, OTHER = study_uid("801"), "2.25.802"
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Storescp]:
    server = Storescp(tmp_path / "stored")
    server.start()
    yield server
    server.stop()


def send(broker: Broker, folder: Path, study: str, *numbers: int) -> None:
    for number in numbers:
        path = folder / f"{study}.{number}.dcm"
        if not path.exists():
            uid = f"2.25.9.{study.rpartition('.')[2]}.{number}"
            write_image(
                path,
                SOPInstanceUID=uid,
                StudyInstanceUID=study,
                SeriesInstanceUID=f"{study}.1",
                PatientID=AILE.number,
            )
        outcome = Dcmtk().store(broker.dicom_port, path)
        assert outcome.succeeded, outcome.output


def uids(study: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"2.25.9.{study.rpartition('.')[2]}.{number}" for number in numbers)


def settings_of(broker: Broker) -> Settings:
    environment = broker.environment
    return load(Path(environment["BROKER_CONFIG"]), env=environment)


def shown(broker: Broker, study: str) -> dict[str, Any]:
    """What `broker studies show` says, without a process for each look."""
    journal = journal_of(settings_of(broker))
    try:
        return study_list.shown(journal.read(), study) or {}
    finally:
        journal.close()


def until(broker: Broker, study: str, **wanted: Any) -> None:
    """Until it is shown so."""
    wait_until(lambda: wanted.items() <= shown(broker, study).items(), f"{study}: {wanted}", timeout=30)


def commit(broker: Broker, study: str, *instances: str) -> None:
    """The archive answers what it was asked."""
    references = tuple(InstanceReference(sop_class_uid=CT, sop_instance_uid=uid) for uid in instances)
    with open_desk(settings_of(broker)) as desk:
        for request in shown(broker, study)["commitments"]:
            said = Study(transaction_uid=request["transaction"], instances=references)
            reception = decided(
                "study.committed",
                EventData(study=said),
                source="images",
                site="STO",
                now=datetime.now(UTC),
                raw=b"{}",
                message_type="N-EVENT-REPORT",
            )
            desk.write(lambda tx, said=reception: intake.insert(tx, said)).result()  # type: ignore[misc]


def stored(broker: Broker, study: str) -> int:
    """How many instances the archive is known to have."""
    return sum(one["stored"] for one in shown(broker, study)["archives"])


def files(broker: Broker) -> int:
    return len(list((broker.data / "instances").glob("*/*.dcm")))


def test_from_the_first_image_to_the_file_that_goes(
    start_broker: StartBroker, pacs: Storescp, epj_sink: MllpSink, tmp_path: Path
) -> None:
    settings = changed(tmp_path / "site", {"quiet: 5m ": "quiet: 3s ", "keep: 7d ": "keep: 0s "})
    broker = start_broker(pacs_port=pacs.port, pacs_aet="STORESCP", epj_port=epj_sink.port, settings=settings)
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "P1", AILE, "PV1|1|O"))
        accepted(orders, orm("O1", AILE, "801"))
    wait_for_row(broker)
    scu = MppsScu(broker.dicom_port)
    scu.create(begun(scheduled(STUDY, "S801-1", "A801")), "2.25.5")
    send(broker, tmp_path, STUDY, 1, 2)
    send(broker, tmp_path, OTHER, 1)

    scu.set(ended(instances=uids(STUDY, 1, 2)), "2.25.5")
    until(broker, STUDY, state="complete", instances=2, expected=2, missing=0)
    until(broker, OTHER, state="complete", instances=1, expected=0)  # nobody says what it shall have
    wait_until(lambda: stored(broker, STUDY) == 2, "the archive has all of the study", timeout=30)
    commit(broker, STUDY, *uids(STUDY, 1, 2))
    wait_until_idle(broker)
    assert files(broker) == 3
    for file in (broker.data / "instances").glob("*/*.dcm"):
        an_hour_ago = time.time() - 3601  # no younger file goes
        os.utime(file, (an_hour_ago, an_hour_ago))
    broker.stop()
    broker.start()  # its first round looks at everything
    until(broker, STUDY, freed=2)
    wait_until(lambda: files(broker) == 1, "the files are removed", timeout=30)
    assert broker.command_json("studies", "show", STUDY) == shown(broker, STUDY)
    events = {event["type"] for entry in broker.command_json("trace", STUDY) for event in entry["events"]}
    assert {"study.completed", "study.stored"} <= events

    refused = broker.command("replay", "--destination", "pacs", "--reason", "tested")
    assert refused.returncode == 1
    assert "was given up on" in refused.stderr
    assert broker.command("reconcile").returncode == 0
    assert broker.command("backup", "--to", tmp_path / "copy").returncode == 0
    send(broker, tmp_path, STUDY, 2)
    until(broker, STUDY, freed=1)
    wait_until_idle(broker)
    assert files(broker) == 2
