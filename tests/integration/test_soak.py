"""A soak of seconds with a tenth of its devices, and what is planted for it to find; `make soak` is the long one.

BROKER_TEST_SEED repeats one of these.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.soak.stage import Plan, Report, play

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def played(folder: Path, *plants: str, seconds: float = 5.0, devices: int = 24, pause: float = 0.5) -> Report:
    seed = int(os.environ.get("BROKER_TEST_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"BROKER_TEST_SEED={seed}")
    plan = Plan(seconds=seconds, devices=devices, pause=pause, every=0.1, seed=seed, plants=plants)
    return play(folder, plan, print)


def test_devices_are_served_and_leave_nothing(tmp_path: Path) -> None:
    report = played(tmp_path, seconds=10.0, devices=60, pause=1.5)
    print(report.curves)

    assert report.findings == []
    done = (
        "queries",
        "examinations",
        "images at the PACS",
        "deaths",
        "silences",
        "orders",
        "C-ECHO",
        "N-SET",
    )
    assert min(report.counts[what] for what in done) > 0
    assert [curve.name for curve in report.curves] == ["files", "threads", "memory", "incoming"]


def test_a_leak_is_found_in_each_curve(tmp_path: Path) -> None:
    findings = played(tmp_path, "leak").findings

    assert {line.partition(" ")[0] for line in findings if " grew by " in line} == {
        "files",
        "threads",
        "memory",
    }


def test_lost_images_and_rows_of_others_are_found(tmp_path: Path) -> None:
    findings = played(tmp_path, "lose", "mix", seconds=3.0).findings

    for text in ("not at the PACS", "another device's", "of its own"):
        assert any(text in line for line in findings), text
