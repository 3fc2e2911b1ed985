"""Dates and times as C-FIND matches them: one moment or a range, and both together as one period.

All of it on texts: what a date says is compared, not checked. No time zones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

VRS = frozenset({"DA", "TM", "DT"})
_EARLIEST, _LATEST = "000000.000000", "235960.999999"


def range_test(vr: str, wanted: str) -> Callable[[str], bool]:
    """What a value of the row must pass: one moment, or a range, open or with both its ends (PS3.4 C.2.2.2.5)."""
    if vr == "DA":
        return _test(plain_date(wanted), plain_date, "")
    if vr == "TM":
        return _test(wanted.replace(":", ""), _whole_time, "time")
    return _test(wanted, _whole_datetime, "time")


def _test(wanted: str, whole: Callable[[str], str], kind: str) -> Callable[[str], bool]:
    low, high = ends(wanted)
    if "-" not in wanted:
        exact = whole(low)
        return lambda value: whole(value) == exact
    first, last = whole(low), _end_of(high, kind)
    if kind == "time" and low and high and first > last:  # 22-06: the night
        return lambda value: whole(value) >= first or whole(value) <= last
    return lambda value: (not low or whole(value) >= first) and (not high or whole(value) <= last)


def ends(wanted: str) -> tuple[str, str]:
    """Both ends, the same one when it is no range. A time-zone offset is no range (`+0100`, `-0100` at the
    end of DT is not supported: PS3.4 C.2.2.2.5.2 leaves it to the peer's conformance statement)."""
    low, dash, high = wanted.strip().partition("-")
    return (low.strip(), high.strip()) if dash else (low, low)


def plain_date(text: str) -> str:
    """`2026.01.31` (ACR-NEMA, PS3.5 6.2 note) as `20260131`."""
    return text.strip().replace(".", "")


def whole_date(text: str) -> str:
    return text if re.fullmatch(r"[0-9]{8}", text) else ""


def _whole_time(text: str) -> str:
    """`HHMMSS.FFFFFF` of any shorter form: 10, 1000, 10:00:00 and 100000 are the same moment."""
    digits, _, fraction = text.strip().replace(":", "").partition(".")
    return f"{digits:0<6}.{fraction:0<6}"


def _whole_datetime(text: str) -> str:
    digits, _, fraction = re.split(r"[+-]", text.strip())[0].partition(".")
    return f"{digits:0<14}.{fraction:0<6}"


def _end_of(text: str, kind: str) -> str:
    """The last moment that the text's precision covers: until 18 is until 18:59:59.999999."""
    if kind != "time":
        return text
    digits, _, fraction = text.partition(".")
    size = 14 if len(digits) > 6 else 6
    return f"{digits:9<{size}}.{fraction:9<6}"


def period(dates: str, times: str) -> tuple[str, str]:
    """From the first date's first time to the last date's last time (PS3.4 C.2.2.2.5, K.6.1.2)."""
    low_date, high_date = ends(plain_date(dates))
    low_time, high_time = ends(times.replace(":", ""))
    first = (low_date or "00000000") + (_whole_time(low_time) if low_time else _EARLIEST)
    last = (high_date or "99999999") + (_end_of(high_time, "time") if high_time else _LATEST)
    return first, last


def within(dates: Iterable[str], times: Iterable[str], first: str, last: str) -> bool:
    """A row without a time matches on its date alone: it must not vanish from the day's list."""
    for date in dates:
        day = plain_date(date)
        moments = [_whole_time(time) for time in times]
        if not moments and first[:8] <= day <= last[:8]:
            return True
        if any(first <= day + moment <= last for moment in moments):
            return True
    return False
