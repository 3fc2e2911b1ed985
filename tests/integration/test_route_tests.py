"""`broker test` and `broker codes` as an integration engineer uses them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.broker import Broker
from tests.support.flows import accepted, wait_until_idle
from tests.support.mllp import MllpSink
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

SAMPLES = REPOSITORY / "routes" / "tests"


def change(edited: Path, name: str, old: str, new: str) -> Path:
    file = edited.parent.parent / "routes" / name
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return file


def test_a_difference_is_told_by_segment_and_by_tag(idle: Broker, edited: Path) -> None:
    change(edited, "adt-to-epj.yaml", "PID-5: Sørby^Áile", "PID-5: BERG^Áile")
    change(edited, "steps-to-worklist.yaml", "Modality: OP", "Modality: US")

    told = idle.command("test", "--config", edited)

    assert told.returncode == 1
    assert "epj[0] PID-5.1 expected BERG, got Sørby" in told.stdout
    assert "worklist[0] (0008,0060) Modality expected US, got OP" in told.stdout


def test_only_the_tests_of_one_route(idle: Broker) -> None:
    told = idle.command("test", "--route", "results-to-epj")
    nobody = idle.command("test", "--route", "result-to-epj")

    assert (told.returncode, told.stdout.splitlines()[-1].split(",")[0]) == (0, "1 passed")
    assert nobody.returncode == 2
    assert "Did you mean 'results-to-epj'?" in nobody.stderr


def test_update_writes_what_came_out_and_nothing_else(idle: Broker, edited: Path) -> None:
    file = change(edited, "steps-to-worklist.yaml", "[CT1_STO, CT2_STO]", "[CT1_STO]   # both, one day")
    before = file.read_text(encoding="utf-8")

    told = idle.command("test", "--config", edited, "--update")

    assert told.returncode == 0, told.stdout
    assert "updated" in told.stdout
    assert "ScheduledStationAETitle" in told.stdout
    assert file.read_text(encoding="utf-8") == before.replace("[CT1_STO] ", "[CT1_STO, CT2_STO] ")
    assert sorted(path.name for path in file.parent.glob("*.new")) == []


def test_update_leaves_alone_what_only_a_person_can_say(idle: Broker, edited: Path) -> None:
    file = change(
        edited, "adt-to-epj.yaml", "expect: { ack: AA, none: true }", "expect: { epj: [{ MSH-9: x }] }"
    )
    before = file.read_bytes()

    told = idle.command("test", "--config", edited, "--update")

    assert told.returncode == 1
    assert "epj expected 1 output, got 0 outputs" in told.stdout
    assert file.read_bytes() == before


def test_update_refuses_what_it_cannot_write(idle: Broker, edited: Path) -> None:
    file = change(edited, "results-to-epj.yaml", "OBR-25: F", "OBR-25: ${env:NOWHERE:-X}")
    before = file.read_bytes()

    told = idle.command("test", "--config", edited, "--update")

    assert told.returncode == 2
    assert "taken from the environment" in told.stderr
    assert "this file was not changed" in told.stderr
    assert file.read_bytes() == before


def test_results_as_junit(idle: Broker, edited: Path, tmp_path: Path) -> None:
    change(edited, "steps-to-worklist.yaml", "Modality: OP", "Modality: US")

    idle.command("test", "--config", edited, "--junit", tmp_path / "junit.xml")

    root = ElementTree.parse(tmp_path / "junit.xml").getroot()
    suites = {suite.get("name"): suite for suite in root}
    assert suites["adt-to-epj"].get("failures") == "0"
    (failure,) = root.iter("failure")
    assert failure.get("message") == "worklist[0] (0008,0060) Modality expected US, got OP"
    (case,) = [case for case in suites["steps-to-worklist"] if case.find("failure") is not None]
    assert (case.get("name"), str(case.get("line")).isdigit()) == (
        "a station code is turned into its AE title",
        True,
    )


def test_coverage_of_the_shipped_routes_is_whole(idle: Broker) -> None:
    told = idle.command("test", "--coverage", "--min-coverage", "100")
    found = json.loads(idle.command("test", "--coverage", "--format", "json").stdout)

    assert told.returncode == 0, told.stdout
    assert "100.0 % of" in told.stdout
    assert "table stations: " in told.stdout
    assert found["coverage"]["percent"] == 100.0
    assert {row["table"] for row in found["coverage"]["rows"]} == {"stations"}
    assert all(test["passed"] for test in found["tests"])


def test_what_no_test_exercises_is_told_and_fails(idle: Broker, edited: Path) -> None:
    change(
        edited, "results-to-epj.yaml", "to:\n", "where: result.status in ['F', 'C'] || source == 'x'\nto:\n"
    )

    told = idle.command("test", "--config", edited, "--coverage", "--min-coverage", "90")

    assert told.returncode == 1
    assert "never: where: source == 'x' is true" in told.stdout
    assert "less than 90 %" in told.stderr


def test_rows_and_a_time_of_the_tests_own(idle: Broker, edited: Path) -> None:
    change(
        edited,
        "steps-to-worklist.yaml",
        "  - name: an unknown room is nobody's",
        "  - name: a room of tomorrow\n"
        "    tables: { stations: { MR-LAB9: [MR9_STO] } }\n"
        "    at: 2027-01-01\n"
        "    given: { source: orders, file: tests/omi_mr_unknown_room.hl7 }\n"
        "    expect: { worklist: [{ ScheduledStationAETitle: MR9_STO }] }\n\n"
        "  - name: an unknown room is nobody's",
    )

    told = idle.command("test", "--config", edited, "--route", "steps-to-worklist")

    assert told.returncode == 0, told.stdout
    assert "ok   steps-to-worklist: a room of tomorrow" in told.stdout


def test_a_message_of_the_journal_and_the_codes_that_it_lacked(
    broker: Broker, epj_sink: MllpSink, edited: Path
) -> None:
    with broker.orders() as orders:
        accepted(orders, (SAMPLES / "omi_mr_unknown_room.hl7").read_bytes())
        accepted(orders, (SAMPLES / "orm_ct.hl7").read_bytes())
    wait_until_idle(broker)
    (entry,) = broker.command_json("trace", "R000201")
    file = change(
        edited,
        "order-status-to-epj.yaml",
        "given: { source: orders, file: tests/orm_ct.hl7 }",
        f"given: {{ source: orders, journal: {entry['id']} }}",
    )

    tested = broker.command("test", "--config", edited, "--route", "order-status-to-epj")
    assert tested.returncode == 0, tested.stdout

    file.write_text(file.read_text(encoding="utf-8").replace(entry["id"], "M404"), encoding="utf-8")
    gone = broker.command("test", "--config", edited, "--route", "order-status-to-epj")
    assert gone.returncode == 1
    assert "given expected a message, got no message M404 in the journal" in gone.stdout

    missing = broker.command("codes", "missing", "--last", "1d")
    (found,) = json.loads(broker.command("codes", "missing", "--format", "json").stdout)
    assert missing.returncode == 1
    assert "stations: MR-LAB9" in missing.stdout
    assert "Nordgård" not in missing.stdout
    assert (found["codes"], found["events"], found["types"]) == (["MR-LAB9"], 1, {"step.scheduled": 1})
    fewer = broker.command("codes", "missing", "--last", "soon")
    assert fewer.returncode == 2
    assert "duration" in fewer.stderr


def test_tables_are_listed_shown_and_found_where_they_are_used(idle: Broker, edited: Path) -> None:
    table = edited.parent / "stations.csv"
    text = table.read_text(encoding="utf-8").replace("location\n", "location,from,to\n", 1)
    text = text.replace("MR 1,Radiologi kjeller\n", "MR 1,Radiologi kjeller,,2026-04-01\n")
    table.write_text(text + "MR-LAB1,MR2_STO,STO,MR,MR 2,K,2026-04-01,\n", encoding="utf-8")

    def run(*arguments: str) -> str:
        return idle.command("codes", *arguments, "--config", edited).stdout

    (listed,) = json.loads(run("list", "--format", "json"))
    assert (listed["table"], listed["codes"], listed["rows"], listed["uses"]) == ("stations", 24, 25, 1)
    old, new = json.loads(run("show", "stations", "MR-LAB1", "--at", "2026-03-31", "--format", "json"))
    assert (old["values"], old["to"], old["holds"]) == (["MR1_STO"], "2026-04-01", True)
    assert (new["values"], new["from"], new["holds"]) == (["MR2_STO"], "2026-04-01", False)
    assert "* MR-LAB1 = MR2_STO  [2026-04-01 to …]" in run(
        "show", "stations", "MR-LAB1", "--at", "2026-04-01"
    )
    assert "route steps-to-worklist, ScheduledStationAETitle: lookup('stations'" in run("where", "stations")
    unknown = idle.command("codes", "show", "stations", "MR-LAB2", "--config", edited)
    assert unknown.returncode == 1
    assert "Did you mean 'MR-LAB1'?" in unknown.stderr
    assert not idle.data.exists(), "nothing is opened"
