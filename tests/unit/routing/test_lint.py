"""Warnings with their exact places; that each code fires at all is test_rules.py's."""

from __future__ import annotations

from typing import Any

import pytest

from broker.routing.lint import lint
from broker.routing.surroundings import Source, Surroundings
from broker.routing.tables import Row, Table
from tests.unit.routing.conftest import AROUND

HEAD = "route: one\non: [step.*]\n"
TESTED = "tests: [{ name: t, given: { source: orders, hl7: MSH }, expect: { worklist: [{}], epj: [{}] } }]\n"
WORKLIST = "to: [{ worklist: worklist }]\n"


def found(load: Any, *texts: str, around: Surroundings | None = AROUND, **options: Any) -> list[str]:
    """Every warning but those on tests, as `line:column-end code: message hint`."""
    return [
        f"{f.line}:{f.column}-{f.end} {f.code}: {f.message} {f.hint}".rstrip()
        for f in lint(load(*texts, **options), around).faults
        if f.code not in ("no-tests", "untested-target")
    ]


def row(line: str) -> str:
    return f"{HEAD}to:\n  - worklist: worklist\n    set:\n      {line}\n"


def hl7(line: str, *, on: str = "step.*", purpose: str = "care") -> str:
    target = f"  - hl7: epj\n    send: source\n    purpose: {purpose}\n    set:\n      {line}\n"
    return f"route: one\non: [{on}]\nto:\n{target}"


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            HEAD + "where: site == 'STO' && step.status == 'CANCELLED'\n" + WORKLIST,
            "3:8-51 never-true: $.where: this condition can never hold: step.status is never that."
            " Did you mean 'CANCELED'?",
        ),
        (
            HEAD + "where: step.modality == 'CT' || instance.modality == 'MR'\n" + WORKLIST,
            "3:33-58 never-true: $.where: this side of the || can never hold:"
            " instance.modality is always empty in step.*.",
        ),
        (
            "route: one\non: [step.*, result.available]\nto: [{ hl7: epj, send: source }]\n",
            "2:14-30 no-source: $.on[1]: no listener makes result.available.",
        ),
        (
            row("RequestedProcedureID: \"${ step.modality == 'CT' ? 'COMPUTED-TOMOGRAPHY' : 'X' }\""),
            "6:57-78 constant-breaks-vr: $.to[0].set.RequestedProcedureID: this constant breaks a rule of"
            " RequestedProcedureID: SH: at most 16 characters.",
        ),
        (
            row("Modality: \"${ default(step.modality, 'ct') }\""),
            "6:44-48 constant-breaks-vr: $.to[0].set.Modality: this constant breaks a rule of Modality:"
            " CS: only A-Z, 0-9, space and underscore.",
        ),
        (
            row("ScheduledStationAETitle: [A, \"${ default(step.station_name, 'B\\\\\\\\C') }\"]"),
            "6:67-75 constant-breaks-vr: $.to[0].set.ScheduledStationAETitle[1]: this constant breaks a rule of"
            " ScheduledStationAETitle: AE: no backslash inside a value.",
        ),
        (
            row("StudyInstanceUID: \"${ first(lookup('stations', step.location, step.study_uid)) }\"").replace(
                ", step.study_uid", ", []"
            ),
            "6:35-72 constant-breaks-vr: $.to[0].set.StudyInstanceUID: what stands in stations.csv:2 breaks a rule"
            " of StudyInstanceUID: UI: numbers with dots between, no leading zeros.",
        ),
        (
            row("AccessionNumber: ACCESSION-${ step.accession_number }-NUMBER"),
            "6:24-67 too-long: $.to[0].set.AccessionNumber: this is at least 17 characters long, and"
            " AccessionNumber (SH) holds 16.",
        ),
        (
            row("AccessionNumber: '${ step.study_uid }'"),
            "6:28-42 too-long: $.to[0].set.AccessionNumber: this can be 64 characters long, and"
            " AccessionNumber (SH) holds 16.",
        ),
        (
            row("RequestedProcedureID: '${ type }'"),
            "6:33-37 too-long: $.to[0].set.RequestedProcedureID: this can be 17 characters long, and"
            " RequestedProcedureID (SH) holds 16.",
        ),
        (
            row("RequestedProcedureDescription: Čoarvi"),
            "6:38-44 charset: $.to[0].set.RequestedProcedureDescription: 'Č' cannot be shown in ISO_IR 6 or"
            " ISO_IR 100, what the destination can read.",
        ),
        (
            row("RequestedProcedureDescription: \"${ default(step.description, 'Čoarvi') }\""),
            "6:68-76 charset: $.to[0].set.RequestedProcedureDescription: this constant: 'Č' cannot be shown in"
            " ISO_IR 6 or ISO_IR 100, what the destination can read.",
        ),
        (
            row("PatientID: DRILL1"),
            "6:7-16 missing-issuer: $.to[0].set.PatientID: the identifier is set without its issuer."
            " Set IssuerOfPatientID as well.",
        ),
        (
            hl7("PID-3(1).1: DRILL1"),
            "8:7-17 missing-issuer: $.to[0].set.PID-3(1).1: the identifier is set without its issuer."
            " Set PID-3(1).4 as well.",
        ),
        (
            hl7("PID-3: DRILL1"),
            "8:7-12 missing-issuer: $.to[0].set.PID-3: the identifier is set without its issuer."
            " Set its component 4, as in DRILL1^^^ISSUER as well.",
        ),
        (
            hl7("OBR-24: '${ step.modality }'", on="patient.*"),
            "8:19-32 always-empty: $.to[0].set.OBR-24: step.modality is always empty in patient.*.",
        ),
        (
            hl7("OBX-5: \"${ msg('IPC-5') }\"", on="patient.*"),
            "8:22-29 no-segment: $.to[0].set.OBX-5: no message behind patient.* has a segment IPC.",
        ),
        (
            hl7("OBX-5: \"${ msg('ZPI-2') }\""),
            "8:22-29 private-segment: $.to[0].set.OBX-5: what a Z-segment holds only its sender knows,"
            " and this route is not for contact data.",
        ),
        (
            row("ScheduledStationAETitle: \"${ lookup('stations', ['R7', 'R11'], []) }\""),
            "6:55-68 no-row: $.to[0].set.ScheduledStationAETitle: table 'stations' has no row for what is looked"
            " up here. Did you mean 'R1'?",
        ),
        (
            HEAD + "where: lookup('stations', step.status, []) != []\n" + WORKLIST,
            "3:27-38 no-row: $.where: table 'stations' has no row for what is looked up here.",
        ),
        (
            HEAD + "to:\n  - worklist: worklist\n  - worklist: worklist\n",
            "5:5-0 same-target: $.to[1]: sends the same as routes/0.yaml:4.",
        ),
    ],
)  # fmt: skip
def test_one_warning(load: Any, text: str, warning: str) -> None:
    assert found(load, text) == [warning]


