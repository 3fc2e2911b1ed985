"""What devices asked the worklist last, in memory only: nothing of it is written, logged or counted here.

A query may name a patient. So it is held against a row in this process, and what is told outside are the keys, with
the values of those only that say nothing of who is meant.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any, Final

from broker.adapter import WorklistQuery
from broker.dicom import attributes as dicom
from broker.dicom.attributes import Attributes
from broker.dicom.keys import KeyVerdict
from broker.dicom.matching import Query

QUERIES: Final = 10
"""Remembered of each calling AE title."""
AE_TITLES: Final = 1000
"""Of so many; who asked least recently is forgotten first."""
CHARACTERS: Final = 8192
"""A longer query is not remembered: no device asks so, and memory must not be a peer's to fill."""

SHOWN: Final = frozenset(
    {
        "AccessionNumber",
        "Modality",
        "RequestedProcedureID",
        "RequestedProcedurePriority",
        "ScheduledProcedureStepID",
        "ScheduledProcedureStepLocation",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepStatus",
        "ScheduledStationAETitle",
        "ScheduledStationName",
        "SpecificCharacterSet",
        "StudyInstanceUID",
    }
)
"""Attributes whose value may be shown: they say where, when and which order, not who."""

GIVEN: Final = "given"
"""Stands for a value that is not shown."""


class Queries:
    """The last queries of each calling AE title. Thread-safe: every association notes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: OrderedDict[str, deque[WorklistQuery]] = OrderedDict()

    def note(self, asked: WorklistQuery) -> None:
        """Remembers one query."""
        if len(dicom.to_json(asked.query.attributes)) > CHARACTERS:
            return
        with self._lock:
            self._asked.setdefault(asked.calling_aet, deque(maxlen=QUERIES)).append(asked)
            self._asked.move_to_end(asked.calling_aet)
            if len(self._asked) > AE_TITLES:
                self._asked.popitem(last=False)

    def told(self, aet: str, row: Attributes | None) -> list[dict[str, Any]]:
        """The device's queries, the newest first, each key held against the row, where there is one."""
        with self._lock:
            asked = list(self._asked.get(aet, ()))
        return [
            {
                "at": one.at.isoformat(),
                "answers": one.answers,
                "whole": one.whole,
                "lossy": one.lossy,
                "charset": _charset(one.query),
                "limited": one.limited,
                "asked": list(one.query.asked),
                "keys": [
                    *(described(verdict, row) for verdict in one.query.verdicts(row or {})),
                    *_by_settings(one.narrowed, row),
                ],
            }
            for one in reversed(asked)
        ]


def _by_settings(narrowed: Query | None, row: Attributes | None) -> list[dict[str, Any]]:
    """What the settings of the device ask besides, as further keys."""
    found = [described(verdict, row) for verdict in narrowed.verdicts(row or {})] if narrowed else []
    return [{**key, "wanted": f"{key['wanted']}, as `devices` says", "by_settings": True} for key in found]


def tried(query: Query, row: Attributes | None) -> list[dict[str, Any]]:
    """A query that somebody types in, as `Queries.told` tells a device's; what was typed may be shown."""
    return [described(verdict, row, typed=True) for verdict in query.verdicts(row or {})]


def described(verdict: KeyVerdict, row: Attributes | None, *, typed: bool = False) -> dict[str, Any]:
    """One key: its path, what it asks for, and whether the row passes it; None where there is no row."""
    keyword = verdict.path.rpartition(".")[2]
    wanted = _joined(verdict.wanted) if typed or keyword in SHOWN else GIVEN
    return {"key": verdict.path, "wanted": wanted, "matches": None if row is None else verdict.matches}


def _charset(query: Query) -> str:
    asked = query.attributes.get("SpecificCharacterSet", "")
    return asked if isinstance(asked, str) else ""


def _joined(values: Iterable[str]) -> str:
    return "\\".join(values)
