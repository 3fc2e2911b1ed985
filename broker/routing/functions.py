"""The functions of the expression language, each declared once: what it takes and gives, what it does, an example.

Pure, and checks no types: the compiler did. The forms that are more than a call (`lookup`, `msg`, `default`, `skip`,
`park`) stand in `forms.py`. No function makes a text much longer than what it is given, so that nesting cannot make one
without bound: that is why there is no `replace`.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from broker.dicom import uid as uids
from broker.errors import DATA_TYPE_ERROR
from broker.event import PersonName
from broker.hl7.edit import Verbatim, components
from broker.routing.forms import FailedError
from broker.view import FactType


def first(items: tuple[str, ...]) -> str:
    return items[0] if items else ""


def pn(name: PersonName) -> str:
    """PS3.5 6.2.1.1: family, given, middle, prefix, suffix."""
    parts = (name.family, name.given, name.middle, name.prefix, name.suffix)
    return "^".join(part.replace("^", " ").replace("=", " ") for part in parts).rstrip("^")


def cx(number: str, issuer: str, kind: str = "") -> str:
    """HL7 v2.5.1 2.A.14 CX; CX-4 is a universal id where the issuer is one, else a namespace."""
    if not number:
        return Verbatim("")
    authority = Verbatim(f"&{issuer}&ISO") if uids.valid(issuer) else issuer
    return components(number, "", "", authority, kind)


def uid(*texts: str) -> str:
    """A failure where a text is empty: everything that lacks it would get one UID and become one study."""
    if not all(texts):
        raise FailedError("a UID cannot be made of an empty text", error_code=DATA_TYPE_ERROR)
    return uids.derive(json.dumps(texts, ensure_ascii=False))


def mask(text: str, kept: int) -> str:
    hidden = len(text) - kept if 0 < kept < len(text) else len(text)
    return "*" * hidden + text[hidden:]


def cut(text: str, length: int) -> str:
    return text[: max(0, length)]


_TIME = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:(\.[0-9]{1,4}))?)?)?)?)?)?"
    r"([+-](?:0[0-9]|1[0-4])[0-5][0-9])?"
)
"""HL7 v2.5.1 2.A.22 DTM: year, month, day, hour, minute, second, fraction, offset."""
_DAY, _MINUTE = 3, 5

FORMATS: Mapping[str, tuple[int, str]] = {
    "DA": (_DAY, "{0}{1}{2}"),
    "TM": (_MINUTE, "{3}{4}{5}{6}"),
    "DT": (1, "{0}{1}{2}{3}{4}{5}{6}{7}"),
    "yyyy-mm-dd": (_DAY, "{0}-{1}-{2}"),
    "dd.mm.yyyy": (_DAY, "{2}.{1}.{0}"),
    "hh:mm": (_MINUTE, "{3}:{4}"),
    "dd.mm.yyyy hh:mm": (_MINUTE, "{2}.{1}.{0} {3}:{4}"),
}
"""How many parts a time must have, and how they are written (PS3.5 6.2 DA, TM, DT; the others are for people)."""


def date(text: str, form: str) -> str:
    if not text:
        return ""
    match = _TIME.fullmatch(text)
    needed, written = FORMATS[form]
    parts = match.groups(default="") if match else ()
    if not all(parts[:needed]) or not _exists(parts):
        raise FailedError(f"this is no time that could be written as {form}", error_code=DATA_TYPE_ERROR)
    return written.format(*parts)


def _exists(parts: tuple[str, ...]) -> bool:
    """Whether the calendar and the clock have it."""
    if not parts:
        return False
    year, month, day, hour, minute, second = (
        int(part or least) for part, least in zip(parts, "011000", strict=False)
    )
    try:
        datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - only whether it exists
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function: what the compiler checks and `docs/routes.md` shows."""

    signature: str
    """`date(text, format)`; `[…]` may be left out, `…` may be repeated."""
    summary: str
    takes: tuple[tuple[FactType, ...], ...] = ()
    """Types that each argument may have, the last one for all that follow. Empty: the compiler has a form for it."""
    gives: FactType = "string"
    fails: bool = False
    """It may have no result: the expression must say what happens then."""
    words: Mapping[int, Collection[str]] = field(default_factory=dict)
    """Arguments, by position, that must be one of these words in quotes."""
    run: Callable[..., Any] | None = None
    example: tuple[str, object] = ("", "")
    """An expression, and what it comes to for the event of `tests/unit/routing/test_functions.py`."""


_TEXT: tuple[FactType, ...] = ("string",)
_LIST: tuple[FactType, ...] = ("list",)
_INT: tuple[FactType, ...] = ("int",)

