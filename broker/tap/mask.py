"""What may be shown of messages, events and payloads without showing a patient: structure, lengths, standard codes.

A value is shown only where its place has a code table of HL7's own and the table holds it; every other one is `•` and
its number of characters. Pure; it does not decide whether anybody may see more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final, get_args

from hl7apy.v2_5_1.segments import SEGMENTS
from hl7apy.v2_5_1.tables import TABLES

from broker.errors import Refused, Unreadable
from broker.event import Event, StepStatus
from broker.hl7.er7 import BAD_ID, NULL, Header, Message, Segment, Separators, parse_path
from broker.view import View, catalogue

_CODED: Final[Mapping[str, str]] = {
    "MSH-9.1": "0076", "MSH-9.2": "0003", "MSH-9.3": "0354", "MSH-11.1": "0103", "MSH-12.1": "0104",
    "MSH-15.1": "0155", "MSH-16.1": "0155", "MSH-18.1": "0211", "EVN-1.1": "0003", "PID-3.5": "0203",
    "MRG-1.5": "0203", "PV1-2.1": "0004", "ORC-1.1": "0119", "ORC-5.1": "0038", "OBR-25.1": "0123",
    "OBX-2.1": "0125", "OBX-11.1": "0085", "MSA-1.1": "0008", "ERR-3.1": "0357", "ERR-4.1": "0516",
}  # fmt: skip
"""Places that say what kind of message it is, and the HL7 v2.5.1 table of each. None says anything of a person: sex,
marital status or religion are coded too, and not here."""

_CODED_FACTS: Final[Mapping[str, str]] = {
    "encounter.patient_class": "0004",
    "order.control": "0119",
    "order.status": "0038",
    "result.status": "0123",
}

_MODALITIES: Final = frozenset((
    "CR", "CT", "DX", "ECG", "EPS", "ES", "GM", "IO", "IVUS", "MG", "MR", "NM", "OCT",
    "OP", "OPT", "OT", "PT", "PX", "RF", "RG", "SC", "SM", "US", "XA", "XC",
))  # fmt: skip

_WORDS: Final[Mapping[str, frozenset[str]]] = {
    "step.status": frozenset(get_args(StepStatus)),
    "step.priority": frozenset(("STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW")),
    "step.modality": _MODALITIES,
    "instance.modality": _MODALITIES,
}
"""The words of our own (`broker.event`) and of DICOM (PS3.3 C.7.3.1.1.1) that these facts may hold."""

TOLD: Final = frozenset(("type", "site", "source"))
"""Facts that are the broker's own words, and are shown anyway."""

OPEN_FACTS: Final = TOLD | _CODED_FACTS.keys() | _WORDS.keys()
"""Facts that say nothing of a person."""

_SET_ID: Final = re.compile(r"[0-9]{1,3}")
_TYPE: Final = re.compile(r"[A-Z]{3}(\^[A-Z][0-9]{2})?|C-STORE|N-CREATE|N-SET|BATCH|EXPIRE")
_CONTROL_ID: Final = re.compile(r"[A-Za-z0-9._:/-]{0,50}")
_PERSON_NUMBER: Final = re.compile(r"(?<![0-9])[0-9]{11}(?![0-9])")


def hidden(text: str) -> str:
    """A value that must not be seen: `•` and how many characters it has; nothing and null stay what they are."""
    return text if text in ("", NULL) else f"•{len(text)}"


def printable(text: str) -> str:
    """Text that may go to a terminal: whatever could steer it (C0, C1, bidirectional marks) is replaced."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def message_type(text: str) -> str:
    """A message's type, where it looks like one."""
    return text if _TYPE.fullmatch(text) else hidden(text)


def control_id(text: str) -> str:
    """A message's number, unless it looks like something else: free text, or a national number."""
    good = _CONTROL_ID.fullmatch(text) and not _PERSON_NUMBER.search(text)
    return text if good else hidden(text)


def read(raw: bytes, charset: str = "") -> Message | None:
    """The message as far as it can be taken apart; None where it has no header."""
    try:
        header = Header.read(raw)
        if charset:
            return Message(raw, header, charset)
        return Message.parse(raw, header=header, fallback_charset="8859/1")
    except Unreadable:
        return None
    except (Refused, UnicodeDecodeError, LookupError):  # a batch, or a character set that is none
        return Message(raw, header, "latin-1")


