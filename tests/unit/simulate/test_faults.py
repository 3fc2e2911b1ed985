"""Choosing faults by name."""

from __future__ import annotations

import pytest

from broker.errors import ConfigError
from broker.simulate.faults import FAULTS, at, chosen


def test_all_some_and_none() -> None:
    assert chosen("all") == tuple(FAULTS)
    assert chosen("poison, split") == ("split", "poison")
    assert chosen("") == ()
    assert at("epj", chosen("split,poison")) == ("poison",)


def test_an_unknown_one_is_said_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"no fault 'poisin'.*poison"):
        chosen("poisin")
