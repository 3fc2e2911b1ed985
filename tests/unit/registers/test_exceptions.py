from __future__ import annotations

from broker.journal.intake import append
from broker.registers import exceptions
from tests.support.events import event, reception
from tests.support.registers import Registers


def test_an_entry_names_the_message_that_caused_it(registers: Registers) -> None:
    cause = event("step.scheduled", 7)
    append(registers.tx, reception(7, cause, source="orders"))
    exceptions.report(registers.tx, "step-held", "RIS|F1|S1", "no modality", cause)

    assert exceptions.listed(registers.tx) == [
        {
            "kind": "step-held",
            "subject": "RIS|F1|S1",
            "reason": "no modality",
            "since": "2026-03-09T08:07:00+00:00",
            "message": "M00007",
            "source": "orders",
            "control_id": "C00007",
        }
    ]


def test_an_entry_is_raised_once_renewed_and_cleared_once(registers: Registers) -> None:
    exceptions.report(registers.tx, "step-held", "S", "no modality", event("step.scheduled", 1))
    exceptions.report(registers.tx, "step-held", "S", "no station", event("step.scheduled", 2))
    exceptions.report(registers.tx, "step-refused", "S", "other", event("step.scheduled", 3))

    assert [(e["kind"], e["reason"], e["since"][11:16]) for e in exceptions.listed(registers.tx)] == [
        ("step-held", "no station", "08:01"),
        ("step-refused", "other", "08:03"),
    ]
    exceptions.clear(registers.tx, "step-held", "S")
    exceptions.clear(registers.tx, "step-held", "S")
    assert [e["kind"] for e in exceptions.listed(registers.tx)] == ["step-refused"]
