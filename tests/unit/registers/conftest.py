"""What the register tests share."""

from __future__ import annotations

import pytest

from tests.support.registers import Registers


@pytest.fixture
def registers() -> Registers:
    """Empty registers."""
    return Registers()
