"""`broker simulate drill` against the broker as a process: each drill passes, and one with a step left out does not."""

from __future__ import annotations

import json

import pytest

from broker.simulate.drills.catalog import DRILLS
from tests.conftest import StartBroker
from tests.support.broker import Broker
from tests.support.ports import free_port

pytestmark = pytest.mark.integration


@pytest.fixture
def drilled(start_broker: StartBroker) -> Broker:
    """A broker that tells the PACS of merges."""
    return start_broker(settings={"BROKER_PACS_HL7_PORT": str(free_port())})


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill_ends_with_one_patient_all_objects_and_no_orphan(drilled: Broker, name: str) -> None:
    found = drilled.command("simulate", "drill", name, "--seed", "1", "--format", "json", timeout=100)

    assert found.returncode == 0, found.stdout + found.stderr
    (played,) = json.loads(found.stdout)["drills"]
    assert played["verdict"] == "pass"
    assert all(step["ok"] for step in played["steps"])
    assert {check["place"] for check in played["end"]} >= {"PDQ", "Patient Root", "PACS", "EPJ", "worklists"}


def test_drills_follow_one_another_on_the_same_broker_and_one_without_its_merge_fails(
    drilled: Broker,
) -> None:
    whole = drilled.command("simulate", "drill", "merge-running", "--seed", "1", timeout=100)
    steps = [line for line in whole.stdout.splitlines() if "A40: " in line]
    without = drilled.command(
        *("simulate", "drill", "merge-running", "--seed", "2", "--without", steps[0].split()[0]), timeout=100
    )

    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert without.returncode == 1, without.stdout + without.stderr
    failed = {line.split()[2] for line in without.stdout.splitlines() if line.startswith("  end  FAIL")}
    assert {"PDQ", "register", "PACS", "EPJ"} <= failed


def test_a_broker_that_tells_the_pacs_of_no_merge_is_refused(broker: Broker) -> None:
    found = broker.command("simulate", "drill", "trauma")

    assert found.returncode == 2
    assert "BROKER_PACS_HL7_PORT" in found.stderr


def test_steps_are_numbered_by_drill(broker: Broker) -> None:
    found = broker.command("simulate", "drill", "all", "--without", "3")

    assert found.returncode == 2
    assert "--without" in found.stderr
