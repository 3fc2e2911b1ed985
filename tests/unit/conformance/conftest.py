"""What the shipped configuration's statements are made of, once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from broker.cli.conformance import facts
from broker.conformance.facts import Facts
from broker.runtime.configured import configure
from broker.runtime.trial import Trial
from broker.settings import load
from tests.support.shared import REPOSITORY

NOW = datetime(2026, 3, 9, 8, tzinfo=UTC)


@pytest.fixture(scope="session")
def shipped() -> Facts:
    configured = configure(load(REPOSITORY / "config" / "broker.yaml", env={}), {})
    return facts(configured, Trial(configured=configured, clock=lambda: NOW))
