"""Every code that `broker check` knows: what it means, why it matters, an example, and the same done well.

One declaration gives `broker check --explain`, docs/lint.md and the tests, which load every example and every
correction. Finds nothing itself: errors are found where files are read, warnings by `lint.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One code."""

    code: str
    severity: Literal["error", "warning"] = "warning"
    what: str
    """What is found, as one sentence."""
    why: str
    """What would come of it."""
    example: str
    """Lines of a file that have it; `---` stands between two files."""
    better: str
    """The same lines without it."""
    file: Literal["route", "settings", "table"] = "route"
    """What kind of file the lines are of."""


def _rules() -> Iterator[Rule]:
    yield from _ERRORS
    yield from _WARNINGS


_ERRORS: Final = (
    Rule(
        code="syntax",
        severity="error",
        what="This is not a file as the broker reads it: UTF-8, one YAML document, no tags, anchors or aliases.",
        why="Each of these means something else to other readers of YAML, or nothing to anyone.",
        example="where: !patient.verified",
        better='where: "!patient.verified"',
    ),
    Rule(
        code="duplicate-key",
        severity="error",
        what="The same key stands twice.",
        why="Most readers of YAML take the last one and say nothing of the first.",
        example="description: CT orders\ndescription: MR orders",
        better="description: CT and MR orders",
    ),
    Rule(
        code="unset-variable",
        severity="error",
        what="An environment variable is not set and has no default.",
        why="An empty text in its place would be a guess.",
        example="enabled: ${env:EYE_CLINIC}",
        better="enabled: ${env:EYE_CLINIC:-false}",
    ),
    Rule(
        code="unknown-key",
        severity="error",
        what="There is no such key here.",
        why="A key that is silently ignored does not do what its author meant.",
        example="descripton: orders of the eye clinic",
        better="description: orders of the eye clinic",
    ),
    Rule(
        code="missing-key",
        severity="error",
        what="A key that is needed is missing.",
        why="Nothing is assumed in its place.",
        example="to: [{ hl7: epj }]",
        better="to: [{ hl7: epj, send: source }]",
    ),
    Rule(
        code="wrong-value",
        severity="error",
        what="The value is not of the kind that stands here.",
        why="Literal is literal: `NO` is text, `5` is no duration.",
        example="on_failure: { park_after: 24 }",
        better="on_failure: { park_after: 24h }",
    ),
    Rule(
        code="expression",
        severity="error",
        what="The expression cannot be used: a name, a type or a sign in it is wrong.",
        why="Expressions are checked when they are read, so that none fails on a patient's message.",
        example="where: step.modalty == 'CT'",
        better="where: step.modality == 'CT'",
    ),
    Rule(
        code="unknown-destination",
        severity="error",
        what="The settings know no destination of this name.",
        why="What goes there would go nowhere.",
        example="to: [{ worklist: wroklist }]",
        better="to: [{ worklist: worklist }]",
    ),
    Rule(
        code="wrong-kind",
        severity="error",
        what="The destination is of another kind.",
        why="Each kind takes something else: rows, messages, or instances.",
        example="to: [{ worklist: epj }]",
        better="to: [{ hl7: epj, send: ORM^O01 }]",
    ),
    Rule(
        code="wrong-events",
        severity="error",
        what="The target can make nothing of one of the route's events.",
        why="A worklist row is made of a step, C-STORE of an instance; a message is forwarded only where there is one.",
        example="on: [patient.*]\nto: [{ worklist: worklist }]",
        better="on: [step.*]\nto: [{ worklist: worklist }]",
    ),
    Rule(
        code="bad-path",
        severity="error",
        what="This is no HL7 path that can be set.",
        why="MSH-1, MSH-2 and MSH-18 say how the message is written, which is the destination's to say.",
        example="to: [{ hl7: epj, send: source, set: { ORC1: SC } }]",
        better="to: [{ hl7: epj, send: source, set: { ORC-1: SC } }]",
    ),
    Rule(
        code="unknown-keyword",
        severity="error",
        what="DICOM has no such keyword, or it is a sequence.",
        why="Keywords are those of PS3.6; sequences are made by the standard mapping.",
        example="to: [{ worklist: worklist, set: { StationAE: CT1 } }]",
        better="to: [{ worklist: worklist, set: { ScheduledStationAETitle: CT1 } }]",
    ),
    Rule(
        code="vr-rule",
        severity="error",
        what="The literal breaks a rule of its value representation: length, characters or form (PS3.5 6.2).",
        why="AE and SH hold 16 characters, LO 64; an AE title holds no backslash. Modalities drop such rows, or cut.",
        example="to: [{ worklist: worklist, set: { ScheduledStationAETitle: 'EYE\\CAM1' } }]",
        better="to: [{ worklist: worklist, set: { ScheduledStationAETitle: EYE_CAM1 } }]",
    ),
    Rule(
        code="several-values",
        severity="error",
        what="Several values stand where one is held.",
        why="Which of them should leave is not the broker's to guess.",
        example="to: [{ worklist: worklist, set: { AccessionNumber: '${ step.station_codes }' } }]",
        better="to: [{ worklist: worklist, set: { AccessionNumber: '${ first(step.station_codes) }' } }]",
    ),
    Rule(
        code="contact-data",
        severity="error",
        what="Address, telephone, next of kin or employer would leave where nobody may have it.",
        why="Never on a worklist or by DICOM; by HL7 only on a route that says `purpose: contact`.",
        example="to: [{ hl7: epj, send: source, set: { OBX-5: \"${ msg('PID-13.1') }\" } }]",
        better="to: [{ hl7: epj, send: source, purpose: contact, protected: withhold,"
        " set: { OBX-5: \"${ msg('PID-13.1') }\" } }]",
    ),
    Rule(
        code="msg-on-worklist",
        severity="error",
        what="msg() is used for a worklist row.",
        why="Rows are made anew when demographics change, and the order's message is not at hand then.",
        example="where: msg('OBR-24') == 'CT'",
        better="where: step.modality == 'CT'",
    ),
    Rule(
        code="park-on-worklist",
        severity="error",
        what="park() is used for a worklist row or an image.",
        why="A row has no queue to be held in: without a station, a time or a modality it is held and reported anyway.",
        example='to: [{ worklist: worklist, set: { PatientComments: "${ park(uid(step.location)) }" } }]',
        better='to: [{ worklist: worklist, set: { PatientComments: "${ skip(uid(step.location)) }" } }]',
    ),
    Rule(
        code="bad-test",
        severity="error",
        what="The test cannot be run, or could never hold.",
        why="A test that tries nothing reassures for nothing.",
        example="tests: [{ name: t, given: { source: ordres, hl7: MSH }, expect: { ack: AR } }]",
        better="tests: [{ name: t, given: { source: orders, hl7: MSH }, expect: { ack: AR } }]",
    ),
    Rule(
        code="duplicate-name",
        severity="error",
        what="Two routes, or two shared blocks, have the same name.",
        why="Deliveries, status and metrics tell routes apart by their name.",
        example="route: eye\n---\nroute: eye",
        better="route: eye\n---\nroute: ear",
    ),
    Rule(
        code="unknown-shared",
        severity="error",
        what="There is no shared block of this name, or it has nothing for this place.",
        why="A target takes `set:` of a block, a route `on_failure:`.",
        example="use: [nobodys-desk]",
        better="use: []",
    ),
    Rule(
        code="unknown-adapter",
        severity="error",
        what="No adapter of this name is installed.",
        why="Adapters come with packages; `broker adapters list` shows those that are there.",
        example="outbound: { epj: { adapter: ejp, host: epj, port: 6661 } }",
        better="outbound: { epj: { adapter: epj, host: epj, port: 6661 } }",
        file="settings",
    ),
    Rule(
        code="table",
        severity="error",
        what="A code table cannot be used as it stands.",
        why="A code that stands twice, or means nothing, would be decided by chance.",
        example="code,aets\nR1,CT1\nR1,CT2",
        better="code,aets\nR1,CT1|CT2",
        file="table",
    ),
)

