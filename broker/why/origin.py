"""Which field of a step gave a value of its row, and which HL7 field gave that: found by leaving each out in turn.

Nothing here knows a mapping: renderer and reader are asked again without the field, and what changes came from it. So
the answer cannot differ from what the code does. Pure, as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from broker.adapter import Reader, Renderer, Target
from broker.dicom.attributes import Attributes, from_json
from broker.errors import BrokerError
from broker.event import Event, Payload
from broker.hl7.edit import blank
from broker.hl7.er7 import BAD_ID, Message
from broker.view import View

_NOW: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Readers are pure: any moment does."""

_PARTS: Final = ("patient", "encounter", "order", "step")


def value_of(attributes: Attributes, keyword: str) -> Any:
    """An attribute of a row, or of its one step; None where it has none of that name."""
    if keyword in attributes:
        return attributes[keyword]
    steps = attributes.get("ScheduledProcedureStepSequence", ())
    step = steps[0] if steps else {}
    return step.get(keyword) if isinstance(step, Mapping) else None


def fields_behind(renderer: Renderer, view: View, target: Target, keyword: str) -> tuple[str, ...]:
    """Fields of the view, as `step.modality`, that are enough to give the attribute its value by the standard mapping.

    Each is left out in turn, and stays out where the value stands without it: of two that say the same one is named.
    """
    value = _rendered(renderer, view, target, keyword)
    found = []
    for part in _PARTS:
        for name in type(getattr(view, part)).model_fields if getattr(view, part) is not None else ():
            without = _without(getattr(view, part), name)
            if without is None:
                continue
            left: dict[str, Any] = {part: without}
            rest = replace(view, **left)
            if _rendered(renderer, rest, target, keyword) == value:
                view = rest
            else:
                found.append(f"{part}.{name}")
    return tuple(found)


def _rendered(renderer: Renderer, view: View, target: Target, keyword: str) -> Any:
    try:
        return value_of(from_json(renderer(view, target).payload.decode()), keyword)
    except BrokerError:
        return None


def _without(payload: Payload, name: str) -> Payload | None:
    """The payload as if the field had not been given; None where it was not."""
    value = getattr(payload, name)
    if not value:
        return None
    if name == "identifiers":  # nobody is nobody: another number must do
        first, *others = value
        return payload.model_copy(update={name: (first.model_copy(update={"value": "0"}), *others)})
    nothing: Any = "" if isinstance(value, str) else () if isinstance(value, tuple) else None
    return payload.model_copy(update={name: nothing})


def said(event: Event) -> Mapping[str, Any]:
    """The facts of an event by itself, before any register: what its message said."""
    return View(event=event, patient=event.data.patient).facts()


def fact_of(field: str, facts: Mapping[str, Any]) -> str:
    """The fact that shows a field of a view: `patient.id` for `patient.identifiers`, of a code its first part."""
    if field == "patient.identifiers":
        return "patient.id"
    inside = (name for name, value in facts.items() if name.startswith(f"{field}.") and value)
    return field if facts.get(field) else next(inside, field)


def paths_behind(reader: Reader, message: Message, event: Event) -> Mapping[str, tuple[str, ...]]:
    """By fact of an event: the fields of its message, as `OBR-24`, without which it would be another."""
    before = _facts(reader, message.raw, event)
    found: dict[str, list[str]] = {}
    fields = list(_fields(message))
    for path, text in fields:
        after = _facts(reader, blank(message, [path]), event)
        for name, value in before.items():
            if not value:
                continue
            # Where the message is refused without it, only what stands in it can have come from it.
            gave = after[name] != value if after else isinstance(value, str) and value in text
            if gave:
                found.setdefault(name, []).append(path.replace("[1]", ""))
    for name, value in before.items():
        if value and isinstance(value, str) and name not in found:  # it is said twice: each would do
            found[name] = [path.replace("[1]", "") for path, text in fields if value in _parts(message, text)]
    return {name: tuple(paths) for name, paths in found.items()}


def _fields(message: Message) -> Iterator[tuple[str, str]]:
    """Path and text of each field that is not empty; MSH says how to read, not what."""
    for segment in message:
        if segment.name in ("MSH", BAD_ID):
            continue
        for field in range(1, len(segment.fields)):
            if segment.text(field):
                yield f"{segment.name}[{segment.sequence}]-{field}", segment.text(field)


def _parts(message: Message, text: str) -> list[str]:
    """The components of a field."""
    signs = message.header.separators
    return text.replace(signs.repetition or signs.component, signs.component).split(signs.component)


def _facts(reader: Reader, raw: bytes, event: Event) -> Mapping[str, Any]:
    """Facts of the same event of the message as it would be now; nothing where it makes none such."""
    number = int(event.id.rpartition(".")[2])
    events = reader.receive(raw, message_id="why", now=_NOW).events
    return said(events[number]) if number < len(events) and events[number].type == event.type else {}
