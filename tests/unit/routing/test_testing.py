"""Comparing what a route test expects with what came out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker.adapter import Kind
from broker.routing.language import Expect
from broker.routing.testing import Case, GivenError, Outcome, Output, compare, run_tests


def output(route: str, destination: str, kind: Kind, **fields: Any) -> Output:
    return Output(
        route=route, destination=destination, kind=kind, read=lambda path: fields.get(path.replace("-", "_"))
    )


ROUTE = """\
route: r
on: [step.*]
to: [{ hl7: epj, send: ORM^O01 }]
tests:
  - name: good
    before: [{ source: pas, hl7: x }]
    given: { source: orders, hl7: y }
    expect: { ack: AA, epj: [{ ORC-1: SC }] }
  - name: bad
    tables: { stations: { R9: [A, B], R1: "" } }
    at: 2026-04-01T06:00+02:00
    given: { source: orders, hl7: z }
    expect: { ack: AE }
"""

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
        "ack expected AE, got AA",
        "events expected order.placed, got order.placed, step.scheduled",
        "none expected nothing, got epj, worklist",
        "epj expected 2 outputs, got 1 output",
        "epj[0] MSH-9.2 expected O02, got O01",
        "epj[0] PID-8 expected F, got nothing",
        "epj[0] ORC-1 expected nothing, got SC",
        "hl7.epj expected 0 outputs, got 1 output",
        "pacs expected 1 output, got 0 outputs",
    ]


@pytest.mark.parametrize(
    ("path", "expected", "got", "told"),
    [
        ("PID-5", "BERG^Kari", "Berg^Kari", ["PID-5.1 expected BERG, got Berg"]),
        ("PID-5", "Berg^Kari", "Berg", ["PID-5.2 expected Kari, got nothing"]),
        ("PID-5", "Berg", "", ["PID-5 expected Berg, got nothing"]),
        ("PID-8", "F", "M", ["PID-8 expected F, got M"]),
        (
            "PID-3",
            "1^^^A~2^^^B",
            "1^^^A~3^^^C",
            ["PID-3(2).1 expected 2, got 3", "PID-3(2).4 expected B, got C"],
        ),
        ("PID-3", "1^^^A", "1^^^A~3^^^C", ["PID-3(2) expected nothing, got 3^^^C"]),
        ("PID-3(2)", "1^^^A", "2^^^A", ["PID-3(2).1 expected 1, got 2"]),
        ("PID-5.1", "BERG", "Berg", ["PID-5.1 expected BERG, got Berg"]),
        ("OBX[2]-5", "a^b", "a^c", ["OBX[2]-5.2 expected b, got c"]),
    ],
)
def test_an_hl7_field_differs_in_its_components(path: str, expected: str, got: str, told: list[str]) -> None:
    sent = Output(route="r", destination="epj", kind="hl7", read=lambda _path: got)
    expect = Expect.model_validate({"epj": ({path: expected},)})
    found = compare(expect, Outcome(outputs=(sent,)), route="r")

    assert [str(one) for one in found] == [f"epj[0] {text}" for text in told]
    assert {(one.at, one.value) for one in found} == {(("epj", 0, path), got)}, "written anew as a whole"


def test_an_attribute_differs_by_its_tag() -> None:
    wanted = ({"ScheduledStationAETitle": ("CT1", "CT9"), "Modality": "MR"},)

    assert differences({"worklist": wanted}) == [
        "worklist[0] (0040,0001) ScheduledStationAETitle expected CT1 | CT9, got CT1 | CT2",
        "worklist[0] (0008,0060) Modality expected MR, got CT",
    ]


def test_an_output_that_is_held_says_why_and_is_not_rewritten() -> None:
    reason = "held: routes/r.yaml:5: OBR-20.1: table 'stations' has no row for this code"
    held = Output(route="r", destination="epj", kind="hl7", read=lambda _path: None, kept=reason)

    def found(fields: dict[str, str]) -> list[tuple[str, Any]]:
        expect = Expect.model_validate({"epj": (fields,)})
        return [(str(one), one.at) for one in compare(expect, Outcome(outputs=(held,)), route="r")]

    assert found({"ORC-1": "SC", "ORC-2.1": "P1"}) == [(f"epj[0] expected a message, got none, {reason}", ())]
    assert found({}) == []
    assert found({"ORC-1": ""}) == [], "a test may say that nothing leaves"


def test_where_one_more_came_nothing_is_to_be_rewritten() -> None:
    found = compare(Expect.model_validate({"epj": ({"ORC-1": "X"}, {})}), ACTUAL, route="r")

    assert [one.at for one in found] == [(), ()]


def test_a_message_that_is_not_to_be_had_fails_its_test(load: Any, tmp_path: Path) -> None:
    text = ROUTE.replace("hl7: z", "journal: 01J0")

    def run(case: Case) -> Outcome:
        if case.given.journal:
            raise GivenError(f"no message {case.given.journal} in the journal")
        return ACTUAL

    results = run_tests(load(text), tmp_path, run)

    assert [(r.passed, [str(d) for d in r.differences]) for r in results] == [
        (True, []),
        (False, ["given expected a message, got no message 01J0 in the journal"]),
    ]


def test_running_all_tests_of_a_folder(load: Any, tmp_path: Path) -> None:
    text = ROUTE
    cases: list[Case] = []

    def run(case: Case) -> Outcome:
        cases.append(case)
        return ACTUAL

    results = run_tests(load(text, text.replace("route: r", "route: off\nenabled: false")), tmp_path, run)

    assert [(r.route, r.name, r.place, r.passed) for r in results] == [
        ("r", "good", "routes/0.yaml:5", True),
        ("r", "bad", "routes/0.yaml:9", False),
    ]
    assert [r.name for r in run_tests(load(text), tmp_path, run, only="other")] == []
    assert (cases[0].tables, cases[0].at) == ({}, None)
    assert cases[1].tables == {"stations": {"R9": ("A", "B"), "R1": ""}}
    assert cases[1].at == datetime(2026, 4, 1, 4, tzinfo=UTC)
    assert [(len(case.before), case.given.hl7, case.folder) for case in cases] == [
        (1, "y", tmp_path),
        (0, "z", tmp_path),
    ]
