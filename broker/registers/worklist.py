"""Worklist rows: the attributes that a route made of a step, indexed for the queries that modalities ask.

Upserts under (list, step key). A row that lacks what a modality must have is not served: it is held and reported.
Its id is the number of its wording (`kept.number`), so that what was read of it before is known to be what it says.
Matching is not here (`broker.dicom.matching`); this narrows by index.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from broker.adapter import Rendered, Target, WorklistRow
from broker.dicom.attributes import from_json
from broker.dicom.names import LONGEST, beginnings
from broker.event import Event, Step
from broker.registers import exceptions, stations
from broker.registers.kept import Kept, Wording, number
from broker.registers.stations import UNREAD
from broker.registers.steps import ENDED, state_of_row
from broker.store.transaction import Transaction, Value

SERVED: Final = ("SCHEDULED", "ARRIVED")
"""What any device is shown. A step that is STARTED is shown to the device that started it, where settings say so."""

_SERVED_SQL: Final = "step.status IN ('SCHEDULED','ARRIVED')"
_STARTED_SQL: Final = (
    "(step.status='STARTED' AND step.key IN (SELECT mpps_step.step FROM mpps_step JOIN mpps"
    " ON mpps.uid=mpps_step.mpps WHERE mpps.aet=? AND mpps.status='IN PROGRESS'))"
)
_LAST: Final = "\U0010ffff"
"""The character behind all others, in both engines' order."""

_AT_ONCE: Final = (8, 64, 512)
"""How many rows a statement names: few sizes, so that it is prepared once for each."""

REQUIRED: Final[Mapping[str, str]] = {
    "ScheduledStationAETitle": "no station (IPC-9, or a code that a table knows)",
    "ScheduledProcedureStepStartDate": "no start date (TQ1-7, ORC-7.4, OBR-27.4)",
    "ScheduledProcedureStepStartTime": "no start time (TQ1-7, ORC-7.4, OBR-27.4)",
    "Modality": "no modality (IPC-5, OBR-24)",
}
"""Type 1 attributes of a step that nobody may invent (PS3.4 K.6.1.2.2), with where a sender would give them."""


def put(tx: Transaction, event: Event, target: Target, rendered: Rendered, step: Step) -> str:
    """Writes the row of a step, or holds it: then it stands, and is shown to nobody but people.

    Returns what became of it: `row`, `held: …` or the step's status.
    """
    attributes = json.loads(rendered.payload)
    sps = attributes["ScheduledProcedureStepSequence"][0]
    reason = "; ".join(lacking(attributes))
    subject = f"{target.destination}: {step.key}"
    state = state_of_row(step.status or "SCHEDULED", held=bool(reason))
    if state == "HELD" and reason != _held(tx, target.destination, step.key):
        # Only once: the message to look at is the order's, not whatever had the row rendered anew since.
        exceptions.report(tx, "step-held", subject, reason, event)
    if state != "HELD":
        exceptions.clear(tx, "step-held", subject)
        if reason:
            withdraw(tx, target.destination, step.key)
            return state
    body = rendered.payload.decode()
    row = number(target.destination, step.key, body, reason)
    stations.forget(tx, target.destination, step.key)
    tx.execute(
        "INSERT INTO worklist (list, key, id, patient_id, start_date, attributes, route, version, event,"
        " changed, held) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (list, key) DO UPDATE SET"
        " id=excluded.id, patient_id=excluded.patient_id, start_date=excluded.start_date,"
        " attributes=excluded.attributes, route=excluded.route, version=excluded.version, event=excluded.event,"
        " changed=excluded.changed, held=excluded.held",
        (
            target.destination,
            step.key,
            row,
            attributes.get("PatientID", ""),
            sps.get("ScheduledProcedureStepStartDate", ""),
            body,
            target.route,
            target.version,
            event.id,
            event.time.isoformat(),
            reason,
        ),
    )
    if state == "HELD":
        return f"held: {reason}"
    if state not in ENDED:
        stations.index(tx, row, attributes)
    return "row" if state in SERVED else state


