"""The keys of a C-FIND query, or of one of its sequence items, made into tests and held against rows.

Single value, list of UID, wildcard, range, sequence and universal matching (PS3.4 C.2.2.2, K.6.1.2). Private keys say
something of rows only that carry them, and are returned of these only. What a query is as a whole is
`broker.dicom.matching`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from broker.dicom import ranges, wildcard
from broker.dicom import vr as vr_rules
from broker.dicom.attributes import SPECIFIC_CHARACTER_SET, Attributes, Value, items_of, vr_of
from broker.dicom.names import name_test

Test = Callable[[str], bool]

# They say how to read the query, not what it wants (PS3.4 C.2.2.2, K.4.1.1.3).
_NOT_KEYS = frozenset({SPECIFIC_CHARACTER_SET, "TimezoneOffsetFromUTC", "QueryRetrieveLevel"})
_BINARY_NUMBER_VRS = vr_rules.INTEGER | vr_rules.FLOAT
_WILDCARD_VRS = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
# Date and time of one moment: both as ranges, they are one range (PS3.4 K.6.1.2.2 note on the start date
# and time).
_TIME_OF = {
    "ScheduledProcedureStepStartDate": "ScheduledProcedureStepStartTime",
    "StudyDate": "StudyTime",
    "SeriesDate": "SeriesTime",
}
_DATE_OF = {time: date for date, time in _TIME_OF.items()}


def kinds(keyword: str) -> tuple[str, ...]:
    """How a key of this keyword is matched (PS3.4 C.2.2.2), universal matching first, which every key has."""
    vr = vr_of(keyword)
    if keyword in _NOT_KEYS:
        return ()
    if vr == "SQ":
        return ("universal", "sequence")
    found = ["universal", "single value", "list"]
    if vr in _WILDCARD_VRS:
        found.append("wildcard")
    if vr in ranges.VRS:
        found.append("range")
    return tuple(found)


class KeyVerdict(NamedTuple):
    """One key of a query, held against one row."""

    path: str
    """`PatientID`, `ScheduledProcedureStepSequence.Modality`."""
    wanted: tuple[str, ...]
    """What the query asks for there; of a date and a time that are one range, the date's and the time's."""
    matches: bool


@dataclass(frozen=True, slots=True)
class Item:
    """The keys of the query or of one of its sequence items, compiled."""

    keys: Attributes
    """Private ones too: they say something of a row only where it has them, an imported one, say."""
    tests: tuple[tuple[str, Test], ...]
    """Keyword, and what one of the attribute's values must pass."""
    periods: tuple[tuple[str, str, str, str], ...]
    """Date keyword, time keyword, first and last moment: date and time matched as one."""
    sequences: tuple[tuple[str, Item], ...]
    """Requested sequences with sub-keys; one that is requested whole is in `keys` only."""

    @classmethod
    def read(cls, keys: Attributes) -> Item:
        tests: list[tuple[str, Test]] = []
        periods: list[tuple[str, str, str, str]] = []
        sequences: list[tuple[str, Item]] = []
        for key, value in keys.items():
            if key in _NOT_KEYS:
                continue
            if vr_of(key) == "SQ":
                if item := first_item(value):
                    sequences.append((key, cls.read(item)))
                continue
            wanted = values_of(value)
            if _is_period(keys, key):
                if key in _TIME_OF:
                    time = _TIME_OF[key]
                    periods.append((key, time, *ranges.period(wanted[0], values_of(keys[time])[0])))
            elif (
                wanted and not _is_creator(key) and not all(_universal(vr_of(key), value) for value in wanted)
            ):
                tests.append((key, _any(tuple(_test(vr_of(key), value) for value in wanted))))
        return cls(keys, tuple(tests), tuple(periods), tuple(sequences))

    @property
    def universal(self) -> bool:
        return not self.tests and not self.periods and all(item.universal for _, item in self.sequences)

    def excluded_by(self, row: Attributes) -> str:
        for key, test in self.tests:
            if _counts(key, self.keys, row) and not any(test(value) for value in values_of(row.get(key, ""))):
                return key
        for date_key, time_key, first, last in self.periods:
            if not _within(row, date_key, time_key, first, last):
                return date_key
        for key, item in self.sequences:
            if item.universal:
                continue
            items = items_of(row.get(key, ""))
            places = [item.excluded_by(row_item) for row_item in items or ({},)]
            if "" not in places:
                return f"{key}.{places[0]}" if items else key
        return ""

    def verdicts(self, row: Attributes) -> list[KeyVerdict]:
        found = [
            KeyVerdict(key, self._wanted(key), any(test(value) for value in values_of(row.get(key, ""))))
            for key, test in self.tests
            if _counts(key, self.keys, row)
        ]
        for date_key, time_key, first, last in self.periods:
            wanted = (*self._wanted(date_key), *self._wanted(time_key))
            found.append(KeyVerdict(date_key, wanted, _within(row, date_key, time_key, first, last)))
        for key, item in self.sequences:
            inside = [item.verdicts(row_item) for row_item in items_of(row.get(key, "")) or ({},)]
            best = max(inside, key=lambda verdicts: sum(verdict.matches for verdict in verdicts))
            found += [verdict._replace(path=f"{key}.{verdict.path}") for verdict in best]
        return found

    def _wanted(self, key: str) -> tuple[str, ...]:
        return values_of(self.keys[key])

    def answer(self, row: Attributes) -> dict[str, Value]:
        nested = dict(self.sequences)
        result: dict[str, Value] = {}
        for key in self.keys:
            if not _counts(key, self.keys, row):
                continue
            item = nested.get(key)
            value = row.get(key, "")
            if item is None:
                result[key] = value
            else:
                # Of several items only those that match: a device takes the first one for its own.
                result[key] = tuple(item.answer(i) for i in items_of(value) if not item.excluded_by(i))
        return result


