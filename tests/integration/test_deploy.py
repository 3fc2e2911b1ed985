"""The alert rules as Prometheus itself reads and runs them, the units as systemd does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.needs import find_program
from tests.support.shared import REPOSITORY

pytestmark = pytest.mark.integration

PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
SYSTEMD = REPOSITORY / "deploy" / "systemd"


def program(name: str) -> str:
    """Not one of the peers that CI must have: without it the test is skipped."""
    return find_program(name) or pytest.skip(f"{name} is not installed")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8", check=False)


def test_the_alert_rules_start_and_end_when_they_should(tmp_path: Path) -> None:
    promtool = program("promtool")

    assert run(promtool, "check", "config", PROMETHEUS / "prometheus.yaml").returncode == 0
    finished = run(promtool, "test", "rules", PROMETHEUS / "broker.rules.test.yaml")
    assert finished.returncode == 0, finished.stdout + finished.stderr

    # And the tests see the rules: without its `for`, a flicker is an alert.
    shutil.copytree(PROMETHEUS, tmp_path, dirs_exist_ok=True)
    rules = tmp_path / "broker.rules.yaml"
    rules.write_text(rules.read_text(encoding="utf-8").replace("        for: 1m\n", ""), encoding="utf-8")
    assert run(promtool, "test", "rules", tmp_path / "broker.rules.test.yaml").returncode == 1


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    for unit in SYSTEMD.iterdir():
        # The broker is not installed where the unit says: whatever is there stands for it.
        text = unit.read_text(encoding="utf-8").replace("/opt/broker/venv/bin/broker", "/bin/true")
        (tmp_path / unit.name).write_text(text, encoding="utf-8")

    finished = run(analyze, "verify", "--man=no", *sorted(tmp_path.iterdir()))

    assert (finished.returncode, finished.stderr) == (0, "")
