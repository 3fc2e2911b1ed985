"""Who looked at what, when and why: rows that are added and never changed. What people do to deliveries is
`intervention`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the audit."""

    id: int
    at: str
    who: str
    action: str
    reason: str
    detail: Mapping[str, Any]


def note(
    tx: Transaction, *, at: datetime, who: str, action: str, reason: str, detail: Mapping[str, Any]
) -> int:
    """Adds a line and returns its number. `detail` must hold no patient's value: JSON's types only."""
    return tx.insert(
        "INSERT INTO audit (at, who, action, reason, detail) VALUES (?,?,?,?,?) RETURNING id",
        (at.isoformat(), who, action, reason, json.dumps(detail, ensure_ascii=False)),
    )


def listed(tx: Transaction, *, limit: int = 100) -> list[Entry]:
    """The newest lines, the oldest of them first."""
    rows = tx.rows("SELECT id, at, who, action, reason, detail FROM audit ORDER BY id DESC LIMIT ?", (limit,))
    return _entries(rows)


def _entries(newest_first: list[tuple[Any, ...]]) -> list[Entry]:
    return [
        Entry(id=i, at=at, who=who, action=action, reason=reason, detail=json.loads(detail))
        for i, at, who, action, reason, detail in reversed(newest_first)
    ]


def disclose(tx: Transaction, entry: int, patients: Iterable[str]) -> None:
    """Keeps that whoever the entry names was told of these patients; keys of the register."""
    rows = [(patient, entry) for patient in dict.fromkeys(patients)]
    tx.each("INSERT INTO disclosure (patient, audit) VALUES (?,?)", rows)


def disclosures(tx: Transaction, patients: Sequence[str], *, limit: int = 100) -> list[Entry]:
    """The newest lines that tell of any of these patients, the oldest of them first."""
    marks = ",".join("?" * len(patients))
    rows = tx.rows(
        "SELECT id, at, who, action, reason, detail FROM audit WHERE id IN"
        f" (SELECT audit FROM disclosure WHERE patient IN ({marks})) ORDER BY id DESC LIMIT ?",
        (*patients, limit),
    )
    return _entries(rows)
