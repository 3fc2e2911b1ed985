"""Demographic values with whose word each is and since when: an older word never overwrites a newer one.

What is said holds as of PID-33 or EVN-6 (`Event.as_of`), else as of its arrival. Whose values they are says
`demographics`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, timedelta
from typing import Any, Final

from broker.event import Event, Identifier, Patient
from broker.registers import exceptions
from broker.store.transaction import Transaction

VALUES: Final = (
    *("name", "birth_date", "sex", "mother", "multiple_birth", "birth_order", "deceased", "unknown"),
    "protected",
)
"""Fields of `Patient` that have a version each; identifiers have none (the register keeps who said one first): only
messages about identity end them."""

SKEW: Final = timedelta(minutes=5)
"""A time further ahead of its arrival is a clock that goes wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Whose word a value is."""

    source: str
    at: str
    """Since when it holds: ISO 8601, UTC."""
    said: str = ""
    """The same as the sender wrote it; empty where the arrival counts."""
    event: str
    value: str = ""
    issuer: str = ""
    """The identifier under which it was said."""


Origins = Mapping[str, Origin]
"""By field of `Patient`; a field that nobody spoke of has none."""


def origin(tx: Transaction, event: Event, patient: Patient, under: Identifier) -> Origin:
    """Where the values of this event come from. A clock that goes wrong is reported, once for each source."""
    arrival = event.time.astimezone(UTC)
    holds = event.as_of.astimezone(UTC) if event.as_of is not None else None
    if holds is not None and holds - arrival > SKEW:
        reason = "PID-33 or EVN-6 is more than 5 minutes ahead of the arrival, which counts instead"
        exceptions.report(tx, "clock-skew", event.source, reason, event)
        holds = None
    elif holds is not None:
        exceptions.clear(tx, "clock-skew", event.source)
    return Origin(
        source=event.source,
        at=(holds or arrival).isoformat(),
        said="" if holds is None else patient.as_of or holds.isoformat(),
        event=event.id,
        value=under.value,
        issuer=under.issuer,
    )


def overlaid(origins: Origins, said: Patient, by: Origin) -> tuple[Mapping[str, Any], Origins]:
    """The values that change where what was said goes on top of what is known, and whose word each value is then: None
    keeps, empty clears (HL7 v2.5.1 2.5.3), older changes nothing."""
    stated: dict[str, Any] = {
        name: value
        for name in VALUES
        if (value := getattr(said, name)) is not None and (name not in origins or _after(by, origins[name]))
    }
    return {**stated, "as_of": None}, {**origins, **dict.fromkeys(stated, by)}


def _after(later: Origin, known: Origin) -> bool:
    """By the times that senders wrote; where none did, in the order of receiving, which no node's clock decides."""
    return later.at >= known.at or not (later.said or known.said)


_PARTS: Final = tuple(part.name for part in fields(Origin))


def written(origins: Origins) -> str:
    """As the register keeps them."""
    # Most values are the same event's word: its origin is written, and read, once for all of them.
    texts: dict[int, str] = {}
    told = []
    for name in sorted(origins):
        one = origins[name]
        text = texts.get(id(one))
        if text is None:
            # `dataclasses.asdict` copies deeply, which took a quarter of a fold.
            parts = {part: getattr(one, part) for part in _PARTS}
            text = texts[id(one)] = json.dumps(parts, ensure_ascii=False)
        told.append(f'"{name}": {text}')
    return f"{{{', '.join(told)}}}"


def read(text: str) -> Origins:
    """What `written` wrote."""
    made: dict[tuple[tuple[str, str], ...], Origin] = {}
    found = {}
    for name, parts in json.loads(text).items():
        key = tuple(parts.items())
        origin = made.get(key)
        if origin is None:
            origin = made[key] = Origin(**parts)
        found[name] = origin
    return found
