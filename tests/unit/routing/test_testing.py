"""Comparing what a route test expects with what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from broker.adapter import Kind
from broker.routing.language import Expect
from broker.routing.testing import Case, Outcome, Output, compare, run_tests


def output(route: str, destination: str, kind: Kind, **fields: Any) -> Output:
    return Output(
        route=route, destination=destination, kind=kind, read=lambda path: fields.get(path.replace("-", "_"))
    )


ACTUAL = Outcome(
    ack="AA",
    events=("order.placed", "step.scheduled"),
    outputs=(
        output("r", "epj", "hl7", MSH_9="ORM^O01", ORC_1="SC", PID_8=""),
        output("r", "worklist", "worklist", ScheduledStationAETitle=("CT1", "CT2"), Modality=("CT",)),
        output("other", "epj", "hl7", MSH_9="ADT^A01"),
    ),
)


def differences(expect: dict[str, Any]) -> list[str]:
    return [str(difference) for difference in compare(Expect.model_validate(expect), ACTUAL, route="r")]


def test_all_as_expected() -> None:
    assert differences({}) == []
    assert (
        differences(
            {
                "ack": "AA",
                "events": ("order.placed", "step.scheduled"),
                "epj": ({"MSH-9": "ORM^O01", "PID-8": "", "PID-11": ""},),
                "worklist.worklist": ({"ScheduledStationAETitle": ("CT1", "CT2"), "Modality": "CT"},),
                "pacs": (),
            }
        )
        == []
    )


def test_every_difference() -> None:
    assert differences(
        {
            "ack": "AE",
            "events": ("order.placed",),
            "none": True,
            "epj": ({"MSH-9": "ORM^O02", "PID-8": "F", "ORC-1": ""}, {}),
            "hl7.epj": (),
            "pacs": ({},),
        }
    ) == [
        "ack: expected AE, got AA",
        "events: expected order.placed, got order.placed, step.scheduled",
        "none: expected nothing, got epj, worklist",
        "epj: expected 2 outputs, got 1 output",
        "epj[0].MSH-9: expected ORM^O02, got ORM^O01",
        "epj[0].PID-8: expected F, got nothing",
        "epj[0].ORC-1: expected nothing, got SC",
        "hl7.epj: expected 0 outputs, got 1 output",
        "pacs: expected 1 output, got 0 outputs",
    ]


def test_running_all_tests_of_a_folder(load: Any, tmp_path: Path) -> None:
    text = """\
route: r
on: [step.*]
to: [{ hl7: epj, send: ORM^O01 }]
tests:
  - name: good
    before: [{ source: pas, hl7: x }]
    given: { source: orders, hl7: y }
    expect: { ack: AA, epj: [{ ORC-1: SC }] }
  - name: bad
    given: { source: orders, hl7: z }
    expect: { ack: AE }
"""
    cases: list[Case] = []

    def run(case: Case) -> Outcome:
        cases.append(case)
        return ACTUAL

    results = run_tests(load(text, text.replace("route: r", "route: off\nenabled: false")), tmp_path, run)

    assert [(r.route, r.name, r.place, r.passed) for r in results] == [
        ("r", "good", "routes/0.yaml:5", True),
        ("r", "bad", "routes/0.yaml:9", False),
    ]
    assert [(len(case.before), case.given.hl7, case.folder) for case in cases] == [
        (1, "y", tmp_path),
        (0, "z", tmp_path),
    ]
