"""Entries of the ledger as values: what a change touched, and what stood before it. Reads and writes no table."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from broker.event import Identifier, Patient
from broker.registers import versions
from broker.registers.patients import Known

Kind = Literal["merge", "id-change", "move", "visit-move"]
State = Literal["applied", "held", "released", "refused", "undone"]

Key = tuple[str, str]
"""(issuer, value), as `Identifier.key`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """An identifier as it was before a change."""

    value: str
    issuer: str
    patient: str
    """Record that owned it; empty: nobody."""
    current: bool
    leaves: bool
    """It goes from the survivor when the change is undone."""

    @property
    def key(self) -> Key:
        return (self.issuer, self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What stood before a change, beside the identifiers."""

    survivor: Known | None = None
    """None: the change made the record."""
    absorbed: Known | None = None
    followers: tuple[str, ...] = ()
    """Records that had been merged into the absorbed one."""
    steps: tuple[str, ...] = ()
    """Keys of the steps that went along."""
    studies: tuple[str, ...] = ()
    """Study UIDs of the instances that went along."""
    named: tuple[Identifier, ...] = ()
    """PID-3 and MRG-1, whole."""
    moved: tuple[tuple[str, str, str, str, str], ...] = ()
    """Of a visit's move: (table, key, patient, said value, said issuer) of each row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An entry of the ledger."""

    number: int
    id: str
    kind: Kind
    state: State
    survivor: str
    absorbed: str
    at: str
    reason: str
    ended: str
    event: str
    before: Before
    identifiers: tuple[Touched, ...]

    @property
    def leaving(self) -> frozenset[Key]:
        return frozenset(touched.key for touched in self.identifiers if touched.leaves)


def written(before: Before) -> str:
    """As the ledger keeps it."""
    return json.dumps(
        {
            "survivor": _record(before.survivor),
            "absorbed": _record(before.absorbed),
            "followers": before.followers,
            "steps": before.steps,
            "studies": before.studies,
            "named": [i.model_dump(exclude_defaults=True) for i in before.named],
            "moved": before.moved,
        },
        ensure_ascii=False,
    )


def _record(known: Known | None) -> dict[str, Any] | None:
    if known is None:
        return None
    return {
        "key": known.key,
        "patient": known.patient.model_dump(mode="json", exclude_none=True),
        "verified": known.verified,
        "origins": json.loads(versions.written(known.origins)),
    }


def read(text: str) -> Before:
    """What `written` wrote."""
    body = json.loads(text)
    return Before(
        survivor=_known(body["survivor"]),
        absorbed=_known(body["absorbed"]),
        followers=tuple(body["followers"]),
        steps=tuple(body["steps"]),
        studies=tuple(body["studies"]),
        named=tuple(Identifier(**one) for one in body["named"]),
        moved=tuple(tuple(row) for row in body["moved"]),
    )


def _known(record: dict[str, Any] | None) -> Known | None:
    if record is None:
        return None
    return Known(
        key=record["key"],
        patient=Patient.model_validate_json(json.dumps(record["patient"])),
        verified=record["verified"],
        origins=versions.read(json.dumps(record["origins"])),
    )