def segments(message: Message, *, phi: bool) -> list[str]:
    """The message, a segment a line. Without `phi`, with the standard's separators in place of the sender's."""
    if phi:
        return [printable(message.header.separators.field.join(_as_sent(s))) for s in message.segments]
    return [_segment(segment, message.header.separators) for segment in message.segments]


def field(message: Message, path: str, *, phi: bool) -> str:
    """What stands at an HL7 path. Raises `ValueError` for what is no path."""
    where, text = parse_path(path), message.text(path)
    if phi:
        return printable(text)
    if where.segment == "MSH" and where.field <= 2:
        return hidden(text)
    if where.component is None:
        return _field(where.segment, where.field, text, message.header.separators)
    return _component(where.segment, where.field, where.component, text, message.header.separators)


def facts(event: Event, *, phi: bool) -> dict[str, Any]:
    """What an event says itself, by the names that expressions use; what it does not say is left out."""
    found: dict[str, Any] = {}
    for name, value in said(event).items():
        if name in TOLD or catalogue()[name] in ("name", "bool") or value in ("", ()):
            continue  # a name's parts follow it
        if isinstance(value, int):
            if value:
                found[name] = value
        elif isinstance(value, str):
            found[name] = printable(value) if phi else _fact(name, value)
        else:
            found[name] = [printable(item) if phi else hidden(item) for item in value]
    return found


def said(event: Event) -> dict[str, Any]:
    """The facts of an event alone: registers are not asked (`patient.verified` is never true)."""
    return View(event=event, patient=event.data.patient).facts()


def tree(value: Any, *, phi: bool) -> Any:
    """JSON with the same shape: texts are hidden, and numbers, which may be anything's."""
    if isinstance(value, dict):
        return {name: tree(part, phi=phi) for name, part in value.items()}
    if isinstance(value, list):
        return [tree(part, phi=phi) for part in value]
    if value is None or isinstance(value, bool):
        return value
    if phi:
        return printable(value) if isinstance(value, str) else value
    return hidden(str(value))


def expression(source: str, names: frozenset[str], paths: frozenset[str]) -> str:
    """An expression as it may be kept: its literals only where it reads nothing that says anything of a person."""
    if names <= OPEN_FACTS and not paths:
        return source
    return _LITERAL.sub("'•'", source)


_LITERAL: Final = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?<![\w.])[0-9]+""")


def _as_sent(segment: Segment) -> Iterator[str]:
    for number, text in enumerate(segment.fields):
        if not (segment.name == "MSH" and number == 1):
            yield text


def _segment(segment: Segment, separators: Separators) -> str:
    name = segment.name if segment.name in SEGMENTS or segment.name.startswith("Z") else BAD_ID
    if name == BAD_ID:
        return f"{BAD_ID} {hidden('|'.join(segment.fields))}"
    fields = segment.fields[1:]
    if name in ("MSH", "FHS", "BHS"):
        first = ["^~\\&"]
        fields = fields[2:] if name == "MSH" else fields[1:]
        start = 3
    else:
        first, start = [], 1
    shown = [_field(name, number, text, separators) for number, text in enumerate(fields, start)]
    return "|".join([name, *first, *shown])


def _field(segment: str, number: int, text: str, separators: Separators) -> str:
    if not text or text == NULL:
        return text
    if number == 1 and segment in _numbered() and _SET_ID.fullmatch(text):
        return text
    return "~".join(
        "^".join(
            _component(segment, number, place, part, separators)
            for place, part in enumerate(_split(one, separators.component), 1)
        )
        for one in _split(text, separators.repetition)
    )


def _component(segment: str, number: int, place: int, text: str, separators: Separators) -> str:
    table = _CODED.get(f"{segment}-{number}.{place}")
    if table is not None and text in _values(table):
        return text
    return "&".join(hidden(part) for part in _split(text, separators.subcomponent))


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else [text]


def _fact(name: str, value: str) -> str:
    table = _CODED_FACTS.get(name)
    known = _WORDS.get(name, frozenset()) if table is None else _values(table)
    return value if value in known else hidden(value)


@cache
def _values(table: str) -> frozenset[str]:
    return frozenset(TABLES[f"HL7{table}"][1])


@cache
def _numbered() -> frozenset[str]:
    """Segments whose first field counts them (data type SI)."""
    first = {name: parts[0][1] for name, (_, parts) in SEGMENTS.items() if parts}
    return frozenset(name for name, part in first.items() if part is not None and part[2] == "SI")
