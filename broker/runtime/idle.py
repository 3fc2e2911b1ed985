"""What time alone brings about, where this node leads: rows that nobody came to expire, MPPS that never end are told.

Registers read no clock. So an expiry is decided here and written to the journal, as an event that is folded like any
other (and that finds nothing to do where the step has changed meanwhile); an overdue MPPS is an exception without one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from broker.adapter import Reception
from broker.event import CLOCK, EventData, Patient
from broker.journal import intake
from broker.registers import exceptions, patients, performed, steps, studies, worklist
from broker.runtime.decided import decided
from broker.runtime.rounds import Rounds
from broker.settings import StepsSettings
from broker.store.database import Database
from broker.store.transaction import Transaction

EVERY_SECONDS: Final = 60.0
CHUNK: Final = 100
"""Rows that expire in one transaction: between them messages are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long is too long."""

    idle: Mapping[str, timedelta]
    """By worklist; a list that is not named waits for ever."""
    overdue: timedelta
    """From an N-CREATE to the end of its MPPS."""


def limits_of(settings: StepsSettings) -> Limits:
    """What the settings say."""
    idle = {name: timedelta(seconds=seconds) for name, seconds in settings.idle.items()}
    return Limits(idle=idle, overdue=timedelta(seconds=settings.mpps_overdue))


class Idle:
    """`run` is one round; `rounds` makes one a minute."""

    def __init__(
        self,
        database: Database,
        limits: Limits,
        clock: Callable[[], datetime],
        *,
        on_events: Callable[[], None] = lambda: None,
        leads: Callable[[], bool] = lambda: True,
        fence: Callable[[Transaction], None] = lambda _tx: None,
    ) -> None:
        """`on_events`: called after each commit with events. `leads`: whether this node does it. `fence`: raises
        `LostLeaseError` in a transaction of a node that does not lead any more."""
        self._database = database
        self._limits = limits
        self._clock = clock
        self._on_events = on_events
        self._fence = fence
        self.rounds = Rounds("idle", self.run, EVERY_SECONDS, leads)

    def run(self) -> tuple[int, int]:
        """One round: how many rows were told to expire, and how many MPPS are newly overdue."""
        now, tx = self._clock(), self._database.read()
        found = idle(tx, self._limits.idle, now) if self._limits.idle else []
        for first in range(0, len(found), CHUNK):
            if self.rounds.stopping.is_set():
                break
            work = partial(_expire, fence=self._fence, found=found[first : first + CHUNK], now=now)
            self._database.write(work).result()
            self._on_events()
        before, late = (now - self._limits.overdue).isoformat(), 0
        if performed.overdue(tx, before):
            report = partial(_report, fence=self._fence, before=before, now=now)
            late = self._database.write(report).result()
        return len(found), late


def idle(tx: Transaction, limits: Mapping[str, timedelta], now: datetime) -> list[steps.Held]:
    """The steps that wait too long on every list on which they stand."""
    found = {
        name: set(worklist.idle(tx, name, (now - limit).isoformat(), _day(now - limit)))
        for name, limit in limits.items()
    }
    keys = (
        key
        for key in sorted(set().union(*found.values()))
        if all(key in found.get(name, ()) for name, _ in worklist.lists_of(tx, key))
    )
    return [held for key in keys if (held := steps.get(tx, key)) is not None]


def _day(moment: datetime) -> str:
    """The local day, as rows have theirs."""
    return f"{moment.astimezone():%Y%m%d}"


def _expire(
    tx: Transaction, *, fence: Callable[[Transaction], None], found: list[steps.Held], now: datetime
) -> None:
    fence(tx)
    for held in found:
        intake.insert(tx, _expiry(tx, held, now))


def _expiry(tx: Transaction, held: steps.Held, now: datetime) -> Reception:
    """The decision as a message of the journal: its event has the step as it was found."""
    patient = patients.get(tx, held.patient_key).patient
    data = EventData(
        patient=Patient(identifiers=patient.identifiers),
        step=held.step.model_copy(update={"status": "EXPIRED"}),
    )
    raw = json.dumps({"expire": held.step.key}).encode()
    return decided(
        "step.expired", data, source=CLOCK, site=held.site, now=now, raw=raw, message_type="EXPIRE"
    )


def _report(tx: Transaction, *, fence: Callable[[Transaction], None], before: str, now: datetime) -> int:
    fence(tx)  # behind it nothing is folded until this stands
    # Asked again: of one that ended since, an exception would stand for ever.
    late = performed.overdue(tx, before)
    for uid in late:
        reason = (
            "the MPPS is in progress for too long; its step stays STARTED until somebody says how it ended"
        )
        if studies.completed_of(tx, uid):
            reason += ". Its images are here and nothing more came: it may well have ended without saying so"
        exceptions.note(tx, "mpps-overdue", uid, reason, at=now.isoformat())
    return len(late)
