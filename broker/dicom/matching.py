"""C-FIND matching: which rows a query wants, and what each row's answer holds. Pure: no network, no store.

Single value, list of UID, wildcard, range, sequence and universal matching (PS3.4 C.2.2.2, K.6.1.2). Reads
whatever modalities send: group lengths, private keys, zero-length sequences, one empty item. Private and
unknown keys are not supported for matching: they say something of rows only that carry them, are returned of
these only, and are named in `Query.unsupported` so that the service can answer FF01 (PS3.4 K.4.1.1.4). No
relational, fuzzy or time-zone matching.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pydicom.dataset import Dataset

from broker.dicom import uid
from broker.dicom import vr as vr_rules
from broker.dicom.attributes import (
    SPECIFIC_CHARACTER_SET,
    Attributes,
    Value,
    from_dataset,
    items_of,
    tag_of,
    vr_of,
)
from broker.text import UNSHOWABLE, fold, transliterate

Test = Callable[[str], bool]

STEPS = "ScheduledProcedureStepSequence"
STUDY_UID = "StudyInstanceUID"
# They say how to read the query, not what it wants (PS3.4 C.2.2.2, K.4.1.1.3).
_NOT_KEYS = frozenset({SPECIFIC_CHARACTER_SET, "TimezoneOffsetFromUTC", "QueryRetrieveLevel"})
_RANGE_VRS = frozenset({"DA", "TM", "DT"})
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
_EARLIEST, _LATEST = "000000.000000", "235960.999999"


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
    if vr in _RANGE_VRS:
        found.append("range")
    return tuple(found)


class KeyVerdict(NamedTuple):
    """One key of a query, held against one row."""

    path: str
    """`PatientID`, `ScheduledProcedureStepSequence.Modality`."""
    wanted: tuple[str, ...]
    """What the query asks for there; of a date and a time that are one range, the date's and the time's."""
    matches: bool


@dataclass(frozen=True)
class Query:
    """A query identifier, read once, matched against many rows."""

    attributes: Attributes
    """What the identifier holds, unknown keys of even groups left out."""
    unsupported: tuple[str, ...] = ()
    """Private and unknown keys with a value; a service that has any answers FF01 instead of FF00."""

    @classmethod
    def read(cls, identifier: Dataset, *, charset: str = "") -> Query:
        """Reads any data set that a peer may send. `charset`: the defined term where it declares none."""
        dropped: list[str] = []
        attributes = _known(from_dataset(identifier, charset=charset), "", dropped)
        return cls(attributes, tuple(dropped))

    def matches(self, attributes: Attributes) -> bool:
        """Whether the row is an answer."""
        return not self.excluded_by(attributes)

    def excluded_by(self, attributes: Attributes) -> str:
        """Path of the first key that the row does not match, empty when it matches.

        A key with a value excludes a row that has no such attribute, or has it empty.
        """
        return self._item.excluded_by(attributes)

    def verdicts(self, attributes: Attributes) -> tuple[KeyVerdict, ...]:
        """What each key that narrows the query says to the row; those that any row passes are left out.

        Of several items of a sequence the one that passes most keys is judged.
        """
        return tuple(self._item.verdicts(attributes))

    def answer(self, attributes: Attributes) -> Attributes:
        """The row as the peer asked for it: every requested key, empty where the row knows nothing.

        A zero-length requested sequence gives the row's whole items (PS3.4 K.6.1.2), a sequence that the
        row has not is zero-length. The Study Instance UID is always there and well-formed: devices drop
        rows without one.
        """
        answer = self._item.answer(attributes)
        study = attributes.get(STUDY_UID, "")
        if not isinstance(study, str) or not uid.valid(study):
            study = uid.derive("\n".join(str(attributes.get(key, "")) for key in _STUDY_SEED))
        return dict(sorted({**answer, STUDY_UID: study}.items(), key=lambda pair: tag_of(pair[0])))

    def of_one_device(self, titles: tuple[str, ...]) -> Query:
        """The query of a device that has several AE titles: who asks for one of them asks for all."""
        asked = self.stations
        if not set(asked) & set(titles):
            return self
        step = {**self._step, "ScheduledStationAETitle": tuple(dict.fromkeys((*asked, *titles)))}
        return Query({**self.attributes, STEPS: (step,)}, self.unsupported)

    def also_asking(self, keys: Iterable[str], step_keys: Iterable[str]) -> Query:
        """The query with more return keys, beside the step and in it, where it does not ask for them itself."""
        whole = dict.fromkeys(keys, "") | dict(self.attributes)
        if not (STEPS in self.attributes and not self._step):  # the step is not asked for whole
            step = dict.fromkeys(step_keys, "") | dict(self._step)
            if step:
                whole[STEPS] = (step,)
        return Query(whole, self.unsupported)

    @property
    def numbered(self) -> bool:
        """Whether it names a patient, an order, a step or a visit by number: whoever scans a barcode means that one."""
        asked = {**self._step, **self.attributes}
        return any(_narrows(key, asked.get(key, "")) for key in _NUMBERS)

    @property
    def dated(self) -> bool:
        """Whether it names a day or a time for the step to start."""
        return any(
            _narrows(key, self._step.get(key, ""))
            for key in ("ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime")
        )

    @property
    def asked(self) -> tuple[str, ...]:
        """Path of every key that it asks for, those that are not supported too; no value."""
        return tuple(sorted({*_paths(self.attributes), *self.unsupported}))

    @property
    def stations(self) -> tuple[str, ...]:
        """The scheduled station AE titles, when the query names exact ones; else none."""
        values = _values(self._step.get("ScheduledStationAETitle", ""))
        return () if any("*" in value or "?" in value for value in values) else values

    @property
    def patient_id(self) -> str:
        """The one exact patient id that the query names, else empty."""
        values = _values(self.attributes.get("PatientID", ""))
        return values[0] if len(values) == 1 and not re.search(r"[*?]", values[0]) else ""

    @property
    def dates(self) -> tuple[str, str]:
        """First and last scheduled start date (`YYYYMMDD`); empty where the query sets no such end."""
        values = _values(self._step.get("ScheduledProcedureStepStartDate", ""))
        if len(values) != 1 or not values[0].strip("*"):
            return ("", "")
        low, high = _split_range(_plain_date(values[0]))
        return (_whole_date(low), _whole_date(high))

    @property
    def _step(self) -> Attributes:
        return _first_item(self.attributes.get(STEPS, ""))

    @cached_property
    def _item(self) -> _Item:
        return _Item.read(self.attributes)


# Stable names of what is ordered, should a row ever come without its Study Instance UID.
_STUDY_SEED = ("PatientID", "IssuerOfPatientID", "AccessionNumber", "RequestedProcedureID")


_NUMBERS = (
    *("PatientID", "AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID", "StudyInstanceUID"),
    *("AdmissionID", "PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"),
)


@dataclass(frozen=True, slots=True)
class _Item:
    """The keys of the query or of one of its sequence items, compiled."""

    keys: Attributes
    """Private ones too: they say something of a row only where it has them, an imported one, say."""
    tests: tuple[tuple[str, Test], ...]
    """Keyword, and what one of the attribute's values must pass."""
    periods: tuple[tuple[str, str, str, str], ...]
    """Date keyword, time keyword, first and last moment: date and time matched as one."""
    sequences: tuple[tuple[str, _Item], ...]
    """Requested sequences with sub-keys; one that is requested whole is in `keys` only."""

    @classmethod
    def read(cls, keys: Attributes) -> _Item:
        tests: list[tuple[str, Test]] = []
        periods: list[tuple[str, str, str, str]] = []
        sequences: list[tuple[str, _Item]] = []
        for key, value in keys.items():
            if key in _NOT_KEYS:
                continue
            if vr_of(key) == "SQ":
                if item := _first_item(value):
                    sequences.append((key, cls.read(item)))
                continue
            wanted = _values(value)
            if _is_period(keys, key):
                if key in _TIME_OF:
                    time = _TIME_OF[key]
                    periods.append((key, time, *_period(wanted[0], _values(keys[time])[0])))
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
            if _counts(key, self.keys, row) and not any(test(value) for value in _values(row.get(key, ""))):
                return key
        for date_key, time_key, first, last in self.periods:
            if not _within(row.get(date_key, ""), row.get(time_key, ""), first, last):
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
            KeyVerdict(key, self._wanted(key), any(test(value) for value in _values(row.get(key, ""))))
            for key, test in self.tests
            if _counts(key, self.keys, row)
        ]
        for date_key, time_key, first, last in self.periods:
            wanted = (*self._wanted(date_key), *self._wanted(time_key))
            matches = _within(row.get(date_key, ""), row.get(time_key, ""), first, last)
            found.append(KeyVerdict(date_key, wanted, matches))
        for key, item in self.sequences:
            inside = [item.verdicts(row_item) for row_item in items_of(row.get(key, "")) or ({},)]
            best = max(inside, key=lambda verdicts: sum(verdict.matches for verdict in verdicts))
            found += [verdict._replace(path=f"{key}.{verdict.path}") for verdict in best]
        return found

    def _wanted(self, key: str) -> tuple[str, ...]:
        return _values(self.keys[key])

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


