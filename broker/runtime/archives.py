"""What archives have and owe: objects newly stored, commitments to be asked for again, objects that one will not keep.

Reads what stands and asks `studyrules`; the round (`studies`) writes. Archives are the destinations that take objects;
one commits where another destination asks it to (option `archive`). States stand in the statements, not bound to them:
else the indexes of some rows only would serve nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from broker.event import InstanceReference
from broker.registers.commitments import COMMITTED, FAILED, STORED
from broker.runtime import studyrules
from broker.runtime.studyrules import Asked, Limits, Tried
from broker.settings import Settings
from broker.store.transaction import Transaction

FORGOTTEN: Final = timedelta(days=30)
"""What was asked longer ago is not asked again by itself."""


NAMED: Final = 20_000
"""Instances that are asked for again in one round, about: after an outage of days they are millions, and the rest has
its turn in the next."""
SENT: Final = 500
"""Objects that are sent again in one round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A destination that keeps objects."""

    name: str
    asked_by: tuple[str, ...] = ()
    """Destinations that ask it to commit; none: it does not commit."""


def archives_of(settings: Settings) -> tuple[Archive, ...]:
    """What the settings have."""
    enabled = [one for one in settings.outbound if one.entry.enabled and one.spec.kind == "dicom"]
    asking: dict[str, list[str]] = {}
    for one in enabled:
        if "study" in one.spec.takes and (name := getattr(one.config, "archive", "")):
            asking.setdefault(name, []).append(one.name)
    return tuple(
        Archive(name=one.name, asked_by=tuple(asking.get(one.name, ())))
        for one in enabled
        if "instance" in (one.spec.takes or ("instance",))
    )


def uncommitted(tx: Transaction, archives: Sequence[Archive]) -> Iterator[tuple[str, int]]:
    """For each archive that commits, how many objects it took and has not committed to."""
    for archive in archives:
        if archive.asked_by:
            row = tx.one(
                f"SELECT count(*) FROM copy WHERE archive=? AND state<>'{COMMITTED}'", (archive.name,)
            )
            yield archive.name, row[0] if row is not None else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Instances of a study that an archive has, and is to be told of as such."""

    archive: str
    study_uid: str
    instances: tuple[InstanceReference, ...]


def has_all(tx: Transaction, archive: str, study_uid: str) -> bool:
    """Whether all that is here of a study was told as stored: next to nothing to ask, and mostly so."""
    row = tx.one(
        "SELECT (SELECT count(*) FROM copy WHERE study_uid=? AND archive=?), (SELECT count(*) FROM instance"
        " WHERE study_uid=?)",
        (study_uid, archive, study_uid),
    )
    return row is not None and bool(row[0] >= row[1])


def waits(tx: Transaction, archive: str, study_uid: str) -> bool:
    """Whether an object of a study still has to leave for an archive."""
    found = tx.one(
        "SELECT 1 FROM instance JOIN event ON event.id=instance.event JOIN delivery ON delivery.event=event.seq"
        " WHERE instance.study_uid=? AND delivery.destination=? AND delivery.state IN ('queued', 'parked') LIMIT 1",
        (study_uid, archive),
    )
    return found is not None


def newly_stored(tx: Transaction, archive: str, study_uid: str) -> Stored:
    """What an archive took and nobody was told of yet."""
    rows = tx.rows(
        "SELECT DISTINCT instance.sop_instance_uid, instance.sop_class_uid, instance.series_uid FROM instance"
        " JOIN event ON event.id=instance.event JOIN delivery ON delivery.event=event.seq"
        " WHERE instance.study_uid=? AND delivery.destination=? AND delivery.state='delivered' AND NOT EXISTS"
        " (SELECT 1 FROM copy WHERE copy.archive=delivery.destination"
        " AND copy.sop_instance_uid=instance.sop_instance_uid) ORDER BY 1",
        (study_uid, archive),
    )
    return _stored(archive, study_uid, rows)


@dataclass(slots=True, kw_only=True)
class Due:
    """What is to be done about commitments."""

    stored: list[Stored] = field(default_factory=list)
    """To be asked for again."""
    again: list[tuple[str, int]] = field(default_factory=list)
    """Studies, with the numbers of deliveries that are to be made again."""
    overdue: dict[str, list[str]] = field(default_factory=dict)
    """By study: what a person is told."""
    failed: dict[str, list[str]] = field(default_factory=dict)
    named: int = 0
    """Instances in `stored`."""

    def ask(self, stored: Stored) -> None:
        """Has it asked for again."""
        self.stored.append(stored)
        self.named += len(stored.instances)


def due(tx: Transaction, archives: Sequence[Archive], now: datetime, limits: Limits) -> Due:
    """What is to be done now, of all archives that commit."""
    found = Due()
    for archive in archives:
        if archive.asked_by:
            _unanswered(tx, archive, now, limits, found)
            _failed(tx, archive, found)
    return found


