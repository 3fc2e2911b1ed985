"""An event of the log seen again, through the registers as they stand."""

from __future__ import annotations

from broker.registers.views import look_as_said
from tests.support.events import event, local, order, patient, step
from tests.support.registers import Registers

WHO = patient(local("700123"))


def test_an_event_is_seen_again_as_it_spoke(registers: Registers) -> None:
    first = event(
        "step.scheduled", 1, patient=WHO, order=order(), step=step(station_codes=("OLD",), modality="CT")
    )
    registers.fold(first)
    registers.fold(
        event("step.changed", 2, patient=WHO, order=order(), step=step(station_codes=("NEW",), modality=""))
    )

    view = look_as_said(registers.tx, first, None)

    assert view is not None
    assert view.step is not None
    assert (view.step.station_codes, view.step.modality) == (("OLD",), "CT")
    assert (
        look_as_said(registers.tx, event("step.scheduled", 3, patient=WHO, step=step(key="?")), None) is None
    )
