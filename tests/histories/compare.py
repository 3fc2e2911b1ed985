"""The registers and the worklist as they are, beside what the model says they must be; names what differs.

Records are known by the identifiers that lead to them: which of its own keys the broker keeps one under is nobody's
business. Not here: what destinations received (`arrived.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydicom import Dataset

from broker.event import Encounter, Patient
from broker.registers import patients, worklist
from broker.store.transaction import Transaction
from tests.support.identity_model import OPEN, Key, Model, Record

VALUES = ("name", "birth_date", "sex", "mother", "unknown")

SHOWN = ("PatientName", "PatientBirthDate", "PatientSex")

Picture = dict[str, dict[str, Any]]
"""Of each register: what it says, by a name that both sides give it."""


def of_model(model: Model) -> Picture:
    """What must be."""
    names = {id(record): _named(model.owned(record)) for record in model.records()}
    return {
        "patients": {
            names[id(record)]: {
                "identifiers": [value for _, value in record.current],
                "of PAS": record.of_pas,
                **{name: record.values.get(name) for name in VALUES},
            }
            for record in model.records()
        },
        "ended": {_key(key): True for key in model.ended},
        "visits": {
            number: (names[id(visit.owner)], visit.status, visit.place or "")
            for number, visit in model.visits.items()
        },
        "beds": dict(model.beds),
        "steps": {key: (names[id(step.owner)], step.status) for key, step in model.steps.items()},
        "rows": {
            key: (*_shown(step.owner), step.start) for key, step in model.steps.items() if step.status in OPEN
        },
        "links": {" = ".join(sorted(map(_key, link))): True for link in model.links},
    }


def _shown(record: Record) -> tuple[str, ...]:
    """A patient as a worklist row has it."""
    found = [record.values.get(name, "") for name in ("name", "birth_date", "sex")]
    return ("~".join(value for _, value in record.current), *found)


def of_registers(tx: Transaction) -> Picture:
    """What is."""
    owned: dict[str, set[Key]] = {}
    ended = {}
    for issuer, value, key, current in tx.rows(
        "SELECT issuer, value, patient, current FROM patient_identifier"
    ):
        owned.setdefault(key, set()).add((issuer, value))
        if not current:
            ended[_key((issuer, value))] = True
    names = {key: _named(frozenset(keys)) for key, keys in owned.items()}
    live = [key for (key,) in tx.rows("SELECT key FROM patient WHERE merged_into IS NULL")]
    known = {key: patients.get(tx, key) for key in live}
    return {
        "patients": {
            names.get(key, key): {
                "identifiers": [identifier.value for identifier in one.patient.identifiers],
                "of PAS": one.verified,
                **_values(one.patient),
            }
            for key, one in known.items()
        },
        "ended": ended,
        "visits": {
            key.rpartition("|")[2]: (names.get(patient, patient), status, _place(body))
            for key, patient, status, body in tx.rows("SELECT key, patient, status, body FROM visit")
        },
        "beds": {
            place: key.rpartition("|")[2]
            for place, key in tx.rows("SELECT place, visit FROM bed WHERE until='' ORDER BY since")
        },
        "steps": {
            key.rpartition("|")[2]: (names.get(patient, patient), status)
            for key, patient, status in tx.rows("SELECT key, patient, status FROM step")
        },
        "rows": {
            row.key.rpartition("|")[2]: row_of(row.attributes)
            for row in worklist.Reader(lambda: tx).candidates()
        },
        "links": {
            " = ".join(sorted((_key((i, v)), _key((oi, ov))))): True
            for v, i, ov, oi in tx.rows("SELECT value, issuer, other_value, other_issuer FROM patient_link")
        },
    }


def row_of(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """A row as `_shown` has it, and when it is."""
    others = attributes.get("OtherPatientIDsSequence", ())
    (step,) = attributes["ScheduledProcedureStepSequence"]
    when = step["ScheduledProcedureStepStartDate"] + step["ScheduledProcedureStepStartTime"]
    return (
        "~".join([attributes["PatientID"], *(other["PatientID"] for other in others)]),
        *(attributes[keyword] for keyword in SHOWN),
        when,
    )


def row_of_dataset(row: Dataset) -> tuple[str, ...]:
    """A row as a modality is answered, who asks for what devices ask for: the Patient ID alone, and when it is."""
    (step,) = row.ScheduledProcedureStepSequence
    who = (str(row[keyword].value or "") for keyword in ("PatientID", *SHOWN))
    return (*who, f"{step.ScheduledProcedureStepStartDate}{step.ScheduledProcedureStepStartTime}")


def as_answered(row: Sequence[str]) -> tuple[str, ...]:
    """What a device is answered of a row of `of_model`."""
    return (row[0].partition("~")[0], *row[1:])


def differences(must: Picture, found: Picture) -> list[str]:
    """One line for each thing that is not as it must be."""
    lines = []
    for register, wanted in must.items():
        there = found[register]
        for name in sorted(wanted.keys() | there.keys()):
            if wanted.get(name) != there.get(name):
                lines.append(f"{register}: {name}: {there.get(name)} instead of {wanted.get(name)}")
    return lines


def _values(patient: Patient) -> dict[str, str | None]:
    name = patient.name
    return {
        "name": None if name is None else f"{name.family}^{name.given}".rstrip("^"),
        "mother": None if patient.mother is None else patient.mother.value,
        **{field: getattr(patient, field) for field in ("birth_date", "sex", "unknown")},
    }


def _place(body: str) -> str:
    return Encounter.model_validate_json(body).location or ""


def _named(keys: frozenset[Key]) -> str:
    return " ".join(sorted(map(_key, keys)))


def _key(key: Key) -> str:
    issuer, value = key
    return f"{issuer.rpartition('.')[2]}/{value}"
