"""A session's CSV file to one ORU^R01 a measurement. Pure; what a measurement means is `mapping.py`'s.

    session;patient;taken;code;value;unit
    S881;700123;20260310094500;19926-5;3.41;L

The control id is made of the line itself: a file that is met twice, or dropped again with one more line, gives the
same messages, and the broker answers them from its journal. A file with one bad line is refused whole, so that it can
be put right and dropped again.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from broker.errors import DATA_TYPE_ERROR, REQUIRED_FIELD_MISSING, UnmappableError
from broker.hl7.edit import build, components

COLUMNS: Final = ("session", "patient", "taken", "code", "value", "unit")

LOINC: Final[Mapping[str, str]] = MappingProxyType(
    {
        "19926-5": "FEV1/FVC",
        "20150-9": "FEV1",
        "19868-9": "FVC",
    }
)
"""What the device measures."""


def unfold(raw: bytes) -> Sequence[bytes]:
    """The messages of a file. Raises `UnmappableError` naming line and column, never what stands there."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnmappableError("the file is not UTF-8") from None
    lines = text.splitlines()
    if not lines or lines[0].split(";") != list(COLUMNS):
        raise UnmappableError(f"line 1 is not {';'.join(COLUMNS)}")
    rows = csv.reader(lines[1:], delimiter=";")
    return [_oru(number, cells) for number, cells in enumerate(rows, 2) if cells]


def _oru(line: int, cells: Sequence[str]) -> bytes:
    if len(cells) != len(COLUMNS):
        raise UnmappableError(f"line {line} has {len(cells)} cells, not {len(COLUMNS)}")
    session, patient, taken, code, value, unit = (
        _checked(line, column, cell) for column, cell in zip(COLUMNS, cells, strict=True)
    )
    service = components(code, LOINC[code], "LN")
    return build(
        [
            (
                "MSH",
                {
                    3: "SPIRO",
                    5: "BROKER",
                    7: taken,
                    9: components("ORU", "R01", "ORU_R01"),
                    10: hashlib.sha256(";".join(cells).encode()).hexdigest()[:20].upper(),
                    11: "P",
                },
            ),
            ("PID", {1: "1", 3: components(patient, "", "", "", "PI")}),
            ("OBR", {1: "1", 3: session, 4: service, 7: taken, 25: "F"}),
            (
                "OBX",
                {1: "1", 2: "NM", 3: service, 5: value, 6: components(unit, "", "UCUM"), 11: "F", 14: taken},
            ),
        ],
        version="2.5.1",
    )


_RULES: Final[Mapping[str, Callable[[str], bool]]] = MappingProxyType(
    {
        "taken": lambda cell: re.fullmatch(r"\d{14}", cell) is not None,
        "code": LOINC.__contains__,
        "value": lambda cell: re.fullmatch(r"\d{1,6}(\.\d{1,4})?", cell) is not None,
    }
)


def _checked(line: int, column: str, cell: str) -> str:
    if not cell.strip():
        raise UnmappableError(f"line {line}, {column} is empty", error_code=REQUIRED_FIELD_MISSING)
    if column in _RULES and not _RULES[column](cell):
        raise UnmappableError(f"line {line}, {column} is none that is known", error_code=DATA_TYPE_ERROR)
    return cell.strip()
