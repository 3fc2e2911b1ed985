"""Norwegian identity numbers by their form: which kind, which test series, which rule of check digits. Pure.

It gives no birth date and no sex: a number tells neither with certainty, and from 2032 on less than before. What
date it holds can only be held against one that was said. It does not know whether anybody has the number.

Sources: the OIDs of Direktoratet for e-helse; Skatteetaten's rules for fødselsnummer and D-nummer, with those of 2032;
Norsk helsenett for FH-nummer and its reserved series. The 2032 rule is weaker: of random digits 4 in 121 pass it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal

Kind = Literal["fnr", "d-number", "fh-number", "h-number", "duf"]

KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "2.16.578.1.12.4.1.4.1": "fnr",
        "2.16.578.1.12.4.1.4.2": "d-number",
        "2.16.578.1.12.4.1.4.3": "fh-number",
        "2.16.578.1.12.4.1.4.5": "duf",
    }
)
"""Issuer (OID) to what it issues. `…4.4` is HPR, of staff and no patient's; H-numbers are the hospitals' own."""

_NAMES: Final[Mapping[str, Kind]] = MappingProxyType(
    {"NNNOR": "fnr", "DNNOR": "d-number", "FHNOR": "fh-number"}
)
"""The same where a sender gives a name only, and the listener knows no OID for it."""

Series = Literal["", "tenor", "nhn", "dolly"]
"""Of synthetic numbers: Skatteetaten's Test-Norge, Norsk helsenett's test persons, NAV's Dolly; empty: none."""

_SERIES: Final[Mapping[int, Series]] = MappingProxyType({0: "", 40: "dolly", 65: "nhn", 80: "tenor"})
"""What was added to the month. 40 stands for H-numbers as well: only the issuer tells which it is."""

_FIRST: Final = (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)
_SECOND: Final = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)
_DUF: Final = (4, 6, 3, 2, 7, 5, 4, 6, 3, 2)

_ELEVEN: Final = re.compile(r"[0-9]{11}")
_TWELVE: Final = re.compile(r"(?:19|20)[0-9]{10}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number as its form has it."""

    kind: Kind
    series: Series = ""
    rule: Literal["", "current", "2032"]
    """By which rule the check digits are right; empty: they are not."""
    dated: bool = True
    """The date in it exists, offsets undone, in some century; True where a number of this kind has no date."""

    @property
    def valid(self) -> bool:
        """Nothing is wrong with its form."""
        return bool(self.rule) and self.dated


def kind_of(issuer: str) -> Kind | None:
    """What an issuer (`Identifier.issuer`) issues; None: it is not national."""
    return KINDS.get(issuer) or _NAMES.get(issuer)


def has_length(text: str) -> bool:
    """Whether a bare value may be a national number at all: 11 digits, or 12 that begin with a year (DUF)."""
    return bool(_ELEVEN.fullmatch(text) or _TWELVE.fullmatch(text))


def read(text: str, kind: Kind | None = None) -> Number | None:
    """The number by its shape; None: it has the shape of none. `kind`: what its issuer issues, where that is known.

    The issuer decides where a shape has two meanings: a month with 40 added, and legacy H-numbers that begin with 8
    or 9. Where the answer's kind is another than `kind`, issuer and shape disagree.
    """
    if _TWELVE.fullmatch(text):
        return Number(kind="duf", rule="current" if _is_duf(text) else "")
    if not _ELEVEN.fullmatch(text):
        return None
    digits = [int(digit) for digit in text]
    rule = _rule(digits)
    if digits[0] >= 8:  # before D-numbers are thought of: they end at 71
        return Number(kind="h-number" if kind == "h-number" else "fh-number", rule=rule)
    offset = _offset(text)
    if offset is None:
        return None
    found = Number(
        kind="d-number" if digits[0] >= 4 else "fnr",
        series=_SERIES[offset],
        rule=rule,
        dated=_exists(*_date(text, offset)),
    )
    if found.series == "dolly" and found.kind == "fnr" and kind != "fnr":
        return replace(found, kind="h-number", series="")
    return found


def contradicts(text: str, birth_date: str) -> bool:
    """Whether the date in a number is another than this one (`YYYYMMDD`); False where one of them has none.

    A second factor and no more: the register may know a better date than the one that a number was made of.
    """
    found = read(text)
    offset = _offset(text) if found is not None and found.kind not in ("duf", "fh-number") else None
    if offset is None or len(birth_date) != len("YYYYMMDD"):
        return False
    day, month, year = _date(text, offset)
    return f"{year:02}{month:02}{day:02}" != birth_date[2:]


def _rule(digits: Sequence[int]) -> Literal["", "current", "2032"]:
    """11 digits by both rules at once; they differ in the first check digit only."""
    first, second = _sum(digits, _FIRST) % 11, _sum(digits, _SECOND) % 11
    if second or first > 3:
        return ""
    return "2032" if first else "current"


def _is_duf(text: str) -> bool:
    """The directorate's own printed example fails it: never more than a reason to look twice."""
    year, serial, check = text[:4], text[4:10], text[10:]
    return _sum([int(digit) for digit in serial + year], _DUF) % 11 == int(check)


def _sum(digits: Sequence[int], weights: Sequence[int]) -> int:
    return sum(digit * weight for digit, weight in zip(digits, weights, strict=False))


def _offset(text: str) -> int | None:
    """What was added to the month; None: no month comes of it."""
    month = int(text[2:4])
    return next((offset for offset in _SERIES if 1 <= month - offset <= 12), None)


def _date(text: str, offset: int) -> tuple[int, int, int]:
    """Day, month and year of the century, offsets undone."""
    return int(text[:2]) - (40 if text[0] >= "4" else 0), int(text[2:4]) - offset, int(text[4:6])


def _exists(day: int, month: int, year: int) -> bool:
    """In some century: which one the number does not tell. Of the years 00, 2000 had a 29 February."""
    longest = (31, 28 + (year % 4 == 0), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month - 1]
    return 1 <= day <= longest