_WARNINGS: Final = (
    Rule(
        code="no-tests",
        what="The route has no tests.",
        why="Whether it still does what it is for is found out by its users.",
        example="tests: []",
        better="tests: [{ name: t, given: { source: pas, hl7: MSH }, expect: { ack: AR } }]",
    ),
    Rule(
        code="untested-target",
        what="None of the route's tests expects anything at this destination.",
        why="What leaves there can change without a test that notices.",
        example="to: [{ worklist: worklist }, { hl7: epj, send: ORM^O01 }]\n"
        "tests: [{ name: t, given: { source: orders, hl7: MSH }, expect: { worklist: [{ Modality: CT }] } }]",
        better="to: [{ worklist: worklist }, { hl7: epj, send: ORM^O01 }]\n"
        "tests: [{ name: t, given: { source: orders, hl7: MSH }, expect:"
        " { worklist: [{ Modality: CT }], epj: [{ ORC-1: SC }] } }]",
    ),
    Rule(
        code="never-true",
        what="The condition, or one side of its `||`, can never hold.",
        why="The route does nothing there. Looked at: constants, lists, numbers, what a field can say, and what its"
        " event leaves empty.",
        example="where: step.status == 'CANCELLED'",
        better="where: step.status == 'CANCELED'",
    ),
    Rule(
        code="no-source",
        what="No listener of the settings makes this event.",
        why="The route, or a part of it, waits for what never comes.",
        example="on: [consent.changed]\nto: [{ hl7: epj, send: source }]",
        better="on: [patient.*]\nto: [{ hl7: epj, send: source }]",
    ),
    Rule(
        code="same-target",
        what="The route sends the same to the same destination twice.",
        why="The receiver gets every message twice, or one row is written over the other.",
        example="to: [{ worklist: worklist }, { worklist: worklist }]",
        better="to: [{ worklist: worklist }]",
    ),
    Rule(
        code="same-row",
        what="Two routes write the same worklist for the same event, and nothing in their conditions keeps them apart.",
        why="A step has one row in a list: the later route writes over what the earlier one said.",
        example="route: ct\nwhere: step.modality == 'CT'\n---\nroute: sto\nwhere: site == 'STO'",
        better="route: ct\nwhere: step.modality == 'CT'\n---\nroute: other\nwhere: step.modality != 'CT'",
    ),
    Rule(
        code="constant-breaks-vr",
        what="A constant or a table row that the expression can give breaks the value representation (PS3.5 6.2).",
        why="When it comes to that, the row cannot be made and its step is on no worklist.",
        example="to: [{ worklist: worklist, set:"
        " { RequestedProcedureID: \"${ step.modality == 'CT' ? 'COMPUTED-TOMOGRAPHY' : 'OTHER' }\" } }]",
        better="to: [{ worklist: worklist, set:"
        " { RequestedProcedureID: \"${ step.modality == 'CT' ? 'CT' : 'OTHER' }\" } }]",
    ),
    Rule(
        code="too-long",
        what="The text is, or can be, longer than the value representation holds (AE, CS, SH 16; LO, UI 64).",
        why="Such a row cannot be made. Looked at: constants, table rows, and fields whose length is bounded.",
        example="to: [{ worklist: worklist, set: { AccessionNumber: '${ step.study_uid }' } }]",
        better="to: [{ worklist: worklist, set: { AccessionNumber: '${ step.accession_number }' } }]",
    ),
    Rule(
        code="charset",
        what="The destination's character sets cannot show a character of this constant.",
        why="It would be transliterated for everybody who reads it.",
        example="to: [{ worklist: worklist, set: { RequestedProcedureDescription: Čoarvi } }]",
        better="to: [{ worklist: worklist, set: { RequestedProcedureDescription: Hode } }]",
    ),
    Rule(
        code="missing-issuer",
        what="An identifier is set without its issuer.",
        why="The issuer that stands there is that of another identifier: together they name somebody else, or nobody.",
        example="to: [{ worklist: worklist, set: { PatientID: '${ order.placer_number }' } }]",
        better="to: [{ worklist: worklist, set: { PatientID: '${ order.placer_number }', IssuerOfPatientID: EYE } }]",
    ),
    Rule(
        code="always-empty",
        what="No event of the route fills this field.",
        why="What is set from it is always empty.",
        example="on: [patient.*]\nto: [{ hl7: epj, send: source, set: { OBR-24: '${ step.modality }' } }]",
        better="on: [step.*]\nto: [{ hl7: epj, send: source, set: { OBR-24: '${ step.modality }' } }]",
    ),
    Rule(
        code="no-segment",
        what="No message that makes the route's events has this segment, in any version of HL7 v2.",
        why="msg() of it is always empty.",
        example="on: [patient.*]\nwhere: msg('IPC-5') == 'CT'\nto: [{ hl7: epj, send: source }]",
        better="on: [patient.*]\nwhere: msg('PV1-2') == 'I'\nto: [{ hl7: epj, send: source }]",
    ),
    Rule(
        code="private-segment",
        what="A Z-segment is read on a route whose purpose is not contact.",
        why="Only its sender knows what it holds; it may be an address. `send: source` takes such segments out.",
        example="to: [{ hl7: epj, send: source, set: { OBX-5: \"${ msg('ZPI-2') }\" } }]",
        better="to: [{ hl7: epj, send: source, purpose: contact, protected: withhold,"
        " set: { OBX-5: \"${ msg('ZPI-2') }\" } }]",
    ),
    Rule(
        code="protected-unsaid",
        what="A route for contact does not say what becomes of patients whose address is protected.",
        why="They are withheld: this destination hears nothing of them at all, not even a merge. Whether it is cleared"
        " for them is a decision of the hospital's, which must stand where it can be read.",
        example="to: [{ hl7: epj, send: source, purpose: contact }]",
        better="to: [{ hl7: epj, send: source, purpose: contact, protected: withhold }]",
    ),
    Rule(
        code="idle-protected",
        what="A route that is not for contact says what becomes of protected addresses.",
        why="No address leaves on it, whoever it is of: the line decides nothing, and seems to.",
        example="to: [{ hl7: epj, send: source, protected: withhold }]",
        better="to: [{ hl7: epj, send: source }]",
    ),
    Rule(
        code="no-row",
        what="The table has no row for any code that is looked up here.",
        why="The lookup always misses.",
        example="to: [{ worklist: worklist, set: { ScheduledStationAETitle: \"${ lookup('stations', 'R9', []) }\" } }]",
        better="to: [{ worklist: worklist, set: { ScheduledStationAETitle: \"${ lookup('stations', 'R1', []) }\" } }]",
    ),
    Rule(
        code="no-timeout",
        what="A time-out of this destination is unset, or 0.",
        why="Unset, a receiver that stops answering holds its deliveries until somebody notices; 0 leaves it no time.",
        example="outbound: { epj: { adapter: epj, host: epj, port: 6661, ack_timeout: 0s } }",
        better="outbound: { epj: { adapter: epj, host: epj, port: 6661, ack_timeout: 30s } }",
        file="settings",
    ),
    Rule(
        code="bad-allow",
        what="A comment that silences a warning names no code that can be silenced, or gives no reason.",
        why="Who reads it next must know why. Errors cannot be silenced.",
        example="tests: []  # lint: allow no-tests",
        better="tests: []  # lint: allow no-tests a drill, taken out on Monday",
    ),
    Rule(
        code="idle-allow",
        what="A comment silences a warning that is not there.",
        why="It would hide the next one that comes to this line.",
        example="# lint: allow same-target both EPJs listen here\ndescription: one target",
        better="description: one target",
    ),
)