@pytest.mark.parametrize(
    "text",
    [
        row("PatientID: '${ patient.id }'"),
        row("AccessionNumber: A-${ step.accession_number }"),
        row("RequestedProcedureDescription: 'Øyelege ${ step.description }'"),
        row("ScheduledStationAETitle: \"${ lookup('stations', step.location, 'CT1_STO') }\""),
        hl7("PID-3: DRILL1^^^STO"),
        hl7("PID-3(2).1: DRILL1\n      PID-3(2).4.1: STO"),
        hl7("PV1-3: \"${ msg('PV1-3') }\""),
        hl7("OBX-5: \"${ msg('ZPI-2') }\"", purpose="contact\n    protected: withhold"),
        hl7("ORC-1: '${ first(step.station_codes) + step.study_uid }'"),
        hl7("OBX-5: \"${ default(step.description, 'Čoarvi') }\""),  # a destination that declares no sets
    ],
)
def test_no_warning(load: Any, text: str) -> None:
    assert found(load, text) == []


def test_every_row_of_a_code_is_looked_at_whenever_it_holds(load: Any) -> None:
    rows = (
        Row(values=("CT1",), line=2, end="20260401000000"),
        Row(values=("A_TITLE_THAT_IS_TOO_LONG",), line=3, start="20260401000000"),
    )
    table = Table(name="stations", file="stations.csv", rows={"R1": rows})
    text = row("ScheduledStationAETitle: \"${ lookup('stations', 'R1', []) }\"")

    (warning,) = found(load, text, tables={"stations": table})

    assert "constant-breaks-vr" in warning
    assert "what stands in stations.csv:3 breaks a rule" in warning


def test_what_skip_lets_through_is_looked_at(load: Any) -> None:
    (warning,) = found(load, row("StudyInstanceUID: \"${ skip(first(lookup('stations', 'R1'))) }\""))

    assert "what stands in stations.csv:2 breaks a rule of StudyInstanceUID" in warning


def test_without_surroundings_nothing_is_concluded_of_them(load: Any) -> None:
    text = hl7("OBX-5: \"${ msg('IPC-5') }Č\"", on="result.available")

    assert found(load, text, around=None) == []
    silent = Surroundings(sources={"pas": Source(site="STO")})
    assert found(load, text, around=silent) == []


# --- tests of the route ---


