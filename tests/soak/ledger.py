"""What devices may see and have done: what was ordered for each, and what became of it. Thread-safe; no network.

The rules hold at any moment, however far the broker is behind: a device is shown steps that were ordered for it and no
others, each as it was ordered; and a step that it has seen stays until it begins it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydicom import Dataset

STEPS = "ScheduledProcedureStepSequence"


def step_of(row: Dataset) -> str:
    """The step's id; whatever there is where a row has not the one step that it should have."""
    return ",".join(str(item.ScheduledProcedureStepID) for item in row[STEPS].value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step as it must be shown."""

    step: str
    accession: str
    patient: str
    study: str
    aet: str
    names: frozenset[str]
    """Names that PAS has given the patient."""

    def differs(self, shown: Dataset) -> str:
        """The first keyword under which the row shows something else, empty when there is none."""
        (step,) = shown[STEPS].value
        given = {
            "AccessionNumber": (shown.AccessionNumber, self.accession),
            "PatientID": (shown.PatientID, self.patient),
            "StudyInstanceUID": (shown.StudyInstanceUID, self.study),
            "ScheduledStationAETitle": (step.ScheduledStationAETitle, self.aet),
        }
        for keyword, (there, wanted) in given.items():
            if there != wanted:
                return keyword
        return "" if str(shown.PatientName) in self.names else "PatientName"


@dataclass(kw_only=True)
class Ledger:
    """Of one run."""

    counts: Counter[str] = field(default_factory=Counter)
    """What was done, by what it is."""
    findings: list[str] = field(default_factory=list)
    stored: dict[str, str] = field(default_factory=dict)
    """SOP Instance UID of each image that was answered 0000, and its patient."""
    _rows: dict[str, Row] = field(default_factory=dict)
    _seen: dict[str, set[str]] = field(default_factory=dict)
    """By AE title, steps that it must go on seeing."""
    _begun: set[str] = field(default_factory=set)
    _done: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, by: int = 1) -> None:
        with self._lock:
            self.counts[what] += by

    def find(self, text: str) -> None:
        """Notes what is wrong."""
        with self._lock:
            self.findings.append(text)

    def order(self, rows: Iterable[Row]) -> None:
        """Before the order is sent: it may be shown from now on."""
        with self._lock:
            self._rows |= {row.step: row for row in rows}

    def show(self, aet: str, rows: Iterable[Dataset], *, whole: bool = True) -> list[Row]:
        """Holds an answer against what was ordered; its steps that the device has not begun. `whole`: it asked for all
        of its own, and got them."""
        with self._lock:
            shown: dict[str, Row] = {}
            for dataset in rows:
                step = step_of(dataset)
                row = self._rows.get(step)
                wrong = "a step that nobody ordered" if row is None else row.differs(dataset)
                if row is not None and whole and row.aet != aet:
                    wrong = "another device's"
                if row is None or wrong:
                    self.findings.append(f"{aet}: row {step}: {wrong}")
                elif row.step in shown:
                    self.findings.append(f"{aet}: row {row.step} twice")
                else:
                    shown[row.step] = row
            seen = self._seen.setdefault(aet, set())
            if whole:
                gone = seen - shown.keys()
                self.findings += [f"{aet}: row {step} is gone, and was not begun" for step in sorted(gone)]
            seen |= shown.keys() - self._begun
            return [row for step, row in shown.items() if step not in self._begun]

    def begin(self, row: Row) -> None:
        """Before the N-CREATE: from now on it may leave the list."""
        with self._lock:
            self._begun.add(row.step)
            self._seen[row.aet].discard(row.step)

    def end(self, row: Row) -> None:
        """The last N-SET was answered."""
        with self._lock:
            self._done.add(row.step)

    @property
    def done(self) -> frozenset[str]:
        """Steps that were completed."""
        with self._lock:
            return frozenset(self._done)

    def left(self) -> Mapping[str, set[str]]:
        """By AE title, the steps that must be on its list once all is quiet."""
        with self._lock:
            found: dict[str, set[str]] = {}
            for row in self._rows.values():
                found.setdefault(row.aet, set())
                if row.step not in self._begun:
                    found[row.aet].add(row.step)
            return found
