"""What is filed under which identifier: steps, visits, MPPS and objects are its owner's.

Only identifiers are looked at; why one changed hands is `ledger`'s and `patients`'.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from broker.event import Event, Identifier
from broker.registers import exceptions, ledger, patients, visits
from broker.registers.changes import Before, Key
from broker.registers.patients import Known
from broker.store.transaction import Transaction

FILED: Final = ("step", "instance", "visit", "mpps")
"""Tables whose rows belong to whoever owns the identifier that they came under (`said_value`, `said_issuer`)."""


def move(tx: Transaction, absorbed: str, survivor: str) -> None:
    """A merge: all that is filed with the absorbed patient is the survivor's."""
    for table in FILED:
        tx.execute(f"UPDATE {table} SET patient=? WHERE patient=?", (survivor, absorbed))


def refile(tx: Transaction, key: Key, patient: str) -> None:
    """What came under an identifier belongs to this patient from now on; what is nobody's stays so."""
    issuer, value = key
    for table in FILED:
        tx.execute(
            f"UPDATE {table} SET patient=? WHERE said_value=? AND said_issuer=? AND patient<>''",
            (patient, value, issuer),
        )


def take_in(tx: Transaction, identifiers: Iterable[Identifier]) -> None:
    """Objects that came under these before PAS gave them to anybody are their patient's now: the images of an
    emergency are often here before its registration. What named no issuer may have meant another's: it stays."""
    keys = list(dict.fromkeys(identifier.key for identifier in identifiers))
    # Not OR: SQLite would go through all objects that are nobody's.
    one = (
        "SELECT said_issuer, said_value, sop_instance_uid FROM instance"
        " WHERE said_value=? AND said_issuer=? AND patient=''"
    )
    values = [part for issuer, value in keys for part in (value, issuer)]
    waiting = tx.rows(" UNION ALL ".join([one] * len(keys)), values) if keys else []
    for key in keys if waiting else ():
        owned = patients.under(tx, key[1])
        if [one.issuer for one in owned] != [key[0]]:
            continue
        for uid in (uid for issuer, value, uid in waiting if (issuer, value) == key):
            tx.execute("UPDATE instance SET patient=? WHERE sop_instance_uid=?", (owned[0].patient, uid))
            exceptions.clear(tx, "instance-unverified", uid)


def came_under(tx: Transaction, key: Key) -> bool:
    """Whether anything of a patient is filed under an identifier."""
    issuer, value = key
    where = "said_value=? AND said_issuer=? AND patient<>''"
    return any(
        tx.one(f"SELECT 1 FROM {table} WHERE {where} LIMIT 1", (value, issuer)) is not None for table in FILED
    )


def reassign(tx: Transaction, event: Event, target: Known) -> tuple[str, ...]:
    """A visit is another patient's (A45): it, its steps and their objects become `target`'s, nothing else.

    The visits are `prior_visits`; where `prior` names whose they were, only that patient's. Returns the records that
    something was taken from.
    """
    sources = patients.find(tx, event.data.prior) if event.data.prior else None
    moved = _of_visits(tx, event.data.prior_visits, target.key, sources)
    if not moved:
        return ()
    under = (patients.said_under(tx, ledger.named(event), target.key) or target.patient.identifiers[0]).key
    for table, key, *_ in moved:
        tx.execute(
            f"UPDATE {table} SET patient=?, said_value=?, said_issuer=? WHERE {KEYS[table]}=?",
            (target.key, under[1], under[0], key),
        )
    found = tuple(dict.fromkeys(row[2] for row in moved if row[2]))
    body = Before(named=ledger.named(event), moved=tuple(moved))
    ledger.insert(tx, event, "applied", target.key, (found or ("",))[0], body, [])
    return found


KEYS: Final = {"step": "key", "instance": "sop_instance_uid", "visit": "key", "mpps": "uid"}
"""What names a row of each table."""

Row = tuple[str, str, str, str, str]


def _of_visits(
    tx: Transaction, numbers: Sequence[Identifier], target: str, sources: Sequence[str] | None
) -> list[Row]:
    """The rows of visits that are not the target's: they, their steps, the steps' MPPS, objects by Study UID.

    `sources`: whose they must be; None: anybody's.
    """
    if not numbers:
        return []
    where = f"WHERE visit IN ({','.join('?' * len(numbers))}) AND patient<>? ORDER BY key"
    values = (*(visits.group(tx, number) for number in numbers), target)
    stays = tx.rows(f"SELECT key, patient, said_value, said_issuer FROM visit {where}", values)
    steps = tx.rows(f"SELECT key, patient, said_value, said_issuer, study_uid FROM step {where}", values)
    steps = [row for row in steps if sources is None or row[1] in sources]
    found: list[Row] = [("visit", *row) for row in stays if sources is None or row[1] in sources]
    found += [("step", *row[:4]) for row in steps]
    keys = [row[0] for row in steps]
    found += [
        ("mpps", *row)
        for row in tx.rows(
            "SELECT uid, patient, said_value, said_issuer FROM mpps WHERE patient<>'' AND uid IN (SELECT mpps FROM"
            f" mpps_step WHERE step IN ({','.join('?' * len(keys)) or 'NULL'})) ORDER BY uid",
            keys,
        )
    ]
    for study in sorted({row[4] for row in steps}):
        owners = {row[1] for row in steps if row[4] == study}
        found += [
            ("instance", *row)
            for row in tx.rows(
                "SELECT sop_instance_uid, patient, said_value, said_issuer FROM instance WHERE study_uid=?"
                " ORDER BY sop_instance_uid",
                (study,),
            )
            if row[1] in owners
        ]
    return found
