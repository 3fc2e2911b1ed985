"""The worklist as an adapter sees it: rows to read, and what a device asked of them. Nothing is written here."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from broker.dicom.matching import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistRow:
    """One row as modalities see it."""

    key: str
    status: str
    attributes: Mapping[str, Any]
    """DICOM attributes by keyword (`broker.dicom.attributes`)."""
    held: str = ""
    """What it lacks; no device is shown such a row."""
    number: int = 0
    """Made of all that the row says: what was made of it once is good for every row with this number. 0: none."""


class WorklistReader(Protocol):
    """Read side of the worklist register, for the MWL SCP."""

    def candidates(
        self,
        *,
        stations: tuple[str, ...] = (),
        patient_id: str = "",
        patient_name: str = "",
        dates: tuple[str, str] = ("", ""),
        started_by: str = "",
        unwanted: Container[int] = (),
    ) -> Iterable[WorklistRow]:
        """Rows that can match: a superset narrowed by index. The SCP matches exactly. Dates are `YYYYMMDD`, the name is
        as a query has it, wildcards too (`broker.dicom.names`).

        `started_by`: with the rows of steps that this AE title has in progress. `unwanted`: numbers of rows that are
        passed over without being read, because the caller knows that they do not match.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistQuery:
    """One query of a device, as the broker remembers it for a while (`broker why`)."""

    calling_aet: str
    at: datetime
    query: Query
    answers: int
    """How many rows it was answered with."""
    whole: bool
    """Every row that matched was sent; False: the device cancelled or went."""
    lossy: int = 0
    """Of the answers: those with other letters than the row has, or with a name or a description cut short."""
    narrowed: Query | None = None
    """What the settings of the device ask of a row besides; None: nothing."""
    limited: bool = False
    """More rows matched than the device may be answered with."""
