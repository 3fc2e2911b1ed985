"""What the settings make of a device's query before rows are looked at, and of an answer before it leaves. Pure.

Whom a device is shown, how many, and in which shape (`broker.device.Device`). Matching itself and the character set are
`broker.dicom`'s.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self, cast

from adapters.modality.render import STEP_KEYWORDS
from broker.adapter import WorklistRow
from broker.device import Device
from broker.dicom import attributes as dicom
from broker.dicom.attributes import Attributes, Value
from broker.dicom.fit import with_short_names
from broker.dicom.matching import STEPS, Query

_STATION: Final = "ScheduledStationAETitle"
_DATE: Final = "ScheduledProcedureStepStartDate"
_TIME: Final = "ScheduledProcedureStepStartTime"
_WHOLE_NAME: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One query of one device."""

    device: Device
    titles: tuple[str, ...]
    """Of the device itself."""
    title: str
    """The one of them that it asks for; empty: none."""
    query: Query
    """As it counts: with all its titles where it names one of them."""
    narrowed: Query | None
    """What a row must be besides; None: nothing."""
    wanted: Query
    """The query with the return keys that the device needs and does not ask for."""

    @classmethod
    def read(cls, device: Device, aet: str, query: Query) -> Self:
        """As it is at any time; `at` says what it is now."""
        titles = (aet, *device.aliases)
        counts = query.of_one_device(titles) if device.aliases else query
        in_step = [key for key in device.always if key in STEP_KEYWORDS]
        beside = [key for key in device.always if key not in STEP_KEYWORDS]
        return cls(
            device=device,
            titles=titles,
            title=next((title for title in query.stations if title in titles), ""),
            query=counts,
            narrowed=None,
            wanted=counts.also_asking(beside, in_step) if device.always else counts,
        )

    def at(self, now: datetime) -> Self:
        """With what the device is shown now, which is local: dates and times of steps are."""
        narrowed = _narrowed(self.device, self.titles, self.query, now)
        return self if narrowed is None else replace(self, narrowed=narrowed)

    @property
    def nobody(self) -> bool:
        """It names stations of others only, and is shown its own only."""
        own = self.narrowed.stations if self.narrowed is not None else ()
        return bool(own and self.query.stations) and not set(own) & set(self.query.stations)

    @property
    def stations(self) -> tuple[str, ...]:
        """Whose rows to look at, exact AE titles; none: everybody's."""
        own = self.narrowed.stations if self.narrowed is not None else ()
        asked = self.query.stations
        return tuple(title for title in asked if title in own) if own and asked else asked or own

    @property
    def dates(self) -> tuple[str, str]:
        """First and last day of the rows to look at; empty: no such end."""
        if self.query.dated or self.narrowed is None:
            return self.query.dates
        return self.narrowed.dates

    def matches(self, row: Attributes) -> bool:
        """Whether the row is an answer."""
        return self.query.matches(row) and (self.narrowed is None or self.narrowed.matches(row))

    def answer(self, row: Attributes) -> Attributes:
        """The attributes that the device gets, with their whole text."""
        answer = self._under_one_title(self.wanted.answer(self._filled(row)))
        return _without(answer, self.device) if self.device.drop or self.device.drop_empty else answer

    def fitted(self, answer: Attributes) -> tuple[Attributes, int]:
        """The answer in its final letters, cut to what the device can take, and how many texts lost something."""
        device, lost = self.device, 0
        if device.lengths or device.upper_names or device.name_components < _WHOLE_NAME:
            answer, lost = _fitted(answer, device)
        shown, cut = with_short_names(answer, device.name_length)
        return shown, lost + cut

    def _filled(self, row: Attributes) -> Attributes:
        """The row with a description that it leaves empty taken from the first that it has."""
        if not self.device.fill:
            return row
        changed: dict[str, Value] = dict(row)
        for key, others in self.device.fill.items():
            found = next(filter(None, (_text(row, other) for other in others)), "")
            if not found or _text(row, key):
                continue
            if key in STEP_KEYWORDS:
                changed[STEPS] = tuple({**item, key: found} for item in _steps(changed))
            else:
                changed[key] = found
        return changed

    def _under_one_title(self, answer: Attributes) -> Attributes:
        """The row under the title that was asked for: devices leave out what they take for another's."""
        if not self.device.aliases or not self.title:
            return answer
        items = tuple(
            {**item, _STATION: _renamed(item[_STATION], self.titles, self.title)}
            if _STATION in item
            else item
            for item in _steps(answer)
        )
        return {**answer, STEPS: items}


