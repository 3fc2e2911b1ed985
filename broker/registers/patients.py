"""The patient register: identifiers with issuer, aliases that stay valid for ever, demographics as they are known.

Matching is by identifier and issuer, never by name. What a message says of a patient is weighed in `demographics`.

Nobody else writes the tables `patient` and `patient_identifier`: what commit 2 keeps of them for its other events
(`Transaction.kept`) is changed or forgotten here with each write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from broker.event import Event, Identifier, Patient
from broker.registers import demographic_search, versions
from broker.registers.versions import Origins
from broker.store.transaction import Transaction

PIECE: Final = 5000
"""Patients that are read at once where all of them are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A patient as the register has it."""

    key: str
    patient: Patient
    verified: bool
    """PAS has spoken of this patient."""
    origins: Origins = field(default_factory=dict)
    """Whose word each demographic value is."""
    renewed: bool = False
    """Of a provisional patient: the event just said something else than was known."""


def get(tx: Transaction, key: str) -> Known:
    """The patient under a key, its survivor if it was merged away."""
    kept: Known | None = tx.kept("patient").get(key)
    if kept is not None:
        return kept
    row = tx.one("SELECT body, verified, merged_into, provenance FROM patient WHERE key=?", (key,))
    if row is None:
        raise KeyError(key)
    body, verified, merged_into, provenance = row
    if merged_into is not None:
        return get(tx, merged_into)
    # Under its own key only: whoever was merged into it is looked for in the table.
    known = tx.kept("patient")[key] = Known(
        key=key,
        patient=Patient.model_validate_json(body),
        verified=bool(verified),
        origins=versions.read(provenance),
    )
    return known


def _forget(tx: Transaction) -> None:
    """More changed than one record."""
    tx.kept("patient").clear()
    tx.kept("patient_identifier").clear()


def everybody(tx: Transaction) -> Iterator[Patient]:
    """Every patient that was not merged away. Piece by piece: there may be a million."""
    last = ""
    while piece := tx.rows(
        "SELECT key, body FROM patient WHERE merged_into IS NULL AND key>? ORDER BY key LIMIT ?",
        (last, PIECE),
    ):
        last = piece[-1][0]
        for _, body in piece:
            yield Patient.model_validate_json(body)


def find(tx: Transaction, identifiers: Iterable[Identifier]) -> list[str]:
    """Keys of the patients that own any of the identifiers, in the identifiers' order, each once."""
    return each_once(owners_of(tx, identifiers).values())


class Owned(NamedTuple):
    """An identifier's value under one issuer."""

    issuer: str
    patient: str
    current: bool


def under(tx: Transaction, value: str) -> list[Owned]:
    """Whose a value is, by issuer: what is asked for where only the value is known."""
    rows = tx.rows(
        "SELECT issuer, patient, current FROM patient_identifier WHERE value=? ORDER BY issuer", (value,)
    )
    return [Owned(issuer, patient, bool(current)) for issuer, patient, current in rows]


def values_of(tx: Transaction, key: str) -> list[str]:
    """Every identifier's value that leads to a patient, ended ones too."""
    rows = tx.rows("SELECT DISTINCT value FROM patient_identifier WHERE patient=? ORDER BY value", (key,))
    return [value for (value,) in rows]


def numbers_of(tx: Transaction, key: str) -> list[tuple[str, str]]:
    """(issuer, value) of every identifier that leads to a patient, ended ones too."""
    rows = tx.rows(
        "SELECT issuer, value FROM patient_identifier WHERE patient=? ORDER BY current DESC, issuer, value",
        (key,),
    )
    return [(issuer, value) for issuer, value in rows]


def said_under(tx: Transaction, identifiers: Iterable[Identifier], key: str) -> Identifier | None:
    """The first of the identifiers that the patient owns: what comes with them belongs to whoever owns it."""
    said = list(identifiers)
    owners = owners_of(tx, said)
    return next((i for i in said if i.key in owners and owners[i.key].patient == key), None)


def absorbed_by(tx: Transaction, key: str) -> list[str]:
    """Keys of the patients that were merged into this one, ordered."""
    return [other for (other,) in tx.rows("SELECT key FROM patient WHERE merged_into=? ORDER BY key", (key,))]


class Owner(NamedTuple):
    """What the register holds under an identifier."""

    patient: str
    current: bool
    """Not ended by a merge or an id change."""


def owners_of(tx: Transaction, identifiers: Iterable[Identifier]) -> dict[tuple[str, str], Owner]:
    """Whose the identifiers are, by their key and in their order; those that nobody has are left out."""
    asked = list(dict.fromkeys(identifier.key for identifier in identifiers))
    kept: dict[tuple[str, str], Owner | None] = tx.kept("patient_identifier")
    if unread := [key for key in asked if key not in kept]:
        rows = tx.rows(
            "SELECT issuer, value, patient, current FROM patient_identifier"
            f" WHERE {' OR '.join(['(value=? AND issuer=?)'] * len(unread))}",
            [part for issuer, value in unread for part in (value, issuer)],
        )
        kept.update(dict.fromkeys(unread))
        kept.update(((i, v), Owner(patient, bool(current))) for i, v, patient, current in rows)
    return {key: owner for key in asked if (owner := kept[key]) is not None}


def each_once(owners: Iterable[Owner]) -> list[str]:
    return list(dict.fromkeys(owner.patient for owner in owners))


