"""Worklist rows: the attributes that a route made of a step, indexed for the queries that modalities ask.

Upserts under (list, step key). A row that lacks what a modality must have is not served: it is held and reported.
Matching is not here (`broker.dicom.matching`); this narrows by index.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from broker.adapter import Rendered, Target, WorklistRow
from broker.event import Event, Step
from broker.registers import exceptions
from broker.registers.steps import state_of_row
from broker.store.database import Transaction, Value

SERVED: Final = ("SCHEDULED", "ARRIVED")
"""What any device is shown. A step that is STARTED is shown to the device that started it, where settings say so."""

_SERVED_SQL: Final = "step.status IN ('SCHEDULED','ARRIVED') AND worklist.held=''"
_STARTED_SQL: Final = (
    "(step.status='STARTED' AND worklist.held='' AND step.key IN (SELECT mpps_step.step FROM mpps_step JOIN mpps"
    " ON mpps.uid=mpps_step.mpps WHERE mpps.aet=? AND mpps.status='IN PROGRESS'))"
)

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
    row = _id(tx, target.destination, step.key)
    start_date, stations = (
        sps.get("ScheduledProcedureStepStartDate", ""),
        sps.get("ScheduledStationAETitle", ""),
    )
    tx.execute(
        "INSERT INTO worklist (list, key, id, patient_id, start_date, attributes, route, version, event,"
        " changed, held) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (list, key) DO UPDATE SET"
        " patient_id=excluded.patient_id, start_date=excluded.start_date, attributes=excluded.attributes,"
        " route=excluded.route, version=excluded.version, event=excluded.event, changed=excluded.changed,"
        " held=excluded.held",
        (
            target.destination,
            step.key,
            row,
            attributes.get("PatientID", ""),
            start_date,
            rendered.payload.decode(),
            target.route,
            target.version,
            event.id,
            event.time.isoformat(),
            reason,
        ),
    )
    tx.execute("DELETE FROM worklist_station WHERE row=?", (row,))
    if state == "HELD":
        return f"held: {reason}"
    for aet in {stations} if isinstance(stations, str) else set(stations):
        tx.execute(
            "INSERT INTO worklist_station (aet, start_date, row) VALUES (?,?,?)", (aet, start_date, row)
        )
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
        Placed(list=name, route=route, version=version, event=event, attributes=_frozen(json.loads(body)))
        for name, route, version, event, body in rows
    ]


def _held(tx: Transaction, name: str, key: str) -> str:
    """Why the row that stands is held; empty: it is not, or none stands."""
    row = tx.one("SELECT held FROM worklist WHERE list=? AND key=?", (name, key))
    return row[0] if row else ""


def _id(tx: Transaction, name: str, key: str) -> int:
    row = tx.one("SELECT id FROM worklist WHERE list=? AND key=?", (name, key))
    if row is None:
        row = tx.one("SELECT coalesce(max(id), 0) + 1 FROM worklist")
    return int(row[0]) if row else 1


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

    def candidates(
        self,
        *,
        stations: tuple[str, ...] = (),
        patient_id: str = "",
        dates: tuple[str, str] = ("", ""),
        started_by: str = "",
    ) -> Iterable[WorklistRow]:
        """See `broker.adapter.WorklistReader`."""
        where, values = [_SERVED_SQL], list[Value]()
        if started_by:
            where, values = [f"({_SERVED_SQL} OR {_STARTED_SQL})"], [started_by]
        if patient_id:
            where.append("patient_id=?")
            values.append(patient_id)
        if stations:
            marks = ",".join("?" * len(stations))
            between, limits = _between(dates)
            where.append(f"id IN (SELECT row FROM worklist_station WHERE aet IN ({marks}){between})")
            values += [*stations, *limits]
        else:
            between, limits = _between(dates)
            where.append(f"1=1{between}")
            values += limits
        yield from self._rows(" AND ".join(where), values)

    def listed(self, *, everything: bool = False) -> Iterable[WorklistRow]:
        """Rows for people: those that wait, HELD ones too, or all with their status."""
        yield from self._rows("1=1" if everything else "step.status IN ('SCHEDULED','ARRIVED')", [])

    def _rows(self, where: str, values: list[Value]) -> Iterable[WorklistRow]:
        # The step's status decides, not the row's: a row is not rewritten by every event of its step.
        sql = (
            "SELECT worklist.key, step.status, attributes, held FROM worklist JOIN step ON step.key = worklist.key"
            f" WHERE {where} ORDER BY start_date, id"
        )
        for key, status, attributes, held in self._read().rows(sql, values):
            yield WorklistRow(
                key=key,
                status=state_of_row(status, held=bool(held)),
                attributes=_frozen(json.loads(attributes)),
                held=held,
            )


def _between(dates: tuple[str, str]) -> tuple[str, list[Value]]:
    """SQL and values of a date range; the start date may be open at either end."""
    sql, values = "", list[Value]()
    if dates[0]:
        sql, values = f"{sql} AND start_date>=?", [*values, dates[0]]
    if dates[1]:
        sql, values = f"{sql} AND start_date<=?", [*values, dates[1]]
    return sql, values


def _frozen(value: Any) -> Any:
    """JSON lists as the tuples that `broker.dicom.attributes` uses."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value
