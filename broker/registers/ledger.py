"""The ledger of identity: what each merge, id change and move changed, so that it can be undone to the letter.

A change is written beside the registers that it changes, by the same event. Making changes is `patients`'; whether a
merge may run by itself is `guards`'; undoing one is `split`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from broker.event import Event, Identifier, Patient
from broker.registers import changes, exceptions, guards, patients
from broker.registers.changes import Before, Change, Key, Kind, State, Touched
from broker.registers.patients import Known
from broker.store.transaction import Transaction

KINDS: Final[dict[str, Kind]] = {
    "patient.merged": "merge",
    "patient.id-changed": "id-change",
    "patient.moved": "move",
    "encounter.reassigned": "visit-move",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The records that an event is about, before it is folded."""

    rows: dict[Key, tuple[str, bool]]
    """Owner of each of their identifiers, and whether it is current."""
    records: dict[str, Known]
    steps: dict[str, tuple[str, ...]]
    studies: dict[str, tuple[str, ...]]
    followers: dict[str, tuple[str, ...]]


def snapshot(tx: Transaction, event: Event) -> Snapshot:
    """Every record that PID-3 or MRG-1 names."""
    keys = patients.find(tx, named(event))
    return Snapshot(
        rows={
            (issuer, value): (key, bool(current))
            for key in keys
            for issuer, value, current in tx.rows(
                "SELECT issuer, value, current FROM patient_identifier WHERE patient=?", (key,)
            )
        },
        records={key: patients.get(tx, key) for key in keys},
        steps={key: _texts(tx, "SELECT key FROM step WHERE patient=? ORDER BY key", key) for key in keys},
        studies={
            key: _texts(tx, "SELECT DISTINCT study_uid FROM instance WHERE patient=? ORDER BY study_uid", key)
            for key in keys
        },
        followers={
            key: _texts(tx, "SELECT key FROM patient WHERE merged_into=? ORDER BY key", key) for key in keys
        },
    )


def enter(tx: Transaction, event: Event, before: Snapshot, survivor: str) -> list[str]:
    """Writes what the event changed since the snapshot, a change for each record that lost identifiers.

    Returns the ids of the changes; none where nothing changed (a merge that is told again).
    """
    asked = {identifier.key for identifier in named(event)}
    after = _owners(tx, asked | before.rows.keys())
    touched = sorted(key for key in asked | before.rows.keys() if after.get(key) != before.rows.get(key))
    if not touched:
        return []
    sources = sorted({before.rows[key][0] for key in touched if key in before.rows} - {survivor})
    leaving = _leaving(event, before, survivor)
    ids = []
    for place, source in enumerate(sources or [""]):
        own = [key for key in touched if _source(before, key) == source and source]
        rest = [key for key in touched if _source(before, key) in ("", survivor)] if place == 0 else []
        body = Before(
            survivor=before.records.get(survivor),
            absorbed=before.records.get(source),
            followers=before.followers.get(source, ()),
            steps=before.steps.get(source, ()),
            studies=before.studies.get(source, ()),
            named=named(event),
        )
        rows = [_touched(before, key, leaves=True) for key in own]
        rows += [_touched(before, key, leaves=key in leaving and key not in before.rows) for key in rest]
        ids.append(insert(tx, event, "applied", survivor, source, body, rows, place=place))
    return ids


def _leaving(event: Event, before: Snapshot, survivor: str) -> frozenset[Key]:
    """Of the identifiers that nobody had: those that are the other's if this change was wrong."""
    prior = frozenset(i.key for i in event.data.prior)
    said = frozenset(i.key for i in event.data.patient.identifiers) if event.data.patient else frozenset()
    owned = {key for key, (patient, _) in before.rows.items() if patient == survivor}
    # A record that only MRG-1 knew goes on under the numbers of PID-3: then those are the new ones.
    return said - prior if owned & prior and not owned & said else prior


def objection(tx: Transaction, event: Event) -> str:
    """Why a merge or id change must wait for a person; empty where it need not, or where one decided already."""
    said, prior = event.data.patient, event.data.prior
    if said is None or event.data.decision is not None:
        return ""
    targets = [patients.get(tx, key) for key in patients.find(tx, said.identifiers)]
    sources = patients.find(tx, prior)
    # Whom PAS knows is the one that is meant, wherever PID-3 names an order's provisional patient.
    survivor = next((one for one in targets if one.verified), targets[0] if targets else None)
    if survivor is None and sources:
        sources = sources[1:]  # its record goes on under the new numbers
    others = [patients.get(tx, key) for key in sources if survivor is None or key != survivor.key]
    absorbed = [other.patient for other in others if other.verified]
    if event.type == "patient.merged" and not absorbed:
        absorbed = [
            Patient(identifiers=prior)
        ]  # a merge speaks of two records, whether they are known here or not
    known = survivor.patient if survivor is not None and survivor.verified else None
    return guards.objection(said, prior, known, absorbed)


def hold(tx: Transaction, event: Event, reason: str) -> None:
    """A merge that waits: nothing of it is applied, and a person is asked. Told again, it is the same question."""
    targets = patients.find(tx, event.data.patient.identifiers if event.data.patient else ())
    sources = [key for key in patients.find(tx, event.data.prior) if key not in targets]
    survivor, absorbed = (targets or [""])[0], (sources or [""])[0]
    rows = [
        Touched(value=v, issuer=i, patient=owner, current=current, leaves=False)
        for (i, v), (owner, current) in sorted(
            _owners(tx, {i.key for i in named(event)}, missing=("", False)).items()
        )
    ]
    for change in of_identifiers(tx, [row.key for row in rows]):
        if change.state == "held" and change.before.named == named(event):
            exceptions.report(tx, "merge-held", change.id, reason, event)
            return
    body = Before(named=named(event))
    name = insert(tx, event, "held", survivor, absorbed, body, rows, reason=reason)
    exceptions.report(tx, "merge-held", name, reason, event)


