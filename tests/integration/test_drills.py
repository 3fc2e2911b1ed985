"""The drills in small: a dead destination, a poison message. `python -m tests.bench.…` runs them large."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import dead_destination, poison

pytestmark = pytest.mark.integration

SEED = 1


def test_a_dead_destination_is_drained_in_order(tmp_path: Path) -> None:
    report = dead_destination.drill(tmp_path, messages=300, seed=SEED)

    assert not report.broken, report.text()
    assert [line["messages"] for line in report.lines] == [30, 300, 300]


def test_a_poison_message_holds_its_patient_only(tmp_path: Path) -> None:
    report = poison.drill(tmp_path, messages=600, seed=SEED)

    assert not report.broken, report.text()
    assert [line[""] for line in report.lines] == ["before", "with poison", "parked", "repaired"]
