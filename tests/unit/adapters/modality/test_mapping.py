"""What an N-CREATE or N-SET comes to, and what of it is refused, whatever the state."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.modality import mapping
from adapters.modality.mapping import STATES, Said, operation_of, receive
from broker.adapter import Reception, Verdict
from broker.dicom_identity import Profile
from broker.event import PerformedSeries, StepReference
from broker.hl7.demographics import Issuers, read_issuer
from tests.support.golden import MESSAGE_ID, NOW
from tests.support.mpps import WRONG_ENTRY, begun, ended, scheduled

PROFILE = Profile(
    name="performed", site="STO", issuers=Issuers(default=read_issuer("STO&2.999.7001&ISO"), known=())
)
STEP = scheduled("2.25.7", "S1", "A1")


def create(uid: str = "2.25.1", **fields: Any) -> Said:
    return Said(operation="N-CREATE", uid=uid, calling_aet="CT1", attributes=begun(STEP, **fields))


def change(attributes: dict[str, Any], uid: str = "2.25.1") -> Said:
    return Said(operation="N-SET", uid=uid, calling_aet="CT1", attributes=attributes)


def received(said: Said) -> Reception:
    return receive(said, PROFILE, message_id=MESSAGE_ID, now=NOW, raw=b"raw")


def refusal(said: Said) -> tuple[str, str]:
    reception = received(said)
    assert reception.verdict is Verdict.REJECTED
    assert (reception.events, reception.claim, reception.raw) == ((), None, b"raw")
    return reception.answer_code, reception.reason


def test_an_n_create_is_a_step_that_started() -> None:
    reception = received(create())
    (event,) = reception.events

    assert (reception.verdict, reception.answer_code, reception.flags) == (Verdict.ACCEPTED, "0000", ())
    assert (reception.message_type, reception.sender, reception.protocol) == ("N-CREATE", "CT1", "dicom")
    assert event.type == "step.started"
    assert event.data.patient is not None
    assert event.data.patient.identifiers[0].key == ("2.999.7001", "700123")
    performed = event.data.performed
    assert performed is not None
    assert (performed.uid, performed.status, performed.station_aet) == ("2.25.1", "IN PROGRESS", "CT1_STO")
    assert performed.started == "20260310093500"
    assert performed.steps == (StepReference(study_uid="2.25.7", accession_number="A1", step_id="S1"),)
    assert set(reception.keys) == {
        ("instance", "2.25.1"),
        ("study", "2.25.7"),
        ("accession", "A1"),
        ("patient", "700123"),
    }


@pytest.mark.parametrize(
    ("attributes", "kind", "state"),
    [
        (ended(), "step.completed", "COMPLETED"),
        (ended("DISCONTINUED"), "step.discontinued", "DISCONTINUED"),
        ({"PerformedProcedureStepStatus": "IN PROGRESS"}, "step.changed", "IN PROGRESS"),
        ({"PerformedProcedureStepDescription": "more"}, "step.changed", "IN PROGRESS"),
    ],
)
def test_an_n_set_is_what_its_status_says(attributes: dict[str, Any], kind: str, state: str) -> None:
    reception = received(change(attributes))

    assert [event.type for event in reception.events] == [kind]
    assert reception.events[0].data.patient is None
    assert reception.claim is not None
    assert (reception.claim.after, reception.claim.state) == ({"IN PROGRESS"}, state)


def test_the_last_n_set_says_series_end_and_reason() -> None:
    performed = received(change(ended("DISCONTINUED", reason=WRONG_ENTRY))).events[0].data.performed

    assert performed is not None
    assert (performed.ended, performed.discontinuation) == ("20260310095000", WRONG_ENTRY)
    assert performed.series == (PerformedSeries(series_uid="2.25.9", instances=("2.25.9.1",)),)


@pytest.mark.parametrize("keyword", mapping.CREATED_WITH)
def test_an_n_create_must_have_its_type_1_attributes(keyword: str) -> None:
    code, reason = refusal(create(**{keyword: None}))
    assert code == "0120"
    assert reason.endswith("is missing")
    code, reason = refusal(create(**{keyword: ""}))
    assert code == "0121"
    assert reason.endswith("has no value")


def test_a_scheduled_step_must_name_its_study() -> None:
    nameless = {keyword: value for keyword, value in STEP.items() if keyword != "StudyInstanceUID"}
    assert refusal(create(ScheduledStepAttributesSequence=(nameless,)))[0] == "0120"
    assert refusal(create(ScheduledStepAttributesSequence=(scheduled("", "S1"),)))[0] == "0121"


@pytest.mark.parametrize("status", ["COMPLETED", "DISCONTINUED", "in progress", "DONE"])
def test_an_mpps_begins_in_progress(status: str) -> None:
    assert refusal(create(PerformedProcedureStepStatus=status)) == (
        "0106",
        "(0040,0252): no status that may be set",
    )


def test_other_values_that_cannot_be() -> None:
    assert refusal(change({"PerformedProcedureStepStatus": "DONE"}))[0] == "0106"
    assert refusal(change({"PerformedProcedureStepStatus": ""}))[0] == "0106"
    assert refusal(create(PerformedProcedureStepStartDate="10.03.2026"))[0] == "0106"
    assert refusal(create("no uid"))[0] == "0117"
    assert refusal(change(ended(), ""))[0] == "0117"
    assert refusal(change({}))[0] == "0120"


@pytest.mark.parametrize("steps", [None, (), (scheduled("2.25.7"),)])
def test_what_was_not_scheduled_is_taken_and_flagged(steps: Any) -> None:
    reception = received(create(ScheduledStepAttributesSequence=steps))

    assert (reception.verdict, reception.flags) == (Verdict.ACCEPTED, ("mpps-unscheduled",))


def test_what_a_careful_device_would_have_said_is_flagged() -> None:
    assert received(change({"PerformedProcedureStepStatus": "COMPLETED"})).flags == (
        "mpps-without-end",
        "mpps-without-series",
    )


@pytest.mark.parametrize(
    ("said", "state", "code"),
    [
        (create(), "IN PROGRESS", "0111"),
        (create(), "COMPLETED", "0111"),
        (change(ended()), "", "0112"),
        (change(ended()), "COMPLETED", "0110"),
        (change(ended()), "DISCONTINUED", "0110"),
    ],
)
def test_what_the_state_does_not_allow(said: Said, state: str, code: str) -> None:
    claim = received(said).claim
    assert claim is not None
    assert state not in claim.after
    instead = claim.otherwise(state)

    assert (instead.verdict, instead.answer_code, instead.events) == (Verdict.REJECTED, code, ())
    assert instead.message_id == MESSAGE_ID


def test_the_table_of_states_is_the_standards() -> None:
    assert {(before, after) for before, targets in STATES.items() for after in targets} == {
        ("", "IN PROGRESS"),
        ("IN PROGRESS", "IN PROGRESS"),
        ("IN PROGRESS", "COMPLETED"),
        ("IN PROGRESS", "DISCONTINUED"),
    }


def test_a_data_set_tells_what_it_was_sent_as() -> None:
    assert operation_of(begun(STEP)) == "N-CREATE"
    assert operation_of(begun(ScheduledStepAttributesSequence=None)) == "N-CREATE"
    assert operation_of(ended()) == "N-SET"
