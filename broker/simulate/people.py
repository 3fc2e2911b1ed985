"""Synthetic patients by seed: Norwegian and Sámi names, numbers that no real person has. No clock, no I/O.

National numbers are those of Test-Norge: the month plus 80, both check digits right, the date one that exists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from random import Random
from typing import Final

SITE: Final = "STO&2.999.7001&ISO"
NATIONAL: Final = "NNNOR&2.16.578.1.12.4.1.4.1&ISO"

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_FAMILIES: Final = (
    *("Hansen", "Sørby", "Nordgård", "Bakklandet", "Ødegård", "Lund", "Prøvestad", "Testbakken", "Åsen"),
    *("Čoahkkin", "Máhttá", "Ŋuorra", "Šárre", "Đahpi", "Jåma", "Kïelebakken", "Solli-Hågå", "von Prøve"),
)
_WOMEN: Final = ("Kari", "Åse", "Áile", "Márjá", "Ingrid", "Sunniva", "Biret", "Ragnhild", "Laara")
_MEN: Final = ("Ola", "Bjørn", "Ánte", "Niillas", "Håkon", "Øystein", "Máhtte", "Sjur", "Læjsa")
_MIDDLES: Final = ("", "", "", "Lájla", "Marie", "Østby", "Rávdná")
_STREETS: Final = ("Øvre Prøvegate", "Testveien", "Bakkegata", "Åsvegen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A patient as PAS writes them. `number` is the hospital's own; `national` may be missing."""

    number: str
    national: str
    family: str
    given: str
    middle: str
    birth_date: str
    sex: str
    street: str
    phone: str

    @property
    def numbers(self) -> tuple[str, ...]:
        """The values of PID-3, in its order."""
        return (self.national, self.number) if self.national else (self.number,)

    @property
    def name(self) -> str:
        """As DICOM and HL7 both write it."""
        return f"{self.family}^{self.given}^{self.middle}".rstrip("^")

    def married(self, family: str) -> Person:
        """The same person under another family name."""
        return replace(self, family=family)


def tag(seed: int) -> str:
    """Six signs that make every number of a run differ from those of other seeds."""
    digest = int.from_bytes(hashlib.sha256(f"broker simulate {seed}".encode()).digest()[:8], "big")
    return "".join(_ALPHABET[digest >> shift & 31] for shift in range(0, 30, 5))


@dataclass(slots=True)
class People:
    """Hands out patients, each number once."""

    random: Random
    tag: str
    _given: set[str] = field(default_factory=set)
    _count: int = 0

    def new(self, *, known: bool = True) -> Person:
        """A patient; one who is not `known` has only the hospital's number and a name that says so."""
        self._count += 1
        dice = self.random
        sex = dice.choice("FM")
        born = date(1930, 1, 1) + timedelta(days=dice.randrange(90 * 365))
        national = self.national(born) if known and dice.random() < 0.9 else ""
        return Person(
            number=f"{self.tag}{self._count:05}",
            national=national,
            family=self.family() if known else "Ukjent",
            given=dice.choice(_WOMEN if sex == "F" else _MEN) if known else f"Pasient {self._count}",
            middle=dice.choice(_MIDDLES) if known else "",
            birth_date=f"{born:%Y%m%d}" if known else "",
            sex=sex if known else "",
            street=f"{dice.choice(_STREETS)} {dice.randrange(1, 90)}" if known else "",
            phone=f"{dice.randrange(99_000_000, 100_000_000)}" if known else "",
        )

    def family(self) -> str:
        """A family name."""
        return self.random.choice(_FAMILIES)

    def temporary(self, born: date) -> str:
        """A hospital's H-number, its month plus 40: whoever gives it is its issuer."""
        return self._drawn(born, 40)

    def national(self, born: date) -> str:
        """A number of Test-Norge."""
        return self._drawn(born, 80)

    def _drawn(self, born: date, added: int) -> str:
        for number in _numbers(self.random, born, added):
            if number not in self._given:
                self._given.add(number)
                return number
        raise AssertionError("numbers are drawn without end")


def _numbers(dice: Random, born: date, added: int) -> Iterator[str]:
    """Numbers of the birth date with right check digits; `added` to the month says of which series."""
    while True:
        digits = [int(d) for d in f"{born.day:02}{born.month + added:02}{born:%y}{dice.randrange(1000):03}"]
        first = _check(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2))
        second = _check([*digits, first], (5, 4, 3, 2, 7, 6, 5, 4, 3, 2))
        if first < 10 and second < 10:
            yield "".join(map(str, [*digits, first, second]))
        else:
            born += timedelta(days=1)  # a day whose numbers are all given away must not hold us up


def _check(digits: Sequence[int], weights: Sequence[int]) -> int:
    return -sum(d * w for d, w in zip(digits, weights, strict=True)) % 11
