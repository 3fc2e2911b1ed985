"""What time brings about of studies, where this node leads: complete, stored, asked again, reported, files given up.

Registers read no clock. So each decision is written to the journal as an event of the source `clock`, and folded and
routed like any other. No round is made while what the last one decided waits to be routed: it would decide it again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import structlog

from broker.delivery.parked import By
from broker.event import BY_TIME, CLOCK, EventData, EventType, Study
from broker.journal import intake
from broker.registers import exceptions, studies
from broker.runtime import archives, freeing, replay, requests, studyrules
from broker.runtime.archives import Due, Stored
from broker.runtime.configured import Configured
from broker.runtime.decided import decided
from broker.runtime.figures import Gauge
from broker.runtime.freeing import Freeing
from broker.runtime.replay import ReplayError
from broker.runtime.rounds import Rounds
from broker.runtime.selection import Selection
from broker.runtime.studyrules import Limits
from broker.settings import Settings
from broker.store.database import Database
from broker.store.transaction import Transaction

log = structlog.get_logger("broker.studies")

EVERY_SECONDS: Final = 2.0
"""A study whose MPPS list what is here is told complete within a few seconds."""
SLOWLY: Final = timedelta(minutes=1)
"""How often it is looked what archives owe, what devices wait for, and which files may go."""
SHARE: Final = 20
"""And the longer that takes the seldomer, where an archive owes its word for very many studies: what is complete must
not wait for it."""
MOST_SLOWLY: Final = timedelta(minutes=15)
YOUNG: Final = timedelta(minutes=10)
AHEAD: Final = timedelta(hours=1)
"""Further ahead of this one no node's clock is, unless it is wrong."""
WHOLE: Final = timedelta(hours=1)
"""How often every study that was completed lately is looked at, not only those that something is known to wait of."""
LATELY: Final = timedelta(days=30)
"""Longer than deliveries are tried (`park_after`): what a person lets go then is told too."""
CHUNK: Final = 100
"""Decisions in one transaction: between them messages are taken."""
WATCHED: Final = 200
"""Studies that are looked at in one round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An event to be made."""

    type: EventType
    study: Study
    lacks: str = ""
    """What a person is told of a study that is complete and lacks something."""


