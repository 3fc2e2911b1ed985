"""Which segments a message of a type may have, by the tables of every HL7 version that hl7apy knows.

Says nothing of their order, and nothing of Z-segments, which any message may have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any


@cache
def segments_of(message_type: str) -> frozenset[str]:
    """Of `ADT^A01`: those of every structure of ADT, because versions differ in which structure a trigger has.

    Empty for what is no HL7 message type.
    """
    from hl7apy import SUPPORTED_LIBRARIES, load_library  # takes time to load: only for those who ask

    code = message_type.partition("^")[0]
    found: set[str] = set()
    for version in SUPPORTED_LIBRARIES:
        messages = load_library(version).MESSAGES
        for name, reference in messages.items():
            if name == code or name.startswith(f"{code}_"):
                found.update(_segments(reference))
    return frozenset(found)


def _segments(reference: Sequence[Any]) -> Iterator[str]:
    """hl7apy's entry: (form, children, …), a child being (name, entry, (least, most), kind)."""
    for child in (reference[1] if len(reference) > 1 else None) or ():
        if len(child) == 4:
            name, entry, _, kind = child
            if kind == "SEG":
                yield name
            elif entry is not None:
                yield from _segments(entry)