def close(tx: Transaction, event: Event, change: str, state: State) -> None:
    """What was held is decided, or what was applied is undone, by this event."""
    tx.execute("UPDATE patient_change SET state=?, ended=? WHERE id=?", (state, event.id, change))
    exceptions.clear(tx, "merge-held", change)


def get(tx: Transaction, name: str) -> Change | None:
    """The change with this id."""
    return next(iter(_read(tx, "id=?", (name,))), None)


def held(tx: Transaction) -> list[Change]:
    """What waits for a decision, the oldest first."""
    return _read(tx, "state='held'", ())


def of_identifiers(tx: Transaction, keys: Iterable[Key]) -> list[Change]:
    """Every change that touched one of these (issuer, value), in the order in which they were made."""
    names: set[str] = set()
    for issuer, value in keys:
        names.update(
            name
            for (name,) in tx.rows(
                "SELECT change FROM patient_change_identifier WHERE value=? AND issuer=?", (value, issuer)
            )
        )
    found = [change for name in names if (change := get(tx, name)) is not None]
    return sorted(found, key=lambda change: change.number)


def of_patient(tx: Transaction, key: str) -> list[Change]:
    """Every change that a record took part in, or one that was merged into it."""
    keys = [key, *_texts(tx, "SELECT key FROM patient WHERE merged_into=?", key)]
    marks = ",".join("?" * len(keys))
    return _read(tx, f"survivor IN ({marks}) OR absorbed IN ({marks})", (*keys, *keys))


def moved_with_visit(tx: Transaction, step: str, owner: str, said: Iterable[Identifier]) -> bool:
    """Whether a step went to its owner with its visit (A45), from one of these identifiers."""
    keys = {identifier.key for identifier in said}
    return any(
        key == step and (issuer, value) in keys
        for change in of_patient(tx, owner)
        if change.kind == "visit-move" and change.state == "applied"
        for _, key, _, value, issuer in change.before.moved
    )


def of_event(tx: Transaction, event: str) -> list[Change]:
    """The changes that an event made."""
    return _read(tx, "event=?", (event,))


def named(event: Event) -> tuple[Identifier, ...]:
    """PID-3 and MRG-1."""
    patient = event.data.patient
    return (*(patient.identifiers if patient else ()), *event.data.prior)


def _source(before: Snapshot, key: Key) -> str:
    return before.rows[key][0] if key in before.rows else ""


def _touched(before: Snapshot, key: Key, *, leaves: bool) -> Touched:
    patient, current = before.rows.get(key, ("", False))
    return Touched(value=key[1], issuer=key[0], patient=patient, current=current, leaves=leaves)


def _owners(
    tx: Transaction, keys: Iterable[Key], *, missing: tuple[str, bool] | None = None
) -> dict[Key, tuple[str, bool]]:
    found: dict[Key, tuple[str, bool]] = {}
    for issuer, value in keys:
        row = tx.one(
            "SELECT patient, current FROM patient_identifier WHERE value=? AND issuer=?", (value, issuer)
        )
        if row is not None:
            found[issuer, value] = (row[0], bool(row[1]))
        elif missing is not None:
            found[issuer, value] = missing
    return found


def _texts(tx: Transaction, sql: str, key: str) -> tuple[str, ...]:
    return tuple(text for (text,) in tx.rows(sql, (key,)))


def insert(
    tx: Transaction,
    event: Event,
    state: State,
    survivor: str,
    absorbed: str,
    before: Before,
    rows: Sequence[Touched],
    *,
    reason: str = "",
    place: int = 0,
) -> str:
    """Writes a change, the `place`-th of its event, and returns its id."""
    name = event.id if place == 0 else f"{event.id}-{place + 1}"
    last = tx.one("SELECT coalesce(max(number), 0) FROM patient_change") or (0,)
    tx.execute(
        "INSERT INTO patient_change (number, id, kind, state, survivor, absorbed, at, reason, body, ended, event)"
        " VALUES (?,?,?,?,?,?,?,?,?,'',?)",
        (
            last[0] + 1,
            name,
            KINDS[event.type],
            state,
            survivor,
            absorbed,
            event.time.isoformat(),
            reason,
            changes.written(before),
            event.id,
        ),
    )
    tx.each(
        "INSERT INTO patient_change_identifier (change, value, issuer, patient, current, leaves)"
        " VALUES (?,?,?,?,?,?)",
        [(name, t.value, t.issuer, t.patient, int(t.current), int(t.leaves)) for t in rows],
    )
    return name


def _read(tx: Transaction, where: str, values: Sequence[str]) -> list[Change]:
    rows = tx.rows(
        "SELECT number, id, kind, state, survivor, absorbed, at, reason, ended, event, body FROM patient_change"
        f" WHERE {where} ORDER BY number",
        values,
    )
    return [
        Change(
            number=number,
            id=name,
            kind=kind,
            state=state,
            survivor=survivor,
            absorbed=absorbed,
            at=at,
            reason=reason,
            ended=ended,
            event=event,
            before=changes.read(body),
            identifiers=tuple(
                Touched(value=v, issuer=i, patient=p, current=bool(c), leaves=bool(leaves))
                for v, i, p, c, leaves in tx.rows(
                    "SELECT value, issuer, patient, current, leaves FROM patient_change_identifier"
                    " WHERE change=? ORDER BY value, issuer",
                    (name,),
                )
            ),
        )
        for number, name, kind, state, survivor, absorbed, at, reason, ended, event, body in rows
    ]
