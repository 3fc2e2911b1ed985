"""Undoing a change of the ledger: what goes back to whom by recorded ownership, and doing it.

What came under an identifier goes where the identifier goes. What came under the survivor's own since the change
stays, though it may be the other's: that is said, and a person looks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from broker.event import Event, Identifier, Patient
from broker.registers import exceptions, filing, ledger, patients
from broker.registers.changes import Change, Key, Touched
from broker.registers.patients import Known
from broker.registers.versions import VALUES, Origin
from broker.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """The two records after a split."""

    survivor: str
    other: str
    """Empty: no record came back, because nothing had come under what left."""


def obstacle(tx: Transaction, change: Change) -> str:
    """Why a change cannot be undone as the registers stand; empty where it can."""
    if change.state == "held":
        return ""
    if change.state != "applied":
        return f"it is {change.state} already"
    touched = [one.key for one in change.identifiers]
    later = [
        one
        for one in ledger.of_identifiers(tx, touched)
        if one.number > change.number and one.state == "applied"
    ]
    if later:
        return f"{later[-1].kind} {later[-1].id} came after it and touched the same identifiers: undo that one first"
    for issuer, value in change.leaving:
        if _owner(tx, (issuer, value)) != change.survivor:
            return "an identifier that would leave is another patient's by now"
    return ""


def fold(tx: Transaction, event: Event) -> Undone | None:
    """Undoes the change that the decision names; a merge that is held is refused by it. None: nothing changed."""
    change = ledger.get(tx, event.data.decision.change) if event.data.decision else None
    if change is None or change.state in ("undone", "refused"):
        return None  # the same decision again
    if problem := obstacle(tx, change):
        exceptions.report(tx, "split-refused", change.id, problem, event)
        return None
    exceptions.clear(tx, "split-refused", change.id)
    if change.state == "held":
        ledger.close(tx, event, change.id, "refused")
        return None
    ledger.close(tx, event, change.id, "undone")
    if change.kind == "visit-move":
        return _visit_back(tx, change)
    return _apart(tx, event, change)


def _visit_back(tx: Transaction, change: Change) -> Undone:
    for table, key, patient, value, issuer in change.before.moved:
        owner = _owner(tx, (issuer, value)) or patient
        tx.execute(
            f"UPDATE {table} SET patient=?, said_value=?, said_issuer=? WHERE {filing.KEYS[table]}=? AND patient=?",
            (owner, value, issuer, key, change.survivor),
        )
    return Undone(survivor=change.survivor, other=change.absorbed)


def _apart(tx: Transaction, event: Event, change: Change) -> Undone:
    now = patients.get(tx, change.survivor)
    used = {one.key for one in change.identifiers if _used(tx, now, change, one.key)}
    fresh = [one.key for one in change.identifiers if one.leaves and not one.patient and one.key in used]
    other = change.absorbed or (f"P{event.id}" if fresh else "")
    mine, theirs = _values(now, change)
    if other:
        patients.write(tx, event, _other(change, other, theirs, frozenset(fresh)))
    for one in change.identifiers:
        _give_back(tx, change, one, other, used=one.key in used)
    patients.write(tx, event, replace(mine, patient=_with_identifiers(tx, mine, change.before.survivor)))
    if other:
        for follower in change.before.followers:
            patients.follow(tx, follower, other)
        for key in change.leaving:
            filing.refile(tx, key, other)
        for step in change.before.steps:  # of an older schema, which did not say under what they came
            tx.execute("UPDATE step SET patient=? WHERE key=? AND said_value=''", (other, step))
    return Undone(survivor=change.survivor, other=other)


def _used(tx: Transaction, now: Known, change: Change, key: Key) -> bool:
    """Whether something came under the identifier since: then it cannot be nobody's again."""
    said = any((o.issuer, o.value) == key and o.event != change.event for o in now.origins.values())
    return said or filing.came_under(tx, key)


def _values(now: Known, change: Change) -> tuple[Known, dict[str, tuple[object, Origin]]]:
    """The survivor with what it had before and was said since under its own, and what was said since of the other."""
    before = change.before.survivor
    values: dict[str, object] = {}
    origins: dict[str, Origin] = {}
    theirs: dict[str, tuple[object, Origin]] = {}
    for name in VALUES:
        origin = now.origins.get(name)
        old = before.origins.get(name) if before else None
        if origin is None:
            continue
        leaves = origin != old and (origin.issuer, origin.value) in change.leaving
        if leaves:
            theirs[name] = (getattr(now.patient, name), origin)
        if before is not None and (leaves or origin.event == change.event):
            values[name] = getattr(before.patient, name)
            if old is not None:
                origins[name] = old
        else:
            values[name] = getattr(now.patient, name)
            origins[name] = origin
    # PAS spoke of the survivor before, or has since the change.
    spoken = (
        before is None
        or before.verified
        or any(o.event != change.event for o in origins.values() if o not in before.origins.values())
    )
    patient = now.patient.model_copy(update=values)
    return replace(now, patient=patient, origins=origins, verified=now.verified and spoken), theirs


def _other(
    change: Change, key: str, theirs: dict[str, tuple[object, Origin]], fresh: frozenset[Key]
) -> Known:
    """The record that comes back: as it was, with what was said under its identifiers since."""
    before = change.before.absorbed or Known(key=key, patient=Patient(identifiers=()), verified=True)
    own = {i.key for i in before.patient.identifiers}
    new = tuple(i for i in _each_once(change.before.named) if i.key in fresh and i.key not in own)
    update = {name: value for name, (value, _) in theirs.items()}
    patient = before.patient.model_copy(update={**update, "identifiers": (*before.patient.identifiers, *new)})
    origins = {**before.origins, **{name: origin for name, (_, origin) in theirs.items()}}
    return replace(before, patient=patient, origins=origins, verified=before.verified or bool(theirs))


def _each_once(identifiers: tuple[Identifier, ...]) -> tuple[Identifier, ...]:
    return tuple({i.key: i for i in identifiers}.values())


def _give_back(tx: Transaction, change: Change, one: Touched, other: str, *, used: bool) -> None:
    if one.patient or used:
        owner = one.patient or (other if one.leaves else change.survivor)
        current = one.current if one.patient else True
        patients.bind(tx, one.key, owner, current=current)
    else:
        patients.release(tx, one.key)


def _with_identifiers(tx: Transaction, mine: Known, before: Known | None) -> Patient:
    """The survivor's identifiers: those of before that are still current, then those that it got since."""
    current = {
        (issuer, value)
        for issuer, value in tx.rows(
            "SELECT issuer, value FROM patient_identifier WHERE patient=? AND current=1", (mine.key,)
        )
    }
    first = before.patient.identifiers if before else ()
    whole = _each_once((*first, *mine.patient.identifiers))
    return mine.patient.model_copy(update={"identifiers": tuple(i for i in whole if i.key in current)})


def _owner(tx: Transaction, key: Key) -> str:
    row = tx.one("SELECT patient FROM patient_identifier WHERE issuer=? AND value=?", key)
    return row[0] if row else ""
