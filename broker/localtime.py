"""A time as a sender wrote it (HL7 TS) to an instant in UTC. Pure: the arrival is given, no clock is asked.

A TS without offset is the site's local time. The hour that October has twice is the later of both that is not after
the arrival; the hour that March leaves out is read as if the clocks had not been put forward yet. Both are flagged.
A time that is not known to the minute is no instant: it cannot be held against another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo

OSLO: Final = ZoneInfo("Europe/Oslo")

_HL7: Final = re.compile(
    r"(?P<digits>\d{12}(?:\d{2})?)(?:\.(?P<fraction>\d{1,4}))?(?P<offset>[+-]\d{4})?", re.ASCII
)
_ISO: Final = re.compile(
    r"(?P<digits>\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(?::\d{2})?)(?:[.,](?P<fraction>\d{1,6}))?"
    r"(?P<offset>Z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A time in UTC."""

    utc: datetime
    ambiguous: bool = False
    """The clocks showed it twice that day, and no offset says which is meant."""
    missing: bool = False
    """The clocks never showed it."""


def instant(text: str, where: ZoneInfo, *, arrival: datetime) -> Instant | None:
    """A TS (HL7 v2.5.1 2.A.77), or the ISO form that some senders write. None: no time, or less than the minute."""
    text = text.strip()
    match = _HL7.fullmatch(text) or _ISO.fullmatch(text)
    if match is None:
        return None
    digits = re.sub(r"\D", "", match["digits"])
    try:
        naive = datetime.fromisoformat(f"{digits[:8]}T{digits[8:]}")
        if match["fraction"]:
            naive = naive.replace(microsecond=int(match["fraction"].ljust(6, "0")))
        if match["offset"]:
            return Instant(utc=naive.replace(tzinfo=_offset(match["offset"])).astimezone(UTC))
        return _local(naive, where, arrival)
    except (ValueError, OverflowError):
        return None  # the 31st of February; an offset of days; the year 0


def _offset(text: str) -> timezone:
    if text == "Z":
        return UTC
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[-2:])))


def _local(naive: datetime, where: ZoneInfo, arrival: datetime) -> Instant:
    first, second = (naive.replace(tzinfo=where, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first.astimezone(where).replace(tzinfo=None) != naive:
        return Instant(utc=first, missing=True)
    if first == second:
        return Instant(utc=first)
    return Instant(utc=second if second <= arrival else first, ambiguous=True)