def _narrowed(device: Device, titles: tuple[str, ...], query: Query, now: datetime) -> Query | None:
    step: dict[str, Value] = {}
    if device.worklist == "own":
        step[_STATION] = (*titles, *device.stations)
    if device.window is not None and not query.dated and not query.numbered:
        first = now - timedelta(seconds=device.window.back)
        last = now + timedelta(seconds=device.window.ahead)
        step[_DATE] = f"{first:%Y%m%d}-{last:%Y%m%d}"
        step[_TIME] = f"{first:%H%M%S}-{last:%H%M%S}"
    return Query({STEPS: (step,)}) if step else None


def nearest(rows: Iterable[WorklistRow], most: int, now: datetime) -> tuple[list[WorklistRow], bool]:
    """The rows that start nearest to now (local), the nearest first, and whether there are more."""
    found = heapq.nsmallest(most + 1, rows, key=lambda row: _distance(row.attributes, now))
    return found[:most], len(found) > most


def _distance(row: Attributes, now: datetime) -> float:
    """Seconds between now and the start; a row that says no day comes last."""
    try:
        date, time = _text(row, _DATE), _text(row, _TIME).replace(":", "").ljust(4, "0")
        start = datetime.fromisoformat(f"{date}T{time[:4]}")
    except ValueError:
        return float("inf")
    return abs((start - now.replace(tzinfo=None)).total_seconds())


def _steps(row: Attributes) -> tuple[Attributes, ...]:
    return cast(tuple[Attributes, ...], row.get(STEPS) or ())


def _text(row: Attributes, key: str) -> str:
    """The one text of an attribute, in the step or beside it."""
    holders: tuple[Attributes, ...] = _steps(row) if key in STEP_KEYWORDS else (row,)
    value = next((holder[key] for holder in holders if holder.get(key)), "")
    return value if isinstance(value, str) else ""


def _renamed(value: Value, own: tuple[str, ...], shown: str) -> Value:
    stations = (value,) if isinstance(value, str) else cast(tuple[str, ...], value)
    found = tuple(dict.fromkeys(shown if one in own else one for one in stations))
    return found[0] if len(found) == 1 else found


def _without(answer: Attributes, device: Device) -> Attributes:
    result: dict[str, Value] = {}
    for key, value in answer.items():
        if key in device.drop or (key in device.drop_empty and not value):
            continue
        if dicom.vr_of(key) == "SQ":
            items = cast(tuple[Attributes, ...], value or ())
            result[key] = tuple(_without(item, device) for item in items)
        else:
            result[key] = value
    return result


def _fitted(answer: Attributes, device: Device) -> tuple[Attributes, int]:
    result: dict[str, Value] = {}
    lost = 0
    for key, value in answer.items():
        vr, shown = dicom.vr_of(key), value
        if vr == "SQ":
            pairs = [_fitted(item, device) for item in cast(tuple[Attributes, ...], value or ())]
            result[key] = tuple(item for item, _ in pairs)
            lost += sum(inside for _, inside in pairs)
            continue
        if vr == "PN" and isinstance(value, str):
            shown = _name(value, device)
            lost += len(shown) < len(value)
        elif isinstance(value, str) and len(value) > device.lengths.get(key, len(value)):
            shown = value[: device.lengths[key]].rstrip()
            lost += 1
        result[key] = shown
    return result, lost


def _name(name: str, device: Device) -> str:
    """By component group (PS3.5 6.2.1)."""
    groups = ("^".join(group.split("^")[: device.name_components]).rstrip("^") for group in name.split("="))
    whole = "=".join(groups)
    return whole.upper() if device.upper_names else whole