RULES: Final[Mapping[str, Rule]] = MappingProxyType({rule.code: rule for rule in _rules()})
"""Every code, errors first."""


def explained(rule: Rule) -> str:
    """A code for a person at a terminal."""
    indent = "\n    "
    return (
        f"{rule.severity}[{rule.code}]: {rule.what}\n\n{rule.why}\n\n"
        f"For example, in a {_FILES[rule.file]}:\n{indent}{rule.example.replace(chr(10), indent)}\n\n"
        f"Better:\n{indent}{rule.better.replace(chr(10), indent)}\n"
        + (
            "\nWhere it is meant, say why: # lint: allow " + rule.code + " REASON\n"
            if _can_stay(rule)
            else ""
        )
    )


def markdown() -> str:
    """The body of docs/lint.md."""
    lines: list[str] = []
    for title, severity in (("Errors", "error"), ("Warnings", "warning")):
        lines += [f"## {title}", ""]
        for rule in RULES.values():
            if rule.severity == severity:
                lines += [f"### `{rule.code}`", "", rule.what, "", rule.why, "", "```yaml"]
                lines += [f"# {_FILES[rule.file]}", rule.example, "```", "", "Better:", ""]
                lines += ["```yaml", rule.better, "```", ""]
    return "\n".join(lines)


_FILES = {"route": "route file", "settings": "settings file", "table": "code table"}


def _can_stay(rule: Rule) -> bool:
    return rule.severity == "warning" and not rule.code.endswith("-allow")
