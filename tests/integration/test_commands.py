"""The commands as an operator types them, beside a running broker or on the configuration alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.dcmtk import Dcmtk
from tests.support.flows import accepted, wait_until_idle
from tests.support.images import write_image
from tests.support.messages import Person, adt, orm, study_uid
from tests.support.mllp import MllpSink
from tests.support.orthanc import Orthanc
from tests.support.ports import free_port
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

SAMPLES = REPOSITORY / "routes" / "tests"
SOMEONE = Person(number="710001", family="Sporet", given="Åse")


# beside a running broker


def test_a_message_is_traced_by_what_people_know_of_it(
    broker: Broker, epj_sink: MllpSink, orthanc: Orthanc, tmp_path: Path
) -> None:
    image = write_image(
        tmp_path / "a.dcm", PatientID="710001", AccessionNumber="A910", StudyInstanceUID=study_uid("910")
    )
    with broker.pas() as pas, broker.orders() as orders:
        accepted(pas, adt("A04", "C1", SOMEONE))
        accepted(orders, orm("C2", SOMEONE, "910"))
    assert Dcmtk().store(broker.dicom_port, tmp_path / "a.dcm").succeeded
    wait_until_idle(broker)

    def found(what: str) -> list[tuple[str, str]]:
        return [(entry["source"], entry["control_id"]) for entry in broker.command_json("trace", what)]

    assert found("C1") == [("pas", "C1")]
    assert found("A910") == [("orders", "C2"), ("images", "")]
    assert found(study_uid("910")) == [("orders", "C2"), ("images", "")]
    assert found(str(image.SOPInstanceUID)) == [("images", "")]
    assert found("F910") == [("orders", "C2")]
    missing = broker.command("trace", "NOTHING")
    assert missing.returncode != 0
    assert "nothing in the journal" in missing.stderr


def test_a_trace_tells_every_hop(broker: Broker, epj_sink: MllpSink) -> None:
    with broker.orders() as orders:
        accepted(orders, orm("C3", SOMEONE, "911"))
    wait_until_idle(broker)

    (entry,) = broker.command_json("trace", "A911")
    told = broker.command("trace", "A911").stdout

    assert (entry["verdict"], entry["answer"], entry["charset"]) == ("accepted", "AA", "utf-8")
    assert [event["type"] for event in entry["events"]] == ["order.placed", "step.scheduled"]
    deliveries = {d["destination"]: d for event in entry["events"] for d in event["deliveries"]}
    assert {name: d["state"] for name, d in deliveries.items()} == {
        "worklist": "delivered",
        "epj": "delivered",
    }
    assert "order-status-to-epj.yaml:" in deliveries["epj"]["place"]
    told_of_epj = deliveries["epj"]
    assert (told_of_epj["attempt"], told_of_epj["detail"], told_of_epj["attempts"]) == (1, "MSA-1 AA", [])
    number = f"delivery {told_of_epj['id']} to epj by"  # what replay, parked and why delivery ask for
    for word in ("orders received ORM^O01", "answered AA", "step.scheduled", number, "MSA-1 AA"):
        assert word in told


def test_the_worklist_is_listed_without_names_unless_asked(broker: Broker) -> None:
    with broker.orders() as orders:
        accepted(orders, orm("C4", SOMEONE, "912"))
    wait_until_idle(broker)

    plain, named = (broker.command("worklist", "list", *option).stdout for option in ((), ("--names",)))

    assert "A912" in plain
    assert "CT1_STO,CT2_STO" in plain
    assert "Sporet" not in plain
    assert "710001" not in plain
    assert "Sporet" in named
    assert "710001" in named

    with broker.orders() as orders:
        accepted(orders, orm("C5", SOMEONE, "911", start="20260310080000"))
        accepted(orders, orm("C6", SOMEONE, "913", start="20260310070000"))
    wait_until_idle(broker)
    ours = [row["accession"] for row in broker.command_json("worklist", "list") if row["date"] == "20260310"]
    assert [one for one in ours if one in ("A911", "A912", "A913")] == ["A913", "A911", "A912"], (
        "by their start"
    )


def test_send_shows_the_answer_and_fails_on_a_refusal(broker: Broker, tmp_path: Path) -> None:
    good = broker.command("send", SAMPLES / "adt_a04_registered.hl7")
    refused = broker.command("send", "--to", "orders", SAMPLES / "adt_a04_registered.hl7")
    nobody = broker.command("send", "--port", str(free_port()), SAMPLES / "adt_a04_registered.hl7")

    assert (good.returncode, good.stdout.split()[0]) == (0, "AA")
    assert (refused.returncode, refused.stdout.split()[0]) == (1, "AR")
    assert nobody.returncode == 1
    assert "Traceback" not in nobody.stderr


# on the configuration alone


def test_the_shipped_configuration_is_clean_and_its_tests_pass(idle: Broker) -> None:
    checked, tested = idle.command("check", "--deny-warnings"), idle.command("test")

    assert (checked.returncode, checked.stderr) == (0, "")
    assert (tested.returncode, tested.stderr) == (0, "")
    assert " 0 failed" in tested.stdout
    assert not idle.data.exists(), "nothing is opened"


def test_explain_says_what_an_order_would_come_to(idle: Broker) -> None:
    told = idle.command("explain", SAMPLES / "orm_ct.hl7", "--source", "orders")
    found = idle.command_json("explain", SAMPLES / "orm_ct.hl7", "--source", "orders")

    assert (told.returncode, found["verdict"], found["answer"]) == (0, "accepted", "AA")
    (row,) = [d["rendered"] for d in found["deliveries"] if d["destination"] == "worklist"]
    assert row["AccessionNumber"] == "A2026000201"
    (status,) = [d["rendered"] for d in found["deliveries"] if d["destination"] == "epj"]
    assert "ORC|SC|P77201^EPJ" in status
    assert {verdict["route"] for verdict in found["routes"] if verdict["matched"]} == {
        *("steps-to-worklist", "order-status-to-epj"),
    }
    for word in ("answer AA", "step.scheduled", "matched steps-to-worklist", "PatientName: Sørby^Áile^Lájla"):
        assert word in told.stdout
    assert not idle.data.exists(), "nothing is kept"


def test_explain_says_why_a_message_would_be_refused(idle: Broker, tmp_path: Path) -> None:
    (tmp_path / "bad.hl7").write_bytes(orm("C5", SOMEONE, "913", control="QQ"))

    told = idle.command("explain", tmp_path / "bad.hl7", "--source", "orders")

    assert told.returncode == 1
    assert "rejected, answer AE" in told.stdout
    assert "ORC-5" in told.stdout


BREAKS = {
    "an unknown key": ("steps-to-worklist.yaml", "on: [step.*]", "onn: [step.*]", "on"),
    "an unknown event": ("steps-to-worklist.yaml", "on: [step.*]", "on: [stepp.*]", "step"),
    "an unknown destination": ("order-status-to-epj.yaml", "- hl7: epj", "- hl7: epjj", "epj"),
    "an unknown attribute": (
        *("steps-to-worklist.yaml", "ScheduledStationAETitle: ${", "ScheduledStationAETitel: ${"),
        "ScheduledStationAETitle",
    ),
    "an unknown table": ("steps-to-worklist.yaml", "lookup('stations'", "lookup('station'", "stations"),
    "an unknown variable": (
        "steps-to-worklist.yaml",
        "step.station_codes",
        "step.station_code",
        "station_codes",
    ),
    "an unfinished expression": (
        "steps-to-worklist.yaml",
        "step.station_codes, [])) }",
        "step.station_codes, []) }",
        ")",
    ),
}


@pytest.mark.parametrize("mistake", BREAKS)
def test_a_broken_route_is_told_with_its_place_and_a_suggestion(
    mistake: str, idle: Broker, edited: Path
) -> None:
    name, before, after, suggestion = BREAKS[mistake]
    route = edited.parent.parent / "routes" / name
    text = route.read_text(encoding="utf-8")
    assert before in text
    route.write_text(text.replace(before, after, 1), encoding="utf-8")
    at = text.replace(before, after, 1).split(after)[0].count("\n") + 1

    checked = idle.command("check", "--config", edited)

    said = checked.stdout + checked.stderr
    assert checked.returncode == 1
    assert f"routes/{name}:{at}:" in said, said
    assert suggestion in said
    assert "Traceback" not in said


def test_every_mistake_is_told_at_once_and_the_broker_does_not_start(idle: Broker, edited: Path) -> None:
    routes = edited.parent.parent / "routes"
    for name, before, after, _ in (BREAKS["an unknown key"], BREAKS["an unknown destination"]):
        text = (routes / name).read_text(encoding="utf-8")
        (routes / name).write_text(text.replace(before, after, 1), encoding="utf-8")

    faults = json.loads(idle.command("check", "--config", edited, "--format", "json").stdout)
    started = idle.command("run", "--config", edited, timeout=20)

    found = faults["faults"] if isinstance(faults, dict) else faults
    assert {Path(fault["file"]).name for fault in found} == {
        "steps-to-worklist.yaml",
        "order-status-to-epj.yaml",
    }
    assert all(fault["line"] and fault["column"] and fault["message"] for fault in found)
    assert started.returncode == 2
    assert "steps-to-worklist.yaml:" in started.stderr
    assert "order-status-to-epj.yaml:" in started.stderr
    assert "Traceback" not in started.stderr
    assert not idle.data.exists(), "nothing was opened"


def test_a_failing_route_test_says_what_differs(idle: Broker, edited: Path) -> None:
    route = edited.parent.parent / "routes" / "steps-to-worklist.yaml"
    text = route.read_text(encoding="utf-8")
    route.write_text(text.replace("Modality: OP,", "Modality: US,", 1), encoding="utf-8")

    tested = idle.command("test", "--config", edited)

    assert tested.returncode == 1
    assert "FAIL steps-to-worklist: a station code is turned into its AE title" in tested.stdout
    assert "US" in tested.stdout
    assert "OP" in tested.stdout


def test_a_command_that_is_not_there_is_suggested(idle: Broker) -> None:
    told = idle.command("statsu")

    assert told.returncode == 2
    assert "status" in told.stderr


def test_without_a_journal_a_person_is_told_what_to_do(idle: Broker) -> None:
    told = idle.command("status")

    assert told.returncode == 2
    assert "broker run" in told.stderr
    assert "Traceback" not in told.stderr


def test_settings_that_are_wrong_are_told_with_their_place(idle: Broker, edited: Path) -> None:
    edited.write_text(edited.read_text(encoding="utf-8").replace("ae_title:", "ae_titel:"), encoding="utf-8")

    checked = idle.command("check", "--config", edited)

    said = checked.stdout + checked.stderr
    assert checked.returncode == 1
    assert "broker.yaml:" in said
    assert "ae_title" in said


def test_start_broker_uses_the_shipped_configuration(start_broker: StartBroker) -> None:
    """What the other tests start is what `make run` starts."""
    broker = start_broker()

    assert "--config" not in Path(f"/proc/{broker.pid}/cmdline").read_text()
    assert Path(f"/proc/{broker.pid}/cwd").resolve() == REPOSITORY
