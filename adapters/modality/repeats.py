"""What devices ask again and again, each query as it was read, with what it comes to for rows that have been seen.

A row is known by the number of its wording (`broker.adapter.WorklistRow`), so that nothing here is ever old: a row that
was written since has another number. Which rows stand, and which of them a device is shown now, is asked each time.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple

from adapters.modality.asking import Asking
from broker.net.service import Answer

MOST: Final = 32 << 20
"""Bytes, about: the answers to 200 devices that have 100 rows each, or a few scans of 200,000 rows."""

_ROW, _QUERY = 80, 8192
"""Bytes, about, that a number takes, or a query without any row."""


class Made(NamedTuple):
    """What a row is answered with."""

    answer: Answer
    lossy: bool


@dataclass(slots=True)
class Repeated:
    """One query of one device. Several associations may use it at once: they would write the same."""

    asking: Asking
    terms: tuple[str, ...]
    """Character sets that its answers may be in, the best first."""
    pending: int
    """The status of its answers."""
    answers: Mapping[int, Made] = field(default_factory=dict)
    """By number: what rows were answered with the last time."""
    unwanted: set[int] = field(default_factory=set)
    """Numbers of rows that do not match it."""
    counted: int = 0
    """Of `size`, what `Repeats` has counted."""

    @property
    def size(self) -> int:
        """Bytes, about: answers to a query have much the same length."""
        one = next(iter(self.answers.values()), None)
        answer = len(one.answer.identifier or b"") if one is not None else 0
        return _QUERY + (answer + 4 * _ROW) * len(self.answers) + _ROW * len(self.unwanted)


class Key(NamedTuple):
    """What a query is known by."""

    calling_aet: str
    transfer_syntax_uid: str
    identifier: bytes
    day: date
    """It is read anew the next day, so that rows that are long gone are forgotten."""


class Repeats:
    """Of one listener, for all its associations. The query longest not asked goes first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._queries: OrderedDict[Key, Repeated] = OrderedDict()
        self._size = 0

    def get(self, key: Key) -> Repeated | None:
        """The query as it was read before."""
        with self._lock:
            if (repeated := self._queries.get(key)) is not None:
                self._queries.move_to_end(key)
            return repeated

    def keep(self, key: Key, repeated: Repeated) -> None:
        """A query that was answered, whole or not."""
        with self._lock:
            before = self._queries.pop(key, None)
            self._size -= before.counted if before is not None else 0
            self._queries[key] = repeated
            repeated.counted = repeated.size
            self._size += repeated.counted
            while self._size > self._most:
                self._size -= self._queries.popitem(last=False)[1].counted
