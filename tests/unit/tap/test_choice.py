"""Which items fit what somebody asked for, and what the audit says of it."""

from __future__ import annotations

from typing import Any

import pytest

from broker.routing.expression import Scope, compile_condition
from broker.tap.choice import Choice, Content, HashedPatient, Item
from tests.support import events

STEP = events.event(
    "step.scheduled", patient=events.patient(events.local("700123")), step=events.step(modality="CT")
)
PATIENT = events.event("patient.merged", prior=(events.local("700999"),))


def item(stream: Any = "received", **fields: Any) -> Item:
    said = {
        "received": {"verdict": "accepted"},
        "events": {"event": "step.scheduled"},
        "deliveries": {"event": "step.scheduled", "destination": "epj", "route": "adt", "outcome": "parked"},
    }[stream]
    given: dict[str, Any] = {
        "stream": stream, "number": 1, "at": "2026-03-09T08:00:00+00:00", "message": 1, "day": "2026-03-09",
        "message_id": "M1", "source": "pas", "site": "STO", "protocol": "hl7", "type": "ADT^A08",
        "control_id": "C1", "charset": "utf_8", "said": said,
    }  # fmt: skip
    return Item(**{**given, **fields})


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({}, True),
        ({"source": ("orders", "pas")}, True),
        ({"source": ("orders",)}, False),
        ({"type": ("ADT^*",)}, True),
        ({"type": ("ORM^*",)}, False),
        ({"event": ("step.*",)}, True),
        ({"event": ("patient.*",)}, False),
        ({"destination": ("epj",), "outcome": ("parked", "held")}, True),
        ({"destination": ("epj",), "outcome": ("delivered",)}, False),
        ({"route": ("other",)}, False),
    ],
)
def test_everything_that_is_given_must_fit(asked: dict[str, Any], fits: bool) -> None:
    assert Choice(**asked).fits(item("deliveries")) is fits


def test_what_only_one_stream_says_leaves_the_others_out() -> None:
    assert Choice().seen == ("received", "events", "deliveries")
    assert Choice(outcome=("parked",)).seen == ("deliveries",)
    assert Choice(verdict=("rejected",)).seen == ("received",)
    assert Choice(verdict=("rejected",), route=("adt",)).seen == ()
    assert Choice(streams=("events",), outcome=("parked",)).seen == ()


def test_a_message_fits_by_one_of_its_events_in_all_that_is_asked() -> None:
    where = compile_condition("step.modality == 'CT'", Scope())
    both = Content(events=(PATIENT, STEP))

    assert Choice(event=("step.*",), where=where).fits_content(both, None)
    assert not Choice(event=("patient.*",), where=where).fits_content(both, None)
    assert not Choice(event=("patient.*",)).fits_content(Content(), None)
    assert Choice().fits_content(Content(), None)


def test_a_patient_is_found_by_any_number_and_the_number_stands_nowhere() -> None:
    for number in ("700123", "700999"):
        asked = Choice(patient=HashedPatient(number))

        assert [asked.fits_content(Content(events=(one,)), None) for one in (STEP, PATIENT)] == [
            number == "700123",
            number == "700999",
        ]
        assert number not in f"{asked!r} {asked.described()} {vars(asked.patient)}"
    assert not Choice(patient=HashedPatient("70012")).fits_content(Content(events=(STEP,)), None)


def test_a_sample_takes_whole_messages() -> None:
    asked = Choice(sample=10)
    taken = {n for n in range(2000) if asked.fits(item(message_id=f"M{n}"))}

    assert 100 < len(taken) < 300
    for n in range(50):
        assert asked.fits(item("deliveries", message_id=f"M{n}")) == (n in taken)


def test_the_audit_says_what_was_asked_for_and_of_nobody() -> None:
    where = compile_condition("patient.id == '700123'", Scope())
    asked = Choice(source=("pas",), where=where, patient=HashedPatient("700123"), sample=100)

    assert asked.described() == {
        "streams": ["received", "events", "deliveries"],
        "source": ["pas"],
        "where": "patient.id == '•'",
        "patient": "one, by number",
        "sample": "1/100",
    }
