"""Modality performed procedure steps (MPPS): what modalities said of each, whose it is, and what that makes of steps.

A scheduled step is found by its id with its Study Instance UID or accession number, never by a name. Who may change
an MPPS was decided when it was answered (commit 1); here it is only folded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from broker.event import Event, Identifier, PerformedStatus, PerformedStep, StepReference, StepStatus
from broker.registers import exceptions, ledger, patients, steps
from broker.store.transaction import Transaction

WRONG_ENTRY: Final = "110514"
"""DCM 110514 (PS3.16 CID 9300): incorrect worklist entry selected."""

FINAL: Final = ("COMPLETED", "DISCONTINUED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What an event of an MPPS came to."""

    performed: PerformedStep
    """All that is known of it."""
    patient_key: str
    """Empty: nobody knows whose it is."""
    lane: str
    """Keeps its messages in order while that is so."""
    known_now: bool
    """The patient was not known when it was created, and is now."""
    steps: tuple[steps.Held, ...]
    """Scheduled steps that are in another state now."""


def fold(tx: Transaction, event: Event, said: PerformedStep) -> Folded:
    """Folds an N-CREATE or N-SET."""
    before = _get(tx, said.uid)
    stated = event.data.patient.identifiers if event.data.patient is not None else ()
    own = before.said if before is not None else stated
    whole = said if before is None else _overlaid(before.performed, said)
    linked = before.steps if before is not None else ()
    if not linked:
        linked = _linked(tx, event, whole, own)
    owner = (before.patient_key if before is not None else "") or _owner(tx, own, linked)
    _store(tx, event, whole, owner, own, linked, before)
    for key in linked:
        tx.execute(
            "INSERT INTO mpps_step (mpps, step, event) VALUES (?,?,?) ON CONFLICT (mpps, step) DO NOTHING",
            (said.uid, key, event.id),
        )
    if linked:
        exceptions.clear(tx, "mpps-unscheduled", said.uid)
    if whole.status in FINAL:
        exceptions.clear(tx, "mpps-overdue", said.uid)
    changed = (steps.performed(tx, event, key, outcome(_all_of(tx, key))) for key in linked)
    return Folded(
        performed=whole,
        patient_key=owner,
        lane=_lane(said.uid, own),
        known_now=before is not None and not before.patient_key and bool(owner),
        steps=tuple(held for held in changed if held is not None),
    )


def outcome(performed: Iterable[tuple[PerformedStatus, str]]) -> StepStatus:
    """What all MPPS of a step make of it, of their statuses and discontinuation codes.

    One that chose the wrong entry never was of this step. A step is done when none goes on and one was completed.
    """
    counting = [status for status, code in performed if (status, code) != ("DISCONTINUED", WRONG_ENTRY)]
    if not counting:
        return "SCHEDULED"
    if "IN PROGRESS" in counting:
        return "STARTED"
    return "COMPLETED" if "COMPLETED" in counting else "DISCONTINUED"


def look(tx: Transaction, uid: str) -> Folded | None:
    """An MPPS as it stands, with all its steps; None: nobody knows it."""
    found = _get(tx, uid)
    if found is None:
        return None
    held = (steps.get(tx, key) for key in found.steps)
    return Folded(
        performed=found.performed,
        patient_key=found.patient_key,
        lane=_lane(uid, found.said),
        known_now=False,
        steps=tuple(one for one in held if one is not None),
    )


def overdue(tx: Transaction, before: str) -> list[str]:
    """UIDs of those that were created before (ISO 8601, UTC), never ended, and are not reported yet."""
    rows = tx.rows(
        "SELECT uid FROM mpps WHERE status='IN PROGRESS' AND created<? AND NOT EXISTS (SELECT 1 FROM exception"
        " WHERE kind='mpps-overdue' AND subject=mpps.uid) ORDER BY created, uid",
        (before,),
    )
    return [uid for (uid,) in rows]


# --- what is kept ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    performed: PerformedStep
    patient_key: str
    said: tuple[Identifier, ...]
    """The identifier under which it came."""
    steps: tuple[str, ...]


def _get(tx: Transaction, uid: str) -> _Known | None:
    row = tx.one("SELECT body, patient, said_issuer, said_value FROM mpps WHERE uid=?", (uid,))
    if row is None:
        return None
    body, patient, issuer, value = row
    linked = tx.rows("SELECT step FROM mpps_step WHERE mpps=? ORDER BY step", (uid,))
    return _Known(
        performed=PerformedStep.model_validate_json(body),
        patient_key=patient,
        said=(Identifier(value=value, oid=issuer),) if value else (),
        steps=tuple(key for (key,) in linked),
    )


