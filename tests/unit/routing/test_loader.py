"""Route files: what is wrong is told with its exact place, all of it at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.faults import faults

GOOD = """\
route: one
on: [step.*]
to:
  - worklist: worklist
tests: []
"""


def route(*lines: str, on: str = "step.*") -> str:
    return "\n".join(["route: one", f"on: [{on}]", *lines]) + "\n"


def test_every_fault_of_every_file(load: Any) -> None:
    first = """\
route: eye
descripton: x
on: [step.schedulled, patient.*]
to:
  - hl: epj
    send: ORM^O02
"""
    second = """\
route: eye
on: [step.*]
where: step.modality in ['OP'] && sit == 'STO'
to:
  - worklist: wroklist
    set:
      ScheduledStationAETitle: ${ skip(lookup('stations', step.loction)) }
      PatientNam: x
  - hl7: pacs
    send: ORM^O01
    set: { ORC1: SC, PID-11.1: x }
"""
    third = GOOD.replace("one", "eye")
    assert faults(load, first, second, third) == [
        "routes/0.yaml:2:1: $.descripton: unknown key 'descripton'. Did you mean 'description'?",
        "routes/0.yaml:3:6: $.on[0]: there is no event 'step.schedulled'. Did you mean 'step.scheduled'?",
        "routes/0.yaml:5:5: $.to[0]: 'hl7' is missing.",
        "routes/0.yaml:5:5: $.to[0].hl: unknown key 'hl'. Did you mean 'hl7'?",
        "routes/0.yaml:6:11: $.to[0].send: must be 'source', 'ORM^O01' or 'ORU^R01'. Did you mean 'ORM^O01'?",
        "routes/1.yaml:3:35: $.where: there is no field 'sit'. Did you mean 'site'?",
        "routes/1.yaml:5:15: $.to[0].worklist: there is no destination 'wroklist'. Did you mean 'worklist'?",
        "routes/1.yaml:7:59: $.to[0].set.ScheduledStationAETitle: there is no field 'step.loction'."
        " Did you mean 'step.location'?",
        "routes/1.yaml:8:7: $.to[0].set.PatientNam: there is no DICOM keyword 'PatientNam'."
        " Did you mean 'PatientName'?",
        "routes/1.yaml:9:5: $.to[1].hl7: 'pacs' is of kind dicom. Write dicom: pacs.",
        "routes/1.yaml:11:12: $.to[1].set.ORC1: 'ORC1' is not an HL7 path: write SEG-field, with [n] for the"
        " nth segment, (r) for a repetition and .component.subcomponent, as in PID-5.1 or OBX[2]-3(1).2.",
        "routes/1.yaml:11:22: $.to[1].set.PID-11.1: this is contact data (address, telephone, next of kin,"
        " employer). It needs purpose: contact.",
        "routes/2.yaml:1:8: $.route: 'eye' is the name of the route in routes/1.yaml:1.",
    ]


HL7 = "to: [{ hl7: epj, send: ORM^O01, set: { %s } }]"
WORKLIST = "to: [{ worklist: worklist, set: { %s } }]"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (route("to: []"), "3:5: $.to: has too few items"),
        (
            route("to: [{}]"),
            "3:6: $.to[0]: a target says worklist, hl7 or dicom and the name of a destination",
        ),
        (route("to: [{ hl7: epj }]"), "3:6: $.to[0]: 'send' is missing"),
        (
            route("to: [{ dicom: pacs }]"),
            "3:6: $.to[0]: a dicom is made of instance.* events, not of step.sch",
        ),
        (
            route("to: [{ worklist: worklist }]", on="patient.*"),
            "3:6: $.to[0]: a worklist is made of step.* events",
        ),
        (
            route("to: [{ hl7: epj, send: ORM^O01 }]", on="patient.merged"),
            "3:6: $.to[0]: ORM^O01 is made of order.* and step.* events, not of patient.merged",
        ),
        (
            route("to: [{ hl7: epj, send: source }]", on="instance.received"),
            "3:24: $.to[0].send: no HL7 message causes instance.received",
        ),
        (
            route(HL7 % "MSH-2: x"),
            "3:40: $.to[0].set.MSH-2: MSH-1, MSH-2 and MSH-18 are the destination's to say",
        ),
        (route(HL7 % "ORC-1: [a, b]"), "3:47: $.to[0].set.ORC-1: an HL7 path holds one text. Write first(…)"),
        (
            route(HL7 % "ORC-1: '${ step.station_aets }'"),
            "3:47: $.to[0].set.ORC-1: an HL7 path holds one text",
        ),
        (route(HL7 % "ORC-1: \"${ msg('PID-13') }\""), "3:47: $.to[0].set.ORC-1: this is contact data"),
        (route(HL7 % "NK1-2: x"), "3:40: $.to[0].set.NK1-2: this is contact data"),
        (
            route(WORKLIST % "PatientAddress: x"),
            "3:35: $.to[0].set.PatientAddress: contact data never leaves on a",
        ),
        (
            route(WORKLIST % "ScheduledStationAETitle: A2345678901234567"),
            "3:60: $.to[0].set.ScheduledStationAETitle: AE: at most 16 characters",
        ),
        (route(WORKLIST % "Modality: ct"), "3:45: $.to[0].set.Modality: CS:"),
        (
            route(WORKLIST % "AccessionNumber: '${ step.station_aets }'"),
            "3:52: $.to[0].set.AccessionNumber: 'AccessionNumber' holds one value. Write first(…)",
        ),
        (
            route(WORKLIST % "ScheduledProtocolCodeSequence: x"),
            "3:35: $.to[0].set.ScheduledProtocolCodeSequence: 'ScheduledProtocolCodeSequence' is a sequence",
        ),
        (
            route(WORKLIST % "AccessionNumber: \"${ msg('OBR-18') }\""),
            "3:52: $.to[0].set.AccessionNumber: msg() cannot be used for a worklist. Rows are rebuilt when",
        ),
        (
            route(WORKLIST % "ScheduledStationAETitle: \"${ lookup('stations', site) }\""),
            "3:64: $.to[0].set.ScheduledStationAETitle: lookup can fail, and nothing says what happens then. Write"
            " default(lookup('stations', site), …) or skip(lookup('stations', site)) to leave this line out or park(",
        ),
        (
            route(WORKLIST % "ScheduledStationAETitle: \"${ park(lookup('stations', site)) }\""),
            "3:60: $.to[0].set.ScheduledStationAETitle: park() cannot be used for a worklist, whose rows have no queue",
        ),
        (
            route("where: msg('OBR-24') == 'CT'", "to: [{ worklist: worklist }]"),
            "3:8: $.where: msg() cannot be used for a worklist",
        ),
        (
            route(WORKLIST % "AccessionNumber: { file: /run/secrets/x }"),
            "3:52: $.to[0].set.AccessionNumber: a route holds no secrets: what it sets leaves. Secrets stand in",
        ),
        (
            route(WORKLIST % "AccessionNumber: '${file:/run/secrets/x}'"),
            "3:53: $.to[0].set.AccessionNumber: a route reads no files: what it sets leaves. Secrets stand in",
        ),
        (
            route(WORKLIST % "AccessionNumber: null"),
            "3:52: $.to[0].set.AccessionNumber: must be text or a list",
        ),
        (route("where: !patient.verified", "to: [{ worklist: worklist }]"), "3:8: tags are not part"),
        (
            route("where: site", "to: [{ worklist: worklist }]"),
            "3:8: $.where: a condition must be true or false",
        ),
        (
            route("where: >-", "  site == 'STO' &&", "  nope", "to: [{ worklist: worklist }]"),
            "5:3: $.where: there is no field 'nope'",
        ),
        (route("enabled: NO", "to: [{ worklist: worklist }]"), "3:10: $.enabled: must be true or false"),
        ("route: One\non: [step.*]\nto: [{ worklist: worklist }]", "1:8: $.route: a name has small letters"),
        ("", "1:1: $: must be a mapping"),
    ],
)
def test_one_fault(load: Any, text: str, fault: str) -> None:
    found = faults(load, text)

    assert len(found) == 1
    assert found[0].startswith(f"routes/0.yaml:{fault}")


TEST = """\
tests:
  - name: t
    given: %s
    expect: %s
