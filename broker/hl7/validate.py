"""Deep validation, off the hot path: a message against the tables of its own HL7 version.

hl7apy gives the tables and the forms of dates and numbers; reading is `er7`'s, because hl7apy's own parser
drops, moves or fails on much that real senders write. Judged: the version, the structure's segments,
required and repeated fields and components, dates, times and numbers. Not judged: lengths and code tables
(sites extend both), order and grouping of segments, Z segments. Findings name places, never values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from broker.errors import Location
from broker.hl7.er7 import NULL, Message, Repetition, Segment

_CHECKED = frozenset({"DT", "TM", "DTM", "NM", "SI"})


@dataclass(frozen=True, slots=True)
class Finding:
    location: Location
    text: str
    """A whole sentence that names the place."""


def validate(source: bytes | Message) -> list[Finding]:
    """What is wrong, in the message's order; empty when nothing is. Raises what `Message.parse` raises."""
    message = source if isinstance(source, Message) else Message.parse(source)
    return list(_findings(message))


def _findings(message: Message) -> Iterator[Finding]:
    from hl7apy import SUPPORTED_LIBRARIES  # its tables take time to load: only for those who validate

    version = message.header.version
    if version not in SUPPORTED_LIBRARIES:
        yield _finding(Location(segment="MSH", field=12), "names no version with known tables")
        return
    yield from _structure(message, version)
    for segment in message.segments:
        yield from _segment(segment, version)


def _structure(message: Message, version: str) -> Iterator[Finding]:
    """Segments that the message structure requires, and those that it has no place for."""
    header = message.header
    reference = _reference(header.structure or f"{header.message_code}_{header.trigger}", "Message", version)
    if reference is None:
        if header.structure:
            where = Location(segment="MSH", field=9, component=3)
            yield _finding(where, "names no message structure of this version")
        return
    places = dict(_places(reference, required=True))
    for name, required in places.items():
        if required and name not in message:
            yield _finding(Location(segment=name), "is required and missing")
    for segment in message.segments:
        if segment.name not in places and not segment.name.startswith("Z"):
            yield _finding(segment.location(), "has no place in this message structure")


def _places(reference: Sequence[Any], *, required: bool) -> Iterator[tuple[str, bool]]:
    """Every segment of the structure, and whether it must stand in one of its places."""
    found: dict[str, bool] = {}
    for name, child, (least, _), kind in _children(reference):
        here = required and least > 0
        for segment, must in [(name, here)] if kind == "SEG" else _places(child, required=here):
            found[segment] = must or found.get(segment, False)
    yield from found.items()


def _segment(segment: Segment, version: str) -> Iterator[Finding]:
    if segment.name.startswith("Z"):
        return
    reference = _reference(segment.name, "Segment", version)
    if reference is None:
        yield _finding(segment.location(), "is no segment of this version")
        return
    if not _children(reference):
        return
    last = 0
    for name, child, (least, most), _ in _children(reference):
        last = number = int(name.rpartition("_")[2])
        repetitions = segment.repetitions(number)
        if not repetitions and least > 0:
            yield _finding(segment.location(number), "is required and empty")
        if most == 1 and len(repetitions) > 1:
            yield _finding(segment.location(number), "may not repeat")
        if not (segment.name == "MSH" and number <= 2):
            for repetition in repetitions:
                yield from _field(segment, number, repetition, child, version)
    if any(segment.text(number) for number in range(last + 1, len(segment.fields))):
        yield _finding(segment.location(last + 1), "and beyond are no fields of this version")


def _field(
    segment: Segment, number: int, repetition: Repetition, reference: Sequence[Any] | None, version: str
) -> Iterator[Finding]:
    if not repetition.text or repetition.text == NULL or reference is None:
        return
    if reference[0] == "leaf":
        if not _has_form(reference[2], repetition.get(), version):
            yield _finding(segment.location(number), f"is not of data type {reference[2]}")
        return
    for name, child, (least, _), _ in _children(reference):
        component = int(name.rpartition("_")[2])
        value = repetition.get(component)
        where = segment.location(number, component)
        if not value and least > 0:
            yield _finding(where, "is required and empty")
        elif child is not None and child[0] == "leaf" and not _has_form(child[2], value, version):
            yield _finding(where, f"is not of data type {child[2]}")


def _has_form(datatype: str, value: str, version: str) -> bool:
    """Whether the value is written as its data type asks; only dates, times and numbers have a form."""
    from hl7apy.consts import VALIDATION_LEVEL
    from hl7apy.exceptions import HL7apyException
    from hl7apy.factories import datatype_factory

    if not value or value == NULL or datatype not in _CHECKED:
        return True
    try:
        datatype_factory(datatype, value, version, VALIDATION_LEVEL.STRICT)
    except (HL7apyException, ValueError):
        return False
    return True


def _reference(name: str, kind: str, version: str) -> Sequence[Any] | None:
    """hl7apy's table entry: (form, children, …), a child being (name, entry, (least, most), kind)."""
    from hl7apy import load_reference
    from hl7apy.exceptions import HL7apyException

    try:
        reference: Sequence[Any] = load_reference(name, kind, version)
    except (HL7apyException, KeyError, IndexError):
        return None
    return reference


def _children(reference: Sequence[Any]) -> Sequence[Any]:
    """Empty for the entries that hl7apy knows by name only."""
    children = (reference[1] if len(reference) > 1 else None) or ()
    return [child for child in children if len(child) == 4]


def _finding(location: Location, text: str) -> Finding:
    return Finding(location, f"{location} {text}")
