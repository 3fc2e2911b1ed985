"""`broker why` as the service desk types it, beside a running broker that DCMTK's findscu has asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydicom import Dataset

from tests.support.broker import Broker
from tests.support.dcmtk import worklist_query
from tests.support.flows import accepted, wait_until_routed
from tests.support.messages import Person, adt, orm

pytestmark = pytest.mark.integration

ANNA = Person(number="700123", national="30908299902", family="Sørby", given="Áile")


def find(broker: Broker, calling: str, keys: dict[str, str], **step: str) -> int:
    """How many rows a device got."""
    item = Dataset()
    for keyword, value in step.items():
        setattr(item, keyword, value)
    return len(broker.modality(calling).worklist(broker.dicom_port, worklist_query(step=item, **keys)))


def why(broker: Broker, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = broker.command_json(
        "why", "mwl", "--ae", "CT2_STO", "--patient", "700123", *arguments
    )
    (answer,) = found["answers"]
    assert isinstance(answer, dict)
    return answer


def test_a_row_that_the_device_excludes_itself(broker: Broker) -> None:
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "W1", ANNA))
        accepted(orders, orm("W2", ANNA, "920"))
    wait_until_routed(broker)
    assert find(broker, "CT2_STO", {}, ScheduledStationAETitle="CT2_STO", Modality="CT") == 1
    before = why(broker)
    keys = {"PatientName": "ANNEN*", "PatientID": "700999"}
    assert find(broker, "CT2_STO", keys, ScheduledProcedureStepStartDate="20260311-20260312") == 0
    after = why(broker)
    told = broker.command("why", "mwl", "--ae", "CT2_STO", "--patient", "700123")

    assert before["verdict"] == "served"
    assert after["verdict"] == "device-excludes"
    assert "ScheduledProcedureStepStartDate (20260311-20260312)" in after["because"]
    assert "PatientID (given)" in after["because"]
    assert "PatientName=given" in told.stdout
    for secret in ("ANNEN", "700999", "Sørby", "30908299902", "19821030"):
        assert secret not in told.stdout
        assert secret not in broker.log.read_text(encoding="utf-8")


def test_what_is_not_there_and_why(broker: Broker) -> None:
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "W1", ANNA))
        came = datetime.now(UTC)
        nothing = broker.command("why", "mwl", "--ae", "CT2_STO", "--patient", "700123")
        assert b"|AE|" in orders.ask(orm("W2", ANNA, "921").replace(b"ORC|NW", b"ORC|ZZ"))
        assert why(broker)["verdict"] == "refused"
        accepted(orders, orm("W3", ANNA, "921", start=""))
        wait_until_routed(broker)
        assert why(broker)["verdict"] == "held"
        accepted(orders, orm("W4", ANNA, "921"))
        wait_until_routed(broker)
        assert why(broker, "--accession", "A921")["verdict"] == "served"
        accepted(orders, orm("W5", ANNA, "921", control="CA", status="CA"))
        wait_until_routed(broker)
    assert why(broker)["verdict"] == "ended"

    early = broker.command(
        "why",
        "mwl",
        "--ae",
        "CT2_STO",
        "--patient",
        "700123",
        "--at",
        (came - timedelta(hours=1)).isoformat(),
    )
    nobody = broker.command("why", "mwl", "--ae", "CT2_STO", "--patient", "799999")

    assert (early.returncode, nobody.returncode, nothing.returncode) == (1, 1, 1)
    assert "never-came" in nothing.stdout
    assert "unknown-patient" in early.stdout
    assert "unknown-patient" in nobody.stdout


def test_a_tag_and_a_delivery(broker: Broker) -> None:
    with broker.orders() as orders:
        accepted(orders, orm("W2", ANNA, "922"))
    wait_until_routed(broker)

    told = broker.command("why", "tag", "ScheduledStationAETitle", "--ae", "CT2_STO", "--patient", "700123")
    masked, shown = (
        broker.command_json("why", "tag", "PatientName", "--patient", "700123", *more)["rows"][0]["value"]
        for more in ((), ("--names",))
    )
    (trace,) = broker.command_json("trace", "W2")
    number = next(
        d["id"] for event in trace["events"] for d in event["deliveries"] if d["destination"] == "worklist"
    )
    delivery = broker.command("why", "delivery", str(number))
    wrong = broker.command("why", "tag", "ScheduledStationAETitel", "--patient", "700123")

    assert "config/stations.csv:" in told.stdout
    assert "OBR-24 of ORM^O01 W2" in told.stdout
    assert (masked, shown) == ("given", "Sørby^Áile")
    assert "routes/steps-to-worklist.yaml:" in delivery.stdout
    assert wrong.returncode == 2
    assert "Did you mean" in " ".join(wrong.stderr.replace("│", " ").split())