class Studies:
    """`run` is one round; `rounds` makes one every few seconds."""

    def __init__(
        self,
        database: Database,
        configured: Callable[[], Configured],
        settings: Settings,
        clock: Callable[[], datetime],
        *,
        on_events: Callable[[], None] = lambda: None,
        on_freed: Callable[[int], None] = lambda _number: None,
        leads: Callable[[], bool] = lambda: True,
        fence: Callable[[Transaction], None] = lambda _tx: None,
    ) -> None:
        """`configured`: with the routes that are in force when it is asked. `on_events`: called after each commit with
        events. `on_freed`: told how many files were given up. `leads`: whether this node does it. `fence`: raises
        `LostLeaseError` in a transaction of a node that does not lead any more: another has said the same by then."""
        self._database = database
        self._configured = configured
        self._limits = studyrules.limits_of(settings.broker.studies)
        self._clock = clock
        self._on_events = on_events
        self._on_freed = on_freed
        self._fence = fence
        self._site = settings.broker.site
        self._archives = archives.archives_of(settings)
        self._names = frozenset(archive.name for archive in self._archives)
        self._freeing = _freeing(database, settings.spool_folder, self._limits, self._names)
        self._ran: datetime | None = None
        self._slow: datetime | None = None
        self._pause = SLOWLY
        self._whole: datetime | None = None
        self._watched: dict[str, None] = {}
        """Studies of which something may still be told as stored; what is lost with it, `WHOLE` finds."""
        self.rounds = Rounds("studies", self.run, EVERY_SECONDS, leads)

    def run(self) -> int:
        """One round; how many events it made."""
        began, now, tx = time.monotonic(), self._clock(), self._database.read()
        if _unrouted(tx):
            return 0
        last, self._ran = self._ran, None  # what fails is looked at anew, whole
        slowly = _over(self._slow, self._pause, now)
        said = [*self._complete(tx, now), *self._store(tx, now, last)]
        lately = None if slowly else now - YOUNG  # who waits long is looked at slowly
        reports = requests.decided(tx, lately, now, self._limits, self._names)
        said += [Said(type="commitment.reported", study=study) for study in reports]
        if slowly:
            found = archives.due(tx, self._archives, now, self._limits)
            said += [_said(stored) for stored in found.stored]
            self._again(found, now)
            self._report(tx, found, now)
        self._write(said, now)
        if slowly:
            self._free(now)
            self._slow, took = now, timedelta(seconds=time.monotonic() - began)
            self._pause = min(max(SLOWLY, took * SHARE), MOST_SLOWLY)
        self._ran = now
        return len(said)

    def gauges(self, tx: Transaction) -> Iterable[Gauge]:
        """What the settings, and so only a broker, can tell the archives' figures by."""
        for archive, number in archives.uncommitted(tx, self._archives):
            yield "broker_objects_uncommitted", {"archive": archive}, number

    def _complete(self, tx: Transaction, now: datetime) -> Iterable[Said]:
        routed = _routed_until(tx, now)
        for study_uid, accession, last in tx.rows(
            f"SELECT study_uid, accession, last FROM study WHERE state='{studies.RECEIVING}'"
            " AND (last<=? OR last>?) ORDER BY last, study_uid",
            ((routed - studyrules.SETTLES).isoformat(), (now + AHEAD).isoformat()),
        ):
            counted = studies.counted(tx, study_uid)
            silent = routed - datetime.fromisoformat(last)
            if silent < -AHEAD:  # a clock was ahead when that came: nobody waits until it is so late
                silent = self._limits.quiet * studyrules.PERFORMING
            basis = studyrules.completes(counted, silent, self._limits.quiet)
            if not basis:
                continue
            lacks = f"MPPS list {counted.expected} instances, of which {counted.missing} are not here"
            study = Study(
                study_uid=study_uid,
                accession_number=accession,
                basis=basis,
                number=counted.instances,
                expected=counted.expected,
            )
            yield Said(type="study.completed", study=study, lacks=lacks if counted.missing else "")

    def _store(self, tx: Transaction, now: datetime, since: datetime | None) -> Iterable[Said]:
        """What archives took of studies that are complete, once nothing of them still has to leave.

        `since`: when the last round was made; None: everything lately is looked at.
        """
        whole = since is None or _over(self._whole, WHOLE, now) or _over(since, SLOWLY, now)
        if since is None or whole:
            since, self._whole = now - LATELY, now  # another node may have led meanwhile
        rows = tx.rows(
            f"SELECT study_uid FROM study WHERE state='{studies.COMPLETE}' AND completed>=? ORDER BY completed",
            (since.isoformat(),),
        )
        found = dict.fromkeys(study_uid for (study_uid,) in rows)
        if found:  # what has just been completed has its turn before what is only looked at to be sure
            self._watched = self._watched | found if whole else found | self._watched
        for study_uid in list(islice(self._watched, WATCHED)):
            del self._watched[study_uid]
            if tx.one("SELECT state FROM study WHERE study_uid=?", (study_uid,)) != (studies.COMPLETE,):
                continue  # it will be completed anew
            for archive in self._archives:
                if archives.has_all(tx, archive.name, study_uid):
                    continue
                if archives.waits(tx, archive.name, study_uid):
                    self._watched[study_uid] = None  # at the end: the others have their turn first
                elif (stored := archives.newly_stored(tx, archive.name, study_uid)).instances:
                    yield _said(stored)

    def _again(self, found: Due, now: datetime) -> None:
        """Sends again what an archive says it does not have."""
        by = By(who="broker", at=now.isoformat(), reason="the archive says that it does not have the object")
        for study_uid, number in found.again:
            try:
                replay.run(
                    self._database, self._configured(), Selection(deliveries=(number,)), "sent", by, now
                )
            except ReplayError as exc:
                reason = f"an object that an archive does not have cannot be sent again: {exc}"
                found.failed.setdefault(study_uid, []).append(reason)

    def _report(self, tx: Transaction, found: Due, now: datetime) -> None:
        """Exceptions as they stand now; what is over is cleared. Written only where something changed."""
        both: tuple[tuple[exceptions.Kind, dict[str, list[str]]], ...] = (
            ("commitment-overdue", found.overdue),
            ("commitment-failed", found.failed),
        )
        for kind, told in both:
            wanted = {study_uid: "; ".join(reasons) for study_uid, reasons in told.items()}
            stands = dict(tx.rows("SELECT subject, reason FROM exception WHERE kind=?", (kind,)))
            if wanted != stands:
                self._database.write(
                    partial(_renew, kind=kind, wanted=wanted, stands=stands, now=now)
                ).result()

    def _write(self, said: Sequence[Said], now: datetime) -> None:
        for first in range(0, len(said), CHUNK):
            if self.rounds.stopping.is_set():
                break
            part = said[first : first + CHUNK]
            work = partial(_insert, fence=self._fence, said=part, site=self._site, now=now)
            self._database.write(work).result()
            self._on_events()

    def _free(self, now: datetime) -> None:
        if self._freeing is None:
            return
        freed = self._freeing.run(now, self.rounds.stopping)
        if freed:
            self._on_freed(freed)
            log.info("files given up that archives keep", files=freed)


