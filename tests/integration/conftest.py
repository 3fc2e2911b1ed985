"""What several integration tests of commands stand on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.broker import Broker
from tests.support.shared import REPOSITORY


@pytest.fixture
def idle(tmp_path: Path) -> Broker:
    """A broker that does not run: for commands that need none."""
    return Broker(tmp_path)


@pytest.fixture
def edited(tmp_path: Path) -> Path:
    """A copy of the shipped configuration to break; the path of its settings file."""
    for folder in ("config", "routes"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    return tmp_path / "config" / "broker.yaml"
