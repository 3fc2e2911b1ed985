"""What the tests of the tap share: the shipped configuration."""

from __future__ import annotations

import pytest

from broker.runtime.configured import Configured, configure
from broker.settings import load
from tests.support.shared import REPOSITORY


@pytest.fixture(scope="session")
def configured() -> Configured:
    return configure(load(REPOSITORY / "config" / "broker.yaml", env={}), {})
