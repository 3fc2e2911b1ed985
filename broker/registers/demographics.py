"""What PAS and orders say of a patient: whom they mean, and whose word stands.

Only `patient.*` events, which come from PAS alone, change a patient that PAS knows (invariant 10); an order for a
patient that nobody knows makes a provisional one. The record itself is written by `patients`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from broker.event import Event, Identifier, Patient
from broker.registers import exceptions, versions
from broker.registers.patients import (
    Known,
    Owner,
    absorb,
    bind_own,
    each_once,
    find,
    get,
    owners_of,
    with_those_of,
    write,
)
from broker.store.transaction import Transaction

RENAMING: Final = frozenset({"patient.merged", "patient.id-changed"})
"""Events that end identifiers, and alone may give an ended one back."""


def assert_from_pas(tx: Transaction, event: Event, patient: Patient) -> tuple[Known, list[str]]:
    """Folds what PAS says of a patient: the first message registers, later ones update; PAS's word stands.

    Provisional patients whose identifiers PID-3 names are absorbed (their keys are returned): orders kept apart
    what PAS says is one. Where PID-3 names identifiers of several patients that PAS knows, the first one's is meant
    and the others keep theirs: only a merge says that two are one. A merge or id change to identifiers that are
    new goes on with the record that the prior ones have.
    """
    owners = owners_of(tx, patient.identifiers)
    keys = each_once(owners.values())
    if not keys and event.type in RENAMING:
        keys = find(tx, event.data.prior)
    if not keys:
        return _create(tx, event, patient, verified=True), []
    found = {key: get(tx, key) for key in keys}
    verified = [key for key in keys if found[key].verified]
    known = found[(verified or keys)[0]]
    absorbed = [key for key in keys if key not in (known.key, *verified)]
    for key in absorbed:
        absorb(tx, event, key, known.key)
    if absorbed:
        owners = owners_of(tx, patient.identifiers)
        known = replace(known, patient=with_those_of(known.patient, (found[key] for key in absorbed)))
    own = patient.identifiers
    if len(each_once(owners.values())) > 1:
        _report_conflict(tx, event)
        own = tuple(i for i in own if i.key not in owners or owners[i.key].patient == known.key)
    if event.type not in RENAMING:
        # A late message under an ended identifier is heard, but does not revive it.
        own = tuple(i for i in own if i.key not in owners or owners[i.key].current)
    if not own and known.verified and "birth date" in differences(known.patient, patient):
        reason = (
            "a message under an ended identifier says another birth date; its demographics are not applied"
        )
        exceptions.report(tx, "identity-conflict", event.message_id, reason, event)
        return known, absorbed
    if not known.verified:  # what an order said counts no longer
        nothing = Patient(identifiers=known.patient.identifiers)
        known = Known(key=known.key, patient=nothing, verified=False)
    under = next(
        (i for i in patient.identifiers if i.key in owners and owners[i.key].patient == known.key), None
    )
    exceptions.clear(tx, "demographics-differ", known.key)
    said = patient if own == patient.identifiers else patient.model_copy(update={"identifiers": own})
    return _say(tx, event, known, said, verified=True, owners=owners, under=under), absorbed


def conflicting(tx: Transaction, event: Event, patient: Patient) -> bool:
    """Whether the identifiers belong to different known patients; reported, because only a person can tell."""
    if len(find(tx, patient.identifiers)) < 2:
        return False
    _report_conflict(tx, event)
    return True


def _report_conflict(tx: Transaction, event: Event) -> None:
    reason = "the identifiers of PID-3 belong to different known patients"
    exceptions.report(tx, "identity-conflict", event.message_id, reason, event)


def refer(tx: Transaction, event: Event, patient: Patient) -> Known:
    """The patient that an order speaks of: known, or made provisionally. PAS's word stands."""
    keys = find(tx, patient.identifiers)
    if not keys:
        return _create(tx, event, patient, verified=False)
    known = get(tx, keys[0])
    if not known.verified:
        told = _say(tx, event, known, patient, verified=False)
        return replace(told, renewed=told.patient != known.patient)
    if differing := differences(known.patient, patient):
        reason = f"{', '.join(differing)}: an order says something else than PAS"
        exceptions.report(tx, "demographics-differ", known.key, reason, event)
    else:
        exceptions.clear(tx, "demographics-differ", known.key)
    return known


def differences(pas: Patient, other: Patient) -> list[str]:
    """Names of the demographic parts that both state and that differ."""
    found = []
    if pas.birth_date and other.birth_date and pas.birth_date[:8] != other.birth_date[:8]:
        found.append("birth date")
    if pas.sex and other.sex and pas.sex != other.sex:
        found.append("sex")
    families = [patient.name.family.casefold() if patient.name else "" for patient in (pas, other)]
    if all(families) and families[0] != families[1]:
        found.append("family name")
    return found


def _create(tx: Transaction, event: Event, patient: Patient, *, verified: bool) -> Known:
    fresh = Known(key=f"P{event.id}", patient=Patient(identifiers=()), verified=verified)
    return _say(tx, event, fresh, patient, verified=verified)


def _say(
    tx: Transaction,
    event: Event,
    known: Known,
    said: Patient,
    *,
    verified: bool,
    owners: Mapping[tuple[str, str], Owner] = MappingProxyType({}),
    under: Identifier | None = None,
) -> Known:
    """Writes what was said over what is known, and binds the identifiers; `owners` is what is known of them already.

    `under`: which of the patient's identifiers it was said under; None: the first that was said.
    """
    by = versions.origin(tx, event, said, under or said.identifiers[0])
    values, origins = versions.overlaid(known.origins, said, by)
    new = {i.key for i in said.identifiers}
    identifiers = said.identifiers + tuple(i for i in known.patient.identifiers if i.key not in new)
    told = Known(
        key=known.key,
        patient=known.patient.model_copy(update={**values, "identifiers": identifiers}),
        verified=verified,
        origins=origins,
    )
    write(tx, event, told)
    for identifier in identifiers:
        if owners.get(identifier.key) != (known.key, True):
            bind_own(tx, event, known.key, identifier, current=True)
    return told
