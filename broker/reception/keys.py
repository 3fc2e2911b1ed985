"""What a reception can be found by: keys that its events hold, and where it made none, those that the message names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from broker.event import Event
from broker.hl7.er7 import NULL, Header, Message, is_batch

_STATED: Final = (
    ("patient", "PID", 3),
    ("accession", "IPC", 1),
    ("accession", "OBR", 18),
    ("order", "ORC", 2),
    ("order", "ORC", 3),
)
"""Where HL7 v2.5.1 has what `search_keys` reads of events: kind, segment, field."""


def stated_keys(raw: bytes, header: Header) -> tuple[tuple[str, str], ...]:
    """What a message that made no events can be found by: a refused order is looked for by the patient it names."""
    if is_batch(raw):
        return ()  # its members have theirs
    message = Message(raw, header, "latin-1")  # numbers are ASCII, and any bytes are Latin-1
    keys = [
        (kind, repetition.get())
        for kind, name, field in _STATED
        for segment in message.all(name)
        for repetition in segment.repetitions(field)
    ]
    return tuple(dict.fromkeys(key for key in keys if key[1].isprintable() and key[1] not in ("", NULL)))


def search_keys(events: Sequence[Event]) -> tuple[tuple[str, str], ...]:
    """What an operator can find these events by: accession number, Study and instance UID, order numbers, ids."""
    keys: list[tuple[str, str]] = []
    for event in events:
        data = event.data
        if data.patient is not None:
            keys += [("patient", i.value) for i in (*data.patient.identifiers, *data.prior)]
        if data.order is not None:
            keys += [("order", n.value) for n in (data.order.placer_number, data.order.filler_number) if n]
        if data.result is not None:
            keys += [("order", n.value) for n in (data.result.placer_number, data.result.filler_number) if n]
        if data.step is not None:
            keys += [("accession", data.step.accession_number), ("study", data.step.study_uid)]
        if data.performed is not None:
            keys.append(("instance", data.performed.uid))
            for one in data.performed.steps:
                keys += [("accession", one.accession_number), ("study", one.study_uid)]
        if data.instance is not None:
            keys += [
                ("accession", data.instance.accession_number),
                ("study", data.instance.study_uid),
                ("instance", data.instance.sop_instance_uid),
            ]
        if data.study is not None:
            keys += [
                ("accession", data.study.accession_number),
                ("study", data.study.study_uid),
                ("instance", data.study.transaction_uid),
            ]
    return tuple(dict.fromkeys(key for key in keys if key[1]))
