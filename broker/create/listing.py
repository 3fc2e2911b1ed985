"""Which devices a site knows: by its station table, by its peers, and by what stands on its worklists. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from broker.create.device import POLICY, titles
from broker.create.splice import Sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One AE title and what is known of it."""

    ae: str
    modality: str = ""
    name: str = ""
    location: str = ""
    stations: tuple[str, ...] = ()
    """Codes that stand for it."""
    policies: tuple[str, ...] = ()
    """`modality:CT`: it is shown orders that name no station."""
    peer: bool = False
    rows: int | None = None
    """On worklists at present; None: not known."""
    missing: tuple[str, ...] = ()
    """What a person should look at."""

    def told(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def listed(sheet: Sheet, peers: Sequence[str], rows: Mapping[str, int] | None) -> list[Listed]:
    """Every AE title, in the order of the table, then of the peers, then of the worklists."""
    named = [title for _, cells in sheet.rows for title in titles(cells)]
    return [_about(ae, sheet, peers, rows) for ae in dict.fromkeys([*named, *peers, *(rows or {})])]


def _about(ae: str, sheet: Sheet, peers: Sequence[str], rows: Mapping[str, int] | None) -> Listed:
    mine = [cells for _, cells in sheet.rows if ae in titles(cells)]
    # A row for it alone describes the device; one that it shares describes a place.
    own = next((cells for cells in mine if len(titles(cells)) == 1), {})
    codes = [cells.get("code", "") for cells in mine]
    found = Listed(
        ae=ae,
        modality=own.get("modality", ""),
        name=own.get("name", ""),
        location=own.get("location", ""),
        stations=tuple(code for code in codes if not code.startswith(POLICY)),
        policies=tuple(code for code in codes if code.startswith(POLICY)),
        peer=ae in peers,
        rows=None if rows is None else rows.get(ae, 0),
    )
    return Listed(**{**found.told(), "missing": tuple(_missing(found, sheet))})


def _missing(found: Listed, sheet: Sheet) -> Iterator[str]:
    if not found.peer:
        yield "not in dicom.peers: it may not call"
    if not found.stations and not found.policies:
        yield f"no row in {sheet.file}: no order is shown on it"