def end_identifiers(
    tx: Transaction, event: Event, survivor: Known, prior: tuple[Identifier, ...]
) -> list[str]:
    """Merge and id change: `prior` become aliases of the survivor, which has the absorbed patients' other identifiers.

    Returns the keys of the patients absorbed.
    """
    absorbed = [key for key in find(tx, prior) if key != survivor.key]
    whole = with_those_of(survivor.patient, [get(tx, key) for key in absorbed])
    for key in absorbed:
        absorb(tx, event, key, survivor.key)
    for identifier in prior:
        bind_own(tx, event, survivor.key, identifier, current=False)
    ended = {identifier.key for identifier in prior}
    remaining = tuple(i for i in whole.identifiers if i.key not in ended)
    if remaining != survivor.patient.identifiers:
        kept = survivor.patient.model_copy(update={"identifiers": remaining})
        tx.execute(
            "UPDATE patient SET body=?, event=? WHERE key=?", (kept.model_dump_json(), event.id, survivor.key)
        )
        _forget(tx)
    return absorbed


def take_identifiers(
    tx: Transaction, event: Event, target: Known, moved: tuple[Identifier, ...]
) -> tuple[list[str], list[str]]:
    """A move (A43): only these identifiers are the target's from now on.

    Returns the records that gave some, and those of them that have none left, which the target absorbs.
    """
    owners = {key: owner for key, owner in owners_of(tx, moved).items() if owner.patient != target.key}
    sources = each_once(owners.values())
    for identifier in moved:
        tx.execute(
            "INSERT INTO patient_identifier (value, issuer, patient, current, source, since, event)"
            " VALUES (?,?,?,1,?,?,?) ON CONFLICT (value, issuer) DO UPDATE SET patient=excluded.patient, current=1",
            (identifier.value, identifier.issuer, target.key, *_heard(event)),
        )
    _forget(tx)
    came = {identifier.key for identifier in moved}
    absorbed = []
    for key in sources:
        known = get(tx, key)
        kept = tuple(i for i in known.patient.identifiers if i.key not in came)
        if kept:
            write(tx, event, replace(known, patient=known.patient.model_copy(update={"identifiers": kept})))
        else:
            absorb(tx, event, key, target.key)
            absorbed.append(key)
    own = tuple(i for i in target.patient.identifiers if i.key not in came)
    whole = target.patient.model_copy(update={"identifiers": (*own, *moved)})
    write(tx, event, replace(target, patient=whole))
    return sources, absorbed


def with_those_of(patient: Patient, absorbed: Iterable[Known]) -> Patient:
    """With the identifiers of those who are absorbed behind its own: they lead to it, and guards must see them."""
    whole = {i.key: i for one in (patient, *(known.patient for known in absorbed)) for i in one.identifiers}
    own = {i.key: i for i in patient.identifiers}
    return patient.model_copy(update={"identifiers": tuple((whole | own).values())})


def absorb(tx: Transaction, event: Event, key: str, survivor: str) -> None:
    """Every identifier of one patient leads to the other from now on."""
    tx.execute("UPDATE patient_identifier SET patient=? WHERE patient=?", (survivor, key))
    tx.execute("UPDATE patient SET merged_into=?, event=? WHERE key=?", (survivor, event.id, key))
    tx.execute("UPDATE patient SET merged_into=? WHERE merged_into=?", (survivor, key))
    _forget(tx)


def follow(tx: Transaction, key: str, survivor: str) -> None:
    """A record that was merged away is another one's from now on."""
    tx.execute("UPDATE patient SET merged_into=? WHERE key=?", (survivor, key))
    _forget(tx)


def bind(tx: Transaction, key: tuple[str, str], patient: str, *, current: bool) -> None:
    """An identifier (issuer, value) that is known is this patient's from now on, whosever it was."""
    issuer, value = key
    tx.execute(
        "UPDATE patient_identifier SET patient=?, current=? WHERE value=? AND issuer=?",
        (patient, int(current), value, issuer),
    )
    _forget(tx)


def release(tx: Transaction, key: tuple[str, str]) -> None:
    """An identifier (issuer, value) is nobody's any more."""
    issuer, value = key
    tx.execute("DELETE FROM patient_identifier WHERE value=? AND issuer=?", (value, issuer))
    _forget(tx)


def write(tx: Transaction, event: Event, known: Known) -> None:
    """Writes a record as it now is, under its own key and merged into no other; its identifiers are not bound."""
    tx.execute(
        "INSERT INTO patient (key, body, verified, event, provenance) VALUES (?,?,?,?,?) ON CONFLICT (key) DO UPDATE"
        " SET body=excluded.body, verified=excluded.verified, event=excluded.event, merged_into=NULL,"
        " provenance=excluded.provenance",
        (
            known.key,
            known.patient.model_dump_json(),
            int(known.verified),
            event.id,
            versions.written(known.origins),
        ),
    )
    kept: dict[str, Known] = tx.kept("patient")
    before = kept.get(known.key)
    if before is None or not demographic_search.alike(before.patient, known.patient):
        demographic_search.put(tx, known.key, known.patient)
    kept[known.key] = known


def bind_own(tx: Transaction, event: Event, key: str, identifier: Identifier, *, current: bool) -> None:
    """Binds an identifier that is still free, or ends one of our own; another patient's stays with that patient."""
    tx.execute(
        "INSERT INTO patient_identifier (value, issuer, patient, current, source, since, event)"
        " VALUES (?,?,?,?,?,?,?) ON CONFLICT (value, issuer) DO UPDATE SET current=excluded.current"
        " WHERE patient_identifier.patient=excluded.patient",
        (identifier.value, identifier.issuer, key, int(current), *_heard(event)),
    )
    tx.kept("patient_identifier").pop(identifier.key, None)


def _heard(event: Event) -> tuple[str, str, str]:
    """From whom, when and by which event an identifier came first."""
    return event.source, event.time.isoformat(), event.id
