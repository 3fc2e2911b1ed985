from __future__ import annotations

import importlib

import hl7apy
import pytest

from broker.hl7.er7 import Message
from broker.hl7.validate import validate

GOOD = (
    "MSH|^~\\&|A|B|C|D|20261101120000||ADT^A01^ADT_A01|1|P|2.5\r"
    "EVN||20261101120000\r"
    "PID|1||123^^^STO^MR||Dahl^Kari||19700101|F\r"
    "PV1|1|I\r"
    "ZZZ|anything|at all\r"
)


def test_a_sound_message_has_no_findings() -> None:
    assert validate(GOOD.encode()) == []
    assert validate(Message.parse(GOOD.replace("\r", "\n").encode())) == []


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("|2.5\r", "|2.9\r", "MSH-12 names no version with known tables"),
        ("ADT_A01", "ADT_A99", "MSH-9.3 names no message structure of this version"),
        ("PV1|1|I\r", "", "PV1 is required and missing"),
        ("PV1|1|I\r", "PV1|1|I\rRXA|1\r", "RXA has no place in this message structure"),
        ("ZZZ", "QQQ", "QQQ is no segment of this version"),
        ("123^^^STO^MR", "", "PID-3 is required and empty"),
        ("|F\r", "|F~M\r", "PID-8 may not repeat"),
        ("19700101", "7 January", "PID-7.1 is not of data type DTM"),
        ("PV1|1|I", "PV1|one|I", "PV1-1 is not of data type SI"),
        (
            "EVN||20261101120000",
            "EVN||20261101120000" + "|" * 7 + "x",
            "EVN-8 and beyond are no fields of this version",
        ),
    ],
)
def test_findings_name_the_place(old: str, new: str, text: str) -> None:
    assert old in GOOD

    findings = validate(GOOD.replace(old, new).encode())

    assert text in [finding.text for finding in findings]


def test_a_null_is_a_value() -> None:
    assert validate(GOOD.replace("19700101", '""').encode()) == []


def test_components_are_required_too_where_the_version_says_so() -> None:
    raw = GOOD.replace("|2.5\r", "|2.6\r").replace("123^^^STO^MR", "^^^STO^MR")

    assert [finding.text for finding in validate(raw.encode())] == ["PID-3.1 is required and empty"]


@pytest.mark.parametrize("version", sorted(hl7apy.SUPPORTED_LIBRARIES))
def test_every_segment_of_every_version_can_be_judged(version: str) -> None:
    segments = importlib.import_module(f"hl7apy.v{version.replace('.', '_')}.segments").SEGMENTS
    names = sorted(name for name in segments if name not in ("MSH", "FHS", "BHS"))
    lines = [
        f"MSH|^~\\&|A|B|C|D|2026||ORU^R01^ORU_R01|1|P|{version}",
        *(name + "|1^1&1~x" * 20 for name in names),
    ]

    assert validate("\r".join(lines).encode())
