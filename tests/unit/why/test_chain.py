from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.why.chain import MESSAGES, chain
from broker.why.facts import Device, Facts, StepFacts, Valued
from tests.unit.why.test_rules import MATCHED, NOT_MATCHED, came, facts, step


def texts(known: Facts, one: StepFacts | None, stage: str) -> list[str]:
    return [link.text for link in chain(known, one) if link.stage == stage]


def test_the_links_stand_in_the_order_of_what_happened() -> None:
    value = Valued(
        keyword="Modality", shown="CT", origins=("step.modality ← OBR-24 of ORM^O01 C1",), place="r:7"
    )
    one = step(values=(value,), remarks=("names differ",), charset="ISO_IR 100", tried=Device())
    links = list(chain(facts(), one))

    assert [link.stage for link in links] == [
        *("patient", "message", "event", "route", "value", "row", "remark", "answer", "entitled", "device"),
    ]
    assert [(link.text, link.place) for link in links if link.stage == "value"] == [
        ("Modality = CT ← step.modality ← OBR-24 of ORM^O01 C1", "r:7")
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "PAS knows 700123 (issuer 2.999)"),
        ({"patient": "provisional"}, "only an order has named 700123 (issuer 2.999), PAS has not"),
        ({"patient": "unknown"}, "nobody has named 700123 under issuer NNNOR"),
    ],
)
def test_who_knows_the_patient(fields: dict[str, Any], said: str) -> None:
    assert texts(facts(**fields), None, "patient") == [said]


@pytest.mark.parametrize(
    ("routed", "said"),
    [
        ("", "step.scheduled, not routed yet"),
        ("failed", "step.scheduled, could not be routed"),
        ("v1", "step.scheduled, seen by routes v1"),
        ("v0", "step.scheduled, seen by routes v0; today's are v1, their lines may differ"),
    ],
)
def test_by_which_routes_an_event_was_seen(routed: str, said: str) -> None:
    assert texts(facts(), step(came=(came(routed=routed),)), "event") == [said]


def test_a_message_says_when_from_whom_and_what_became_of_it() -> None:
    told = [
        came("rejected", reason="PID-3: no id", answer="AE"),
        came("junk", type="", answer="", control_id=""),
        came(source="clock", type="EXPIRE", answer="", control_id="", peer=""),
    ]

    assert texts(facts(came=tuple(told)), None, "message") == [
        "2026-03-09T08 orders got ORM^O01 C1 from 10.0.0.1: rejected, answered AE: PID-3: no id (message M1)",
        "2026-03-09T08 orders got bytes from 10.0.0.1: junk, not answered (message M1)",
        "2026-03-09T08 clock got EXPIRE: accepted, not answered (message M1)",
    ]


def test_only_the_newest_messages_are_told() -> None:
    many = tuple(came(id=f"M{number}") for number in range(MESSAGES + 3))
    told = texts(facts(came=many), None, "message")

    assert len(told) == MESSAGES
    assert f"M{MESSAGES + 2}" in told[-1]


def test_each_route_says_its_word_with_its_line() -> None:
    links = [link for link in chain(facts(), step(said=(NOT_MATCHED, MATCHED))) if link.stage == "route"]

    assert [(link.text, link.place) for link in links] == [
        ("r did not match: where: not true is site == 'X'", "routes/r.yaml:5"),
        ("r matched: on: step.scheduled", "routes/r.yaml:2"),
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "on worklist for CT1, CT2; the step is SCHEDULED: served"),
        ({"status": "CANCELED"}, "on worklist for CT1, CT2; the step is CANCELED: not served"),
        ({"lists": ()}, "none stands; the step is SCHEDULED"),
    ],
)
def test_what_became_of_the_row(fields: dict[str, Any], said: str) -> None:
    assert texts(facts(), step(**fields), "row") == [said]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "CT2 is among dicom.peers"),
        ({"listed": False}, "CT2 is not among dicom.peers, but unknown AE titles are let in"),
        ({"listed": False, "admitted": False}, "CT2 is refused"),
    ],
)
def test_whether_the_device_is_let_in(fields: dict[str, Any], said: str) -> None:
    assert texts(facts(**fields), step(), "entitled") == [said]


def test_what_the_device_asked_and_which_key_excludes_the_row() -> None:
    keys = (
        {"key": "S.Modality", "wanted": "MR", "matches": False},
        {"key": "PatientID", "wanted": "given", "matches": True},
    )
    one = Device(at="T1", answers=3, whole=False, keys=keys)
    everything = Device(at="T0", answers=9)

    assert texts(facts(), step(asked=(one, everything)), "device") == [
        "T1 asked Modality=MR, PatientID=given: 3 answers, then it cancelled or went; "
        "excludes this row by Modality (MR)",
        "T0 asked everything: 9 answers; this row matches",
    ]
    assert texts(facts(asked=(everything,)), None, "device") == ["T0 asked everything: 9 answers"]
    assert texts(facts(), None, "device") == ["no query of CT2 is remembered for it"]
    assert texts(replace(facts(), remembered="no broker answers"), None, "device") == ["no broker answers"]


@pytest.mark.parametrize(
    ("matches", "said"), [(True, "match"), (False, "no match"), (None, "there is no row")]
)
def test_a_query_that_was_typed_has_a_verdict_for_each_key(matches: bool | None, said: str) -> None:
    tried = Device(keys=({"key": "S.Modality", "wanted": "CT", "matches": matches},))

    assert texts(facts(), step(tried=tried), "query") == [f"Modality=CT: {said}"]