def _unanswered(tx: Transaction, archive: Archive, now: datetime, limits: Limits, found: Due) -> None:
    for study_uid, asked in _asked(tx, archive, now).items():
        since = studyrules.owes_since(asked)
        late = since is not None and now - since >= limits.overdue
        if not late and not studyrules.asks_again(asked, now, limits.retry):
            continue
        number = _owed(tx, archive.name, study_uid)
        if not number:
            continue
        if late:
            day = f"{since:%Y-%m-%d %H:%M} UTC"
            reason = f"{archive.name} owes its commitment for {number} instances since {day}"
            found.overdue.setdefault(study_uid, []).append(reason)
        if found.named < NAMED and studyrules.asks_again(asked, now, limits.retry):
            found.ask(_in_state(tx, archive.name, study_uid, STORED))


def _asked(tx: Transaction, archive: Archive, now: datetime) -> Mapping[str, list[Asked]]:
    """By study, the requests that are not answered."""
    marks = ",".join("?" * len(archive.asked_by))
    rows = tx.rows(
        "SELECT commitment.study_uid, delivery.state, delivery.finished FROM commitment"
        " JOIN event ON event.id=commitment.event JOIN delivery ON delivery.event=event.seq"
        f" WHERE commitment.archive=? AND commitment.answered='' AND commitment.asked>=?"
        f" AND delivery.destination IN ({marks}) AND delivery.state IN ('queued', 'parked', 'delivered')",
        (archive.name, (now - FORGOTTEN).isoformat(), *archive.asked_by),
    )
    found: dict[str, list[Asked]] = {}
    for study_uid, state, finished in rows:
        at = datetime.fromisoformat(finished) if state == "delivered" and finished else None
        found.setdefault(study_uid, []).append(Asked(at=at, open=state != "delivered"))
    return found


def _failed(tx: Transaction, archive: Archive, found: Due) -> None:
    """What it will not keep; not what a note took out of use: that it hides, and is not to get again."""
    rows = tx.rows(
        "SELECT copy.study_uid, copy.sop_instance_uid, instance.sop_class_uid, instance.series_uid, copy.failure,"
        " copy.since, event.seq FROM copy JOIN instance ON instance.sop_instance_uid=copy.sop_instance_uid"
        f" LEFT JOIN event ON event.id=instance.event WHERE copy.archive=? AND copy.state='{FAILED}' AND NOT EXISTS"
        " (SELECT 1 FROM rejection WHERE rejection.sop_instance_uid=copy.sop_instance_uid) ORDER BY 1, 2",
        (archive.name,),
    )
    for study_uid, group in groupby(rows, key=lambda row: row[0]):
        ask, told = list[tuple[str, str, str]](), dict[int, int]()
        for _, uid, sop_class, series, failure, since, event in group:
            tried = _tried(tx, archive.name, event)
            match studyrules.after_failure(failure, since, tried):
                case "ask":
                    ask.append((uid, sop_class, series))
                case "send":
                    if len(found.again) < SENT:
                        found.again.append((study_uid, tried.first))
                case "tell":
                    told[failure] = told.get(failure, 0) + 1
                case "wait":
                    pass
        if ask and found.named < NAMED:
            found.ask(_stored(archive.name, study_uid, ask))
        if told:
            numbers = ", ".join(
                f"{number} with failure {failure:04X}" for failure, number in sorted(told.items())
            )
            reason = (
                f"{archive.name} does not commit to instances that it took: {numbers}; once its fault is mended,"
                " `broker replay` sends them again and then it is asked again"
            )
            found.failed.setdefault(study_uid, []).append(reason)


def _tried(tx: Transaction, archive: str, event: int | None) -> Tried:
    rows = tx.rows(
        "SELECT id, state, replay_of, finished FROM delivery WHERE event=? AND destination=? ORDER BY id",
        (event, archive),
    )
    firsts = [number for number, state, replay_of, _ in rows if replay_of is None and state == "delivered"]
    return Tried(
        first=firsts[0] if firsts else 0,
        again=sum(replay_of is not None for _, _, replay_of, _ in rows),
        open=any(state in ("queued", "parked") for _, state, _, _ in rows),
        delivered=max((finished or "" for _, state, _, finished in rows if state == "delivered"), default=""),
    )


def _owed(tx: Transaction, archive: str, study_uid: str) -> int:
    """How many instances of a study it has not spoken of."""
    row = tx.one(
        "SELECT count(*) FROM copy WHERE study_uid=? AND archive=? AND state=?", (study_uid, archive, STORED)
    )
    return int(row[0]) if row else 0


def _in_state(tx: Transaction, archive: str, study_uid: str, state: str) -> Stored:
    rows = tx.rows(
        "SELECT instance.sop_instance_uid, instance.sop_class_uid, instance.series_uid FROM copy JOIN instance"
        " ON instance.sop_instance_uid=copy.sop_instance_uid WHERE copy.study_uid=? AND copy.archive=?"
        " AND copy.state=? ORDER BY 1",
        (study_uid, archive, state),
    )
    return _stored(archive, study_uid, rows)


def _stored(archive: str, study_uid: str, rows: Sequence[tuple[str, str, str]]) -> Stored:
    return Stored(archive=archive, study_uid=study_uid, instances=tuple(_references(rows)))


def _references(rows: Sequence[tuple[str, str, str]]) -> Iterator[InstanceReference]:
    for uid, sop_class, series in rows:
        yield InstanceReference(sop_instance_uid=uid, sop_class_uid=sop_class, series_uid=series)