def _freeing(database: Database, spool: Path, limits: Limits, names: frozenset[str]) -> Freeing | None:
    """None: files stay for ever."""
    if limits.keep is None:
        return None
    told = freeing.Limits(archives=names, copies=limits.copies, keep=limits.keep)
    return Freeing(database, spool, told)


def _over(since: datetime | None, wait: timedelta, now: datetime) -> bool:
    """Whether a wait is over; where the clock was set back nobody waits until it is there again."""
    return since is None or not timedelta() <= now - since < wait


def _unrouted(tx: Transaction) -> bool:
    marks = ",".join("?" * len(BY_TIME))
    return (
        tx.one(f"SELECT 1 FROM event WHERE routed IS NULL AND type IN ({marks}) LIMIT 1", BY_TIME) is not None
    )


def _routed_until(tx: Transaction, now: datetime) -> datetime:
    """The moment up to which the registers tell everything: where routing is behind, nothing is called quiet."""
    row = tx.one(
        "SELECT message.received FROM event JOIN message ON message.seq=event.message WHERE event.routed IS NULL"
        " ORDER BY event.seq LIMIT 1"
    )
    return now if row is None else min(now, datetime.fromisoformat(row[0]))


def _said(stored: Stored) -> Said:
    study = Study(study_uid=stored.study_uid, archive=stored.archive, instances=stored.instances)
    return Said(type="study.stored", study=study)


def _insert(
    tx: Transaction, *, fence: Callable[[Transaction], None], said: Sequence[Said], site: str, now: datetime
) -> None:
    fence(tx)
    for one in said:
        kind, study = one.type, one.study
        raw = json.dumps({kind: study.study_uid or study.transaction_uid}).encode()
        data = EventData(study=study)
        intake.insert(tx, decided(kind, data, source=CLOCK, site=site, now=now, raw=raw, message_type=kind))
        if one.lacks:
            exceptions.note(tx, "study-incomplete", study.study_uid, one.lacks, at=now.isoformat())
        elif kind == "study.completed":
            exceptions.clear(tx, "study-incomplete", study.study_uid)


def _renew(
    tx: Transaction, *, kind: exceptions.Kind, wanted: dict[str, str], stands: dict[str, str], now: datetime
) -> None:
    for study_uid, reason in wanted.items():
        if stands.get(study_uid) != reason:
            exceptions.note(tx, kind, study_uid, reason, at=now.isoformat())
    for study_uid in stands.keys() - wanted.keys():
        exceptions.clear(tx, kind, study_uid)
