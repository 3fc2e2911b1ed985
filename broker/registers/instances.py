"""Instances that were received: whose they are as far as PAS can tell, keyed by SOP Instance UID.

It opens no file. An object's patient is found by id and issuer; without an issuer by the step it was made for,
else by the site's own domain, else by a number of that length under a national issuer. Never by name. What a device
goes on sending for a visit that was moved (A45), under the id that it was given, is the visit's patient's.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.event import Event, Instance, Patient
from broker.registers import demographics, exceptions, ledger, patients
from broker.registers.patients import Known
from broker.store.transaction import Transaction

_Steps = Sequence[tuple[str, str]]
"""Keys of the steps that an object's study is the examination of, each with its patient's."""


def before(tx: Transaction, instance: Instance) -> str:
    """SHA-256 of the object that came first with this SOP Instance UID; empty: none did."""
    row = tx.one("SELECT sha256 FROM instance WHERE sop_instance_uid=?", (instance.sop_instance_uid,))
    return str(row[0]) if row is not None else ""


def differs(tx: Transaction, event: Event, instance: Instance, first: str) -> bool:
    """Whether it is another object than the one that came first: that one stays, a person is asked."""
    if first in ("", instance.sha256):
        return False
    exceptions.report(
        tx,
        "instance-differs",
        instance.sop_instance_uid,
        "the same SOP Instance UID came with other content; kept, not passed on",
        event,
    )
    return True


def fold(tx: Transaction, event: Event, instance: Instance, patient: Patient) -> Known | None:
    """Files one instance. None: PAS knows no such patient; it is reported as unverified."""
    steps = _steps(tx, instance)
    known = _owner(tx, instance, patient, steps)
    said_value, said_issuer = _said(tx, patient, known)
    tx.execute(
        "INSERT INTO instance (sop_instance_uid, study_uid, accession, sha256, path, patient, event, said_value,"
        " said_issuer, sop_class_uid, series_uid) VALUES (?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (sop_instance_uid)"
        " DO UPDATE SET path=excluded.path, patient=excluded.patient, event=excluded.event,"
        " said_value=excluded.said_value, said_issuer=excluded.said_issuer",
        (
            instance.sop_instance_uid,
            instance.study_uid,
            instance.accession_number,
            instance.sha256,
            instance.path,
            known.key if known else "",
            event.id,
            said_value,
            said_issuer,
            instance.sop_class_uid,
            instance.series_uid,
        ),
    )
    if known is None:
        exceptions.report(
            tx,
            "instance-unverified",
            instance.sop_instance_uid,
            "PAS knows no patient with this id and issuer",
            event,
        )
        return None
    exceptions.clear(tx, "instance-unverified", instance.sop_instance_uid)
    if steps and known.key not in (owner for _, owner in steps):
        reason = "its study is an examination of another patient than its id names; filed under its id"
        exceptions.report(tx, "instance-patient-differs", instance.sop_instance_uid, reason, event)
    else:
        exceptions.clear(tx, "instance-patient-differs", instance.sop_instance_uid)
    if len(demographics.differences(known.patient, patient)) > 1:
        exceptions.report(
            tx,
            "demographics-differ",
            instance.sop_instance_uid,
            "the object and PAS differ in more than one part",
            event,
        )
    return known


def owner(tx: Transaction, instance: Instance, patient: Patient) -> Known | None:
    """The verified patient the object belongs to; an id that fits two patients fits none."""
    return _owner(tx, instance, patient, _steps(tx, instance))


def _steps(tx: Transaction, instance: Instance) -> _Steps:
    return tx.rows("SELECT key, patient FROM step WHERE study_uid=? ORDER BY key", (instance.study_uid,))


def _owner(tx: Transaction, instance: Instance, patient: Patient, steps: _Steps) -> Known | None:
    made_for = _of_moved_visit(tx, patient, steps)
    if made_for is None and not instance.issuer_stated:
        made_for = _by_step(tx, patient, steps)
    if made_for is not None:
        return made_for
    keys = patients.find(tx, patient.identifiers)
    known = patients.get(tx, keys[0]) if len(keys) == 1 else None
    return known if known is not None and known.verified else None


def _by_step(tx: Transaction, patient: Patient, steps: _Steps) -> Known | None:
    """The patient of the step the object was made for, if the object's id is one of that patient's."""
    for key in dict.fromkeys(owner for _, owner in steps):
        known = patients.get(tx, key)
        values = {i.value for i in patient.identifiers}
        if known.verified and any(_owns(tx, known.key, value) for value in values):
            return known
    return None


def _of_moved_visit(tx: Transaction, patient: Patient, steps: _Steps) -> Known | None:
    """The patient to whom the object's step went with its visit, from the identifier that the object still has."""
    said = patients.find(tx, patient.identifiers) if steps else []
    for step, owner in steps:
        if owner not in said and ledger.moved_with_visit(tx, step, owner, patient.identifiers):
            return patients.get(tx, owner)
    return None


def _said(tx: Transaction, patient: Patient, known: Known | None) -> tuple[str, str]:
    """(value, issuer) under which the object came: where it names no issuer, the patient's own with its value."""
    if known is None:
        first = patient.identifiers[0] if patient.identifiers else None
        return (first.value, first.issuer) if first else ("", "")
    found = patients.said_under(tx, patient.identifiers, known.key)
    if found is not None:
        return found.value, found.issuer
    bare = [
        (i.value, owned.issuer)
        for i in patient.identifiers
        for owned in patients.under(tx, i.value)
        if owned.patient == known.key
    ]
    return (
        bare[0] if bare else known.patient.identifiers[0].key[::-1]
    )  # a moved visit's: under its patient's own


def _owns(tx: Transaction, key: str, value: str) -> bool:
    return tx.one("SELECT 1 FROM patient_identifier WHERE value=? AND patient=?", (value, key)) is not None
