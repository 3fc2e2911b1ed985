"""The chain of an answer: every link from the message to the device, in order, as lines for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from broker.registers.steps import OPEN
from broker.why.facts import Came, Device, Facts, Said, StepFacts, Valued
from broker.why.rules import keys, short

QUERIES: Final = 3
"""So many of the device's queries are told."""

MESSAGES: Final = 8
"""So many messages, the newest."""

Stage = Literal[
    "patient", "message", "event", "route", "value", "row", "remark", "answer", "entitled", "query", "device"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One link of the chain."""

    stage: Stage
    text: str
    place: str = ""
    """File and line that decided, where one did."""


def chain(facts: Facts, step: StepFacts | None) -> Iterator[Link]:
    """The links of a step; without one those of what came."""
    yield Link(stage="patient", text=_patient(facts))
    for change in facts.ended:
        text = f"{facts.question.patient} ended by {change}: the row is under the number that goes on"
        yield Link(stage="patient", text=f"{text} (`broker patients merge-status {change.split()[-1]}`)")
    for came in (facts.came if step is None else step.came)[-MESSAGES:]:
        yield from _message(came, facts.version)
    if step is not None:
        yield from map(_route, step.said)
        yield from map(_value, step.values)
        yield Link(stage="row", text=_row(step))
        yield from (Link(stage="remark", text=remark) for remark in step.remarks)
        if step.charset:
            yield Link(stage="answer", text=f"answered in {step.charset}")
    yield Link(stage="entitled", text=f"{facts.question.ae} is {_entitled(facts)}")
    if step is not None and step.tried is not None:
        yield from (Link(stage="query", text=_key(key)) for key in step.tried.keys)
    asked = facts.asked if step is None else step.asked
    if facts.remembered:
        yield Link(stage="device", text=facts.remembered)
    elif not asked:
        yield Link(stage="device", text=f"no query of {facts.question.ae} is remembered for it")
    yield from (_device(one, held=step is not None) for one in asked[:QUERIES])


def _patient(facts: Facts) -> str:
    number, issuer = facts.question.patient, facts.question.issuer
    match facts.patient:
        case "known":
            return f"PAS knows {number} (issuer {', '.join(facts.issuers)})"
        case "provisional":
            return f"only an order has named {number} (issuer {', '.join(facts.issuers)}), PAS has not"
        case "unknown":
            return f"nobody has named {number}{f' under issuer {issuer}' if issuer else ''}"


def _message(came: Came, version: str) -> Iterator[Link]:
    why = f": {came.reason}" if came.reason else ""
    answered = f"answered {came.answer}" if came.answer else "not answered"
    what = f"{came.type or 'bytes'} {came.control_id}".strip()
    peer = f" from {came.peer}" if came.peer else ""  # what the broker and its people say comes from nowhere
    yield Link(
        stage="message",
        text=f"{came.at} {came.source} got {what}{peer}: {came.verdict}, {answered}{why} (message {came.id})",
    )
    for event in came.events:
        match event.routed:
            case "":
                routed = "not routed yet"
            case "failed":
                routed = "could not be routed"
            case routes:
                other = "" if routes == version else f"; today's are {version}, their lines may differ"
                routed = f"seen by routes {routes}{other}"
        yield Link(stage="event", text=f"{event.type}, {routed}")
    yield from (Link(stage="remark", text=reason) for reason in came.set_aside)


def _route(said: Said) -> Link:
    verdict = "matched" if said.matched else "did not match"
    return Link(stage="route", text=f"{said.route} {verdict}: {said.reason}", place=said.place)


def _value(value: Valued) -> Link:
    made = "".join(f" ← {one}" for one in value.origins)
    return Link(stage="value", text=f"{value.keyword} = {value.shown or 'nothing'}{made}", place=value.place)


def _row(step: StepFacts) -> str:
    if not step.lists and step.lacking and step.status in OPEN:
        return f"HELD, so no device is shown it: {'; '.join(step.lacking)}"
    if not step.lists:
        return f"none stands; the step is {step.status}"
    served = "served" if step.status in OPEN else "not served"
    return f"on {', '.join(step.lists)} for {', '.join(step.stations)}; the step is {step.status}: {served}"


def _entitled(facts: Facts) -> str:
    if facts.listed:
        return "among dicom.peers"
    return "not among dicom.peers, but unknown AE titles are let in" if facts.admitted else "refused"


def _key(key: Mapping[str, Any]) -> str:
    verdict = {None: "there is no row", True: "match", False: "no match"}[key["matches"]]
    return f"{short(key['key'])}={key['wanted']}: {verdict}"


def _device(one: Device, *, held: bool) -> Link:
    asked = ", ".join(f"{short(key['key'])}={key['wanted']}" for key in one.keys) or "everything"
    end = "" if one.whole else ", then it cancelled or went"
    if one.limited:
        end = ", the nearest of more (max_answers)"
    why = ""
    if held:
        why = f"; excludes this row by {keys(one)}" if one.excluding else "; this row matches"
    return Link(stage="device", text=f"{one.at} asked {asked}: {one.answers} answers{end}{why}")
