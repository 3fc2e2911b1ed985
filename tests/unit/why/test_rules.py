"""Each verdict by the facts that lead to it, without a journal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.why.facts import Came, Device, Facts, Happened, Question, Said, StepFacts
from broker.why.judge import judge
from broker.why.rules import NOTHING, OF_ABSENCE, OF_STEP

MATCHED = Said(route="r", place="routes/r.yaml:2", matched=True, reason="on: step.scheduled", worklist=True)
NOT_MATCHED = replace(
    MATCHED, matched=False, place="routes/r.yaml:5", reason="where: not true is site == 'X'"
)
EXCLUDES = Device(at="2026", keys=({"key": "S.Modality", "wanted": "MR", "matches": False},))
MATCHES = Device(at="2026", keys=({"key": "S.Modality", "wanted": "CT", "matches": True},))


def came(verdict: str = "accepted", *, order: bool = True, routed: str = "v1", **fields: Any) -> Came:
    events = (Happened(type="step.scheduled", routed=routed),) if verdict == "accepted" else ()
    given: dict[str, Any] = {
        "id": "M1",
        "control_id": "C1",
        "at": "2026-03-09T08",
        "source": "orders",
        "peer": "10.0.0.1",
        "type": "ORM^O01",
        "verdict": verdict,
        "reason": "",
        "answer": "AA",
        "order": order,
        "events": events,
    }
    return Came(**{**given, **fields})


def step(**fields: Any) -> StepFacts:
    given: dict[str, Any] = {
        "step": "S1",
        "accession": "A1",
        "status": "SCHEDULED",
        "came": (came(),),
        "said": (MATCHED,),
        "lists": ("worklist",),
        "version": "v1",
        "stations": ("CT1", "CT2"),
    }
    return StepFacts(**{**given, **fields})


def facts(*steps: StepFacts, **fields: Any) -> Facts:
    question = Question(ae="CT2", patient="700123", issuer="NNNOR", accession="A1")
    given: dict[str, Any] = {
        "question": question,
        "version": "v1",
        "admitted": True,
        "listed": True,
        "patient": "known",
        "issuers": ("2.999",),
        "steps": steps,
    }
    return Facts(**{**given, **fields})


OFF: dict[str, Any] = {"lists": ()}

STEPS: list[tuple[str, Facts, str, str]] = [
    ("not-admitted", facts(step(), admitted=False), "not among dicom.peers", "add CT2 to dicom.peers"),
    (
        "adopted",
        facts(step(status="CANCELED", clinic="FOTO", adopted_by="A7")),
        "took over: A7",
        "--accession A7",
    ),
    ("left", facts(step(status="CANCELED", clinic="FOTO")), "not at FOTO any more: ORM^O01 C1", "A13"),
    ("ended", facts(step(status="CANCELED")), "CANCELED since ORM^O01 C1 to orders", "`broker trace C1`"),
    ("ended", facts(step(status="COMPLETED", came=())), "since an earlier message", "`broker trace A1`"),
    ("started", facts(step(status="STARTED")), "STARTED since ORM^O01 C1", "RIS corrects"),
    ("failed", facts(step(**OFF, came=(came(routed="failed"),))), "could not be routed", "broker replay M1"),
    ("waiting", facts(step(**OFF, came=(came(routed=""),))), "no route has seen it yet", "broker status"),
    ("no-route", facts(step(said=(NOT_MATCHED,))), "r (routes/r.yaml:5): where: not true is", "that line"),
    ("no-route", facts(step(said=())), "there is no route with a worklist", "broker check"),
    (
        "unmappable",
        facts(step(**OFF, unmappable="r:9: Modality: too long")),
        "r:9: Modality",
        "broker replay M1",
    ),
    (
        "held",
        facts(step(**OFF, lacking=("no station", "no start date"))),
        "no station; no start date",
        "replay M1",
    ),
    ("not-made", facts(step(**OFF)), "none stands", "broker replay M1"),
    ("other-station", facts(step(stations=("MR1",))), "for MR1, not for CT2", "`value`"),
    (
        "query-excludes",
        facts(step(tried=EXCLUDES)),
        "this query excludes it by Modality (MR)",
        "another value",
    ),
    (
        "device-excludes",
        facts(step(asked=(EXCLUDES, MATCHES))),
        "last query excludes it by Modality",
        "the device CT2",
    ),
    ("served", facts(step(asked=(MATCHES, EXCLUDES))), "served to CT2", "refresh"),
    ("served", facts(step(tried=MATCHES, asked=(EXCLUDES,))), "served to CT2", "refresh"),
    ("served", facts(step(came=(came(routed=""),))), "served to CT2", "refresh"),
]
ABSENCES: list[tuple[str, Facts, str, str]] = [
    ("not-admitted", facts(admitted=False), "gets no list at all", "add CT2"),
    (
        "refused",
        facts(came=(came("rejected", reason="PID-3: no id", answer="AE"),)),
        "ORM^O01 C1 to orders at 2026-03-09T08, answered AE: PID-3: no id",
        "puts that field right",
    ),
    ("filtered", facts(came=(came("filtered", reason="nothing to do"),)), "nothing made of it", "`ignore`"),
    ("waiting", facts(came=(came(routed=""),)), "no route has seen it", "broker status"),
    ("failed", facts(came=(came(routed="failed"),)), "could not be routed", "broker replay M1"),
    ("set-aside", facts(came=(came(set_aside=("another patient",)),)), "another patient", "a person decides"),
    ("other-patient", facts(elsewhere=True), "order A1 is known, but it is another patient's", "merge"),
    ("no-step", facts(came=(came(),)), "no step of it is known", "`broker trace C1`"),
    ("other-issuer", facts(patient="unknown"), "known under 2.999", "--issuer 2.999"),
    ("unknown-patient", facts(patient="unknown", issuers=()), "has named a patient", "look at the number"),
    ("never-came", facts(came=(came(order=False),)), "no order A1 came", "look in RIS"),
    (
        "refused",
        facts(patient="unknown", issuers=(), came=(came("rejected", order=False, type="ADT^A04"),)),
        "ADT^A04 C1",
        "puts that field right",
    ),
]


@pytest.mark.parametrize(("verdict", "known", "because", "todo"), STEPS + ABSENCES)
def test_the_first_rule_that_fits_is_the_verdict(verdict: str, known: Facts, because: str, todo: str) -> None:
    (answer,) = judge(known)

    assert (answer.verdict, answer.served) == (verdict, verdict == "served")
    assert because in answer.because
    assert todo in answer.next[-1]


def test_every_rule_has_its_test() -> None:
    assert {row[0] for row in STEPS} == {rule.verdict for rule in OF_STEP}
    assert {row[0] for row in ABSENCES} == {rule.verdict for rule in OF_ABSENCE}
    assert {rule.verdict for rule in OF_ABSENCE} >= NOTHING


def test_every_step_has_its_answer() -> None:
    answers = judge(facts(step(), step(accession="A2", status="CANCELED")))

    assert [(a.accession, a.verdict) for a in answers] == [("A1", "served"), ("A2", "ended")]


def test_a_refusal_after_a_good_order_is_told_too() -> None:
    refused = came("rejected", id="M2", control_id="C2", reason="ORC-5: no such pair")
    (answer,) = judge(facts(step(came=(came(), refused))))

    assert answer.verdict == "served"
    assert "refused (C2)" in answer.next[-1]


def test_a_title_that_is_nearly_one_is_told() -> None:
    (answer,) = judge(facts(step(), listed=False, near="Did you mean 'CT2_STO'?"))

    assert answer.next[0] == "the settings name no device CT2. Did you mean 'CT2_STO'?"


def test_the_shape_of_an_answer_is_stable() -> None:
    (answer,) = judge(facts(step(tried=MATCHES)))
    told = answer.described()

    assert set(told) == {"verdict", "served", "accession", "step", "because", "chain", "keys", "next"}
    assert {key for link in told["chain"] for key in link} == {"stage", "text", "place"}
    assert told["keys"] == ({"key": "S.Modality", "wanted": "CT", "matches": True},)


@pytest.mark.parametrize(
    ("own", "verdict"), [((), "other-station"), (("CT2", "MR1"), "served"), (("CT2", "MR*"), "served")]
)
def test_a_device_has_the_rows_of_its_other_titles_too(own: tuple[str, ...], verdict: str) -> None:
    (answer,) = judge(facts(step(stations=("MR1",)), own=own))

    assert answer.verdict == verdict