def test_a_target_without_an_expectation(load: Any) -> None:
    text = HEAD + "to: [{ worklist: worklist }, { hl7: epj, send: ORM^O01 }]\n"
    half = TESTED.replace("epj: [{}]", "epj: []")
    by_kind = TESTED.replace("epj: [{}]", "hl7.epj: [{}]")

    def codes(tests: str) -> list[str]:
        return [f"{f.line}:{f.column}-{f.end} {f.code}: {f.message}" for f in lint(load(text + tests)).faults]

    assert codes("") == ["1:8-11 no-tests: $.route: route 'one' has no tests."]
    assert codes(half) == ["3:37-40 untested-target: $.to[1].hl7: no test expects anything at 'epj'."]
    assert codes(TESTED) == []
    assert codes(by_kind) == []


# --- two routes for one row ---


def writer(name: str, where: str, on: str = "step.*") -> str:
    return f"route: {name}\non: [{on}]\nwhere: >-\n  {where}\n{WORKLIST}"


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ("step.modality == 'CT'", "step.modality == 'MR'", False),
        ("step.modality == 'CT'", "step.modality != 'CT'", False),
        ("step.modality in ['CT', 'MR']", "step.modality in ['MR', 'US']", True),
        ("step.modality == 'CT'", "site == 'STO'", True),
        ("step.location.startsWith('A')", "step.location.startsWith('B')", False),
        ("step.location.startsWith('A')", "!step.location.startsWith('A')", False),
        ("type == 'step.scheduled'", "type == 'step.changed'", False),
        ("'CT1' in step.station_aets", "!('CT1' in step.station_aets)", False),
        ("site == 'STO' && (step.modality == 'CT' || step.modality == 'MR')", "step.modality == 'US'", False),
        ("site == 'STO' && (step.modality == 'CT' || step.modality == 'MR')", "step.modality == 'MR'", True),
    ],
)
def test_two_routes_for_one_row(load: Any, one: str, other: str, meet: bool) -> None:
    told = found(load, writer("one", one), writer("other", other))

    assert told == (
        [
            "5:18-26 same-row: $.to[0].worklist: route 'one' (routes/0.yaml:1) writes the same rows of 'worklist'."
            " Let their where: exclude each other."
        ]
        if meet
        else []
    )


def test_other_events_or_lists_are_other_rows(load: Any) -> None:
    always = "true"

    assert not found(load, writer("one", always, "step.scheduled"), writer("two", always, "step.changed"))
    lists = {"worklist": "worklist", "eye": "worklist"}
    eye = writer("two", always).replace("worklist: worklist", "worklist: eye")
    assert not found(load, writer("one", always), eye, destinations=lists)


def test_a_route_with_two_targets_for_a_list_meets_itself_only_as_same_target(load: Any) -> None:
    text = writer("one", "true").replace("}]", "}, { worklist: worklist }]")

    assert [line.split()[1] for line in found(load, text)] == ["same-target:"]


# --- the comment that silences ---


def test_a_warning_is_silenced_where_it_stands_or_in_the_line_above(load: Any) -> None:
    beside = "route: one  # lint: allow no-tests a drill\non: [step.*]\n" + WORKLIST
    above = "# lint: allow no-tests a drill\nroute: two\non: [patient.*]\nto: [{ hl7: epj, send: source }]\n"

    report = lint(load(beside, above), AROUND)
    assert (report.faults, report.allowed) == ((), 2)


@pytest.mark.parametrize(
    ("comment", "warnings"),
    [
        ("# lint: allow no-tests", ["1:13-35 bad-allow: the reason is missing. Say why it is meant to stay."]),
        ("# lint: allow no-test x", ["1:13-36 bad-allow: there is no code 'no-test'. Did you mean 'no-tests'?"]),
        ("# lint: allow vr-rule x", ["1:13-36 bad-allow: 'vr-rule' cannot be allowed."]),
        ("# lint: allow idle-allow x", ["1:13-39 bad-allow: 'idle-allow' cannot be allowed."]),
        ("# lint: allow same-row x", ["1:13-37 idle-allow: there is no same-row here to allow."]),
        ("# lint: allow", ["1:13-26 bad-allow: there is no code ''. `broker check` names the code in brackets."]),
        ("# allow no-tests x", []),
        ("#lint:allow no-tests x", None),
    ],
)  # fmt: skip
def test_a_comment_that_silences_nothing_is_told(load: Any, comment: str, warnings: list[str] | None) -> None:
    report = lint(load(f"route: one  {comment}\non: [step.*]\n{WORKLIST}"), AROUND)

    told = [f"{f.line}:{f.column}-{f.end} {f.code}: {f.message} {f.hint}".rstrip() for f in report.faults]
    if warnings is None:
        assert (told, report.allowed) == ([], 1)
    else:
        assert [line for line in told if " no-tests:" not in line] == warnings
        assert report.allowed == 0


def test_a_comment_beside_the_routes_counts_too(load: Any) -> None:
    around = Surroundings(texts={"broker.yaml": "site: STO\n# lint: allow no-timeout x\n"})

    assert found(load, HEAD + WORKLIST, around=around) == [
        "2:1-27 idle-allow: there is no no-timeout here to allow."
    ]
