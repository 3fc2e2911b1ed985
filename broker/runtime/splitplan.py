"""What undoing a change of the patient register would do: what goes back and why, what is unsure, what people must do.

Read-only. Keys and numbers of orders only, no identifier and no name of a patient. Doing it is `decisions`'.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from broker.registers import ledger, patients, split
from broker.registers.changes import Change
from broker.store.transaction import Transaction, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that is one patient's or the other's: a step, or a study's objects."""

    what: Literal["step", "study"]
    key: str
    """Of a step; else the Study UID."""
    accession: str
    objects: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What people must do at a destination, because no message does it."""

    destination: str
    study_uid: str
    accession: str
    objects: int
    sent: int
    """Of these objects, how many the destination took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A delivery of the message that made the change."""

    destination: str
    route: str
    delivery: int
    state: str
    finished: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What undoing a change would do. Holds keys and numbers of orders, no identifier and no name of a patient."""

    change: Change
    returns: tuple[Item, ...]
    ambiguous: tuple[Item, ...]
    """Stays with the survivor, though it may be the other's: it came since under the survivor's own identifier."""
    work: tuple[Work, ...]
    told: tuple[Told, ...]
    obstacle: str

    @property
    def id(self) -> str:
        """The same as long as the same would be done."""
        parts = [self.change.id, self.change.state, sorted(self.change.leaving), self.obstacle]
        items = [[asdict(item) for item in self.returns], [asdict(item) for item in self.ambiguous]]
        return hashlib.sha256(json.dumps([parts, items]).encode()).hexdigest()[:12]


def find(tx: Transaction, text: str) -> list[Change]:
    """Changes by their own id, the id of the message that made them, or an identifier's value; the oldest first."""
    if (change := ledger.get(tx, text)) is not None:
        return [change]
    events = [event for (event,) in tx.rows(
        "SELECT event.id FROM event JOIN message ON message.seq=event.message WHERE message.id=?", (text,)
    )]  # fmt: skip
    made = [change for event in events for change in ledger.of_event(tx, event)]
    if made:
        return made
    keys = [
        key for (key,) in tx.rows("SELECT DISTINCT issuer FROM patient_identifier WHERE value=?", (text,))
    ]
    found = {change.id: change for change in ledger.of_identifiers(tx, [(issuer, text) for issuer in keys])}
    for owned in patients.under(tx, text):
        found |= {change.id: change for change in ledger.of_patient(tx, owned.patient)}
    return sorted(found.values(), key=lambda change: change.number)


def told(tx: Transaction, change: Change) -> tuple[Told, ...]:
    """What became of the message of a change at each destination; rows of worklists are the broker's own."""
    rows = tx.rows(
        "SELECT destination, route, delivery.id, state, finished FROM delivery JOIN event ON event.seq=delivery.event"
        " WHERE event.id=? AND kind<>'worklist' ORDER BY delivery.id",
        (change.event,),
    )
    return tuple(Told(destination=d, route=r, delivery=n, state=s, finished=f) for d, r, n, s, f in rows)


def lists_of(tx: Transaction, key: str) -> list[tuple[str, int]]:
    """(worklist, rows on it) of a patient's steps that modalities can still see."""
    return [
        (name, rows)
        for name, rows in tx.rows(
            "SELECT list, count(*) FROM worklist JOIN step ON step.key=worklist.key WHERE step.patient=?"
            " AND status IN ('SCHEDULED', 'ARRIVED') GROUP BY list ORDER BY list",
            (key,),
        )
    ]


def plan(tx: Transaction, change: Change) -> Plan:
    """What undoing the change would do as the registers stand."""
    problem = split.obstacle(tx, change)
    if change.kind == "visit-move":
        leaving, since = _moved(tx, change), []
    else:
        leaving, since = _rows(tx, change, leaves=True), _rows(tx, change, leaves=False)
    uids = {row[1] for row in leaving if row[0] == "study"}
    return Plan(
        change=change,
        returns=tuple(_item(row, "came under an identifier that goes back") for row in leaving),
        ambiguous=tuple(_item(row, "came since under an identifier that stays") for row in since),
        work=tuple(_work(tx, change, leaving, sorted(uids))),
        told=told(tx, change),
        obstacle=problem,
    )


Row = tuple[str, str, str, int]
"""What it is, its key, its accession number, how many objects."""


def _rows(tx: Transaction, change: Change, *, leaves: bool) -> list[Row]:
    """Steps and studies under identifiers that leave; or those that came under the others since the change."""
    since = "" if leaves else " AND message.received>?"
    joined = "" if leaves else " JOIN event ON event.id={0}.event JOIN message ON message.seq=event.message"
    found: list[Row] = []
    for what, table, columns, group in (
        ("step", "step", "step.key, step.accession, 0", " ORDER BY step.key"),
        (
            "study",
            "instance",
            "instance.study_uid, max(instance.accession), count(*)",
            " GROUP BY instance.study_uid ORDER BY instance.study_uid",
        ),
    ):
        under = f"({table}.said_value || '|' || {table}.said_issuer)"
        keys = [f"{value}|{issuer}" for issuer, value in sorted(change.leaving)]
        marks = ",".join("?" * len(keys)) or "''"
        where = f"{table}.patient=? AND {under} {'' if leaves else 'NOT '}IN ({marks}){since}"
        values: list[Value] = [change.survivor, *keys, *([] if leaves else [change.at])]
        found += [
            (what, key, accession, number)
            for key, accession, number in tx.rows(
                f"SELECT {columns} FROM {table}{joined.format(table)} WHERE {where}{group}", values
            )
        ]
    return found


def _moved(tx: Transaction, change: Change) -> list[Row]:
    found: list[Row] = []
    for table, key, *_ in change.before.moved:
        if table == "step":
            found += [
                ("step", key, accession, 0)
                for (accession,) in tx.rows(
                    "SELECT accession FROM step WHERE key=? AND patient=?", (key, change.survivor)
                )
            ]
    uids = [row[1] for row in change.before.moved if row[0] == "instance"]
    studies: dict[str, list[str]] = {}
    for uid in uids:
        for study, accession in tx.rows(
            "SELECT study_uid, accession FROM instance WHERE sop_instance_uid=? AND patient=?",
            (uid, change.survivor),
        ):
            studies.setdefault(study, []).append(accession)
    return [*found, *(("study", study, max(a), len(a)) for study, a in sorted(studies.items()))]


def _item(row: Row, why: str) -> Item:
    what: Literal["step", "study"] = "step" if row[0] == "step" else "study"
    return Item(what=what, key=row[1], accession=row[2], objects=row[3], why=why)


def _work(tx: Transaction, change: Change, leaving: Sequence[Row], studies: Sequence[str]) -> list[Work]:
    """For each destination of objects that go back: how many it has of each study."""
    rows = {row[1]: row for row in leaving if row[0] == "study"}
    return [
        Work(
            destination=destination,
            study_uid=study,
            accession=rows[study][2],
            objects=rows[study][3],
            sent=sent,
        )
        for study in studies
        for destination, sent in tx.rows(
            "SELECT delivery.destination, count(DISTINCT instance.sop_instance_uid) FROM instance"
            " JOIN event ON event.id=instance.event JOIN delivery ON delivery.event=event.seq"
            " WHERE instance.study_uid=? AND instance.patient=? AND delivery.state='delivered'"
            " AND delivery.kind='dicom' GROUP BY delivery.destination ORDER BY delivery.destination",
            (study, change.survivor),
        )
    ]
