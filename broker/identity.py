"""What a patient's identifier is worth: its class, and what its number says of issuer, environment and check digits.

Issuer first, shape second; where they disagree nothing is guessed, it is flagged or refused. Pure. Whose an identifier
is, the register says; the forms of numbers stand in `nationalid`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Final, Literal

from broker.event import Identifier
from broker.nationalid import Number, contradicts, kind_of, read

Environment = Literal["prod", "test", "mixed"]
"""Whose numbers a broker takes: real ones, synthetic ones, or both."""

Class = Literal["temporary", "national", "local"]

FLAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "synthetic-number": "a number of a test series",
        "real-looking-number": "a number that may be a living person's",
        "check-digit": "a number whose check digits are wrong, or whose date does not exist",
        "duf-check-digit": "a DUF number whose check digits are wrong",
        "id-kind-differs": "a number of another kind than its issuer gives",
        "h-number-issuer": "an H-number under an issuer that the listener's h_issuers do not name",
        "bare-national-number": "a national number under an issuer that is not national",
        "birth-date-differs": "a number made of another birth date than PID-7",
    }
)
"""What is remarked of identifiers, and how it is said to the sender; never a number."""

REFUSED: Final[Mapping[Environment, frozenset[str]]] = MappingProxyType(
    {
        "prod": frozenset({"synthetic-number", "id-kind-differs", "h-number-issuer"}),
        "test": frozenset({"real-looking-number", "id-kind-differs"}),
        "mixed": frozenset(),
    }
)
"""Flags that refuse a message; `check-digit` beside them, where the listener says so."""

EMERGENCY: Final = frozenset({"check-digit", "id-kind-differs", "h-number-issuer"})
"""Flags that refuse no emergency: who lies there is looked after first, and his number put right later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How one listener judges identifiers."""

    environment: Environment = "mixed"
    bad_check_digit: Literal["flag", "refuse"] | None = None
    """None: refused, unless the environment is `mixed`."""
    h_issuers: frozenset[str] = frozenset()
    """Issuers (`Identifier.issuer`) that give local H-numbers."""
    temporary_issuers: frozenset[str] = frozenset()
    """Issuers all of whose identifiers are temporary."""
    temporary_ids: tuple[str, ...] = ()
    """Patterns of temporary identifiers of issuers that are not national: `TR-*`."""

    def is_temporary(self, value: str, issuer: str) -> bool:
        """Whether it stands for somebody until it is known who that is: an H-number, or one of a trauma series."""
        if kind_of(issuer) is not None:
            return False  # `class_of` needs no setting for them
        if issuer in self.temporary_issuers or any(fnmatchcase(value, p) for p in self.temporary_ids):
            return True
        number = read(value, "h-number") if issuer in self.h_issuers else None
        return number is not None and number.kind == "h-number" and number.valid

    def refusing(self, *, emergency: bool) -> frozenset[str]:
        """The flags that refuse a message."""
        refuses = self.bad_check_digit == "refuse" or (
            self.bad_check_digit is None and self.environment != "mixed"
        )
        found = REFUSED[self.environment] | ({"check-digit"} if refuses else frozenset())
        return found - EMERGENCY if emergency else found


def class_of(identifier: Identifier) -> Class:
    """Temporary ones may be merged into any other; a national one is the person's for ever; the rest are local.

    Which local ones are temporary the listener's settings say, once: the event carries it (`Identifier.temporary`), so
    that a rebuild under other settings gives the same registers.
    """
    kind = kind_of(identifier.issuer)
    if identifier.temporary or kind == "fh-number":
        return "temporary"
    return "local" if kind is None else "national"


def flags(identifier: Identifier, rules: Rules, *, birth_date: str = "") -> tuple[str, ...]:
    """What is to be remarked of an identifier: only what this environment does not expect.

    `birth_date`: as PID-7 or the object says it, to be held against the number's.
    """
    kind = kind_of(identifier.issuer)
    if kind is None:
        return _of_local(identifier, rules)
    number = read(identifier.value, kind)
    if number is None:
        return ("id-kind-differs",)
    found = []
    if number.kind != kind:
        found.append("id-kind-differs")
    if not number.valid:
        found.append("duf-check-digit" if number.kind == "duf" else "check-digit")
    found += _unexpected(number, rules)
    if contradicts(identifier.value, birth_date):
        found.append("birth-date-differs")
    return tuple(found)


def _unexpected(number: Number, rules: Rules) -> list[str]:
    """Whether it is one of a test series, or may be a living person's, where this environment takes none such."""
    if number.series:
        return ["synthetic-number"] * (rules.environment != "test")
    if number.valid and number.kind in ("fnr", "d-number"):
        return ["real-looking-number"] * (rules.environment != "prod")
    return []


def _of_local(identifier: Identifier, rules: Rules) -> tuple[str, ...]:
    """A hospital numbers as it likes: only what cannot well be chance is remarked. A national number that lost its
    issuer on the way is as real, or as synthetic, as under its own."""
    gives_h = identifier.issuer in rules.h_issuers
    number = read(identifier.value, "h-number" if gives_h else None)
    if number is None or number.kind in ("duf", "fh-number") or not number.dated:
        return ()
    if number.kind == "h-number" and gives_h:
        # Legacy ones that begin with 8 or 9 are hardly to be told from other numbers of the hospital.
        return () if number.rule or identifier.value[0] >= "8" else ("check-digit",)
    if not number.rule:
        return ()
    if number.kind == "h-number":
        return ("h-number-issuer",)
    return ("bare-national-number", *_unexpected(number, rules))


def objection(found: Collection[str], rules: Rules, *, emergency: bool) -> str:
    """Why a message with these flags is refused, for its sender; empty: it is taken."""
    refusing = rules.refusing(emergency=emergency)
    flag = next((flag for flag in FLAGS if flag in found and flag in refusing), None)
    if flag is None:
        return ""
    where = f", and this broker's environment is {rules.environment}" if flag in _OF_ENVIRONMENT else ""
    return f"holds {FLAGS[flag]}{where}"


_OF_ENVIRONMENT: Final = frozenset({"synthetic-number", "real-looking-number"})
