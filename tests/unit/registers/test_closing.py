"""What a person may close, and what closes by itself only."""

from __future__ import annotations

from typing import get_args

import pytest

from broker.event import Closing
from broker.registers import exceptions
from broker.registers.exceptions import CLOSABLE, SETTLED, Kind
from tests.support.events import event
from tests.support.registers import Registers


def closed(registers: Registers, kind: str, subject: str = "x") -> None:
    said = registers.said(
        "exception.closed", closing=Closing(kind=kind, subject=subject, by="nn", reason="seen to")
    )
    assert said.view is None, "nobody is told"


@pytest.mark.parametrize("kind", get_args(Kind))
def test_what_is_found_again_closes_by_itself_only(registers: Registers, kind: Kind) -> None:
    for subject in ("x", "y"):
        exceptions.report(registers.tx, kind, subject, "a reason", event("patient.updated", 1))
    closed(registers, kind)

    assert registers.reported(kind) == (["y"] if kind in CLOSABLE else ["x", "y"])
    assert (kind in CLOSABLE) is (kind not in SETTLED)


def test_it_opens_again_should_it_be_reported_anew(registers: Registers) -> None:
    for number in (1, 2):
        exceptions.report(registers.tx, "clock-skew", "pas", "a reason", event("patient.updated", number))
        closed(registers, "clock-skew", "pas")
        assert registers.reported() == []
