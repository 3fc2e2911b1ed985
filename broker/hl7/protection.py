"""Whether a message says that its patient's address is protected: rules over places and values, each site's own.

Systems say it in different places: PD1-12, PV1-16, an ARV segment (HL7 v2.6), a Z-segment, the kind of an address
(PID-11.7), or in its text (`SPERRET ADRESSE`). A value that no rule knows counts as protected: what is not understood
must not give an address away. Pure; what follows from it is the register's and the routes' business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal

from broker.hl7.er7 import NULL, Path, Segment, parse_path

LIFTED: Final = "D"
"""ARV-2 (table 0206): this restriction holds no more (HL7 v2.6 3.4.14)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One place where a sender says it. Values are patterns (`*SPERRET*`), whatever their case; spaces do not count."""

    path: Path
    """Every segment of this name and every repetition are looked at, unless it names one."""
    protected: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    otherwise: Literal["protected", "silent"] = "protected"
    """What a value in neither list says. `silent`, where ordinary values stand there too: the text of an address."""

    @classmethod
    def of(
        cls,
        path: str,
        protected: Iterable[str] = (),
        open: Iterable[str] = (),
        otherwise: Literal["protected", "silent"] = "protected",
    ) -> Rule:
        """Raises `ValueError` for what is no HL7 path."""
        return cls(
            path=parse_path(path), protected=_folded(protected), open=_folded(open), otherwise=otherwise
        )

    def says(self, value: str) -> bool | None:
        """What one value means; None: nothing. HL7's null is a value like any other: to be open it must be listed."""
        value = _fold(value)
        if not value:
            return None
        if any(fnmatchcase(value, pattern) for pattern in self.protected):
            return True
        if any(fnmatchcase(value, pattern) for pattern in self.open):
            return False
        return True if self.otherwise == "protected" else None


def detect(segments: Iterable[Segment], rules: Iterable[Rule]) -> bool | None:
    """Whether the segments of one patient say that the address is protected. One that says so outweighs all others.

    None: nothing is said, and what is known stands.
    """
    by_name: dict[str, list[Segment]] = {}
    for segment in segments:
        by_name.setdefault(segment.name, []).append(segment)
    said = {
        rule.says(value) if not lifted else False
        for rule in rules
        for value, lifted in _values(by_name.get(rule.path.segment, ()), rule)
    }
    return True if True in said else False if False in said else None


def _values(segments: Sequence[Segment], rule: Rule) -> Iterator[tuple[str, bool]]:
    """Every value at a rule's place in these segments of its name, and whether its segment takes back what it names."""
    where = rule.path
    for seen, segment in enumerate(segments, 1):
        if where.occurrence > 1 and seen != where.occurrence:
            continue
        lifted = segment.name == "ARV" and segment.get(2) == LIFTED
        for number, repetition in enumerate(segment.repetitions(where.field), 1):
            if where.repetition in (None, number):
                value = repetition.get(where.component or 1, where.subcomponent or 1)
                yield value, lifted and value not in ("", NULL)


def _folded(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(_fold(value) for value in values)


def _fold(value: str) -> str:
    return " ".join(value.casefold().split())
