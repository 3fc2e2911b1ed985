"""Worklist rows in memory, each under the number of its wording, so that a row is read and decoded once.

A number is made of all that a row says: another wording has another number, and what stands under one is never old,
whoever wrote the row on whatever node. Which rows stand, and which are shown, is not known here: that is asked anew
each time.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self, cast

from broker.dicom.attributes import Attributes, from_json

MOST: Final = 8192
"""Rows: some days of a large hospital's, 33 MB at about 4 kB each. The one longest not looked at goes first."""


_MOMENT: Final = ("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime")


@dataclass(frozen=True, slots=True)
class Wording:
    """A row without what changes beside it (`step.status`)."""

    number: int
    """0: it stands under another one, from before there were any, and is not kept."""
    list: str
    key: str
    held: str
    attributes: Attributes

    order: tuple[str, ...]
    """What rows are sorted by: the day, the time, the step."""

    @classmethod
    def read(cls, stands: int, name: str, key: str, body: str, held: str) -> Self:
        """A row as it stands in the register, under which number."""
        own, attributes = number(name, key, body, held), from_json(body)
        step = cast(tuple[Attributes, ...], attributes["ScheduledProcedureStepSequence"])[0]
        moment = [str(step.get(part, "")) for part in _MOMENT]
        return cls(own if own == stands else 0, name, key, held, attributes, (*moment, key, name))


def number(name: str, key: str, body: str, held: str) -> int:
    """Of a row's wording: positive, 63 bits of its SHA-256."""
    said = "\0".join((name, key, held, body)).encode()
    return int.from_bytes(hashlib.sha256(said).digest()[:8], "big") >> 1


class Kept:
    """Of one database, for all threads of this process."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._lock = threading.Lock()
        self._rows: OrderedDict[int, Wording] = OrderedDict()

    def get(self, wanted: Iterable[int]) -> dict[int, Wording]:
        """Those of the numbers that are here."""
        with self._lock:
            found = {one: row for one in wanted if (row := self._rows.get(one)) is not None}
            for one in found:
                self._rows.move_to_end(one)
        return found

    def add(self, rows: Iterable[Wording]) -> None:
        """Keeps those that have a number."""
        with self._lock:
            self._rows.update((row.number, row) for row in rows if row.number)
            while len(self._rows) > self.most:
                self._rows.popitem(last=False)