def _counts(key: str, keys: Attributes, row: Attributes) -> bool:
    """Every attribute of the dictionary; a private one where the row has it, of the same creator (PS3.5 7.8.1)."""
    if "," not in key:
        return True
    creator = _creator(key)
    return key in row and row.get(creator, "") == keys.get(creator, "")


def _is_creator(key: str) -> bool:
    return "," in key and _creator(key) == key


def _creator(key: str) -> str:
    """The key of who reserved a private one: of (8001,1001) it is (8001,0010)."""
    return f"{key[:5]}00{key[5:7]}" if key[5:7] != "00" else key


def _is_period(keys: Attributes, key: str) -> bool:
    """Date and time both stand in the query, both as ranges."""
    date_key = _DATE_OF.get(key, key)
    if date_key not in _TIME_OF:
        return False
    both = (values_of(keys.get(date_key, "")), values_of(keys.get(_TIME_OF[date_key], "")))
    return all(len(values) == 1 and "-" in values[0] for values in both)


def _within(row: Attributes, date_key: str, time_key: str, first: str, last: str) -> bool:
    return ranges.within(values_of(row.get(date_key, "")), values_of(row.get(time_key, "")), first, last)


def narrows(key: str, value: Value) -> bool:
    return any(not _universal(vr_of(key), wanted) for wanted in values_of(value))


def first_item(value: Value) -> Attributes:
    """The item with the sub-keys; a query has one (PS3.4 C.2.2.2.6), some devices put an empty one first."""
    return next((item for item in items_of(value) if item), {})


def values_of(value: Value) -> tuple[str, ...]:
    """The non-empty values."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(part for part in value if isinstance(part, str) and part)


def _universal(vr: str, wanted: str) -> bool:
    """`*` for any VR, a range that is open at both ends, and zero as a binary number: devices send those for "all".

    Zero is how dcmjs writes an empty number, and what no number of a worklist (Pregnancy Status) can be.
    """
    if vr in _BINARY_NUMBER_VRS:
        return wanted in ("0", "0.0")
    return not wanted.strip("*") or (vr in ranges.VRS and wanted.strip() == "-")


def _any(tests: tuple[Test, ...]) -> Test:
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def _test(vr: str, wanted: str) -> Test:
    """What a value of the row must pass to match one value of the key."""
    if vr == "PN":
        return name_test(wanted)
    if vr in ranges.VRS:
        return ranges.range_test(vr, wanted)
    if vr in _WILDCARD_VRS and wildcard.stands_in(wanted):
        pattern = wildcard.compiled(wanted.strip())
        return lambda value: pattern.fullmatch(value.strip()) is not None
    exact = wanted.strip()
    return lambda value: value.strip() == exact