def _store(
    tx: Transaction,
    event: Event,
    whole: PerformedStep,
    owner: str,
    own: tuple[Identifier, ...],
    linked: tuple[str, ...],
    before: _Known | None,
) -> None:
    body, status = whole.model_dump_json(exclude_defaults=True), whole.status or "IN PROGRESS"
    if before is not None:
        tx.execute(
            "UPDATE mpps SET patient=?, status=?, body=?, event=? WHERE uid=?",
            (owner, status, body, event.id, whole.uid),
        )
        return
    issuer, value = _came_under(tx, own, owner, linked)
    tx.execute(
        "INSERT INTO mpps (uid, patient, said_issuer, said_value, status, aet, created, body, event)"
        " VALUES (?,?,?,?,?,?,?,?,?)",
        (whole.uid, owner, issuer, value, status, whole.calling_aet, event.time.isoformat(), body, event.id),
    )


def _overlaid(base: PerformedStep, said: PerformedStep) -> PerformedStep:
    """What was known with what was said on top: empty keeps; who created it stays."""
    names = (
        name for name in PerformedStep.model_fields if name not in ("uid", "calling_aet", "issuer_stated")
    )
    return base.model_copy(update={name: value for name in names if (value := getattr(said, name))})


def _all_of(tx: Transaction, key: str) -> list[tuple[PerformedStatus, str]]:
    rows = tx.rows(
        "SELECT mpps.body FROM mpps JOIN mpps_step ON mpps_step.mpps=mpps.uid WHERE step=? ORDER BY uid",
        (key,),
    )
    found = (PerformedStep.model_validate_json(body) for (body,) in rows)
    return [(one.status or "IN PROGRESS", one.discontinuation) for one in found]


# --- whose, and of which steps --------------------------------------------------------------------


def _linked(
    tx: Transaction, event: Event, whole: PerformedStep, own: tuple[Identifier, ...]
) -> tuple[str, ...]:
    """Keys of the scheduled steps it performs; what it names and nobody knows, or another patient has, is reported."""
    found: list[str] = []
    unknown = foreign = False
    for reference in whole.steps:
        held = _named(tx, reference)
        if held is None:
            unknown = True
        elif own and not _is_of(tx, held, own, stated=whole.issuer_stated):
            foreign = True
        elif held.step.key not in found:
            found.append(held.step.key)
    if foreign:
        reason = "the MPPS names another patient than the scheduled step has; the step stays as it is"
        exceptions.report(tx, "mpps-patient-differs", whole.uid, reason, event)
    if unknown or not whole.steps:
        reason = "of a scheduled step that is not known here" if unknown else "of no scheduled step"
        exceptions.report(tx, "mpps-unscheduled", whole.uid, reason, event)
    return tuple(found)


def _named(tx: Transaction, reference: StepReference) -> steps.Held | None:
    """The one step under this id in this study or under this accession number; without an id the study's only one."""
    rows = tx.rows(
        "SELECT key FROM step WHERE study_uid=? OR (accession=? AND accession<>'') ORDER BY key",
        (reference.study_uid, reference.accession_number),
    )
    candidates = [held for (key,) in rows if (held := steps.get(tx, key)) is not None]
    found = [
        one
        for one in candidates
        if one.step.step_id == reference.step_id
        or (not reference.step_id and one.step.study_uid == reference.study_uid)
    ]
    in_study = [one for one in found if one.step.study_uid == reference.study_uid]
    found = in_study or found
    return found[0] if len(found) == 1 else None


def _is_of(tx: Transaction, held: steps.Held, own: tuple[Identifier, ...], *, stated: bool) -> bool:
    """Whether an identifier is that of the step's patient, or was until its visit was moved (A45); one whose issuer
    the device left out, by its value."""
    patient_key = held.patient_key
    if patient_key in patients.find(tx, own) or ledger.moved_with_visit(tx, held.step.key, patient_key, own):
        return True
    return not stated and bool({one.value for one in own} & set(patients.values_of(tx, patient_key)))


def _owner(tx: Transaction, own: tuple[Identifier, ...], linked: tuple[str, ...]) -> str:
    """The patient of its steps, else the one whom its identifier leaves no doubt of."""
    for key in linked:
        held = steps.get(tx, key)
        if held is not None:
            return held.patient_key
    keys = patients.find(tx, own)
    return keys[0] if len(keys) == 1 else ""


def _came_under(
    tx: Transaction, own: tuple[Identifier, ...], owner: str, linked: tuple[str, ...]
) -> tuple[str, str]:
    """(issuer, value) that decides whose it is when a patient's identifiers part: its own, else that of its step."""
    under = patients.said_under(tx, own, owner)
    if under is not None:
        return under.key
    for key in linked:
        row = tx.one("SELECT said_issuer, said_value FROM step WHERE key=?", (key,))
        if row is not None:
            return row[0], row[1]
    return own[0].key if own else ("", "")


def _lane(uid: str, own: tuple[Identifier, ...]) -> str:
    return "|".join(("unverified", *(own[0].key if own else (uid,))))