"""


@pytest.mark.parametrize(
    ("given", "expect", "fault"),
    [
        (
            "{ source: orders }",
            "{ ack: AA }",
            "7:5: $.tests[0].given: a message is given by one of file, hl7, dicom and journal",
        ),
        (
            "{ source: orders, hl7: x, file: 0.yaml }",
            "{}",
            "7:5: $.tests[0].given: a message is given by one of",
        ),
        ("{ source: orders, file: none.hl7 }", "{}", "7:36: $.tests[0].given.file: there is no such file"),
        (
            "{ source: ordres, hl7: x }",
            "{}",
            "7:22: $.tests[0].given.source: there is no listener 'ordres'. Did you",
        ),
        (
            "{ source: orders, hl7: x }",
            "{ ekk: AA }",
            "8:20: $.tests[0].expect.ekk: must be a list of outputs",
        ),
        (
            "{ source: orders, hl7: x }",
            "{ worklst: [{}] }",
            "8:15: $.tests[0].expect.worklst: this route has no destination 'worklst'. Did you mean",
        ),
        (
            "{ source: orders, hl7: x }",
            "{ worklist.worklist: [{ PatientId: 1 }] }",
            "8:37: $.tests[0].expect.worklist.worklist[0].PatientId: there is no DICOM keyword 'PatientId'",
        ),
        (
            "{ source: orders, hl7: x }",
            "{ none: true, worklist: [{}] }",
            "8:15: $.tests[0].expect.none: nothing and something cannot both be expected",
        ),
        (
            "{ source: images, dicom: { Nope: x } }",
            "{}",
            "7:39: $.tests[0].given.dicom.Nope: there is no DICOM keyword",
        ),
        ("{ hl7: x }", "{}", "7:5: $.tests[0].given: 'source' is missing"),
        (
            "{ type: study.stored }",
            "{}",
            "7:5: $.tests[0].given: an event is given by type and study together",
        ),
        (
            "{ type: study.stored, study: { study_uid: 1.2.3 }, hl7: x }",
            "{}",
            "7:5: $.tests[0].given: a message is given by one of",
        ),
        (
            "{ type: step.started, study: { study_uid: 1.2.3 } }",
            "{}",
            "7:20: $.tests[0].given.type: only study.* and commitment.* are given so",
        ),
        (
            "{ type: study.stored, study: { archiv: pacs } }",
            "{}",
            "7:43: $.tests[0].given.study.archiv: unknown key 'archiv'. Did you mean 'archive'?",
        ),
    ],
)
def test_a_fault_in_a_test(load: Any, given: str, expect: str, fault: str) -> None:
    found = faults(load, GOOD.replace("tests: []\n", TEST % (given, expect)))

    assert len(found) == 1
    assert found[0].startswith(f"routes/0.yaml:{fault}")


def test_literal_means_literal(load: Any) -> None:
    text = route(HL7 % "ORC-1: NO, ORC-2.1: 01010112345, ORC-3.1: 1.10, ORC-4.1: true, ORC-5: ''")

    lines = load(text)["one"].targets[0].set
    assert {name: line.value({}, None) for name, line in lines.items()} == {
        "ORC-1": "NO",
        "ORC-2.1": "01010112345",
        "ORC-3.1": "1.10",
        "ORC-4.1": "true",
        "ORC-5": "",
    }


def test_what_the_environment_says_is_never_an_expression(load: Any) -> None:
    text = route("to:", "  - worklist: worklist", "    set:", "      AccessionNumber: ${env:X}")

    line = load(text, env={"X": "${ site }"})["one"].targets[0].set["AccessionNumber"]
    assert line.value({"site": "STO"}, None) == "${ site }"


@pytest.mark.parametrize(("env", "enabled"), [({}, False), ({"PORT": "2580"}, True), ({"PORT": "0"}, False)])
def test_enabled_by_the_environment(load: Any, env: dict[str, str], enabled: bool) -> None:
    text = GOOD + "enabled: ${env:PORT:-false}\n"

    assert load(text, env=env)["one"].enabled is enabled


def test_the_version_follows_everything_that_changes_an_output(load: Any) -> None:
    text = GOOD + "enabled: ${env:PORT:-false}\n"
    one, other = load(text, env={}), load(text, env={"PORT": "1"})
    again = load(text, env={})
    without = load(text, env={}, tables={})

    assert one.version == again.version
    assert len({one.version, other.version, without.version, load(GOOD).version}) == 4
