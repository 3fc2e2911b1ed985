"""Shared blocks: what a route takes in, and where mistakes in them are told."""

from __future__ import annotations

from typing import Any

import pytest

from broker.routing.lint import lint
from tests.support.faults import faults

STATIONS = """\
stations:
  description: where the order says
  set:
    ScheduledStationAETitle: ${ lookup('stations', step.location, []) }
    RequestedProcedureID: ${env:PROCEDURE}
sto: { set: { RequestedProcedureID: STO, Modality: CT } }
"""
DESK = "desk: { on_failure: { retry: { first: 1s, max: 5m }, alert: desk } }\n"


def route(*lines: str, name: str = "one") -> str:
    return "\n".join([f"route: {name}", "on: [step.*]", *lines]) + "\n"


def row(line: str) -> str:
    return route("to:", "  - worklist: worklist", *(f"    {part}" for part in line.split("\n")))


def literals(load: Any, text: str) -> dict[str, Any]:
    target = load(text, shared={"a": STATIONS}, env={"PROCEDURE": "${ site }"})["one"].targets[0]
    return {name: line.template.literal for name, line in target.set.items()}


def test_a_target_takes_in_what_it_does_not_say_itself(load: Any) -> None:
    assert literals(load, row("use: [stations]\nset: { Modality: MR }")) == {
        "Modality": "MR",
        "ScheduledStationAETitle": None,
        "RequestedProcedureID": "${ site }",
    }
    assert (
        literals(load, row("use: [stations]\nset: { RequestedProcedureID: X }"))["RequestedProcedureID"]
        == "X"
    )
    assert list(literals(load, row("use: [stations]"))) == ["ScheduledStationAETitle", "RequestedProcedureID"]


def test_of_two_blocks_the_later_wins(load: Any) -> None:
    one, other = (literals(load, row(f"use: [{names}]")) for names in ("stations, sto", "sto, stations"))

    assert (one["RequestedProcedureID"], one["Modality"]) == ("STO", "CT")
    assert (other["RequestedProcedureID"], other["Modality"]) == ("${ site }", "CT")


def test_a_route_takes_in_what_happens_on_failure(load: Any) -> None:
    text = route(
        "to: [{ worklist: worklist }]", "use: [desk]", "on_failure: { retry: { max: 10m }, refusals: 2 }"
    )

    found = load(text, shared={"b": DESK})["one"].on_failure
    assert (found.retry.first, found.retry.max, found.alert, found.refusals) == (1.0, 600.0, "desk", 2)


def test_a_change_of_a_block_is_another_version(load: Any) -> None:
    text = row("use: [sto]")

    versions = {
        load(text, shared={"a": block}, env=ENV).version
        for block in (STATIONS, STATIONS.replace("STO", "SVG"))
    }
    assert len({*versions, load(row("set: {}"), shared={"a": STATIONS}, env=ENV).version}) == 3


ENV = {"PROCEDURE": "X"}


@pytest.mark.parametrize(
    ("use", "fault"),
    [
        (
            "use: [station]",
            "5:11: $.to[0].use[0]: there is no shared block 'station'. Did you mean 'stations'?",
        ),
        (
            "use: [desk]",
            "5:11: $.to[0].use[0]: the shared block 'desk' has no set:. There are stations, sto.",
        ),
        ("use: desk", "5:10: $.to[0].use: must be a list."),
        ("use: [[]]", "5:11: $.to[0].use[0]: there is no shared block"),
    ],
)
def test_a_block_that_cannot_be_used(load: Any, use: str, fault: str) -> None:
    found = faults(load, row(use), shared={"a": STATIONS, "b": DESK}, env=ENV)

    assert found[0].startswith(f"routes/0.yaml:{fault}")


def test_a_mistake_is_told_at_its_line_with_its_users(load: Any) -> None:
    block = "a: { set: { PatientAddress: x, Modality: '${ step.modalty }', AccessionNumber: {} } }\n"
    block += "b: { on_failure: { alrt: x } }\nc: { sett: {} }\nA: {}\n"
    on_failure = route("to: [{ worklist: worklist }]", "use: [b]", name="two")

    assert faults(load, row("use: [a]"), row("use: [a]").replace("one", "three"), on_failure, shared={"a": block}) == [
        "routes/_shared/a.yaml:1:80: $.a.set.AccessionNumber: must be text or a list of texts."
        ' Used by routes/0.yaml:5 and others. Write "" for an empty text.',
        "routes/_shared/a.yaml:2:20: $.b.on_failure.alrt: unknown key 'alrt'."
        " Used by routes/2.yaml:4. Did you mean 'alert'?",
        "routes/_shared/a.yaml:3:6: $.c.sett: unknown key 'sett'. Did you mean 'set'?",
        "routes/_shared/a.yaml:4:1: $.A: a name has small letters, digits and single hyphens only.",
    ]  # fmt: skip


def test_a_mistake_of_meaning_is_told_there_too(load: Any) -> None:
    block = "a: { set: { PatientAddress: x, Modality: '${ step.modalty }' } }\n"

    assert faults(load, row("use: [a]"), shared={"a": block}) == [
        "routes/_shared/a.yaml:1:13: $.a.set.PatientAddress: contact data never leaves on a worklist or by DICOM."
        " Used by routes/0.yaml:5.",
        "routes/_shared/a.yaml:1:46: $.a.set.Modality: there is no field 'step.modalty'. Used by routes/0.yaml:5."
        " Did you mean 'step.modality'?",
    ]


def test_a_name_is_given_once(load: Any) -> None:
    assert faults(load, row("use: [desk]"), shared={"a": DESK, "b": DESK})[-1] == (
        "routes/_shared/b.yaml:1:1: $.desk: 'desk' is the name of the shared block in routes/_shared/a.yaml:1."
    )


def test_what_is_no_file_of_blocks(load: Any) -> None:
    assert faults(load, row("use: [gone]"), shared={"a": "[]\n", "b": "a: 1\n", "c": "a: [\n"}) == [
        "routes/_shared/a.yaml:1:1: $: must be a mapping.",
        "routes/_shared/b.yaml:1:4: $.a: must be a mapping.",
        "routes/_shared/c.yaml:2:1: not YAML: did not find expected node content (while parsing a flow node).",
    ]


def test_a_warning_in_a_block_stands_there_once_and_is_silenced_there(load: Any) -> None:
    text = "drill: { set: { PatientID: X } }\n"
    users = row("use: [drill]"), row("use: [drill]\nset: { Modality: CT }").replace("one", "two")

    def told(block: str) -> list[str]:
        routes = load(*users, shared={"a": block})
        return [
            f"{f.file}:{f.line} {f.code}: {f.note}" for f in lint(routes).faults if f.code == "missing-issuer"
        ]

    assert told(text) == ["routes/_shared/a.yaml:1 missing-issuer: Used by routes/0.yaml:5."]
    assert told(text.replace("\n", "  # lint: allow missing-issuer a drill\n")) == []


def test_lines_of_a_block_are_placed_in_its_file(load: Any) -> None:
    target = load(row("use: [sto]"), shared={"a": STATIONS}, env=ENV)["one"].targets[0]

    assert target.set["Modality"].place == "routes/_shared/a.yaml:6"
