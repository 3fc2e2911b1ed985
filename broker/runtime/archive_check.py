"""What is here of studies held against what an archive says it has of them: missing there, unknown here.

Reads registers and ledger; the archive is asked study by study, without a transaction open. It puts nothing right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from broker.adapter import Archive
from broker.registers.studies import COMPLETE
from broker.store.transaction import Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """SOP Instance UIDs of one study, by what the archive should have."""

    study_uid: str
    taken: frozenset[str]
    """Delivered to it."""
    waiting: frozenset[str]
    """Queued, parked or held for it."""
    others: frozenset[str]
    """Here, and sent to it by no route; or rejected, so that it may show them or not."""
    freed: frozenset[str]
    """Whose file was given up here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One study, after the archive was asked."""

    study_uid: str
    there: int
    """Instances that the archive has."""
    waiting: int
    """Instances that are still on their way."""
    missing: tuple[str, ...]
    """It took them, and has them not."""
    lost: tuple[str, ...]
    """Of these, those whose file is not here any more either."""
    unknown: tuple[str, ...]
    """It has them, and they never came here."""

    @property
    def agrees(self) -> bool:
        """Nothing differs."""
        return not self.missing and not self.unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Lately:
    """The studies to look at, and how many are left out because they still go on."""

    studies: tuple[Here, ...]
    receiving: int


def lately(tx: Transaction, archive: str, since: str) -> Lately:
    """Studies of which something came since (ISO 8601, UTC). `archive`: name of the destination."""
    found = tx.rows("SELECT study_uid, state FROM study WHERE last>=? ORDER BY last, study_uid", (since,))
    complete = [uid for uid, state in found if state == COMPLETE]
    return Lately(
        studies=tuple(_here(tx, archive, uid) for uid in complete), receiving=len(found) - len(complete)
    )


def _here(tx: Transaction, archive: str, study_uid: str) -> Here:
    every: set[str] = set()
    states: dict[str, set[str]] = {}
    for uid, state in tx.rows(
        "SELECT DISTINCT instance.sop_instance_uid, delivery.state FROM instance"
        " LEFT JOIN event ON event.id=instance.event"
        " LEFT JOIN delivery ON delivery.event=event.seq AND delivery.destination=? WHERE instance.study_uid=?",
        (archive, study_uid),
    ):
        every.add(uid)
        states.setdefault(state or "", set()).add(uid)
    copies = _uids(
        tx, "SELECT sop_instance_uid FROM copy WHERE study_uid=? AND archive=?", study_uid, archive
    )
    rejected = _uids(tx, "SELECT sop_instance_uid FROM rejection WHERE study_uid=?", study_uid)
    freed = _uids(
        tx,
        "SELECT freed.sop_instance_uid FROM freed JOIN instance"
        " ON instance.sop_instance_uid=freed.sop_instance_uid WHERE instance.study_uid=?",
        study_uid,
    )
    taken = (states.get("delivered", set()) | copies) - rejected
    waiting = (
        set().union(*(states.get(state, set()) for state in ("queued", "parked", "held"))) - taken - rejected
    )
    return Here(
        study_uid=study_uid,
        taken=frozenset(taken),
        waiting=frozenset(waiting),
        others=frozenset(every - taken - waiting),
        freed=frozenset(freed),
    )


def _uids(tx: Transaction, sql: str, *values: str) -> set[str]:
    return {uid for (uid,) in tx.rows(sql, values)}


def compared(
    studies: Iterable[Here], archive: Archive, progress: Callable[[str], None] = lambda _study: None
) -> Iterator[Compared]:
    """Asks the archive of each. Raises `DeliveryError` where it does not answer."""
    for here in studies:
        progress(here.study_uid)
        there = archive.instances_of(here.study_uid)
        missing = here.taken - there
        yield Compared(
            study_uid=here.study_uid,
            there=len(there),
            waiting=len(here.waiting - there),
            missing=tuple(sorted(missing)),
            lost=tuple(sorted(missing & here.freed)),
            unknown=tuple(sorted(there - here.taken - here.waiting - here.others)),
        )