def _narrows(key: str, value: Value) -> bool:
    return any(not _universal(vr_of(key), wanted) for wanted in _values(value))


def _paths(keys: Attributes) -> Iterator[str]:
    for key, value in keys.items():
        yield key
        for item in items_of(value):
            yield from (f"{key}.{path}" for path in _paths(item))


def _known(keys: Attributes, prefix: str, dropped: list[str]) -> Attributes:
    """The keys that the broker supports; those with a value that it does not are added to `dropped`."""
    known: dict[str, Value] = {}
    for key, value in keys.items():
        if "," in key:  # no keyword: private, or not in the dictionary
            private, creator = tag_of(key) >> 16 & 1, tag_of(key) & 0xFFFF <= 0xFF
            if value and not (private and creator):
                dropped.append(prefix + key)
            if private and isinstance(value, str):
                known[key] = value
        elif vr_of(key) == "SQ":
            known[key] = tuple(_known(item, f"{prefix}{key}.", dropped) for item in items_of(value))
        else:
            known[key] = value
    return known


def _first_item(value: Value) -> Attributes:
    """The item with the sub-keys; a query has one (PS3.4 C.2.2.2.6), some devices put an empty one first."""
    return next((item for item in items_of(value) if item), {})


def _values(value: Value) -> tuple[str, ...]:
    """The non-empty values."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(part for part in value if isinstance(part, str) and part)


# --- one key --------------------------------------------------------------------------------------


def _universal(vr: str, wanted: str) -> bool:
    """`*` for any VR, a range that is open at both ends, and zero as a binary number: devices send those for "all".

    Zero is how dcmjs writes an empty number, and what no number of a worklist (Pregnancy Status) can be.
    """
    if vr in _BINARY_NUMBER_VRS:
        return wanted in ("0", "0.0")
    return not wanted.strip("*") or (vr in _RANGE_VRS and wanted.strip() == "-")


def _any(tests: tuple[Test, ...]) -> Test:
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def _test(vr: str, wanted: str) -> Test:
    """What a value of the row must pass to match one value of the key."""
    if vr == "PN":
        return _name_test(wanted)
    if vr == "DA":
        return _range_test(_plain_date(wanted), _plain_date, "")
    if vr == "TM":
        return _range_test(wanted.replace(":", ""), _whole_time, "time")
    if vr == "DT":
        return _range_test(wanted, _whole_datetime, "time")
    if vr in _WILDCARD_VRS and ("*" in wanted or "?" in wanted):
        pattern = _glob(wanted.strip())
        return lambda value: pattern.fullmatch(value.strip()) is not None
    exact = wanted.strip()
    return lambda value: value.strip() == exact


def _glob(pattern: str) -> re.Pattern[str]:
    """`*` any characters or none, `?` exactly one (PS3.4 C.2.2.2.4); neighbouring stars are one."""
    parts = re.split(r"(\*+|\?)", pattern)
    return re.compile(
        "".join(".*" if part.startswith("*") else "." if part == "?" else re.escape(part) for part in parts),
        re.DOTALL,
    )


def _name_test(wanted: str) -> Test:
    """A person name: no case, no accents; by component, missing ones universal; or as one text.

    `HAN*` and `HANSEN` both find Hansen^Kari, `*KARI*` finds her too. A device that was shown `AASEN` for
    Åsen asks for `AASEN`, so the row's name is tried as it is shown without Norwegian letters as well. One
    component group in the key may match any group of the value; several match theirs (PS3.5 6.2.1).
    """
    groups = [_group_test(group) for group in wanted.split("=")]
    universal = [not group.strip("*^ ") for group in wanted.split("=")]

    def test(value: str) -> bool:
        candidates = value.split("=")
        if len(groups) == 1:
            return any(groups[0](candidate) for candidate in candidates)
        candidates += [""] * (len(groups) - len(candidates))
        return all(u or g(c) for g, u, c in zip(groups, universal, candidates, strict=False))

    return test


def _group_test(wanted: str) -> Test:
    matches = _folded_test(fold(wanted))
    # The key may hold what the device was shown in its own set, some letters replaced and some not.
    forms = [(_folded_test(_as_shown(wanted, form)), form) for form in (_in_ascii, _without_accents)]

    def test(value: str) -> bool:
        if matches(fold(value)):
            return True
        return not value.isascii() and any(alike(shown(value)) for alike, shown in forms)

    return test


def _folded_test(folded: str) -> Test:
    """By component, or as one text; both sides in the same folded form."""
    folded = folded.strip().rstrip("^")
    whole = _glob(folded)
    components = [_glob(part.strip()) if part.strip() else None for part in folded.split("^")]

    def matches(value: str) -> bool:
        parts = [part.strip() for part in value.split("^")]
        parts += [""] * (len(components) - len(parts))
        by_component = all(c is None or c.fullmatch(part) for c, part in zip(components, parts, strict=False))
        return by_component or whole.fullmatch("^".join(parts).rstrip("^")) is not None

    return matches


def _as_shown(wanted: str, form: Callable[[str], str]) -> str:
    """The key in a form of the value; one that has letters which no form has is only itself."""
    shown = form(wanted)
    return shown if shown.count(UNSHOWABLE) == wanted.count(UNSHOWABLE) else fold(wanted)


def _in_ascii(text: str) -> str:
    """As it is shown where there are no letters beyond ASCII, then without case: Åsen is aasen."""
    return fold(transliterate(text, "ascii")[0])


def _without_accents(text: str) -> str:
    """As a set shows it that has the Nordic letters and not the others: Øβ is øv, and without accents ov."""
    return transliterate(fold(text), "ascii")[0]


def _range_test(wanted: str, whole: Callable[[str], str], kind: str) -> Test:
    """Dates and times: one moment, or a range, open or with both its ends (PS3.4 C.2.2.2.5)."""
    low, high = _split_range(wanted)
    if "-" not in wanted:
        exact = whole(low)
        return lambda value: whole(value) == exact
    first, last = whole(low), _end_of(high, kind)
    if kind == "time" and low and high and first > last:  # 22-06: the night
        return lambda value: whole(value) >= first or whole(value) <= last
    return lambda value: (not low or whole(value) >= first) and (not high or whole(value) <= last)


def _split_range(wanted: str) -> tuple[str, str]:
    """Both ends, the same one when it is no range. A time-zone offset is no range (`+0100`, `-0100` at the
    end of DT is not supported: PS3.4 C.2.2.2.5.2 leaves it to the peer's conformance statement)."""
    low, dash, high = wanted.strip().partition("-")
    return (low.strip(), high.strip()) if dash else (low, low)


def _plain_date(text: str) -> str:
    """`2026.01.31` (ACR-NEMA, PS3.5 6.2 note) as `20260131`."""
    return text.strip().replace(".", "")


def _whole_date(text: str) -> str:
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


# --- date and time together -----------------------------------------------------------------------


def _is_period(keys: Attributes, key: str) -> bool:
    """Date and time both stand in the query, both as ranges."""
    date_key = _DATE_OF.get(key, key)
    if date_key not in _TIME_OF:
        return False
    ranges = (_values(keys.get(date_key, "")), _values(keys.get(_TIME_OF[date_key], "")))
    return all(len(values) == 1 and "-" in values[0] for values in ranges)


def _period(dates: str, times: str) -> tuple[str, str]:
    """From the first date's first time to the last date's last time (PS3.4 C.2.2.2.5, K.6.1.2)."""
    low_date, high_date = _split_range(_plain_date(dates))
    low_time, high_time = _split_range(times.replace(":", ""))
    first = (low_date or "00000000") + (_whole_time(low_time) if low_time else _EARLIEST)
    last = (high_date or "99999999") + (_end_of(high_time, "time") if high_time else _LATEST)
    return first, last


def _within(date_value: Value, time_value: Value, first: str, last: str) -> bool:
    """A row without a time matches on its date alone: it must not vanish from the day's list."""
    for date in _values(date_value):
        day = _plain_date(date)
        moments = [_whole_time(time) for time in _values(time_value)]
        if not moments and first[:8] <= day <= last[:8]:
            return True
        if any(first <= day + moment <= last for moment in moments):
            return True
    return False
