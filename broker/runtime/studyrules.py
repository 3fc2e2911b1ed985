"""What time makes of studies and commitments, as values: what is complete, asked again, overdue, decided. Pure.

Rounds (`studies`, `archives`, `freeing`) look at the registers, ask here, and write what was decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from broker.dicom import status
from broker.event import InstanceReference
from broker.registers.studies import Counted
from broker.settings import StudiesSettings

SETTLES: Final = timedelta(seconds=3)
"""Objects that belong together come closer to each other than this: until then nothing is concluded."""

PERFORMING: Final = 12
"""While an MPPS of it is in progress a study is waited for so many times as long: between two series of an examination
nothing comes for minutes, and some devices never say that it ended."""

TIMES: Final = 3
"""How often an object that an archive says it does not have is sent again before a person is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the settings say (`broker.settings.StudiesSettings`)."""

    quiet: timedelta
    copies: int
    keep: timedelta | None
    retry: timedelta
    overdue: timedelta


def limits_of(settings: StudiesSettings) -> Limits:
    """The settings as durations."""
    return Limits(
        quiet=timedelta(seconds=settings.quiet),
        copies=settings.copies,
        keep=None if settings.keep is None else timedelta(seconds=settings.keep),
        retry=timedelta(seconds=settings.commitment_retry),
        overdue=timedelta(seconds=settings.commitment_overdue),
    )


def completes(counted: Counted, silent: timedelta, quiet: timedelta) -> Literal["", "mpps", "quiet"]:
    """Why a study counts as complete of which nothing came for so long; empty: it does not yet."""
    if counted.expected and not counted.missing and not counted.performing:
        return "mpps" if silent >= SETTLES else ""
    return "quiet" if silent >= quiet * (PERFORMING if counted.performing else 1) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request to an archive that it has not answered."""

    at: datetime | None
    """When it took the request; None: it did not."""
    open: bool
    """The request still has to leave."""


def asks_again(asked: Sequence[Asked], now: datetime, retry: timedelta) -> bool:
    """Whether to ask anew: each wait is as long as all before it together, and none shorter than `retry`.

    Not while a request waits to leave, and never where none was made: then the routes ask for no commitment.
    """
    times = sorted(one.at for one in asked if one.at is not None)
    if not times or any(one.open for one in asked):
        return False
    return now - times[-1] >= max(retry, times[-1] - times[0])


def owes_since(asked: Sequence[Asked]) -> datetime | None:
    """When an archive took the first of these requests."""
    return min((one.at for one in asked if one.at is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """The deliveries of an object to an archive that would not commit to it."""

    first: int
    """Number of the delivery that can be made again; 0: there is none."""
    again: int
    """How often it was."""
    open: bool
    delivered: str
    """When the last one was taken, ISO 8601, UTC; empty: none was."""


def after_failure(failure: int, since: str, tried: Tried) -> Literal["wait", "ask", "send", "tell"]:
    """What to do about an object that an archive said at `since` it does not keep, with (0008,1197) `failure`.

    `ask`: it was sent again meanwhile, by the broker or by a person.
    """
    if tried.open:
        return "wait"
    if tried.delivered > since:
        return "ask"
    if failure == status.NO_SUCH_SOP_INSTANCE and tried.first and tried.again < TIMES:
        return "send"
    return "tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An object that a device asks about."""

    sop_instance_uid: str
    sop_class_uid: str
    here: bool
    """It was received."""
    received_class: str
    """Its SOP class; empty where that is not known."""
    committed: int
    """Archives that have committed to it."""
    disputed: bool = False
    """Another object came under its UID and was refused: whoever asks may mean that one."""


def decided(items: Sequence[Item], waited: timedelta, limits: Limits) -> tuple[InstanceReference, ...] | None:
    """What a device is told of the objects that it asked about `waited` ago; None: one is undecided.

    Failure reasons (PS3.3 C.14.1.1): 0119H where it is of another class, 0112H where it never came, 0110H where
    archives still owe their word when the wait is over, or until a person has seen to another object of that UID.
    """
    found: list[InstanceReference] = []
    for item in items:
        failure = 0
        if item.here and item.received_class not in ("", item.sop_class_uid):
            failure = status.CLASS_INSTANCE_CONFLICT
        elif item.disputed:
            failure = status.PROCESSING_FAILURE
        elif item.committed < limits.copies:
            if not item.here and waited > limits.quiet:
                failure = status.NO_SUCH_SOP_INSTANCE
            elif waited >= limits.overdue:
                failure = status.PROCESSING_FAILURE
            else:
                return None
        found.append(
            InstanceReference(
                sop_class_uid=item.sop_class_uid, sop_instance_uid=item.sop_instance_uid, failure=failure
            )
        )
    return tuple(found)