FUNCTIONS: dict[str, Function] = {
    "lookup": Function(
        signature="lookup(table, code[, default])",
        summary="The values that a code table has for a code, or for the first code of a list that it knows, at "
        "the time of the event. Without a default it fails where the table knows none.",
        gives="list",
        fails=True,
        example=("lookup('stations', step.station_codes)", ("CT1_STO", "CT2_STO")),
    ),
    "msg": Function(
        signature="msg('PID-5.1')",
        summary="What the source message says there: a component as plain text, a whole field (`PV1-3`) as "
        "it is written in ER7 with `^` and `~`. Empty when absent or null. Not for worklists: their rows are "
        "rebuilt when demographics change, and the order's message is not at hand then.",
        example=("msg('PV1-3.1')", "W3"),
    ),
    "default": Function(
        signature="default(x, y)",
        summary="x, or y where x is empty or fails.",
        example=("default(step.location, 'unknown')", "unknown"),
    ),
    "skip": Function(
        signature="skip(x)",
        summary="x; where it fails, this line of `set:` is left out and the standard mapping stands.",
        example=("skip(date(step.start_date, 'dd.mm.yyyy'))", "09.03.2026"),
    ),
    "park": Function(
        signature="park(x)",
        summary="x; where it fails, this output is held for a person to see (`broker status`); the other "
        "outputs of the event go on. Not for worklists, whose rows have no queue to be held in.",
        example=("park(first(lookup('stations', 'R2')))", "MR1_STO"),
    ),
    "date": Function(
        signature="date(text, format)",
        summary="A time of HL7 (`YYYY[MM[DD[HH[MM[SS]]]]]`) in another form: "
        + ", ".join(f"`'{form}'`" for form in FORMATS)
        + ". Empty stays empty; it fails on what is no time, or has less in it than the form shows.",
        takes=(_TEXT, _TEXT),
        fails=True,
        words={1: tuple(FORMATS)},
        run=date,
        example=("park(date(step.start_date + step.start_time, 'dd.mm.yyyy hh:mm'))", "09.03.2026 09:30"),
    ),
    "first": Function(
        signature="first(list)",
        summary="The first text of a list, empty when there is none.",
        takes=(_LIST,),
        run=first,
        example=("first(step.station_codes)", "X"),
    ),
    "size": Function(
        signature="size(x)",
        summary="How many characters a text or how many items a list has.",
        takes=((*_TEXT, *_LIST),),
        gives="int",
        run=len,
        example=("size(step.station_codes)", 2),
    ),
    "pn": Function(
        signature="pn(name)",
        summary="A name as DICOM writes it.",
        takes=(("name",),),
        run=pn,
        example=("pn(patient.name)", "Sørby^Áile"),
    ),
    "cx": Function(
        signature="cx(number, issuer[, type])",
        summary="An identifier as HL7 writes it (CX), for a whole field; the issuer is an OID or a namespace.",
        takes=(_TEXT,),
        run=cx,
        example=("cx(patient.id, patient.issuer)", "30908299902^^^&2.16.578.1.12.4.1.4.1&ISO"),
    ),
    "uid": Function(
        signature="uid(text, …)",
        summary="A UID that the same texts always give (`2.25.…`, PS3.5 B.2). It fails where one of them is empty.",
        takes=(_TEXT,),
        fails=True,
        run=uid,
        example=("park(uid(site, step.accession_number))", "2.25.119642375539599554752761116668976735294"),
    ),
    "upper": Function(
        signature="upper(text)",
        summary="In capitals.",
        takes=(_TEXT,),
        run=str.upper,
        example=("upper('Ånung')", "ÅNUNG"),
    ),
    "lower": Function(
        signature="lower(text)",
        summary="In small letters.",
        takes=(_TEXT,),
        run=str.lower,
        example=("lower(site)", "sto"),
    ),
    "trim": Function(
        signature="trim(text)",
        summary="Without white space at its ends.",
        takes=(_TEXT,),
        run=str.strip,
        example=("trim(' A1 ')", "A1"),
    ),
    "cut": Function(
        signature="cut(text, length)",
        summary="Its first characters: SH holds 16, LO 64.",
        takes=(_TEXT, _INT),
        run=cut,
        example=("cut('CT thorax abdomen bekken', 16)", "CT thorax abdome"),
    ),
    "mask": Function(
        signature="mask(text, kept)",
        summary="Its last characters behind `*`; all of it where it has no more than those.",
        takes=(_TEXT, _INT),
        run=mask,
        example=("mask(patient.id, 4)", "*******9902"),
    ),
}

METHODS: dict[str, Function] = {
    "startsWith": Function(
        signature="text.startsWith(text)",
        summary="True when the text starts so.",
        takes=(_TEXT,),
        gives="bool",
        run=str.startswith,
        example=("site.startsWith('ST')", True),
    ),
    "endsWith": Function(
        signature="text.endsWith(text)",
        summary="True when the text ends so.",
        takes=(_TEXT,),
        gives="bool",
        run=str.endswith,
        example=("step.modality.endsWith('R')", False),
    ),
    "contains": Function(
        signature="text.contains(text)",
        summary="True when the text stands in it.",
        takes=(_TEXT,),
        gives="bool",
        run=operator.contains,
        example=("patient.issuer.contains('578')", True),
    ),
}
