"""`broker simulate` against the broker as a process: a small region with and without faults, and each role by hand."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.simulate.faults import FAULTS
from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.flows import accepted, wait_for_row, wait_until_idle
from tests.support.messages import Person, adt, orm
from tests.support.mllp import MllpSink
from tests.support.orthanc import Orthanc
from tests.support.ports import is_open
from tests.support.processes import Program, wait_until
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

SOMEONE = Person(number="720001", family="Lagset", given="Åse")


def region(broker: Broker, *arguments: str) -> dict[str, Any]:
    """The score of a small region, seed 1."""
    finished = broker.command(
        *("simulate", "region", "--seed", "1", "--minutes", "0.2", "--scale", "0.5", "--drain", "60"),
        *("--pid", str(broker.pid), "--format", "json", *arguments),
        timeout=110,
    )
    assert finished.stdout, finished.stderr
    score: dict[str, Any] = json.loads(finished.stdout)
    assert finished.returncode == 0, json.dumps(score, indent=1)
    return score


def impatient(folder: Path) -> str:
    """The shipped settings, but for the EPJ's acknowledgement waited for 2 s only; the file's path."""
    shutil.copytree(REPOSITORY / "config", folder / "config")
    shutil.copytree(REPOSITORY / "routes", folder / "routes")
    file = folder / "config" / "broker.yaml"
    text = file.read_text(encoding="utf-8")
    line = "    port: ${env:BROKER_EPJ_PORT:-6661}\n"
    assert line in text
    file.write_text(text.replace(line, f"{line}    ack_timeout: 2s\n"), encoding="utf-8")
    return str(file)


def test_a_region_without_faults_has_a_clean_score(start_broker: StartBroker) -> None:
    score = region(start_broker())

    assert score["verdict"] == "pass"
    for flow in score["flows"].values():
        assert flow["sent"] == flow["acknowledged"] == flow["attempts"] > 0
    assert score["epj"]["due"] == score["epj"]["arrived"] == score["epj"]["receptions"]
    assert score["images"]["sent"] == score["images"]["arrived"] > 0
    assert score["worklist"]["expected"] == score["worklist"]["seen"] > 0
    assert score["worklist"]["queries"]["count"] > 0
    assert score["memory"]["highest"] > 0
    assert score["faults"] == {}


def test_a_region_with_every_fault_loses_nothing_and_keeps_the_order(
    start_broker: StartBroker, tmp_path: Path
) -> None:
    broker = start_broker(settings={"BROKER_CONFIG": impatient(tmp_path)})
    score = region(broker, "--faults", "all", "--down", "2")

    assert (score["epj"]["lost"], score["epj"]["out_of_order"], score["images"]["lost"]) == (0, 0, 0)
    # At least: one late ack, one of another message, one cut off, and two refusals of one message.
    assert score["epj"]["repeats_after_a_fault"] >= 5
    assert all(score["faults"][name] for name in FAULTS)
    assert sum(flow["refused_as_they_should_be"] for flow in score["flows"].values()) >= 1


def test_a_loss_fails_the_run(start_broker: StartBroker, tmp_path: Path) -> None:
    """A broker without the order route: what is due of it never reaches the EPJ."""
    config = impatient(tmp_path)
    (tmp_path / "routes" / "order-status-to-epj.yaml").unlink()
    broker = start_broker(settings={"BROKER_CONFIG": config})
    finished = broker.command(
        *("simulate", "region", "--seed", "1", "--minutes", "0.05", "--scale", "0.1", "--drain", "2"),
        *("--format", "json"),
    )

    assert finished.returncode == 1, finished.stderr
    assert any("epj" in failure and "lost" in failure for failure in json.loads(finished.stdout)["failures"])


def test_without_a_broker_it_says_what_to_do(tmp_path: Path, epj_sink: MllpSink) -> None:
    finished = Broker(tmp_path).command(
        "simulate", "region", "--minutes", "0.05", "--scale", "0.01", timeout=60
    )

    assert finished.returncode == 1
    assert "broker run" in finished.stderr


def test_a_fault_that_does_not_exist_is_said(tmp_path: Path) -> None:
    broker = Broker(tmp_path)
    finished = broker.command("simulate", "region", "--faults", "poisin")

    assert finished.returncode == 2
    assert "poison" in finished.stderr
    assert "poison" in broker.command_json("simulate", "faults")


def test_pas_and_ris_by_hand(start_broker: StartBroker, epj_sink: MllpSink) -> None:
    broker = start_broker(epj_port=epj_sink.port)
    common = ("--count", "20", "--rate", "200", "--seed", "5")
    pas = broker.command_json("simulate", "pas", "--port", str(broker.pas_port), *common)
    ris = broker.command_json("simulate", "ris", "--port", str(broker.orders_port), *common)

    assert (pas["acknowledged"], pas["seed"], ris["acknowledged"]) == (20, 5, 20)
    wait_until_idle(broker)
    assert len(epj_sink.messages) >= 40


def test_an_epj_by_hand_refuses_and_then_takes(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = start_broker()
    epj = Program(
        [
            *(sys.executable, "-m", "broker", "simulate", "epj", "--port", str(broker.epj_port)),
            *("--behaviour", "AE", "--first", "1"),
        ],
        tmp_path / "epj.log",
        folder=REPOSITORY,
    )
    wait_until(lambda: is_open(broker.epj_port), "the EPJ listens")
    with broker.pas() as pas:
        accepted(pas, adt("A04", "E1", SOMEONE), adt("A08", "E2", SOMEONE))
    wait_until_idle(broker)

    assert epj.terminate(timeout=10) == 0, epj.output()
    lines = epj.output().splitlines()
    assert [line for line in lines if line.startswith("E")] == ["E1  AE", "E1", "E2  AE", "E2"]
    assert lines[-1] == "4 receptions of 2 messages"
    assert SOMEONE.family not in epj.output()


def test_a_modality_by_hand_shows_its_worklist_without_names_and_stores(
    broker: Broker, orthanc: Orthanc
) -> None:
    with broker.orders() as orders:
        accepted(orders, orm("M1", SOMEONE, "720"))
    wait_for_row(broker, AccessionNumber="A720")
    arguments = ("simulate", "modality", "--ae", "CT1_STO", "--port", str(broker.dicom_port))

    assert [row["accession"] for row in broker.command_json(*arguments)["rows"]] == ["A720"]
    shown = broker.command(*arguments)
    assert "1 rows" in shown.stdout
    assert SOMEONE.family not in shown.stdout
    assert SOMEONE.number not in shown.stdout

    stored = broker.command_json(*arguments, "--images", "2")
    assert (stored["images"], stored["taken"]) == (2, 2)
    wait_until_idle(broker)
    assert len(orthanc.instances()) == 2
