"""Random histories of two PAS and a RIS against a broker of its own process; `make histories` is the long run.

BROKER_TEST_SEED repeats one of these.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.histories import planted
from tests.histories.stage import Report, play
from tests.support.postgres import Postgres

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def played(folder: Path, events: int, store: str = "", **settings: str) -> Report:
    seed = int(os.environ.get("BROKER_TEST_SEED") or random.SystemRandom().randrange(1_000_000))
    print(f"BROKER_TEST_SEED={seed}")
    return play(folder, events, seed, print, store=store, settings=settings)


def test_register_worklist_and_destinations_are_what_the_model_says(tmp_path: Path) -> None:
    report = played(tmp_path, 500)

    assert report.findings == []
    assert sum(report.sent.values()) >= 450
    assert min(*report.sent.values(), *report.received.values(), report.rows, report.visits) > 0


def test_so_they_are_on_postgresql(tmp_path: Path, postgres: Postgres) -> None:
    assert played(tmp_path, 300, postgres.url(postgres.database())).findings == []


def test_a_merge_that_leaves_the_steps_behind_is_found(tmp_path: Path) -> None:
    report = play(tmp_path, 300, 1, print, settings=planted.steps_stay(tmp_path))

    assert any(line.startswith("steps: ") for line in report.findings)
    assert any(line.startswith("C-FIND rows: ") for line in report.findings)
