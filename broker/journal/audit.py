"""Who looked at what, when and why: rows that are added and never changed. What people do to deliveries is
`intervention`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.store.database import Transaction


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
    return [
        Entry(id=i, at=at, who=who, action=action, reason=reason, detail=json.loads(detail))
        for i, at, who, action, reason, detail in reversed(rows)
    ]