def lacking(attributes: Mapping[str, Any]) -> list[str]:
    """What a row needs and does not have, as `REQUIRED` words it; nothing: it can be served."""
    sps = attributes["ScheduledProcedureStepSequence"][0]
    return [text for keyword, text in REQUIRED.items() if not sps.get(keyword)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A row as it stands on a list, with who put it there."""

    list: str
    route: str
    version: str
    """Of the routes that made it."""
    event: str
    """The event that wrote it last."""
    attributes: Mapping[str, Any]


def placed(tx: Transaction, key: str) -> list[Placed]:
    """The rows of a step, whatever its status, but for those that are held."""
    rows = tx.rows(
        "SELECT list, route, version, event, attributes FROM worklist WHERE key=? AND held='' ORDER BY list",
        (key,),
    )
    return [
        Placed(list=name, route=route, version=version, event=event, attributes=from_json(body))
        for name, route, version, event, body in rows
    ]


def _held(tx: Transaction, name: str, key: str) -> str:
    """Why the row that stands is held; empty: it is not, or none stands."""
    row = tx.one("SELECT held FROM worklist WHERE list=? AND key=?", (name, key))
    return row[0] if row else ""


def withdraw(tx: Transaction, name: str, key: str) -> None:
    """Takes a step off a list."""
    tx.execute("DELETE FROM worklist WHERE list=? AND key=?", (name, key))


def lists_of(tx: Transaction, key: str) -> list[tuple[str, str]]:
    """The lists that a step stands on, each with the route that put it there."""
    return [(name, route) for name, route in tx.rows("SELECT list, route FROM worklist WHERE key=?", (key,))]


def idle(tx: Transaction, name: str, changed: str, day: str) -> list[str]:
    """Keys of the steps on a list that still wait, whose row was last written before `changed` (ISO 8601, UTC) and
    was to start before the day (`YYYYMMDD`), or says no day."""
    rows = tx.rows(
        "SELECT worklist.key FROM worklist JOIN step ON step.key = worklist.key WHERE list=? AND changed<?"
        " AND start_date<? AND step.status IN ('SCHEDULED','ARRIVED') ORDER BY worklist.key",
        (name, changed, day),
    )
    return [key for (key,) in rows]


class Reader:
    """Read side for the MWL SCP (`broker.adapter.WorklistReader`) and for `broker worklist list`."""

    def __init__(self, read: Callable[[], Transaction]) -> None:
        self._read = read
        self._kept = Kept()

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
        """See `broker.adapter.WorklistReader`."""
        narrowed = _narrowed(stations, patient_id, beginnings(patient_name), dates)
        seen, given = set[int](), set[tuple[str, str]]()
        gone = True
        while gone:  # a row was written between two statements: it stands under another number now
            found = dict.fromkeys(chain.from_iterable(self._read().rows(*narrowed)))
            numbers = [row for row in found if row not in unwanted and row not in seen]
            seen.update(numbers)
            gone, few = False, len(numbers) <= self._kept.most
            for start in range(0, len(numbers), _AT_ONCE[-1]):
                some = numbers[start : start + _AT_ONCE[-1]]
                # A slow device takes its time over those before: what is kept may not stand any more.
                still = self._still(some) if start else some
                standing = self._standing(still, started_by, keep=few) if still else []
                gone = gone or len(standing) < len(some)
                for said, status in standing:
                    if status and not said.held and (said.list, said.key) not in given:
                        given.add((said.list, said.key))
                        yield WorklistRow(
                            key=said.key, status=status, attributes=said.attributes, number=said.number
                        )

    def listed(self, *, everything: bool = False) -> Iterable[WorklistRow]:
        """Rows for people: those that wait, HELD ones too, or all with their status."""
        sql = (
            "SELECT worklist.key, step.status, attributes, held FROM worklist JOIN step ON step.key = worklist.key"
            f" WHERE {'1=1' if everything else _SERVED_SQL} ORDER BY start_date, worklist.key, list"
        )
        for key, status, body, held in self._read().rows(sql):
            yield WorklistRow(
                key=key, status=state_of_row(status, held=bool(held)), attributes=from_json(body), held=held
            )

    def _still(self, numbers: Sequence[int]) -> list[int]:
        """Those that stand; of an index alone, like the numbers themselves."""
        size = next(size for size in _AT_ONCE if size >= len(numbers))
        sql = f"SELECT id FROM worklist WHERE id IN ({','.join('?' * size)})"
        found = {row for (row,) in self._read().rows(sql, [*numbers, *[numbers[-1]] * (size - len(numbers))])}
        return [row for row in numbers if row in found]

    def _standing(self, numbers: Sequence[int], started_by: str, *, keep: bool) -> list[tuple[Wording, str]]:
        """Of these rows those that still stand, in the order of their start, with the status if they are shown.

        One that is kept stood a moment ago: the numbers are from an index. `keep`: what has to be read.
        """
        known = self._kept.get(numbers)
        status: dict[str, str] = {}
        if known:
            keys = list(dict.fromkeys(row.key for row in known.values()))
            status.update(self._named("step.key", "", "step", keys, started_by))
        if unknown := [row for row in numbers if row not in known]:
            tables = "worklist JOIN step ON step.key=worklist.key"
            read = self._named("id", ", id, list, attributes, held", tables, unknown, started_by)
            for key, shown, stands, name, body, held in read:
                status[key], known[stands] = shown, Wording.read(stands, name, key, body, held)
            if keep:
                self._kept.add(known[row] for row in unknown if row in known)
        return sorted(
            ((row, status.get(row.key, "")) for row in known.values()), key=lambda one: one[0].order
        )

    def _named(
        self, column: str, columns: str, tables: str, values: Sequence[Value], started_by: str
    ) -> list[tuple[Any, ...]]:
        """Step, status (empty: it is not shown) and columns where the column has one of the values."""
        size = next(size for size in _AT_ONCE if size >= len(values))
        shown = f"({_SERVED_SQL} OR {_STARTED_SQL})" if started_by else _SERVED_SQL
        sql = (
            f"SELECT step.key, CASE WHEN {shown} THEN step.status ELSE '' END{columns} FROM {tables}"
            f" WHERE {column} IN ({','.join('?' * size)})"
        )
        repeated = [values[-1]] * (size - len(values))
        return self._read().rows(sql, [*([started_by] if started_by else []), *values, *repeated])


def _narrowed(
    stations: tuple[str, ...], patient_id: str, names: tuple[str, ...], dates: tuple[str, str]
) -> tuple[str, list[Value]]:
    """SQL that gives numbers of rows, in the order of their days, and its values. It reads indexes only."""
    of_stations, titles = f"aet IN ({','.join('?' * len(stations))})", list[Value](stations)
    of_names, ranges = _named(names)
    between, limits = _between(dates)
    if patient_id:
        sql, values = f"SELECT id AS row FROM worklist WHERE patient_id=?{between}", [patient_id, *limits]
        if stations:
            sql = f"{sql} AND id IN (SELECT row FROM worklist_station WHERE {of_stations})"
            values += titles
    elif stations:
        sql, values = f"SELECT row FROM worklist_station WHERE {of_stations}{between}", [*titles, *limits]
        if names:
            sql = f"{sql} AND row IN (SELECT row FROM worklist_name WHERE {of_names})"
            values += ranges
    elif names:
        sql, values = f"SELECT row FROM worklist_name WHERE {of_names}{between}", [*ranges, *limits]
    else:
        sql, values = f"SELECT row FROM worklist_station WHERE 1=1{between}", limits
    return f"{sql} ORDER BY start_date, row", values


def _named(names: tuple[str, ...]) -> tuple[str, list[Value]]:
    """SQL and values of what names begin with. No reading is longer than the last that begins so."""
    ranges = [(UNREAD, UNREAD), *((name, name.ljust(LONGEST, _LAST)) for name in names)]
    return f"({' OR '.join(['name BETWEEN ? AND ?'] * len(ranges))})", [
        end for ends in ranges for end in ends
    ]


def _between(dates: tuple[str, str]) -> tuple[str, list[Value]]:
    """SQL and values of a date range; the start date may be open at either end."""
    sql, values = "", list[Value]()
    if dates[0]:
        sql, values = f"{sql} AND start_date>=?", [*values, dates[0]]
    if dates[1]:
        sql, values = f"{sql} AND start_date<=?", [*values, dates[1]]
    return sql, values
