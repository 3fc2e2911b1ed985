"""Which merges may run by themselves, and which are held for a person. Pure; docs/patients.md has it as a table.

A merge that was wrong spreads to every system and no message takes it back: what could join two persons waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from broker.event import Identifier, Patient
from broker.nationalid import Kind, kind_of

PERSON: Final[frozenset[Kind | None]] = frozenset({"fnr", "d-number"})
"""What is one person's for life, by issuer: the form of a number proves nothing."""


def objection(
    said: Patient, prior: Sequence[Identifier], survivor: Patient | None, absorbed: Sequence[Patient]
) -> str:
    """Why a merge waits for a person; empty where nothing speaks against it.

    `said` and `prior`: PID and MRG-1. `survivor`, `absorbed`: the records that these name, as far as PAS knows them.
    """
    targets = (*said.identifiers, *(survivor.identifiers if survivor else ()))
    if not all(i.issuer for i in (*said.identifiers, *prior)):
        return "an identifier of PID-3 or MRG-1 has no issuer"
    for identifier in prior:
        if not _may_become(identifier, targets):
            return "MRG-1 and PID-3 have different issuers, and it is not a temporary number that becomes national"
    for record in absorbed:
        if _two_persons(targets, (*prior, *record.identifiers)):
            return "both records have a national number, and the numbers differ"
        if _born_differently(said, survivor, record):
            return "the birth dates of the two records differ"
        if _siblings(said, survivor, record):
            return "the birth orders of the two records differ: twins"
    return ""


def _may_become(identifier: Identifier, targets: Iterable[Identifier]) -> bool:
    classes = {kind_of(target.issuer) for target in targets}
    if any(target.issuer == identifier.issuer for target in targets):
        return True
    if kind_of(identifier.issuer) == "d-number":
        return "fnr" in classes  # who stays in the country gets one
    return kind_of(identifier.issuer) not in PERSON and bool(classes & PERSON)


def _two_persons(one: Iterable[Identifier], other: Iterable[Identifier]) -> bool:
    for kind in PERSON:
        mine, theirs = ({i.key for i in part if kind_of(i.issuer) == kind} for part in (one, other))
        if mine and theirs - mine:
            return True
    return False


def _siblings(said: Patient, survivor: Patient | None, absorbed: Patient) -> bool:
    """Children of one birth share day, sex and mother, and often all of the name: PID-25 tells them apart."""
    here = said.birth_order or (survivor.birth_order if survivor else None)
    return bool(here and absorbed.birth_order) and here != absorbed.birth_order


def _born_differently(said: Patient, survivor: Patient | None, absorbed: Patient) -> bool:
    """Only whole dates of people who are known: an unknown's is a guess (PID-31)."""
    here = said.birth_date or (survivor.birth_date if survivor else None) or ""
    unknown = "Y" in (said.unknown, absorbed.unknown, survivor.unknown if survivor else None)
    there = absorbed.birth_date or ""
    return not unknown and len(here) == len(there) == 8 and here != there
