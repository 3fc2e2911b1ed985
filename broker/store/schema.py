"""The numbered schema changes of both dialects: a number means the same schema in both. Applies none of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import resources
from typing import Final, Literal

from broker.errors import StoreError
from broker.store import days
from broker.store.transaction import Transaction

CURRENT: Final = 19
"""Number of the schema that this version reads and writes."""

MOVES: Final[dict[int, Callable[[Transaction], None]]] = {2: days.distribute, 17: days.list_refused}
"""What SQL alone cannot do of a schema change: runs behind it, in its transaction."""


def migrations(dialect: Literal["sqlite", "postgresql"]) -> list[tuple[int, str, str]]:
    """The numbered schema changes (number, file name, SQL), in order; a number is the same schema in both dialects."""
    folder = resources.files("broker.store") / "migrations" / dialect
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(int(f.name.split("_", 1)[0]), f.name, f.read_text(encoding="utf-8")) for f in files]


def missing(steps: Sequence[tuple[int, str, str]], have: int) -> list[tuple[int, str, str]]:
    """The changes that a database at number `have` still needs. Raises `StoreError` where it is newer than these."""
    if have > steps[-1][0]:
        raise StoreError(
            f"schema {have} is newer than this broker knows ({steps[-1][0]}): run the newer broker"
        )
    return [step for step in steps if step[0] > have]
