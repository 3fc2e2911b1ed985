"""What the settings say of a device, as DCMTK's findscu sees it beside a running broker."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from pydicom import Dataset

from broker.localtime import OSLO
from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmtk import Outcome, worklist_query
from tests.support.flows import accepted, wait_until_routed
from tests.support.messages import Person, adt, omi
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

ANNA = Person(number="700123", family="Sørby", given="Áile")
DEVICES = """
devices:
  CT1_STO: { worklist: own, aliases: [CT1_OLD] }
  CT2_STO: { max_answers: 2 }
  OCT1: { profile: zeiss-cirrus, max_answers: 3 }
  DX1_STO: { profile: agfa-nx }
  MR1_STO: { window: {}, worklist: own }
"""


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    """The shipped settings with devices."""
    text = (REPOSITORY / "config" / "broker.yaml").read_text(encoding="utf-8")
    for name in ("stations.csv", "order-status.csv", "modalities.csv", "clinics.csv"):
        text = text.replace(f": {name}", f": {REPOSITORY / 'config' / name}")
    text = text.replace("../routes", str(REPOSITORY / "routes"))
    file = tmp_path / "broker.yaml"
    file.write_text(text + DEVICES, encoding="utf-8")
    return file


@pytest.fixture
def broker(start_broker: StartBroker, configured: Path) -> Broker:
    """One with orders for CT 1 under its old title, for CT 2 and for MR 1: now, tomorrow night and in a week."""
    broker = start_broker(settings={"BROKER_CONFIG": str(configured)})
    now = datetime.now(OSLO)
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "D0", ANNA))
        for number, (aet, modality, hours) in enumerate(
            [("CT1_OLD", "CT", 1), ("CT2_STO", "CT", 2), ("MR1_STO", "MR", 23), ("MR1_STO", "MR", 168)], 1
        ):
            start = f"{now + timedelta(hours=hours):%Y%m%d%H%M%S}"
            accepted(orders, omi(f"D{number}", ANNA, f"90{number}", aet=aet, modality=modality, start=start))
    wait_until_routed(broker)
    return broker


def find(broker: Broker, calling: str, *options: str, station: str = "", **keys: str) -> Outcome:
    """The rows that a device gets, in whatever transfer syntax."""
    item = Dataset()
    item.ScheduledStationAETitle = station
    return broker.modality(calling).find(broker.dicom_port, worklist_query(step=item, **keys), "-W", *options)


def rows(broker: Broker, calling: str, *options: str, station: str = "", **keys: str) -> list[str]:
    outcome = find(broker, calling, *options, station=station, **keys)
    assert outcome.succeeded, outcome.output
    return [str(row.AccessionNumber) for row in outcome.responses]


def test_each_device_is_shown_what_the_settings_say(broker: Broker) -> None:
    everything = ["A901", "A902", "A903", "A904"]

    assert sorted(rows(broker, "FUNDUS1")) == everything, "nothing is said of it"
    assert sorted(rows(broker, "STRANGER")) == everything, "nor of one that nobody named"
    assert rows(broker, "CT1_STO") == ["A901"]
    assert rows(broker, "CT1_STO", "-xi") == ["A901"], "implicit VR"
    assert rows(broker, "CT1_STO", station="CT1_STO") == ["A901"]
    assert rows(broker, "CT1_OLD", station="CT1_STO") == ["A901"]
    assert rows(broker, "CT1_STO", station="CT2_STO") == []
    assert rows(broker, "CT1_STO", AccessionNumber="A902") == []
    assert rows(broker, "MR1_STO") == ["A903"], "the night is in its window, the week is not"
    assert rows(broker, "MR1_STO", AccessionNumber="A904") == ["A904"]


def test_a_row_stands_under_the_title_that_the_device_asked_for(broker: Broker) -> None:
    (row,) = find(broker, "CT1_STO", station="CT1_STO").responses

    assert row.ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "CT1_STO"


def test_a_limit_keeps_the_nearest_and_says_that_there_are_more(broker: Broker) -> None:
    told, quiet = find(broker, "CT2_STO"), find(broker, "OCT1")

    assert [str(row.AccessionNumber) for row in told.responses] == ["A901", "A902"]
    assert "OutOfResources" in told.statuses[0]
    assert rows(broker, "CT2_STO", AccessionNumber="A904") == ["A904"]
    assert [str(row.AccessionNumber) for row in quiet.responses] == ["A901", "A902", "A903"], "its window"
    assert quiet.succeeded
    metrics = broker.http("/metrics")[1].decode()
    assert 'broker_worklist_limited_total{calling_aet="CT2_STO"} 1.0' in metrics


def test_a_profile_adds_what_the_device_needs(broker: Broker) -> None:
    query = Dataset()
    query.AccessionNumber = "A901"
    (row,) = broker.modality("DX1_STO").worklist(broker.dicom_port, query)
    (bare,) = broker.modality("FUNDUS1").worklist(broker.dicom_port, query)

    assert ("PregnancyStatus" in row, "ScheduledProcedureStepSequence" in row) == (True, True)
    assert set(bare.dir()) == {"AccessionNumber", "StudyInstanceUID"}


def test_the_profile_of_a_device_is_proposed_from_what_it_asked(broker: Broker) -> None:
    nothing = broker.command("devices", "profile", "XA1_STO")
    rows(broker, "XA1_STO")
    rows(broker, "FUNDUS1", station="FUNDUS1", PatientID="700123", AccessionNumber="A1", PatientName="S*")
    told = broker.command_json("devices", "profile", "XA1_STO")
    none = broker.command("devices", "profile", "FUNDUS1")

    assert nothing.returncode != 0
    assert "has asked nothing" in nothing.stderr
    assert (told["profile"], told["declared"], told["queries"]) == ("broad-ultrasound", None, 1)
    assert any("`window`" in habit for habit in told["habits"])
    assert none.returncode == 1
    assert "700123" not in none.stdout
    listed = broker.command_json("devices", "profile")
    assert "agfa-nx" in [profile["name"] for profile in listed]


def test_why_says_that_the_settings_keep_a_row_away(broker: Broker) -> None:
    assert rows(broker, "CT1_STO", AccessionNumber="A901") == ["A901"]
    assert rows(broker, "MR1_STO") == ["A903"]
    question = ("why", "mwl", "--patient", "700123", "--accession")
    (alias,) = broker.command_json(*question, "A901", "--ae", "CT1_STO")["answers"]
    (late,) = broker.command_json(*question, "A904", "--ae", "MR1_STO")["answers"]

    assert (alias["verdict"], late["verdict"]) == ("served", "device-excludes")
    assert "as `devices` says" in late["because"]
