"""Which merges may run by themselves, and which are held for a person. Pure; docs/patients.md has it as a table.

A merge that was wrong spreads to every system and no message takes it back: what could join two persons waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from broker.event import Identifier, Patient

Class = Literal["fnr", "dnr", "fh", "local"]

NATIONAL: Final[Mapping[str, Class]] = {
    "2.16.578.1.12.4.1.4.1": "fnr",
    "NNNOR": "fnr",
    "2.16.578.1.12.4.1.4.2": "dnr",
    "DNNOR": "dnr",
    "2.16.578.1.12.4.1.4.3": "fh",
    "FHNOR": "fh",
}
"""National issuers (Volven 8116 …4.1.4), by OID or by name where a sender gives no OID."""

PERSON: Final = frozenset({"fnr", "dnr"})
"""Classes whose number is one person's for life. All others are temporary, or one hospital's."""


def class_of(identifier: Identifier) -> Class:
    """By issuer: the form of a number proves nothing."""
    return NATIONAL.get(identifier.issuer, "local")


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
    return ""


def _may_become(identifier: Identifier, targets: Iterable[Identifier]) -> bool:
    classes = {class_of(target) for target in targets}
    if any(target.issuer == identifier.issuer for target in targets):
        return True
    if class_of(identifier) == "dnr":
        return "fnr" in classes  # who stays in the country gets one
    return class_of(identifier) not in PERSON and bool(classes & PERSON)


def _two_persons(one: Iterable[Identifier], other: Iterable[Identifier]) -> bool:
    for kind in PERSON:
        mine, theirs = ({i.key for i in part if class_of(i) == kind} for part in (one, other))
        if mine and theirs - mine:
            return True
    return False


def _born_differently(said: Patient, survivor: Patient | None, absorbed: Patient) -> bool:
    """Only whole dates of people who are known: an unknown's is a guess (PID-31)."""
    here = said.birth_date or (survivor.birth_date if survivor else None) or ""
    unknown = "Y" in (said.unknown, absorbed.unknown, survivor.unknown if survivor else None)
    there = absorbed.birth_date or ""
    return not unknown and len(here) == len(there) == 8 and here != there
