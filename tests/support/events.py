"""Made-up canonical events and receptions: who, what and when are invented, and the same on every run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from broker.adapter import Reception, Verdict
from broker.delivery.ledger import Cause
from broker.event import Event, EventData, Identifier, Instance, Order, Patient, PersonName, Step
from broker.store import days
from broker.store.transaction import Transaction

START = datetime(2026, 3, 9, 8, tzinfo=UTC)
NATIONAL = "2.16.578.1.12.4.1.4.1"
LOCAL = "2.999.7001"


def local(value: str) -> Identifier:
    """A number of the hospital's own."""
    return Identifier(value=value, namespace="STO", oid=LOCAL, oid_type="ISO", type_code="PI")


def national(value: str) -> Identifier:
    """A national number."""
    return Identifier(value=value, namespace="NNNOR", oid=NATIONAL, oid_type="ISO", type_code="NNNOR")


def patient(
    *identifiers: Identifier,
    family: str | None = "Sørby",
    birth_date: str | None = "19821030",
    sex: str | None = "F",
) -> Patient:
    """A patient; `family=None` says nothing of the name, `family=""` clears it."""
    name = None if family is None else PersonName(family=family, given="Áile" if family else "")
    return Patient(identifiers=identifiers, name=name, birth_date=birth_date, sex=sex)


def order(filler: str = "F1", placer: str = "P1", **fields: Any) -> Order:
    return Order(
        filler_number=Identifier(value=filler, namespace="RIS") if filler else None,
        placer_number=Identifier(value=placer, namespace="EPJ") if placer else None,
        **fields,
    )


def step(key: str = "RIS|F1|S1", **fields: Any) -> Step:
    """A step as an order says it; `study_uid` follows the key unless it is given."""
    given: dict[str, Any] = {
        "status": "SCHEDULED",
        "step_id": key.split("|")[-1],
        "accession_number": "A1",
        "requested_procedure_id": "R1",
        "study_uid": f"2.25.{int.from_bytes(key.encode(), 'big')}",
        "modality": "CT",
        "station_aets": ("CT1_STO",),
        "start_date": "20260310",
        "start_time": "0930",
    }
    return Step(key=key, **{**given, **fields})


def instance(
    uid: str = "2.25.1.1", *, study_uid: str = "2.25.1", content: str = "a", **fields: Any
) -> Instance:
    """A received instance; the same `content` is the same bytes."""
    digest = f"{content:0>64}"
    given: dict[str, Any] = {
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.7",
        "sop_instance_uid": uid,
        "study_uid": study_uid,
        "series_uid": f"{study_uid}.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "path": f"instances/{digest}.dcm",
        "size": 1000,
        "sha256": digest,
        "calling_aet": "CT1_STO",
    }
    return Instance(**{**given, **fields})


def event(kind: str, number: int = 1, *, source: str = "", **data: Any) -> Event:
    """The `number`-th event of the day; `data` are the fields of `EventData`."""
    if not source:
        source = "pas" if kind.startswith(("patient.", "encounter.")) else "orders"
    return Event(
        id=f"M{number:05}.0",
        type=kind,  # type: ignore[arg-type]
        source=source,
        site="STO",
        time=START + timedelta(minutes=number),
        message_id=f"M{number:05}",
        data=EventData(**data),
    )


def cause(seq: int = 1, number: int = 1, *, source: str = "pas") -> Cause:
    """Event `seq` of the log as what a delivery is made of; it came with the `number`-th message."""
    return Cause.of(seq, event("patient.registered", number, source=source))


def of_days(tx: Transaction, name: days.Name, columns: str = "*") -> list[tuple[Any, ...]]:
    """Rows of every day's table of this name, the oldest day first."""
    return [
        row for day in days.known(tx) for row in tx.rows(f"SELECT {columns} FROM {days.table(name, day)}")
    ]


def reception(number: int = 1, *events: Event, **fields: Any) -> Reception:
    """The `number`-th message of the day, accepted and answered."""
    given: dict[str, Any] = {
        "message_id": f"M{number:05}",
        "source": "pas",
        "site": "STO",
        "peer": "127.0.0.1",
        "protocol": "hl7",
        "received": START + timedelta(minutes=number),
        "message_type": "ADT^A04",
        "control_id": f"C{number:05}",
        "sender": "PAS|STO",
        "verdict": Verdict.ACCEPTED,
        "answer_code": "AA",
        "answers": (b"MSH|^~\\&|answer\rMSA|AA\r",),
        "raw": f"MSH|^~\\&|message {number}\r".encode(),
        "charset": "utf_8",
        "events": events,
    }
    return Reception(**{**given, **fields})
