"""`broker.dicom.vr`: the rules of PS3.5 6.2, one value each."""

from __future__ import annotations

import pytest

from broker.dicom import vr


@pytest.mark.parametrize(
    ("representation", "value"),
    [
        ("SH", "x" * 16),
        ("AE", "FUNDUS 1"),
        ("CS", "IN PROGRESS_2"),
        ("LO", "ø" * 64),
        ("PN", "=".join(["a" * 64] * 3)),
        ("PN", "Hansen^Kari^Anne^dr^jr"),
        ("UI", "1.2.840.10008.1.1"),
        ("DA", "20240229"),
        ("TM", "09"),
        ("TM", "0930"),
        ("TM", "235960.123456"),
        ("DT", "20260105093000.000000+0100"),
        ("AS", "042Y"),
        ("IS", "-12"),
        ("DS", "1.5e-3"),
        ("LT", "two lines\r\nand a \\ backslash"),
        ("UR", "https://example.org/a?b=c"),
    ],
)
def test_kept(representation: str, value: str) -> None:
    assert vr.broken_rule(representation, value) == ""


@pytest.mark.parametrize(
    ("representation", "value", "rule"),
    [
        ("SH", "x" * 17, "SH: at most 16 characters"),
        ("AE", "x" * 17, "AE: at most 16 characters"),
        ("AE", "   ", "AE: printable ASCII without backslash, not only spaces"),
        ("AE", "FUNDÜS", "AE: printable ASCII without backslash, not only spaces"),
        ("CS", "x", "CS: only A-Z, 0-9, space and underscore"),
        ("CS", "X" * 17, "CS: at most 16 characters"),
        ("CS", "ÅPEN", "CS: only A-Z, 0-9, space and underscore"),
        ("LO", "x" * 65, "LO: at most 64 characters"),
        ("LO", "a\\b", "LO: no backslash inside a value"),
        ("LO", "a\nb", "LO: no control characters"),
        ("PN", "a" * 65, "PN: at most 64 characters in a component group"),
        ("PN", "a=b=c=d", "PN: at most three component groups"),
        ("PN", "a^b^c^d^e^f", "PN: at most five components in a component group"),
        ("PN", "a\tb", "PN: no control characters"),
        ("UI", "1.02", "UI: numbers with dots between, no leading zeros"),
        ("UI", "1." + "2" * 63, "UI: at most 64 characters"),
        ("DA", "20260230", "DA: an existing date as YYYYMMDD"),
        ("DA", "2026", "DA: an existing date as YYYYMMDD"),
        ("TM", "2400", "TM: HHMMSS.FFFFFF or a shorter time"),
        ("TM", "9:30", "TM: HHMMSS.FFFFFF or a shorter time"),
        ("IS", "1.5", "IS: a whole number"),
        ("IS", "٣", "IS: a whole number"),
        ("LT", "x" * 10241, "LT: at most 10240 characters"),
    ],
)
def test_broken(representation: str, value: str, rule: str) -> None:
    assert vr.broken_rule(representation, value) == rule
