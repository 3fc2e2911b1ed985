"""Value representations: the rules that one value must keep, and how the VRs group. PS3.5 6.2."""

from __future__ import annotations

import re
from datetime import date

from broker.dicom import uid

TEXT = frozenset({"SH", "LO", "ST", "LT", "UC", "UT", "PN"})
"""Encoded by (0008,0005); all other VRs are default repertoire (PS3.5 6.1.2.3)."""
INTEGER = frozenset({"US", "SS", "UL", "SL", "UV", "SV"})
FLOAT = frozenset({"FL", "FD"})
BINARY = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN", "AT"})
UNDIVIDED = frozenset({"ST", "LT", "UT", "UR"})
"""A backslash is text and only trailing spaces are padding."""

_MAX_LENGTH = {
    "AE": 16, "CS": 16, "DS": 16, "IS": 12, "SH": 16, "LO": 64, "UI": 64, "ST": 1024, "LT": 10240,
}  # fmt: skip
_FORMS = {
    "AE": (r"(?=.*[^ ])[ -\[\]-~]+", "printable ASCII without backslash, not only spaces"),
    "AS": (r"[0-9]{3}[DWMY]", "three digits and D, W, M or Y"),
    "CS": (r"[A-Z0-9 _]+", "only A-Z, 0-9, space and underscore"),
    "DS": (r" *[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)? *", "a decimal number"),
    "DT": (r"[0-9]{4}([0-9]{2}){0,5}(\.[0-9]{1,6})?([+-][0-9]{4})?", "YYYYMMDDHHMMSS.FFFFFF&ZZXX"),
    "IS": (r" *[+-]?[0-9]+ *", "a whole number"),
    "TM": (
        r"([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?",
        "HHMMSS.FFFFFF or a shorter time",
    ),
    "UR": (r"[!-\[\]-~]+", "a URI"),
}
_PATTERNS = {vr: (re.compile(form), text) for vr, (form, text) in _FORMS.items()}
# ESC is left to the code extensions of (0008,0005).
_CONTROL = re.compile(r"[\x00-\x1a\x1c-\x1f\x7f]")
_CONTROL_IN_LONG_TEXT = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")


def longest(vr: str) -> int | None:
    """The most characters that one value holds; None where the rule is another, or none."""
    return _MAX_LENGTH.get(vr)


def broken_rule(vr: str, value: str) -> str:
    """The rule that a non-empty value breaks, naming the VR and never the value; empty when it keeps all."""
    limit = longest(vr)
    if limit is not None and len(value) > limit:
        return f"{vr}: at most {limit} characters"
    if vr not in UNDIVIDED and "\\" in value:
        return f"{vr}: no backslash inside a value"
    if vr in _PATTERNS and not _PATTERNS[vr][0].fullmatch(value):
        return f"{vr}: {_PATTERNS[vr][1]}"
    if vr == "DA" and not _is_date(value):
        return "DA: an existing date as YYYYMMDD"
    if vr == "UI" and not uid.valid(value):
        return "UI: numbers with dots between, no leading zeros"
    if vr == "PN" and (text := _broken_name_rule(value)):
        return text
    control = _CONTROL_IN_LONG_TEXT if vr in UNDIVIDED else _CONTROL
    return f"{vr}: no control characters" if control.search(value) else ""


def _broken_name_rule(value: str) -> str:
    groups = value.split("=")
    if len(groups) > 3:
        return "PN: at most three component groups"
    if any(len(group) > 64 for group in groups):
        return "PN: at most 64 characters in a component group"
    if any(group.count("^") > 4 for group in groups):
        return "PN: at most five components in a component group"
    return ""


def _is_date(value: str) -> bool:
    if not re.fullmatch(r"[0-9]{8}", value):
        return False
    try:
        date(int(value[:4]), int(value[4:6]), int(value[6:]))
    except ValueError:
        return False
    return True
